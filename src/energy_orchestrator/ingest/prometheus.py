"""Operations from counters and histograms: two expositions in, an activity out. No I/O.

- `Reading` is what one scrape says of a source; `activity_between` is what happened between two (`counters.py`).
- After a restart (`process_start_time_seconds` changed) a counter's increase is its new value. Where the counter is
  kept by another process than the one that answers (an exporter), that time says nothing of it.
- No counter of that name, or NaN: no activity, since 0 would say that the workload stood still. So is a counter of
  which no sample has the labels asked for: a misspelt label must not look like a workload without work.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from energy_orchestrator.ingest.counters import (
    Histograms,
    Labels,
    Series,
    histograms_increase,
    labels_of,
    quantile,
    series_increase,
)
from energy_orchestrator.ingest.exposition import Exposition, Sample, parse
from energy_orchestrator.ingest.operations import Activity, known
from energy_orchestrator.model.selector import Selector, parse_matchers, parse_selector
from energy_orchestrator.model.workload import Counted, OperationSource

STARTED = "process_start_time_seconds"
SECONDS: Mapping[str, float] = {"s": 1.0, "ms": 1e-3, "us": 1e-6}


@dataclass(frozen=True, slots=True)
class Reading:
    """What one scrape says of a workload. None is unknown."""

    operations: Series | None
    errors: Series | None = None
    histograms: Histograms = field(default_factory=dict)
    queue_depth: float | None = None
    started: float | None = None


def read(text: str, source: OperationSource) -> Reading:
    """The figures of a source in a scrape; InvalidInputError where the text is not in the format."""
    return reading_of(parse(text, names_of(source)), source)


def reading_of(shown: Exposition, source: OperationSource) -> Reading:
    """The figures of a source in what is shown."""
    errors = selectors(source.error_metric, source)
    histogram, gauge = selectors(source.latency_histogram, source), selectors(source.queue_gauge, source)
    return Reading(
        operations=_counters(shown, selectors(source.metric, source), nothing_is_nought=False),
        errors=_counters(shown, errors, nothing_is_nought=True),
        histograms=_histograms(shown, histogram[0], SECONDS[source.latency_unit]) if histogram else {},
        queue_depth=_sum(_accepted(shown, gauge[0].name, gauge[0])) if gauge else None,
        started=_sum(shown.samples.get(STARTED, ())) if source.counted is Counted.PROCESS else None,
    )


def activity_between(
    before: Reading, after: Reading, seconds: float, source: OperationSource | None = None
) -> Activity | None:
    """What happened between two scrapes; None where the counter of operations is unknown in either."""
    if before.operations is None or after.operations is None or seconds <= 0:
        return None
    counted = source.counted if source else Counted.PROCESS
    restarted = before.started is not None and after.started is not None and before.started != after.started
    errors = None
    if before.errors is not None and after.errors is not None:
        errors = series_increase(before.errors, after.errors, restarted=restarted, counted=counted)
    buckets = histograms_increase(before.histograms, after.histograms, restarted=restarted, counted=counted)
    operations = series_increase(before.operations, after.operations, restarted=restarted, counted=counted)
    return Activity(
        interval_seconds=seconds,
        operations=max(0.0, operations - (source.own_operations if source else 0.0)),
        errors=errors,
        latency_p50_seconds=quantile(0.50, buckets),
        latency_p95_seconds=quantile(0.95, buckets),
        latency_p99_seconds=quantile(0.99, buckets),
        queue_depth=after.queue_depth,
    )


def selectors(metric: str | tuple[str, ...] | None, source: OperationSource) -> tuple[Selector, ...]:
    """The selectors of a field, with the conditions that hold for the whole source."""
    texts = (metric,) if isinstance(metric, str) else metric or ()
    everywhere = parse_matchers(source.matching or "")
    return tuple(Selector(it.name, it.matchers + everywhere) for it in map(parse_selector, texts))


def names_of(source: OperationSource) -> set[str]:
    """Every sample name that is asked for. A counter is found with or without `_total`."""
    counters = [it.name for it in selectors(source.metric, source) + selectors(source.error_metric, source)]
    names = {STARTED, *counters, *(f"{name}_total" for name in counters)}
    names |= {f"{it.name}_bucket" for it in selectors(source.latency_histogram, source)}
    return names | {it.name for it in selectors(source.queue_gauge, source)}


def _counters(
    shown: Exposition, wanted: tuple[Selector, ...], *, nothing_is_nought: bool
) -> dict[Labels, float] | None:
    """All series that a selector means, each once; None where none of the selectors has an answer."""
    found: dict[Labels, float] = {}
    answered = False
    for selector in wanted:
        name = next((it for it in (selector.name, f"{selector.name}_total") if it in shown.samples), None)
        if name is None:
            answered |= any(it in shown.declared for it in (selector.name, f"{selector.name}_total"))
            continue
        samples = _accepted(shown, name, selector)
        if not all(math.isfinite(sample.value) for sample in samples):
            return None
        asked = [matcher.label for matcher in selector.matchers if matcher.needs_label]
        told_apart = all(any(label in it.labels for it in shown.samples[name]) for label in asked)
        answered |= bool(samples) or (told_apart and (nothing_is_nought or not asked))
        found |= {labels_of(name, sample.labels): sample.value for sample in samples}
    return found if answered else None


def _accepted(shown: Exposition, name: str, selector: Selector) -> list[Sample]:
    return [sample for sample in shown.samples.get(name, ()) if selector.accepts(sample.labels)]


def _sum(samples: Sequence[Sample]) -> float | None:
    values = [sample.value for sample in samples]
    return known(math.fsum(values)) if values and all(map(math.isfinite, values)) else None


def _histograms(shown: Exposition, selector: Selector, unit_seconds: float) -> dict[Labels, dict[float, float]]:
    found: dict[Labels, dict[float, float]] = {}
    for sample in _accepted(shown, f"{selector.name}_bucket", selector):
        if not math.isfinite(sample.value):
            continue
        try:
            bound = float(sample.labels["le"]) * unit_seconds
        except (KeyError, ValueError):
            continue
        if not math.isnan(bound):
            rest = {name: value for name, value in sample.labels.items() if name != "le"}
            found.setdefault(labels_of(selector.name, rest), {})[bound] = sample.value
    return found
