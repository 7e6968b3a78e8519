"""OTLP metrics: the receiver over real HTTP, and the real OpenTelemetry SDK as the sender."""

from __future__ import annotations

import gzip
import math
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.metrics.v1.metrics_pb2 import ExponentialHistogramDataPoint
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from prometheus_client import generate_latest

from energy_orchestrator.errors import InvalidInputError
from energy_orchestrator.ingest.counters import quantile
from energy_orchestrator.ingest.exposition import names_in
from energy_orchestrator.ingest.known_servers import recognise
from energy_orchestrator.ingest.otlp_operations import OtlpOperations
from energy_orchestrator.ingest.otlp_points import Point, Sender, _exponential, decode, prometheus_name
from energy_orchestrator.ingest.otlp_receiver import MAX_BODY_BYTES, MAX_UNPACKED_BYTES
from energy_orchestrator.ingest.prometheus import read
from energy_orchestrator.model.workload import Declaration, OperationSource

from .otlp_sender import Listening, receiving, sdk

API = Declaration.model_validate({"name": "api", "command": ["x"]})
SHOP = Declaration.model_validate({"name": "shop", "command": ["x"], "operations": {"otlp": "checkout"}})
SCRAPED = Declaration.model_validate({"name": "web", "command": ["x"], "operations": {"prometheus": "http://x"}})
DECLARED = {it.key: it for it in (API, SHOP, SCRAPED)}
HTTP_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)


@pytest.fixture
def listening() -> Iterator[Listening]:
    with receiving(DECLARED) as listening:
        yield listening


def served(histogram: Any, count: int, seconds: float, status: int = 200) -> None:
    for _ in range(count):
        histogram.record(seconds, {"http.route": "/buy", "http.response.status_code": status})


@pytest.mark.parametrize("delta", [False, True])
def test_an_http_server_of_the_sdk_is_counted_with_errors_and_latency(listening: Listening, delta: bool) -> None:
    """Every request once, whether the SDK sends what was done or what it has counted so far."""
    with sdk(listening, delta=delta, service__name="api", eo__replica="api-0") as provider:
        took = provider.get_meter("t").create_histogram(
            "http.server.request.duration", "s", explicit_bucket_boundaries_advisory=HTTP_BOUNDS
        )
        served(took, 40, 0.06)
        provider.force_flush()
        served(took, 90, 0.06)
        served(took, 10, 0.4, 500)
        time.sleep(0.01)
        provider.force_flush()
    first, second, *rest = listening.new_rows()
    assert (first["operations"], first["errors"]) == (40, 0)
    assert (second["operations"], second["errors"]) == (100, 10)
    assert second["latency_p50_seconds"] == pytest.approx(0.05 + 0.025 * 50 / 90)
    assert second["latency_p95_seconds"] == pytest.approx(0.25 + 0.25 * 5 / 10)
    assert (second["workload"], second["replica"], second["source"]) == ("declared/api", "api-0", "otlp")
    assert (second["operation"], second["host"]) == ("request", "node-a")
    assert second["interval_seconds"] == pytest.approx(
        (second["timestamp"] - first["timestamp"]).total_seconds(), abs=0.01
    )
    assert sum(row["operations"] for row in rest) == 0, "what is sent at the end is nothing new"


def test_a_process_that_was_there_before_is_a_baseline(listening: Listening) -> None:
    listening.operations._since_ns = time.time_ns() + 10**12
    with sdk(listening, service__name="api") as provider:
        took = provider.get_meter("t").create_histogram("http.server.request.duration", "s")
        served(took, 5000, 0.06)
        provider.force_flush()
        assert listening.new_rows() == []
        served(took, 7, 0.06)
        provider.force_flush()
        assert [row["operations"] for row in listening.new_rows()] == [7]


def test_tokens_and_calls_by_the_semantic_conventions(listening: Listening) -> None:
    with sdk(listening, service__name="checkout") as provider:
        meter = provider.get_meter("t")
        tokens = meter.create_histogram("gen_ai.client.token.usage", "{token}")
        took = meter.create_histogram("gen_ai.client.operation.duration", "s")
        tokens.record(900, {"gen_ai.token.type": "input"})
        tokens.record(100, {"gen_ai.token.type": "output"})
        took.record(2.0, {"gen_ai.operation.name": "chat"})
    (row,) = listening.new_rows()
    assert (row["workload"], row["operation"], row["operations"]) == ("declared/shop", "token", 100)
    with sdk(listening, service__name="x", eo__workload="container/3f2a", service__instance__id="7") as provider:
        took = provider.get_meter("t").create_histogram("rpc.server.duration", "ms")
        for code, count in ((0, 85), (5, 5), (13, 10)):
            for _ in range(count):
                took.record(15.0, {"rpc.grpc.status_code": code})
    (row,) = listening.new_rows()
    assert (row["workload"], row["replica"], row["operation"]) == ("container/3f2a", "7", "call")
    assert (row["operations"], row["errors"]) == (100, 10)
    assert 0.01 <= row["latency_p95_seconds"] <= 0.025, "milliseconds are told in seconds"


def test_a_declared_metric_of_ones_own(listening: Listening) -> None:
    own = {"otlp": "mailer", "metric": "mails_sent_total", "queue_gauge": "mails_waiting", "operation": "mail"}
    mailer = Declaration.model_validate({"name": "mailer", "command": ["x"], "operations": own})
    listening.operations._declarations = lambda: {mailer.key: mailer}
    with sdk(listening, service__name="mailer") as provider:
        meter = provider.get_meter("t")
        meter.create_counter("mails.sent").add(12)
        meter.create_up_down_counter("mails.waiting").add(3)
    (row,) = listening.new_rows()
    assert (row["operations"], row["operation"], row["queue_depth"], row["errors"]) == (12, "mail", 3, None)


def test_exponential_histograms_of_the_sdk_give_latency(listening: Listening) -> None:
    exponential = View(instrument_name="*", aggregation=ExponentialBucketHistogramAggregation())
    with sdk(listening, views=(exponential,), service__name="api") as provider:
        took = provider.get_meter("t").create_histogram("http.server.request.duration", "s")
        served(took, 95, 0.05)
        served(took, 5, 1.0)
        provider.force_flush()
        served(took, 50, 0.2)
        served(took, 50, 3.0)  # a wider range makes the buckets coarser
        provider.force_flush()
    first, second, *_ = listening.new_rows()
    assert first["latency_p50_seconds"] == pytest.approx(0.05, rel=0.2)
    assert second["latency_p50_seconds"] == pytest.approx(0.2, rel=0.2)
    assert second["latency_p95_seconds"] == pytest.approx(3.0, rel=0.2)


@pytest.mark.parametrize("scale", [-1, 0, 1, 2, 3, 8])
def test_exponential_buckets_are_told_at_exact_bounds(scale: int) -> None:
    """Values 1, 2, 4, ... 512 as the data model puts them: bucket i holds (base^i, base^(i+1)]."""
    point = ExponentialHistogramDataPoint(scale=scale, count=10)
    indexes = [math.ceil(n * 2.0**scale) - 1 for n in range(10)]
    point.positive.offset = indexes[0]
    point.positive.bucket_counts.extend([indexes.count(i) for i in range(indexes[0], indexes[-1] + 1)])
    buckets = _exponential(point)
    assert buckets[math.inf] == 10
    for bound, count in buckets.items():
        assert count == sum(2.0**n <= bound for n in range(10)), bound
    assert quantile(0.5, buckets) is not None


def request_of(*counts: int, service: str = "api", start: int = 0, at: int | None = None) -> bytes:
    """A cumulative counter `operations` after each export; the last is what is sent."""
    request = ExportMetricsServiceRequest()
    resource = request.resource_metrics.add()
    attribute = resource.resource.attributes.add(key="service.name")
    attribute.value.string_value = service
    metric = resource.scope_metrics.add().metrics.add(name="operations")
    metric.sum.is_monotonic, metric.sum.aggregation_temporality = True, 2
    metric.sum.data_points.add(start_time_unix_nano=start, time_unix_nano=at or time.time_ns(), as_int=counts[-1])
    return request.SerializeToString()


def test_a_restart_and_a_retry_count_nothing_twice(listening: Listening) -> None:
    assert listening.post(request_of(1000)).status_code == 200
    grown = request_of(1010)
    for _ in range(3):
        assert listening.post(grown).status_code == 200
    assert listening.post(request_of(5, start=time.time_ns())).status_code == 200
    assert [row["operations"] for row in listening.new_rows()] == [10, 5]


def test_an_export_that_the_bus_did_not_take_is_sent_again(listening: Listening) -> None:
    listening.post(request_of(1000))
    grown = request_of(1010)
    listening.bus.closed = True
    refused = listening.post(grown)
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
    listening.bus.closed = False
    assert listening.post(grown).status_code == 200
    assert [row["operations"] for row in listening.new_rows()] == [10]


@pytest.mark.parametrize(("seconds", "says"), [(4000, "ahead"), (-4000, "ago")])
def test_a_clock_that_is_far_off_is_told_and_spoils_nothing(listening: Listening, seconds: int, says: str) -> None:
    listening.post(request_of(1000))
    answer = listening.post(request_of(2000, at=time.time_ns() + seconds * 10**9))
    assert says in ExportMetricsServiceResponse.FromString(answer.content).partial_success.error_message
    listening.post(request_of(1010))
    assert [row["operations"] for row in listening.new_rows()] == [10]


def test_who_is_not_declared_is_told_so(listening: Listening) -> None:
    answer = listening.post(request_of(1, service="stranger"))
    partial = ExportMetricsServiceResponse.FromString(answer.content).partial_success
    assert (answer.status_code, partial.rejected_data_points) == (200, 1)
    assert "'stranger'" in partial.error_message
    assert "eo.workload" in partial.error_message


def test_a_workload_that_is_scraped_is_not_counted_twice(listening: Listening) -> None:
    answer = listening.post(request_of(1, service="web"))
    partial = ExportMetricsServiceResponse.FromString(answer.content).partial_success
    assert "come from its prometheus source" in partial.error_message


@pytest.mark.parametrize(("labelled", "counted"), [({"container/a"}, 1), (set[str](), 2)])
def test_a_container_that_is_read_by_its_labels_is_not_counted_twice(labelled: set[str], counted: int) -> None:
    operations = OtlpOperations(lambda: DECLARED, 0, lambda: labelled)
    senders = [replace(point(5, 1, 2, delta=True), attributes={"eo.workload": it}) for it in ("container/a", "pod/b")]
    prepared = operations.prepare(senders, 2 * 10**9)
    assert len(prepared.done) == counted
    assert all("come from the endpoint that its labels name" in message for message in prepared.messages)


def test_unknown_metrics_are_a_problem_of_the_workload(listening: Listening) -> None:
    with sdk(listening, service__name="api") as provider:
        provider.get_meter("t").create_counter("orders.shipped").add(1)
    assert "counters seen: `orders_shipped_total`" in (listening.operations.problem_of("declared/api") or "")
    listening.post(request_of(1))
    listening.post(request_of(2))
    assert listening.operations.problem_of("declared/api") is None


@pytest.mark.parametrize(
    ("body", "headers", "status", "says"),
    [
        (b"\xff\xff\xff", {}, 400, b"not an OTLP metrics request"),
        (b"no gzip at all", {"content_encoding": "gzip"}, 400, b"not gzip"),
        (gzip.compress(b"a" * 100)[:-9], {"content_encoding": "gzip"}, 400, b"end early"),
        (gzip.compress(b"\0" * (MAX_UNPACKED_BYTES + 1)), {"content_encoding": "gzip"}, 413, b"when unpacked"),
        (b"\0" * (MAX_BODY_BYTES + 1), {}, 413, b"smaller batches"),
        (b"", {"content_encoding": "zstd"}, 415, b"zstd"),
        (b"{}", {"content_type": "application/json"}, 415, b"http/protobuf"),
        (b"", {"origin": "http://evil.example"}, 403, b"browsers"),
    ],
    ids=["garbage", "no gzip", "cut off", "bomb", "too large", "zstd", "json", "browser"],
)
def test_what_is_no_export_is_refused(
    listening: Listening, body: bytes, headers: dict[str, str], status: int, says: bytes
) -> None:
    answer = listening.post(body, **headers)
    assert answer.status_code == status
    assert says in answer.content
    assert listening.post(request_of(1)).status_code == 200, "it goes on"


def test_other_paths_and_methods_are_not_served(listening: Listening) -> None:
    assert httpx.get(f"{listening.url}/v1/metrics", trust_env=False, timeout=60).status_code == 405
    assert httpx.post(f"{listening.url}/v1/traces", trust_env=False, timeout=60).status_code == 404


def test_more_points_than_can_be_are_refused() -> None:
    request = ExportMetricsServiceRequest()
    metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name="n")
    metric.gauge.data_points.extend([metric.gauge.data_points.add()] * 50_001)
    with pytest.raises(InvalidInputError, match="50000 data points"):
        decode(request.SerializeToString())


@pytest.mark.parametrize(
    ("name", "unit", "total", "expected"),
    [
        ("http.server.request.duration", "s", False, "http_server_request_duration_seconds"),
        ("rpc.server.duration", "ms", False, "rpc_server_duration_milliseconds"),
        ("messaging.client.consumed.messages", "{message}", True, "messaging_client_consumed_messages_total"),
        ("gen_ai.client.token.usage", "{token}", False, "gen_ai_client_token_usage"),
        ("operations_total", "1", True, "operations_total"),
    ],
)
def test_names_are_those_of_the_prometheus_exporters(name: str, unit: str, total: bool, expected: str) -> None:
    assert prometheus_name(name, unit, total=total) == expected


def point(total: int, start: float, at: int, *, delta: bool) -> Sender:
    labels = {"http_response_status_code": "200"}
    buckets = {0.1: float(total), math.inf: float(total)}
    name = "http_server_request_duration_seconds"
    one = Point(name, labels, True, delta, round(start * 1e9), at * 10**9, buckets=buckets, count=float(total), sum=1.0)
    return Sender({"service.name": "api"}, (one,), 0)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 50), st.sampled_from(["", "restart", "retry", "bus away"])), max_size=30))
def test_all_that_was_done_is_told_once_by_either_temporality(steps: list[tuple[int, str]]) -> None:
    """Through restarts, retries and a bus that takes nothing, the interval and the operations add up."""
    for delta in (False, True):
        operations = OtlpOperations(lambda: DECLARED, 0)
        total, start, since, done, seconds = 0, 1.0, 1, 0.0, 0.0
        for at, (work, event) in enumerate(steps, start=2):
            if event == "restart" and at > 2:
                total, start = 0, at - 0.5  # what it did since the last export is told by nobody
            total += work
            sender = point(work, since, at, delta=True) if delta else point(total, start, at, delta=False)
            since = at
            if event == "bus away":
                operations.prepare([sender], at * 10**9)
            for _ in range(2 if event == "retry" else 1):
                prepared = operations.prepare([sender], at * 10**9)
                operations.commit(prepared)
                done += sum(activity.operations for _, activity in prepared.done)
                seconds += sum(activity.interval_seconds for _, activity in prepared.done)
        assert done == sum(work for work, _ in steps)
        assert seconds == len(steps)


def test_names_and_buckets_are_those_of_the_real_prometheus_exporter() -> None:
    """OpenTelemetry's own exporter of Prometheus text, fed with the conventions: the catalogue knows what it shows."""
    provider = MeterProvider([PrometheusMetricReader()])
    meter = provider.get_meter("t")
    made = {
        prometheus_name(name, unit, total=False): meter.create_histogram(name, unit)
        for name, unit in (("http.server.request.duration", "s"), ("rpc.server.duration", "ms"))
    }
    tokens = meter.create_histogram("gen_ai.client.token.usage", "{token}")
    consumed = meter.create_counter("messaging.client.consumed.messages", "{message}")
    made["http_server_request_duration_seconds"].record(0.2, {"http.response.status_code": 500})
    made["rpc_server_duration_milliseconds"].record(7, {"rpc.grpc.status_code": 13})
    tokens.record(100, {"gen_ai.token.type": "output"})
    consumed.add(5)
    text = generate_latest().decode()
    provider.shutdown()
    names = names_in(text)
    assert {f"{name}_bucket" for name in made} <= names.all
    for server, operations, errors in (
        ("OpenTelemetry HTTP server", 1, 1),
        ("OpenTelemetry RPC server (before 1.38)", 1, 1),
        ("OpenTelemetry GenAI client", 100, None),
        ("OpenTelemetry messaging consumer", 5, 0),
    ):
        source = recognise(names, OperationSource(prometheus="http://x", server=server)).source
        reading = read(text, source)
        assert sum((reading.operations or {}).values()) == operations, server
        assert (reading.errors is None) == (errors is None), server
        assert sum((reading.errors or {}).values()) == (errors or 0), server
