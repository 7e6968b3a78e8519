"""Servers told by what they expose: texts as each project's client library writes them.

The shapes are made by prometheus_client with the names, labels and units of each project's own documentation
(`documented` in the catalogue), so that declared metrics without samples, `_total`, `_created` and buckets look as
they really do. FastAPI's instrumentator is asked itself.
"""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest
from fastapi import FastAPI, HTTPException
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_fastapi_instrumentator import Instrumentator

from energy_orchestrator.errors import InvalidInputError
from energy_orchestrator.ingest.counters import labels_of
from energy_orchestrator.ingest.exposition import names_in
from energy_orchestrator.ingest.known_servers import catalogue, only_one, recognise
from energy_orchestrator.ingest.operations import Activity
from energy_orchestrator.ingest.prometheus import activity_between, read
from energy_orchestrator.model.selector import parse_selector
from energy_orchestrator.model.workload import Counted, OperationSource

ENDPOINT = OperationSource(prometheus="http://127.0.0.1:9/metrics")


class Shown:
    """A registry of the real client library."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()

    def counter(self, name: str, *labels: str) -> Counter:
        return Counter(name, "c", labels, registry=self.registry)

    def gauge(self, name: str, *labels: str) -> Gauge:
        return Gauge(name, "g", labels, registry=self.registry)

    def histogram(self, name: str, *labels: str, scale: float = 1.0) -> Histogram:
        bounds = tuple(bound * scale for bound in (0.1, 0.2, 0.4))
        return Histogram(name, "h", labels, registry=self.registry, buckets=bounds)

    def text(self) -> str:
        return generate_latest(self.registry).decode()


def vllm(shown: Shown) -> Callable[[], None]:
    tokens = shown.counter("vllm:generation_tokens", "model_name")
    success = shown.counter("vllm:request_success", "model_name", "finished_reason")
    latency = shown.histogram("vllm:e2e_request_latency_seconds", "model_name")
    waiting = shown.gauge("vllm:num_requests_waiting", "model_name")
    # vLLM is a FastAPI application and shows what its instrumentator counts too.
    web = shown.counter("http_requests", "handler", "method", "status")
    shown.histogram("http_request_duration_highr_seconds")

    def work() -> None:
        tokens.labels("llama").inc(100)
        success.labels("llama", "stop").inc(9)
        success.labels("llama", "error").inc(1)
        web.labels("/v1/completions", "POST", "2xx").inc(9)
        latency.labels("llama").observe(0.15)
        waiting.labels("llama").set(3)

    return work


def sglang(shown: Shown) -> Callable[[], None]:
    tokens = shown.counter("sglang:generation_tokens", "model_name")
    shown.counter("sglang:num_requests", "model_name")
    latency = shown.histogram("sglang:e2e_request_latency_seconds", "model_name")
    queue = shown.gauge("sglang:num_queue_reqs", "model_name")

    def work() -> None:
        tokens.labels("llama").inc(100)
        latency.labels("llama").observe(0.15)
        queue.labels("llama").set(3)

    return work


def tgi(shown: Shown) -> Callable[[], None]:
    tokens, latency = shown.histogram("tgi_request_generated_tokens"), shown.histogram("tgi_request_duration")
    queue = shown.gauge("tgi_queue_size")

    def work() -> None:
        tokens.observe(100)
        latency.observe(0.15)
        queue.set(3)

    return work


def envoy(shown: Shown) -> Callable[[], None]:
    total = shown.counter("envoy_http_downstream_rq", "envoy_http_conn_manager_prefix")
    classes = shown.gauge("envoy_http_downstream_rq_xx", "envoy_response_code_class", "envoy_http_conn_manager_prefix")
    took = shown.histogram("envoy_http_downstream_rq_time", "envoy_http_conn_manager_prefix", scale=1000)
    active = shown.gauge("envoy_http_downstream_rq_active", "envoy_http_conn_manager_prefix")
    for code in "12345":
        for prefix in ("admin", "ingress"):
            classes.labels(code, prefix).set(0)

    def work() -> None:
        total.labels("ingress").inc(100)
        total.labels("admin").inc(1)  # our scrape
        classes.labels("5", "ingress").inc(10)
        took.labels("ingress").observe(150)
        took.labels("admin").observe(390)
        active.labels("ingress").set(3)
        active.labels("admin").set(1)

    return work


def go_grpc(shown: Shown) -> Callable[[], None]:
    handled = shown.counter("grpc_server_handled", "grpc_code", "grpc_method", "grpc_service", "grpc_type")
    took = shown.histogram("grpc_server_handling_seconds", "grpc_method")
    shown.counter("promhttp_metric_handler_requests", "code").labels("200").inc(5)

    def work() -> None:
        handled.labels("OK", "Ping", "Test", "unary").inc(85)
        handled.labels("NotFound", "Ping", "Test", "unary").inc(5)
        handled.labels("Internal", "Ping", "Test", "unary").inc(10)
        took.labels("Ping").observe(0.15)

    return work


def spring(shown: Shown) -> Callable[[], None]:
    labels = ("exception", "method", "outcome", "status", "uri")
    took = shown.histogram("http_server_requests_seconds", *labels)

    def work() -> None:
        for _ in range(90):
            took.labels("None", "GET", "SUCCESS", "200", "/orders/{id}").observe(0.15)
        for _ in range(10):
            took.labels("TimeoutException", "GET", "SERVER_ERROR", "500", "/orders/{id}").observe(0.15)
        took.labels("None", "GET", "SUCCESS", "200", "/actuator/prometheus").observe(0.39)

    return work


def fastapi(shown: Shown) -> Callable[[], None]:
    requests = shown.counter("http_requests", "handler", "method", "status")
    took = shown.histogram("http_request_duration_highr_seconds")
    shown.histogram("http_request_duration_seconds", "handler", "method")

    def work() -> None:
        requests.labels("/items", "GET", "2xx").inc(90)
        requests.labels("/items", "GET", "5xx").inc(10)
        requests.labels("/metrics", "GET", "2xx").inc(1)
        took.observe(0.15)

    return work


def promhttp(shown: Shown) -> Callable[[], None]:
    requests = shown.counter("http_requests", "code", "method")
    took = shown.histogram("http_request_duration_seconds", "code", "method")
    shown.counter("promhttp_metric_handler_requests", "code").labels("200").inc(5)

    def work() -> None:
        requests.labels("200", "get").inc(90)
        requests.labels("502", "get").inc(10)
        took.labels("200", "get").observe(0.15)

    return work


def otel_http(shown: Shown) -> Callable[[], None]:
    took = shown.histogram(
        "http_server_request_duration_seconds", "http_route", "http_response_status_code", "error_type"
    )

    def work() -> None:
        for _ in range(90):
            took.labels("/items", "200", "").observe(0.15)
        for _ in range(9):
            took.labels("/items", "500", "500").observe(0.15)
        took.labels("/items", "", "ConnectionResetError").observe(0.15)

    return work


def otel_rpc(shown: Shown) -> Callable[[], None]:
    took = shown.histogram("rpc_server_duration_milliseconds", "rpc_method", "rpc_grpc_status_code", scale=1000)

    def work() -> None:
        for _ in range(85):
            took.labels("Ping", "0").observe(150)
        for _ in range(5):
            took.labels("Ping", "5").observe(150)  # not found: the caller's
        for _ in range(10):
            took.labels("Ping", "13").observe(150)

    return work


@pytest.mark.parametrize(
    ("server", "operation", "make", "errors", "queue"),
    [
        ("vLLM", "token", vllm, None, 3),
        ("SGLang", "token", sglang, None, 3),
        ("Text Generation Inference", "token", tgi, None, 3),
        ("Envoy", "request", envoy, 10, 3),
        ("gRPC (go-grpc-prometheus)", "call", go_grpc, 10, None),
        ("Spring Boot (Micrometer)", "request", spring, 10, None),
        ("HTTP handlers (promhttp, prometheus-fastapi-instrumentator)", "request", fastapi, 10, None),
        ("HTTP handlers (promhttp, prometheus-fastapi-instrumentator)", "request", promhttp, 10, None),
        ("OpenTelemetry HTTP server", "request", otel_http, 10, None),
        ("OpenTelemetry RPC server (before 1.38)", "call", otel_rpc, 10, None),
    ],
)
def test_a_server_is_known_by_its_names(
    server: str, operation: str, make: Callable[[Shown], Callable[[], None]], errors: float | None, queue: float | None
) -> None:
    """A hundred operations, some failed, p95 in the bucket from 0.1 to 0.2 s; scrapes are not among them."""
    shown = Shown()
    work = make(shown)
    work()
    recognised = recognise(names_in(shown.text()), ENDPOINT)
    assert (recognised.server, recognised.source.operation) == (server, operation)
    before = read(shown.text(), recognised.source)
    work()
    activity = activity_between(before, read(shown.text(), recognised.source), 1.0, recognised.source)
    assert activity is not None
    assert (activity.operations, activity.errors, activity.queue_depth) == (100, errors, queue)
    assert activity.latency_p95_seconds == pytest.approx(0.195)


@pytest.mark.parametrize("make", [vllm, go_grpc, spring, fastapi, promhttp, otel_http, otel_rpc])
def test_a_server_that_has_done_nothing_yet_is_known_and_its_first_operations_count(
    make: Callable[[Shown], Callable[[], None]],
) -> None:
    shown = Shown()
    work = make(shown)
    source = recognise(names_in(shown.text()), ENDPOINT).source
    before = read(shown.text(), source)
    work()
    activity = activity_between(before, read(shown.text(), source), 1.0, source)
    assert activity is not None
    assert activity.operations == 100


def between(source: OperationSource, before: str, after: str) -> Activity:
    activity = activity_between(read(before, source), read(after, source), 1.0, source)
    assert activity is not None
    return activity


def test_requests_instead_of_tokens_where_the_declaration_says_so() -> None:
    shown = Shown()
    work = vllm(shown)
    work()
    asked = ENDPOINT.model_copy(update={"operation": "request"})
    source = recognise(names_in(shown.text()), asked).source
    before = shown.text()
    work()
    activity = between(source, before, shown.text())
    assert (activity.operations, activity.errors) == (10, 1)


def test_what_the_declaration_names_stays() -> None:
    shown = Shown()
    vllm(shown)()
    mine = ENDPOINT.model_copy(
        update={"latency_histogram": "vllm:time_to_first_token_seconds", "queue_gauge": "vllm:num_requests_running"}
    )
    source = recognise(names_in(shown.text()), mine).source
    assert source.latency_histogram == "vllm:time_to_first_token_seconds"
    assert source.queue_gauge == "vllm:num_requests_running"
    assert source.metric == ("vllm:generation_tokens_total",)


NGINX = """# HELP nginx_http_requests_total Total http requests
# TYPE nginx_http_requests_total counter
nginx_http_requests_total {}
# TYPE nginx_up gauge
nginx_up 1
# TYPE process_start_time_seconds gauge
process_start_time_seconds {}
# TYPE promhttp_metric_handler_requests_total counter
promhttp_metric_handler_requests_total{{code="200"}} 7
"""


def test_nginx_behind_its_exporter_without_the_scrape_itself() -> None:
    """Each scrape is a request of the exporter, and a restart of the exporter is none of nginx."""
    source = recognise(names_in(NGINX.format(5000, 1)), ENDPOINT).source
    assert between(source, NGINX.format(5000, 1), NGINX.format(5001, 1)).operations == 0
    assert between(source, NGINX.format(5000, 1), NGINX.format(5011, 2)).operations == 10
    assert between(source, NGINX.format(5000, 1), NGINX.format(4, 1)).operations == 3, "nginx itself began again"


TRITON = """# HELP nv_inference_request_success Number of successful inference requests, all batch sizes
# TYPE nv_inference_request_success counter
nv_inference_request_success{{model="resnet",version="1"}} {0}
# TYPE nv_inference_request_failure counter
nv_inference_request_failure{{model="resnet",reason="BACKEND",version="1"}} {1}
nv_inference_request_failure{{model="resnet",reason="CANCELED",version="1"}} 0
# TYPE nv_inference_count counter
nv_inference_count{{model="resnet",version="1"}} {2}
# TYPE nv_inference_pending_request_count gauge
nv_inference_pending_request_count{{model="resnet",version="1"}} 3
"""


def test_triton_counts_requests_or_inferences() -> None:
    texts = TRITON.format(0, 0, 0), TRITON.format(90, 10, 720)
    source = recognise(names_in(texts[0]), ENDPOINT).source
    activity = between(source, *texts)
    assert (activity.operations, activity.errors, activity.queue_depth) == (100, 10, 3)
    assert activity.latency_p95_seconds is None, "histograms are off unless asked for"
    asked = ENDPOINT.model_copy(update={"operation": "inference"})
    assert between(recognise(names_in(texts[0]), asked).source, *texts).operations == 720


KAFKA = """# HELP kafka_consumergroup_current_offset Current Offset of a ConsumerGroup at Topic/Partition
# TYPE kafka_consumergroup_current_offset gauge
kafka_consumergroup_current_offset{{consumergroup="billing",partition="0",topic="orders"}} {}
kafka_consumergroup_current_offset{{consumergroup="billing",partition="1",topic="orders"}} {}
# TYPE kafka_consumergroup_lag gauge
kafka_consumergroup_lag{{consumergroup="billing",partition="0",topic="orders"}} 2
kafka_consumergroup_lag{{consumergroup="billing",partition="1",topic="orders"}} 1
"""
OTHER_GROUP = 'kafka_consumergroup_current_offset{consumergroup="search",partition="0",topic="orders"} 7\n'


def test_a_kafka_consumer_by_its_offsets() -> None:
    recognised = recognise(names_in(KAFKA), ENDPOINT)
    assert recognised.source.counted is Counted.OFFSET
    texts = KAFKA.format(1000, 2000), KAFKA.format(1030, 1500)
    activity = between(recognised.source, *texts)
    assert (activity.operations, activity.queue_depth) == (30, 3), "an offset moved back by 500 is not 1500 records"


def test_two_consumer_groups_are_two_workloads() -> None:
    text = KAFKA.format(1000, 2000) + OTHER_GROUP
    recognised = recognise(names_in(text), ENDPOINT)
    reading = read(text, recognised.source)
    with pytest.raises(InvalidInputError, match="`billing`, `search`") as refused:
        only_one(reading.operations or {}, recognised.apart)
    assert refused.value.next_step is not None
    assert 'operations.matching: consumergroup="billing"' in refused.value.next_step
    mine = recognise(names_in(text), ENDPOINT.model_copy(update={"matching": 'consumergroup="search"'}))
    found = read(text, mine.source).operations or {}
    only_one(found, mine.apart)
    assert list(found.values()) == [7]


def test_a_client_beside_its_topics_counts_once() -> None:
    name = "kafka_consumer_consumer_fetch_manager_metrics_records_consumed_total"
    text = f'{name}{{client_id="c"}} 10\n{name}{{client_id="c",topic="a"}} 4\n{name}{{client_id="c",topic="b"}} 6\n'
    reading = read(text, recognise(names_in(text), ENDPOINT).source)
    assert reading.operations == {labels_of(name, {"client_id": "c"}): 10}


REDIS = """# TYPE redis_commands_processed_total counter
redis_commands_processed_total {}
# TYPE redis_total_error_replies counter
redis_total_error_replies 4
# TYPE redis_commands_latencies_usec histogram
redis_commands_latencies_usec_bucket{{cmd="get",le="10"}} {}
redis_commands_latencies_usec_bucket{{cmd="get",le="20"}} {}
redis_commands_latencies_usec_bucket{{cmd="get",le="+Inf"}} {}
"""


def test_redis_and_postgres_behind_their_exporters() -> None:
    texts = REDIS.format(100, 0, 0, 0), REDIS.format(200, 50, 100, 100)
    activity = between(recognise(names_in(texts[0]), ENDPOINT).source, *texts)
    assert (activity.operations, activity.errors) == (100, 0)
    assert activity.latency_p95_seconds == pytest.approx(19e-6)
    database = (
        'pg_stat_database_xact_commit{{datid="1",datname="shop"}} {}\n'
        'pg_stat_database_xact_rollback{{datid="1",datname="shop"}} {}\n'
        'pg_stat_database_xact_commit{{datid="2",datname="postgres"}} {}\n'
    )
    texts = database.format(10, 0, 50), database.format(100, 10, 55)
    mine = ENDPOINT.model_copy(update={"matching": 'datname="shop"'})
    activity = between(recognise(names_in(texts[0]), mine).source, *texts)
    assert (activity.operations, activity.errors) == (100, 10)


def test_an_unknown_endpoint_is_told_what_counters_it_has() -> None:
    shown = Shown()
    shown.counter("orders_shipped", "country")
    shown.counter("promhttp_metric_handler_requests", "code").labels("200").inc()
    shown.counter("python_gc_collections", "generation")
    with pytest.raises(InvalidInputError, match="counters seen: `orders_shipped_total` Next") as refused:
        recognise(names_in(shown.text()), ENDPOINT)
    assert "operations.metric" in (refused.value.next_step or "")


def test_scrapes_alone_are_nobodys_work() -> None:
    shown = Shown()
    shown.counter("promhttp_metric_handler_requests", "code").labels("200").inc()
    with pytest.raises(InvalidInputError, match="counters seen: none"):
        recognise(names_in(shown.text()), ENDPOINT)


def test_two_known_servers_are_not_guessed_between() -> None:
    shown = Shown()
    go_grpc(shown)
    spring(shown)
    with pytest.raises(InvalidInputError, match=r"several known servers.*go-grpc-prometheus.*Micrometer"):
        recognise(names_in(shown.text()), ENDPOINT)
    chosen = ENDPOINT.model_copy(update={"server": "Spring Boot (Micrometer)"})
    assert recognise(names_in(shown.text()), chosen).source.operation == "request"


@pytest.mark.parametrize(
    ("server", "says"), [("vLLM", "shows one of `vllm:generation_tokens_total`"), ("vlm", "no known server is called")]
)
def test_a_server_that_is_not_there_is_said_to_be_missing(server: str, says: str) -> None:
    with pytest.raises(InvalidInputError, match=says):
        recognise(names_in("http_requests_total 1\n"), ENDPOINT.model_copy(update={"server": server}))


def test_an_operation_that_a_server_does_not_count_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="counts `request`, not `token`"):
        recognise(names_in("http_requests_total 1\n"), ENDPOINT.model_copy(update={"operation": "token"}))


@pytest.mark.parametrize("entry", catalogue(), ids=lambda entry: f"{entry.server}: {entry.operation}")
def test_every_entry_is_in_order(entry: object) -> None:
    """A document behind each, selectors that parse, names that fit the server's, and a source that is accepted."""
    assert entry in catalogue()
    it = next(one for one in catalogue() if one is entry)
    assert it.documented.startswith(("https://", "docs/"))
    for text in (*it.metric, *it.error_metric, *it.latency_histogram, *it.queue_gauge):
        parse_selector(text)
    shown = "".join(f"{name} 1\n" for name in it.needs)
    alone = ENDPOINT.model_copy(update={"server": it.server, "operation": it.operation})
    source = recognise(names_in(shown), alone).source
    assert OperationSource.model_validate(source.model_dump()) == source


async def test_the_real_instrumentator_of_fastapi_is_known() -> None:
    """prometheus-fastapi-instrumentator itself, with its defaults, scraped as we scrape."""
    registry = CollectorRegistry()
    application = FastAPI()

    @application.get("/items/{number}")
    def item(number: int) -> dict[str, int]:
        if number < 0:
            raise HTTPException(500)
        return {"number": number}

    Instrumentator(registry=registry).instrument(application).expose(application)
    transport = httpx.ASGITransport(application, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        texts = []
        for count in (1, 40):
            for number in (*range(count), -1):
                await client.get(f"/items/{number}")
            await client.get("/metrics")
            texts.append((await client.get("/metrics")).text)
    recognised = recognise(names_in(texts[0]), ENDPOINT)
    assert recognised.server.startswith("HTTP handlers")
    activity = between(recognised.source, *texts)
    assert (activity.operations, activity.errors) == (41, 1), "without the scrapes"
    assert activity.latency_p95_seconds is not None
