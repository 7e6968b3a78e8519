"""A real Prometheus server (built here from its Go module, tests/ingest/prometheus) scrapes a real client library,
and the source asks it: operations from scrape to scrape, errors, p95, a restart, and what is wrong with a question."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from tests.agent.rig import eventually, free_port, missing
from tests.agent.simulated import ROOT

from energy_orchestrator.ingest.memory_bus import MemoryBus
from energy_orchestrator.ingest.operations import Target
from energy_orchestrator.ingest.operations_scraper import OperationsScraper
from energy_orchestrator.ingest.validation import validate
from energy_orchestrator.model.workload import OperationSource

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SOURCE = Path(__file__).parent / "prometheus"
BUILT = ROOT / ".cache" / "prometheus" / "prometheus"
BUILD_SECONDS = 800
PACKAGE = "github.com/prometheus/prometheus/cmd/prometheus"

CONFIG = """
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs: [{{job_name: api, static_configs: [{{targets: ["127.0.0.1:{port}"]}}]}}]
"""


@pytest.fixture(scope="module")
def prometheus_program() -> Path:
    """The program, without service discoveries; built the first time, and again when its locked modules change."""
    if shutil.which("go") is None:
        missing("go is needed to build Prometheus")
    newest = max(file.stat().st_mtime for file in SOURCE.iterdir())
    if not BUILT.exists() or BUILT.stat().st_mtime < newest:
        BUILT.parent.mkdir(parents=True, exist_ok=True)
        build = ["go", "build", "-trimpath", "-tags", "remove_all_sd", "-o", str(BUILT), PACKAGE]
        done = subprocess.run(build, cwd=SOURCE, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False)
        if done.returncode:
            missing(f"Prometheus does not build: {done.stderr[-800:]}")
    return BUILT


class Service:
    """A program with the metrics of the client library, which can be started anew with its counters at nought."""

    def __init__(self) -> None:
        self.restart()
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = generate_latest(service.registry)
                self.send_response(200)
                self.send_header("Content-Type", CONTENT_TYPE_LATEST)  # Prometheus 3 takes no answer without
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def restart(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("http_requests", "done", ["code"], registry=self.registry)
        self.latency = Histogram("http_request_duration_seconds", "s", buckets=(0.1, 0.2, 0.4), registry=self.registry)
        self.requests.labels("200")

    def work(self, count: int, failed: int = 0, seconds: float = 0.15) -> None:
        self.requests.labels("200").inc(count - failed)
        if failed:
            self.requests.labels("500").inc(failed)
        for _ in range(count):
            self.latency.observe(seconds)


@pytest.fixture
def service() -> Iterator[Service]:
    service = Service()
    yield service
    service.server.shutdown()
    service.server.server_close()


@contextlib.contextmanager
def running(program: Path, folder: Path, scraped: int) -> Iterator[str]:
    """Address of a server that is ready."""
    port = free_port()
    config, log = folder / "prometheus.yml", folder / "prometheus.log"
    config.write_text(CONFIG.format(port=scraped))
    command = [str(program), f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}"]
    command += [f"--web.listen-address=127.0.0.1:{port}"]
    url = f"http://127.0.0.1:{port}"

    def ready() -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"{url}/-/ready", timeout=2, trust_env=False).status_code == 200
        return False

    with log.open("wb") as out, subprocess.Popen(command, stdout=out, stderr=out) as process:
        try:
            eventually(lambda: ready() or process.poll() is not None, "a Prometheus server")
            assert process.poll() is None, log.read_text()[-2000:]
            yield url
        finally:
            process.terminate()


def asked(url: str, **questions: str) -> Target:
    source = {"promql": {"url": url, "operations": 'http_requests_total{job="api"}', "every_seconds": 1, **questions}}
    return Target("declared/api", None, None, OperationSource.model_validate(source))


def scraper(bus: MemoryBus, *targets: Target) -> OperationsScraper:
    return OperationsScraper(bus, "local", "node-a", lambda: targets)


def test_a_server_is_asked_for_what_was_done(prometheus_program: Path, service: Service, tmp_path: Path) -> None:
    """Every operation is counted once: over scrapes, over a restart of the program, with errors and latency."""
    latency = "histogram_quantile({}, sum by (le) (rate(http_request_duration_seconds_bucket[10s])))"
    bus = MemoryBus()

    async def rows_of(url: str) -> list[dict[str, object]]:
        questions = {"errors": 'http_requests_total{code=~"5.."}'}
        questions |= {"latency_p50_seconds": latency.format(0.5), "latency_p95_seconds": latency.format(0.95)}
        scraping = scraper(bus, asked(url, **questions))
        async with scraping.client() as client:

            async def until(operations: float) -> None:
                """Ask until so many operations have been told in all."""
                end = time.monotonic() + 30
                while sum(row["operations"] for row in found) < operations and time.monotonic() < end:
                    await scraping.tick(client)
                    found.extend(
                        row
                        for sent in await bus.pull(100, 0)
                        for row in validate(sent.subject, sent.data, now=datetime.now(UTC)).rows.to_pylist()
                    )
                    await asyncio.sleep(0.3)
                assert sum(row["operations"] for row in found) == operations, (scraping.problems, found)

            found: list[dict[str, object]] = []
            end = time.monotonic() + 30
            while not scraping._followed or scraping.problems:
                assert time.monotonic() < end, scraping.problems
                await scraping.tick(client)
                await asyncio.sleep(0.3)
            service.work(100)
            await until(100)
            service.work(50, failed=10)
            await until(150)
            service.restart()
            await asyncio.sleep(1.5)
            service.work(20)
            await until(170)
        return found

    with running(prometheus_program, tmp_path, service.port) as url:
        found = asyncio.run(rows_of(url))
    assert sum(row["errors"] or 0 for row in found) == 10
    assert {row["source"] for row in found} == {"promql"}
    known = [row["latency_p95_seconds"] for row in found if row["latency_p95_seconds"] is not None]
    assert known
    assert max(known) == pytest.approx(0.195, abs=0.001)
    assert all(0.5 < row["interval_seconds"] < 20 for row in found)


def test_questions_of_no_use_are_named_problems(prometheus_program: Path, service: Service, tmp_path: Path) -> None:
    async def problems(url: str) -> dict[str, str]:
        await asyncio.sleep(3)
        found = {}
        for name, target in {
            "typo": asked(url, operations='http_request_total{job="api"}'),
            "syntax": asked(url, latency_p95_seconds="histogram_quantile(0.95, "),
            "scalar": asked(url, latency_p95_seconds="scalar(up)"),
            "elsewhere": asked(f"{url}/elsewhere"),
        }.items():
            scraping = scraper(MemoryBus(), target)
            async with scraping.client() as client:
                await scraping.tick(client)
            found[name] = scraping.problems.get("declared/api", "")
        return found

    with running(prometheus_program, tmp_path, service.port) as url:
        found = asyncio.run(problems(url))
    assert "finds no series" in found["typo"]
    assert "the query was refused" in found["syntax"]
    assert "expected type instant vector" in found["scalar"]
    assert "api/v1/query" in found["elsewhere"]
