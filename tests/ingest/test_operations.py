"""Operations from counters, histograms and run logs; the scraper against a real endpoint and real files."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from energy_orchestrator.errors import InvalidInputError, UnavailableError
from energy_orchestrator.ingest.counters import (
    Labels,
    buckets_increase,
    histograms_increase,
    increase,
    labels_of,
    quantile,
    series_increase,
)
from energy_orchestrator.ingest.memory_bus import MemoryBus
from energy_orchestrator.ingest.operations import Target
from energy_orchestrator.ingest.operations_scraper import OperationsScraper
from energy_orchestrator.ingest.prometheus import activity_between, read
from energy_orchestrator.ingest.run_log_operations import LogTail, Run, activity_of, parse_lines
from energy_orchestrator.ingest.validation import validate
from energy_orchestrator.model.workload import Counted, OperationSource

from .rows import NOW

SOURCE = OperationSource(
    prometheus="http://127.0.0.1:{port}/metrics",
    metric="requests_total",
    error_metric="errors_total",
    latency_histogram="latency_seconds",
    queue_gauge="queue",
)


class Service:
    """What a workload shows: real metrics of the real client library."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("requests", "done", ["path"], registry=self.registry)
        self.errors = Counter("errors", "failed", registry=self.registry)
        self.latency = Histogram("latency_seconds", "s", buckets=(0.1, 0.2, 0.4), registry=self.registry)
        self.queue = Gauge("queue", "waiting", registry=self.registry)

    def text(self) -> str:
        return generate_latest(self.registry).decode()


def test_the_increase_between_two_scrapes() -> None:
    service = Service()
    service.requests.labels("/a").inc(100)
    before = read(service.text(), SOURCE)
    service.requests.labels("/a").inc(7)
    service.requests.labels("/b").inc(3)
    service.errors.inc(2)
    service.queue.set(4)
    for latency in (0.15,) * 9 + (0.3,):
        service.latency.observe(latency)
    activity = activity_between(before, read(service.text(), SOURCE), 5.0)
    assert activity is not None
    assert (activity.operations, activity.errors, activity.queue_depth) == (10, 2, 4)
    assert activity.latency_p50_seconds == pytest.approx(0.1 + 0.1 * 5 / 9)
    assert activity.latency_p95_seconds == pytest.approx(0.2 + 0.2 * 0.5)
    assert activity.interval_seconds == 5.0


def test_a_restart_counts_from_nought() -> None:
    old, new = Service(), Service()
    old.requests.labels("/a").inc(100)
    new.requests.labels("/a").inc(4)
    activity = activity_between(read(old.text(), SOURCE), read(new.text(), SOURCE), 1.0)
    assert activity is not None
    assert activity.operations == 4


def test_a_restart_that_outran_the_old_counter_is_seen_by_the_start_time() -> None:
    before = read("process_start_time_seconds 1\nrequests_total 5\n", SOURCE)
    after = read("process_start_time_seconds 2\nrequests_total 9\n", SOURCE)
    activity = activity_between(before, after, 1.0)
    assert activity is not None
    assert activity.operations == 9


@pytest.mark.parametrize("text", ["", "other 5\n", "requests_total NaN\n", "# HELP requests_total x\n"])
def test_no_value_is_unknown_and_not_nought(text: str) -> None:
    assert read(text, SOURCE).operations is None
    assert activity_between(read("requests_total 1\n", SOURCE), read(text, SOURCE), 1.0) is None


def test_a_gauge_that_is_no_number_is_unknown() -> None:
    reading = read("requests_total 1\nqueue NaN\n", SOURCE)
    assert (reading.operations, reading.queue_depth) == ({labels_of("requests_total", {}): 1}, None)
    assert (reading.errors, reading.histograms) == (None, {})


def test_text_in_another_format_is_an_error_that_says_so() -> None:
    with pytest.raises(InvalidInputError, match="text format"):
        read("requests_total{ 1\n", SOURCE)


@pytest.mark.parametrize(
    ("share", "buckets", "expected"),
    [
        (0.5, {}, None),
        (0.5, {math.inf: 3}, None),
        (0.5, {1.0: 0, math.inf: 0}, None),
        (0.5, {1.0: 10, math.inf: 10}, 0.5),
        (0.95, {1.0: 10, 2.0: 10, math.inf: 20}, 2.0),
        (0.5, {1.0: 0, 2.0: 10, math.inf: 10}, 1.5),
        (0.5, {-1.0: 10, 1.0: 10, math.inf: 10}, -1.0),
    ],
)
def test_quantiles_as_prometheus_takes_them(share: float, buckets: dict[float, float], expected: float | None) -> None:
    assert quantile(share, buckets) == expected


COUNTS = st.lists(st.integers(0, 10**9), min_size=3, max_size=3)


@given(st.floats(0, 1e15), st.floats(0, 1e15), st.booleans())
def test_a_counter_never_decreases(before: float, after: float, restarted: bool) -> None:
    grown = increase(before, after, restarted=restarted)
    assert 0 <= grown <= after


@given(COUNTS, COUNTS, st.floats(0.01, 0.99))
def test_quantiles_lie_within_the_bounds_and_in_order(one: list[int], two: list[int], share: float) -> None:
    bounds = (0.1, 1.0, math.inf)

    def cumulative(counts: list[int]) -> dict[float, float]:
        return {bound: float(sum(counts[: index + 1])) for index, bound in enumerate(bounds)}

    grown = buckets_increase(cumulative(one), cumulative(two))
    assert all(value >= 0 for value in grown.values())
    low, high = quantile(share, grown), quantile(min(share + 0.01, 1.0), grown)
    if low is not None and high is not None:
        assert 0 <= low <= high <= 1.0


@given(st.lists(st.integers(0, 1000), min_size=2, max_size=30))
def test_increases_add_up_to_what_was_done_through_any_number_of_restarts(steps: list[int]) -> None:
    shown, done, value = [0], 0, 0
    for step in steps:
        if step % 7 == 0:
            value = 0  # a restart; what follows is counted from nought
            shown.append(value)
        value += step
        done += step
        shown.append(value)
    assert sum(increase(a, b) for a, b in pairwise(shown)) == done


def series(**values: float) -> dict[Labels, float]:
    return {labels_of("requests_total", {"path": path}): value for path, value in values.items()}


def test_one_replicas_restart_behind_a_sum_is_seen_series_by_series() -> None:
    before, after = series(a=1000, b=1000), series(a=1010, b=5)
    assert series_increase(before, after) == 15
    assert increase(2000, 1015) == 1015, "what the sums alone would have told"


@pytest.mark.parametrize(("counted", "grown"), [("process", 5 + 40), ("exporter", 5), ("offset", 5)])
def test_a_series_seen_first_counts_only_where_it_began_at_nought(counted: str, grown: float) -> None:
    assert series_increase(series(a=10), series(a=15, b=40), counted=Counted(counted)) == grown


@pytest.mark.parametrize(("counted", "grown"), [("process", 700), ("exporter", 700), ("offset", 0)])
def test_an_offset_that_was_moved_back_is_no_work(counted: str, grown: float) -> None:
    assert series_increase(series(a=1000), series(a=700), counted=Counted(counted)) == grown


def test_the_restart_of_an_exporter_is_none_of_the_server() -> None:
    behind = SOURCE.model_copy(update={"counted": Counted.EXPORTER})
    texts = (
        "process_start_time_seconds 1\nrequests_total 5000\n",
        "process_start_time_seconds 2\nrequests_total 5007\n",
    )
    for source, done in ((SOURCE, 5007), (behind, 7)):
        before, after = (read(text, source) for text in texts)
        activity = activity_between(before, after, 1.0, source)
        assert activity is not None
        assert activity.operations == done


def test_histograms_with_other_bounds_are_added_where_they_agree() -> None:
    a = {0.1: 5.0, 1.0: 8.0, math.inf: 10.0}
    b = {0.5: 3.0, 1.0: 4.0, math.inf: 10.0}
    key = labels_of("latency", {"path": "a"}), labels_of("latency", {"path": "b"})
    assert histograms_increase({}, {key[0]: a, key[1]: b}) == {1.0: 12.0, math.inf: 20.0}


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 50), st.booleans()), max_size=40))
def test_whatever_restarts_the_increases_add_up_to_what_was_done(steps: list[tuple[str, int, bool]]) -> None:
    counters, done, seen = {"a": 0, "b": 0, "c": 0}, 0, []
    for name, step, restarts in steps:
        seen.append(series(**counters))
        if restarts:
            counters[name] = 0
            seen.append(series(**counters))
        counters[name] += step
        done += step
    seen.append(series(**counters))
    assert sum(series_increase(before, after) for before, after in pairwise(seen)) == done


def test_errors_are_told_by_a_label() -> None:
    labelled = SOURCE.model_copy(update={"error_metric": 'requests_total{code=~"5.."}'})
    before = read('requests_total{code="200"} 10\n', labelled)
    after = read('requests_total{code="200"} 16\nrequests_total{code="503"} 4\n', labelled)
    activity = activity_between(before, after, 1.0, labelled)
    assert activity is not None
    assert (activity.operations, activity.errors) == (10, 4)


def test_a_label_that_no_sample_has_tells_nothing() -> None:
    """Not 0: `code` is misspelt, or this server has no such label."""
    labelled = OperationSource(
        prometheus="x", metric='requests_total{shop="a"}', error_metric='requests_total{code=~"5.."}'
    )
    assert read('requests_total{shop="a"} 10\n', labelled).errors is None
    assert read('requests_total{shop="b"} 10\n', labelled).operations is None


def test_milliseconds_become_seconds() -> None:
    source = OperationSource(prometheus="x", metric="n", latency_histogram="took", latency_unit="ms")
    text = 'n {0}\ntook_bucket{{le="100"}} {0}\ntook_bucket{{le="200"}} {0}\ntook_bucket{{le="+Inf"}} {0}\n'
    activity = activity_between(read(text.format(0), source), read(text.format(10), source), 1.0, source)
    assert activity is not None
    assert activity.latency_p95_seconds == pytest.approx(0.095)


def test_run_log_lines() -> None:
    text = '{"ts": 1, "latency_seconds": 0.2, "ok": true}\n{"latency_seconds": 0.4}\n{"ok": false}\nnonsense\n[1]\n'
    text += '{"latency_seconds": -1}\n{"latency_seconds": NaN}\n{"ok": "yes"}\n\n'
    lines = parse_lines(text)
    assert lines.runs == (Run(True, 0.2), Run(True, 0.4), Run(False, None))
    assert lines.malformed == 5
    activity = activity_of(lines.runs, 2.0)
    assert (activity.operations, activity.errors) == (2, 1)
    assert activity.latency_p50_seconds == pytest.approx(0.3)
    assert activity_of([], 1.0).latency_p95_seconds is None


def test_a_log_is_followed_from_its_last_whole_line_through_rotation(tmp_path: Path) -> None:
    log = tmp_path / "runs.jsonl"
    log.write_text('{"old": 1}\n{"being wr')
    tail = LogTail(log)
    assert tail.new_text() is None
    with log.open("a") as stream:
        stream.write('itten": 2}\n{"half')
    assert tail.new_text() == '{"being written": 2}\n'
    assert tail.new_text() == ""
    log.rename(tmp_path / "runs.jsonl.1")
    log.write_text('{"new": 1}\n')
    assert tail.new_text() == '{"new": 1}\n'
    log.write_text("{}\n")
    assert tail.new_text() == "{}\n"
    log.unlink()
    with pytest.raises(UnavailableError, match="run log"):
        tail.new_text()


class Endpoint:
    """A real server that answers what a test says."""

    def __init__(self) -> None:
        endpoint = self
        self.body: bytes | None = b""

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if endpoint.body is None:
                    self.send_error(500)
                    return
                self.send_response(200)
                self.end_headers()
                self.wfile.write(endpoint.body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    endpoint = Endpoint()
    yield endpoint
    endpoint.close()


def scraper(bus: MemoryBus, targets: list[Target], now: list[float]) -> OperationsScraper:
    return OperationsScraper(bus, "local", "node.a", lambda: targets, clock=lambda: NOW, monotonic=lambda: now[0])


async def test_a_scraped_endpoint_becomes_a_batch_of_the_contract(endpoint: Endpoint) -> None:
    bus, service, now = MemoryBus(), Service(), [100.0]
    target = Target("declared/inference", "0", endpoint.port, SOURCE)
    scraping = scraper(bus, [target], now)
    async with scraping.client() as client:
        endpoint.body = service.text().encode()
        assert await scraping.tick(client) == []
        assert bus.waiting == 0
        service.requests.labels("/").inc(5)
        endpoint.body, now[0] = service.text().encode(), 102.0
        await scraping.tick(client)
    (sent,) = await bus.pull(10, 0)
    rows = validate(sent.subject, sent.data, now=NOW).rows.to_pylist()
    assert len(rows) == 1
    assert rows[0]["operations"] == 5
    assert rows[0]["interval_seconds"] == 2.0
    assert (rows[0]["workload"], rows[0]["replica"], rows[0]["source"]) == ("declared/inference", "0", "prometheus")
    assert rows[0]["latency_p95_seconds"] is None


async def test_trouble_of_one_target_is_told_and_the_other_goes_on(endpoint: Endpoint, tmp_path: Path) -> None:
    log, now, bus = tmp_path / "runs.jsonl", [0.0], MemoryBus()
    log.write_text("")
    logged = OperationSource(run_log=str(log), operation="run")
    targets = [Target("declared/web", "0", endpoint.port, SOURCE), Target("declared/batch", None, None, logged)]
    scraping = scraper(bus, targets, now)
    endpoint.body = b"requests_total 10\n"
    async with scraping.client() as client:
        await scraping.tick(client)
        endpoint.body, now[0] = None, 1.0
        log.write_text(json.dumps({"ts": 1, "latency_seconds": 0.5, "ok": True}) + "\n")
        done = await scraping.tick(client)
        assert [(target.workload, activity.operations) for target, activity in done] == [("declared/batch", 1.0)]
        assert "500" in scraping.problems["declared/web#0"]
        endpoint.body, now[0] = b"requests_total 16\n", 2.0
        done = await scraping.tick(client)
        assert [(activity.operations, activity.interval_seconds) for _, activity in done] == [(6.0, 2.0), (0.0, 1.0)]
        assert scraping.problems == {}
        endpoint.body, now[0] = b"requests_total 99\n", 1000.0
        assert await scraping.tick(client) == [], "a gap of a quarter of an hour is no interval"


@pytest.mark.parametrize(
    ("body", "problem"),
    [(b"x" * (4 * 2**20 + 1), "more than"), (b"unrelated 1\n", "no counter"), (b"requests_total{ 1\n", "text format")],
)
async def test_an_answer_that_is_of_no_use_is_a_named_problem(endpoint: Endpoint, body: bytes, problem: str) -> None:
    scraping = scraper(MemoryBus(), [Target("declared/web", None, endpoint.port, SOURCE)], [0.0])
    endpoint.body = body
    async with scraping.client() as client:
        assert await scraping.tick(client) == []
    assert problem in scraping.problems["declared/web"]


async def test_nobody_listening_is_a_named_problem() -> None:
    scraping = scraper(MemoryBus(), [Target("declared/web", None, 9, SOURCE)], [0.0])
    async with scraping.client() as client:
        assert await scraping.tick(client) == []
    assert "cannot be scraped" in scraping.problems["declared/web"]


async def test_replicas_that_share_a_log_are_counted_once(tmp_path: Path) -> None:
    log, now = tmp_path / "runs.jsonl", [0.0]
    log.write_text("")
    source = OperationSource(run_log=str(log))
    scraping = scraper(MemoryBus(), [Target("declared/batch", str(k), 8000 + k, source) for k in range(3)], now)
    async with scraping.client() as client:
        await scraping.tick(client)
        log.write_text('{"ok": true}\n' * 4)
        now[0] = 1.0
        ((target, activity),) = await scraping.tick(client)
    assert (target.replica, activity.operations) == (None, 4.0)
