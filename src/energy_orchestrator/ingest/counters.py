"""What counters and histograms grew by between two readings. Pure: two readings of series in, numbers out.

- Series by series, never by their sums: when one of ten replicas restarts, the sum falls, and nothing can be told
  from it. A series that fell began again at 0 and grew by what it shows now.
- A series that is new counts from 0 where the process that answers keeps the counter (clients show a label set from
  its first use on). Behind an exporter it may be old and only now be seen: then it is a baseline.
- A position (a consumer's offset) may be moved back: that is no work, nor is what it shows then.
- Quantiles are taken from the increase of a histogram's buckets, by linear interpolation inside the bucket, as
  `histogram_quantile` does: below the first bound from 0, in the last bucket its lower bound.

https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from energy_orchestrator.model.workload import Counted

Labels = tuple[tuple[str, str], ...]
"""Sorted; the name of the metric is the label `__name__`."""
Series = Mapping[Labels, float]
Buckets = Mapping[float, float]
"""Cumulative counts by upper bound; the last bound is infinity."""
Histograms = Mapping[Labels, Buckets]


def labels_of(name: str, labels: Mapping[str, str]) -> Labels:
    """The key of a series."""
    return tuple(sorted({**labels, "__name__": name}.items()))


def increase(before: float, after: float, *, restarted: bool = False) -> float:
    """By how much a counter grew. Never negative: a counter that fell began again at 0."""
    return after if restarted or after < before else after - before


def series_increase(
    before: Series, after: Series, *, restarted: bool = False, counted: Counted = Counted.PROCESS
) -> float:
    """By how much all series together grew."""
    grown = []
    for labels, value in after.items():
        old = before.get(labels)
        if old is None:
            grown.append(value if counted is Counted.PROCESS else 0.0)
        elif counted is Counted.OFFSET:
            grown.append(max(0.0, value - old))
        else:
            grown.append(increase(old, value, restarted=restarted))
    return math.fsum(grown)


def buckets_increase(before: Buckets, after: Buckets, *, restarted: bool = False) -> dict[float, float]:
    """By how much each bucket grew; all began again at 0 where one fell or the bounds changed."""
    if restarted or before.keys() != after.keys() or any(after[bound] < before[bound] for bound in after):
        return dict(after)
    return {bound: after[bound] - before[bound] for bound in after}


def histograms_increase(
    before: Histograms, after: Histograms, *, restarted: bool = False, counted: Counted = Counted.PROCESS
) -> dict[float, float]:
    """The increase of all histograms together, at the bounds that all of them have: there the counts are exact."""
    grown = []
    for labels, buckets in after.items():
        old = before.get(labels)
        if old is None and counted is not Counted.PROCESS:
            continue
        grown.append(buckets_increase(old, buckets, restarted=restarted) if old is not None else dict(buckets))
    if not grown:
        return {}
    shared = set.intersection(*(set(buckets) for buckets in grown))
    return {bound: math.fsum(buckets[bound] for buckets in grown) for bound in sorted(shared)}


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
            return bound if inside <= 0 else min(bound, low + (bound - low) * (rank - counted) / inside)
        low, counted = max(bound, 0.0), buckets[bound]
    return bounds[-2]
