"""Where operations come from, in a whole system: a program that is scraped and recognised, one that sends OTLP, one
whose counter nobody knows. The first two do the same work, so their figures have to agree."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from flow.system import System, free_ports, running

pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]

WORK = """
import hashlib, sys, time
def requests():
    while True:
        began = time.perf_counter()
        hashlib.pbkdf2_hmac("sha256", b"x", b"y", 20000)
        time.sleep(0.02)
        yield time.perf_counter() - began
"""
SENDING = (
    WORK
    + """
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
meter = MeterProvider([PeriodicExportingMetricReader(OTLPMetricExporter())]).get_meter("shop")
bounds = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 1)
took = meter.create_histogram("http.server.request.duration", "s", explicit_bucket_boundaries_advisory=bounds)
for number, seconds in enumerate(requests()):
    took.record(seconds, {"http.response.status_code": 200 if number % 50 else 500})
"""
)
SCRAPED = (
    WORK
    + """
from prometheus_client import Counter, Histogram, start_http_server
start_http_server(int(sys.argv[1]), addr="127.0.0.1")
done, took = Counter("http_requests", "n", ["code"]), Histogram("http_request_duration_seconds", "s")
for number, seconds in enumerate(requests()):
    done.labels("200" if number % 50 else "500").inc()
    took.observe(seconds)
"""
)
UNKNOWN = (
    WORK
    + """
from prometheus_client import Counter, start_http_server
start_http_server(int(sys.argv[1]), addr="127.0.0.1")
shipped = Counter("orders_shipped", "n")
for _ in requests():
    shipped.inc()
"""
)


@pytest.fixture(scope="module")
def shops(agent: None) -> Iterator[System]:
    """Three programs, and the receiver on a free port."""
    with tempfile.TemporaryDirectory(prefix="eo-flow-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        first = free_ports(3)
        endpoint = {"prometheus": "http://127.0.0.1:{port}/metrics"}
        exported = {
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": f"http://127.0.0.1:{first}/v1/metrics",
            "OTEL_METRIC_EXPORT_INTERVAL": "2000",
        }
        workloads = [
            {"name": "sending", "environment": exported, "operations": {"otlp": "shop"}},
            {"name": "scraped", "base_port": first + 1, "operations": endpoint},
            {"name": "unknown", "base_port": first + 2, "operations": endpoint},
        ]
        for workload, program in zip(workloads, (SENDING, SCRAPED, UNKNOWN), strict=True):
            (folder / f"{workload['name']}.py").write_text(program)
            workload["command"] = ["{python}", f"{workload['name']}.py", "{port}" if "base_port" in workload else "-"]
        file = folder / "eo.workloads.yaml"
        file.write_text(yaml.safe_dump({"version": 1, "workloads": workloads}))
        with running(System(folder, file, EO_OTLP_PORT=str(first))) as system:
            yield system


def test_two_ways_of_counting_the_same_work_agree(shops: System) -> None:
    def look() -> dict[str, Any] | None:
        found = {it["workload"]: it for it in shops.get("workloads")}
        both = [found.get(f"declared/{name}", {}) for name in ("sending", "scraped")]
        return found if all(it.get("joules_per_operation") and it.get("latency_p95_seconds") for it in both) else None

    found = shops.until("J/op of both", look, 120)
    sending, scraped = found["declared/sending"], found["declared/scraped"]
    assert (sending["operation"], scraped["operation"]) == ("request", "request")
    rates = sending["operations_per_second"], scraped["operations_per_second"]
    assert rates[0] == pytest.approx(rates[1], rel=0.5), "a busy machine; a factor of two would be counting twice"
    assert 0.02 < sending["latency_p95_seconds"] < 1
    assert 0.02 < scraped["latency_p95_seconds"] < 1


def test_what_nobody_knows_says_which_counters_there_are(shops: System) -> None:
    def look() -> str | None:
        found = {it["workload"]: it for it in shops.get("workloads")}
        reason = found.get("declared/unknown", {}).get("joules_per_operation_reason") or ""
        return reason if "counters seen" in reason else None

    reason = shops.until("the reason", look, 120)
    assert "`orders_shipped_total`" in reason
    assert "operations.metric" in reason


def test_the_receiver_is_one_of_the_parts(shops: System) -> None:
    parts = shops.api.get("/readyz").json()["parts"]
    assert parts["OTLP receiver"] == "ok"
