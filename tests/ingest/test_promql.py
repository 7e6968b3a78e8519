"""PromQL: what the API's answers mean. test_prometheus_server.py asks a real server."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from energy_orchestrator.errors import InvalidInputError, UnavailableError
from energy_orchestrator.ingest.followers import PromqlFollower, follower_of
from energy_orchestrator.ingest.operations import Target
from energy_orchestrator.ingest.promql import FIGURE, Answer, activity_between, question, read_answer
from energy_orchestrator.model.workload import OperationSource, PromqlSource

SOURCE = PromqlSource(
    url="http://127.0.0.1:9090",
    operations='http_requests_total{job="api",instance=~".*:{port}"}',
    errors='http_requests_total{job="api",code=~"5.."}',
    latency_p95_seconds="histogram_quantile(0.95, sum by (le) (rate(http_request_duration_seconds_bucket[1m])))",
)


def series(figure: str, value: float | str, **labels: str) -> dict[str, Any]:
    return {"metric": {FIGURE: figure, **labels}, "value": [1_700_000_100.0, str(value)]}


def counted(value: float, *, instance: str = "a:1", code: str = "200", figure: str = "operations") -> dict[str, Any]:
    return series(figure, value, __name__="http_requests_total", job="api", instance=instance, code=code)


def answer(*result: dict[str, Any], at: float = 100.0) -> Answer:
    body = {"status": "success", "data": {"resultType": "vector", "result": [series("at", at), *result]}}
    return read_answer(json.dumps(body).encode(), 200, SOURCE)


def test_one_question_asks_for_all_figures_of_one_moment() -> None:
    asked = question(SOURCE, port=9000, replica="api-0")
    assert 'timestamp(http_requests_total{job="api",instance=~".*:9000"})' in asked
    assert asked.count("label_replace(") == 4
    assert f'"{FIGURE}", "latency_p95_seconds"' in asked


def test_what_was_done_from_scrape_to_scrape() -> None:
    before = answer(counted(10), counted(2, code="500"), counted(2, code="500", figure="errors"), at=100.0)
    after = answer(
        counted(40), counted(5, code="500"), counted(5, code="500", figure="errors"),
        series("latency_p95_seconds", 0.25), at=115.0,
    )  # fmt: skip
    done = activity_between(before, after)
    assert done is not None
    assert (done.interval_seconds, done.operations, done.errors, done.latency_p95_seconds) == (15.0, 33, 3, 0.25)


def test_no_newer_scrape_is_no_interval_without_work() -> None:
    assert activity_between(answer(counted(10)), answer(counted(10))) is None


def test_one_replicas_restart_is_no_jump() -> None:
    before = answer(counted(1000, instance="a:1"), counted(1000, instance="b:1"))
    after = answer(counted(1010, instance="a:1"), counted(5, instance="b:1"), at=115.0)
    done = activity_between(before, after)
    assert done is not None
    assert done.operations == 15


def test_an_old_replica_that_is_seen_first_is_a_baseline_and_a_first_error_counts() -> None:
    before = answer(counted(10, instance="a:1"))
    after = answer(
        counted(20, instance="a:1"),
        counted(5000, instance="new:1"),
        counted(3, instance="a:1", code="500"),
        counted(3, instance="a:1", code="500", figure="errors"),
        counted(700, instance="new:1", code="500", figure="errors"),
        at=115.0,
    )
    done = activity_between(before, after)
    assert done is not None
    assert (done.operations, done.errors) == (13, 3)


@pytest.mark.parametrize(
    ("found", "says"),
    [
        ((), "finds no series"),
        ((series("latency_p95_seconds", "NaN"),), "nothing was observed"),
        ((series("latency_p95_seconds", 1, pod="a"), series("latency_p95_seconds", 2, pod="b")), "gives 2 values"),
    ],
)
def test_an_answer_without_a_value_is_unknown_with_the_reason(found: tuple[dict[str, Any], ...], says: str) -> None:
    after = answer(counted(20), *found, at=115.0)
    assert says in after.unknown["latency_p95_seconds"]
    assert "finds no series" in after.unknown["errors"]
    done = activity_between(answer(counted(10)), after)
    assert done is not None
    assert (done.operations, done.errors, done.latency_p95_seconds) == (10, None, None)


@pytest.mark.parametrize(
    ("body", "status", "error", "says"),
    [
        ({"status": "success", "data": {"resultType": "vector", "result": []}}, 200, InvalidInputError, "no series"),
        ({"status": "error", "errorType": "bad_data", "error": "parse error"}, 400, InvalidInputError, "parse error"),
        ({"status": "error", "errorType": "timeout", "error": "too slow"}, 503, UnavailableError, "too slow"),
        ({"other": "thing"}, 200, UnavailableError, "answered 200"),
        ([1], 200, UnavailableError, "answered 200"),
        ({"status": "success", "data": None}, 200, InvalidInputError, "not an answer"),
        ({"status": "success", "data": {"result": [{"metric": {}, "value": []}]}}, 200, InvalidInputError, "not an"),
    ],
)
def test_an_answer_of_no_use_says_so(body: Any, status: int, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        read_answer(json.dumps(body).encode(), status, SOURCE)


def test_a_page_that_is_no_json_is_not_prometheus() -> None:
    with pytest.raises(InvalidInputError, match="not an answer of Prometheus"):
        read_answer(b"<html>hello</html>", 200, SOURCE)


def test_a_sum_is_refused_since_it_hides_restarts() -> None:
    with pytest.raises(InvalidInputError, match="gives a sum or a rate"):
        answer(series("operations", 10))


def test_a_rate_in_the_file_is_an_error_of_the_file() -> None:
    with pytest.raises(ValidationError, match="is no metric"):
        OperationSource.model_validate({"promql": {"url": "http://x", "operations": "rate(http_requests_total[1m])"}})


def test_a_question_for_all_replicas_is_asked_once() -> None:
    every = OperationSource(promql=PromqlSource(url="http://x", operations="n"))
    assert not every.by_replica
    assert OperationSource(promql=SOURCE).by_replica
    assert isinstance(follower_of(Target("declared/api", None, None, every)), PromqlFollower)
