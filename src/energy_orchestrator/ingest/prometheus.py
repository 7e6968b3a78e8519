"""Operations from Prometheus counters and histograms: text of two scrapes in, an activity out. No I/O.

- A counter's increase is the difference; after a reset (the value fell, or `process_start_time_seconds` changed) it
  is the new value, what was counted since the restart. Sums run over all label sets of a name.
- Quantiles are taken from the increase of a histogram's buckets, by linear interpolation inside the bucket, as
  `histogram_quantile` does: below the first bound from 0, in the last bucket its lower bound.
- No counter of that name, or NaN: no activity, since 0 would say that the workload stood still. A counter that is
  declared (`# TYPE`) without a sample is 0: so clients show one with labels before its first use.

https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from energy_orchestrator.errors import InvalidInputError
from energy_orchestrator.ingest.operations import Activity, known
from energy_orchestrator.model.workload import OperationSource

STARTED = "process_start_time_seconds"
Buckets = Mapping[float, float]
"""Cumulative counts by upper bound; the last bound is infinity."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What one scrape says of a workload."""

    operations: float | None
    errors: float | None
    buckets: Buckets
    queue_depth: float | None
    started: float | None


def read(text: str, source: OperationSource) -> Reading:
    """The figures of a source in a scrape; InvalidInputError where the text is not in the format."""
    samples = list(_samples(text, _names(source)))
    return Reading(
        operations=_total(samples, source.metric, text),
        errors=_total(samples, source.error_metric, text) if source.error_metric else None,
        buckets=_buckets(samples, source.latency_histogram) if source.latency_histogram else {},
        queue_depth=_sum(samples, source.queue_gauge) if source.queue_gauge else None,
        started=_sum(samples, STARTED),
    )


def activity_between(before: Reading, after: Reading, seconds: float) -> Activity | None:
    """What happened between two scrapes; None where the counter of operations is unknown in either."""
    if before.operations is None or after.operations is None or seconds <= 0:
        return None
    restarted = before.started is not None and after.started is not None and before.started != after.started
    errors = None
    if before.errors is not None and after.errors is not None:
        errors = increase(before.errors, after.errors, restarted=restarted)
    buckets = buckets_increase(before.buckets, after.buckets, restarted=restarted)
    return Activity(
        interval_seconds=seconds,
        operations=increase(before.operations, after.operations, restarted=restarted),
        errors=errors,
        latency_p50_seconds=quantile(0.50, buckets),
        latency_p95_seconds=quantile(0.95, buckets),
        latency_p99_seconds=quantile(0.99, buckets),
        queue_depth=after.queue_depth,
    )


def increase(before: float, after: float, *, restarted: bool = False) -> float:
    """By how much a counter grew. Never negative: a counter that fell began again at 0."""
    return after if restarted or after < before else after - before


def buckets_increase(before: Buckets, after: Buckets, *, restarted: bool = False) -> dict[float, float]:
    """By how much each bucket grew; all began again at 0 where one fell or the bounds changed."""
    if restarted or before.keys() != after.keys() or any(after[bound] < before[bound] for bound in after):
        return dict(after)
    return {bound: after[bound] - before[bound] for bound in after}


def quantile(share: float, buckets: Buckets) -> float | None:
    """The value below which `share` of the observations lie; None without observations or finite bounds."""
    bounds = sorted(buckets)
    if len(bounds) < 2 or bounds[-1] != math.inf or not buckets[math.inf] > 0:
        return None
    rank = share * buckets[math.inf]
    low, counted = 0.0, 0.0
    for bound in bounds[:-1]:
        if buckets[bound] >= rank:
            if bound <= 0:
                return bound
            inside = buckets[bound] - counted
            return bound if inside <= 0 else low + (bound - low) * (rank - counted) / inside
        low, counted = max(bound, 0.0), buckets[bound]
    return bounds[-2]


def _names(source: OperationSource) -> set[str]:
    """Every sample name that is asked for. A counter is found with or without `_total`."""
    names = {STARTED, source.metric, f"{source.metric}_total"}
    if source.error_metric:
        names |= {source.error_metric, f"{source.error_metric}_total"}
    if source.latency_histogram:
        names.add(f"{source.latency_histogram}_bucket")
    if source.queue_gauge:
        names.add(source.queue_gauge)
    return names


def _samples(text: str, names: set[str]) -> Iterator[Sample]:
    """Only lines of the names asked for are parsed: an endpoint may show a thousand others."""
    wanted = [line for line in text.splitlines() if _name_of(line) in names]
    try:
        for family in text_string_to_metric_families("\n".join(wanted) + "\n"):
            yield from family.samples
    except (ValueError, KeyError, IndexError) as error:
        raise InvalidInputError(
            f"not in the Prometheus text format: {str(error)[:200]}", next_step="check what the endpoint answers"
        ) from error


def _name_of(line: str) -> str:
    end = min((at for at in (line.find("{"), line.find(" "), line.find("\t")) if at >= 0), default=len(line))
    return line[:end]


def _total(samples: Iterable[Sample], name: str, text: str) -> float | None:
    samples = list(samples)
    for spelt in (name, f"{name}_total"):
        if any(sample.name == spelt for sample in samples):
            return _sum(samples, spelt)
        if f"# TYPE {spelt} counter" in text:
            return 0.0
    return None


def _sum(samples: Iterable[Sample], name: str) -> float | None:
    values = [float(sample.value) for sample in samples if sample.name == name]
    return known(math.fsum(values)) if values and all(map(math.isfinite, values)) else None


def _buckets(samples: Iterable[Sample], histogram: str) -> dict[float, float]:
    found: dict[float, float] = {}
    for sample in samples:
        if sample.name == f"{histogram}_bucket" and math.isfinite(sample.value):
            try:
                bound = float(sample.labels["le"])
            except (KeyError, ValueError):
                continue
            if not math.isnan(bound):
                found[bound] = found.get(bound, 0.0) + float(sample.value)
    return found
