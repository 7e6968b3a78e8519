"""Operations asked of a Prometheus server: the question and the meaning of its answer. No I/O.

One instant query holds all figures, so that they are of one moment. The counters come as they are, series by series,
with the time of their newest scrape (`timestamp()`), and an interval reaches from scrape to scrape:

- `increase()` would stretch each interval to its window's edges and lose what a new series began with; intervals
  asked one after another would overlap or leave gaps. Differences of raw counters add up, whatever the scrape
  interval, and a series that fell began again at 0.
- A sum would hide which replica began again, so an answer without a metric's name is refused.
- A series that is seen first is a baseline, as for Prometheus: the target may be old. Where the same instance showed
  other series before (its first error), it began at 0.

An empty answer is unknown, with the reason; only an empty answer for operations is a problem of the source.

https://prometheus.io/docs/prometheus/latest/querying/api/#instant-queries
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from energy_orchestrator.errors import InvalidInputError, UnavailableError
from energy_orchestrator.ingest.counters import Labels, Series, labels_of, series_increase
from energy_orchestrator.ingest.operations import Activity, known
from energy_orchestrator.model.workload import Counted, PromqlSource

FIGURE = "eo_figure"
"""The label that tells the parts of an answer apart."""
COUNTERS = ("operations", "errors")
GAUGES = ("latency_p50_seconds", "latency_p95_seconds", "latency_p99_seconds", "queue_depth")


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server said. `at` is the newest scrape of the operations; `unknown` gives reasons by figure."""

    at: float
    operations: Series
    errors: Series | None
    gauges: Mapping[str, float | None] = field(default_factory=dict)
    unknown: Mapping[str, str] = field(default_factory=dict)


def question(source: PromqlSource, *, port: int | None, replica: str | None) -> str:
    """The query."""
    wanted = {name: text for name in (*COUNTERS, *GAUGES) if (text := getattr(source, name)) is not None}
    parts = [f"timestamp({source.operations})", *wanted.values()]
    named = zip(("at", *wanted), parts, strict=True)
    text = "\nor ".join(f'label_replace({part}, "{FIGURE}", "{name}", "", "")' for name, part in named)
    return text.replace("{port}", str(port or "")).replace("{replica}", replica or "")


def read_answer(body: bytes, status: int, source: PromqlSource) -> Answer:
    """The figures in an answer. InvalidInputError: the question is wrong, or finds no operations."""
    series = _vector(body, status)
    operations = _counters(series.pop("operations", []), source.operations)
    moments = [value for _, value in series.pop("at", [])]
    if not operations or not moments:
        raise InvalidInputError(
            f"`{source.operations}` finds no series",
            next_step="try it on the server; correct `operations.promql.operations`, or wait for the first scrape",
        )
    unknown: dict[str, str] = {}
    errors = None
    if source.errors is not None:
        errors = _counters(series.pop("errors", []), source.errors) or None
        if errors is None:
            unknown["errors"] = f"`{source.errors}` finds no series"
    gauges: dict[str, float | None] = {}
    for name in GAUGES:
        if (text := getattr(source, name)) is None:
            continue
        values = [value for _, value in series.get(name, [])]
        gauges[name] = known(values[0]) if len(values) == 1 else None
        if gauges[name] is None:
            unknown[name] = _why(text, values)
    return Answer(max(moments), operations, errors, gauges, unknown)


def activity_between(before: Answer, after: Answer) -> Activity | None:
    """What was done from scrape to scrape; None where there was no newer one."""
    if after.at <= before.at:
        return None
    instances = {_instance(labels) for labels in before.operations}
    errors = None
    if after.errors is not None:
        errors = _grown(before.errors or {}, after.errors, instances)
    return Activity(
        interval_seconds=after.at - before.at,
        operations=_grown(before.operations, after.operations, instances),
        errors=errors,
        latency_p50_seconds=after.gauges.get("latency_p50_seconds"),
        latency_p95_seconds=after.gauges.get("latency_p95_seconds"),
        latency_p99_seconds=after.gauges.get("latency_p99_seconds"),
        queue_depth=after.gauges.get("queue_depth"),
    )


def _grown(before: Series, after: Series, instances: set[tuple[str, str]]) -> float:
    began = {labels: 0.0 for labels in after if labels not in before and _instance(labels) in instances}
    return series_increase({**before, **began}, after, counted=Counted.EXPORTER)


def _instance(labels: Labels) -> tuple[str, str]:
    found = dict(labels)
    return found.get("job", ""), found.get("instance", "")


def _counters(found: Iterable[tuple[Mapping[str, str], float]], expression: str) -> dict[Labels, float]:
    counters = {}
    for labels, value in found:
        if "__name__" not in labels:
            raise InvalidInputError(
                f"`{expression}` gives a sum or a rate, not a counter",
                next_step='give the counter itself: `http_requests_total{job="api"}`; its series are added up here',
            )
        if math.isfinite(value):
            counters[labels_of(labels["__name__"], labels)] = value
    return counters


def _vector(body: bytes, status: int) -> dict[str, list[tuple[dict[str, str], float]]]:
    """The series of an answer by figure."""
    try:
        answer: Any = json.loads(body)
        if not isinstance(answer, dict) or answer.get("status") != "success":
            raise _refused(answer, status)
        found: dict[str, list[tuple[dict[str, str], float]]] = {}
        for one in answer["data"]["result"]:
            labels = {str(name): str(value) for name, value in one["metric"].items()}
            found.setdefault(labels.pop(FIGURE), []).append((labels, float(one["value"][1])))
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        raise InvalidInputError(
            f"not an answer of Prometheus's HTTP API (status {status})", next_step="check `operations.promql.url`"
        ) from error
    return found


def _refused(answer: Any, status: int) -> InvalidInputError | UnavailableError:
    said = str(answer.get("error", "no reason given"))[:300] if isinstance(answer, dict) else "no reason given"
    if status in (400, 422):
        return InvalidInputError(f"the query was refused: {said}", next_step="correct `operations.promql`")
    return UnavailableError(f"answered {status}: {said}", next_step="check the server")


def _why(expression: str, values: list[float]) -> str:
    if not values:
        return f"`{expression}` finds no series"
    if len(values) > 1:
        return f"`{expression}` gives {len(values)} values, one is needed"
    return f"`{expression}` gives {values[0]}: nothing was observed"
