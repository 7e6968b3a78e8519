"""A profile and its resources -> weighted tokens and histograms, before any learning.

Tokens come in families, each a share of the samples: the function on top (`self`), every function on the stack once
(`under`), pairs of caller and callee (`call`), the packages and classes of the functions (`part`), and what they do
(`does`, the catalogue). An inlined function takes its `self` and `call` with it, but leaves `under`, `part` and `does`
of its callers. Counts enter as shares: how long or how fast was sampled changes nothing, nor does the order.

The histograms say how the use of resources was spread over time. All are by CPU second or relative, so that a CPU
limit, which stretches time, moves them little.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from energy_orchestrator.analyze.fingerprint.categories import category_of
from energy_orchestrator.analyze.fingerprint.normalise import component, is_named, is_own, stack_names

Floats = NDArray[np.float64]
FAMILIES: dict[str, float] = {"self": 0.5, "under": 1.0, "call": 0.5, "part": 1.4, "does": 0.5}
"""Weight of each family in the vector; chosen on half of the corpus, see docs/accuracy.md."""
CALLS = 5
"""So many calls from the top: further down they are those of every program in the language."""
BINS = 8
# measure: lowest and highest value that differ, on a logarithmic scale
MEASURES: dict[str, tuple[float, float]] = {
    "resident_bytes": (2e6, 4e9),
    "threads": (1.0, 256.0),
    "voluntary_switches_per_cpu_second": (1.0, 1e6),
    "busy_relative_to_mean": (0.05, 20.0),
}
LEAST_CPU_SECONDS = 1e-3
LEAST_NAMED = 0.1
"""Share of samples; in the corpus a build has next to none or nearly all."""
_STRIPPED = "[0000000000000000+0x0] (program)"


@dataclass(frozen=True)
class Profile:
    """What was seen of one workload in one span.

    Attributes:
        stacks: frames from root to leaf, without the process's name, and samples.
        resources: by measure one value a tick: `resident_bytes` and `threads`, `cpu_seconds` and `voluntary_switches`
            of the tick. What is unknown is left out.
    """

    stacks: Sequence[tuple[Sequence[str], int]]
    resources: Mapping[str, Sequence[float]] = field(default_factory=dict)

    @property
    def samples(self) -> int:
        """How many samples it stands on."""
        return sum(count for _, count in self.stacks if count > 0)


def tokens(stacks: Iterable[tuple[Sequence[str], int]]) -> dict[str, dict[str, float]]:
    """By family the shares of the samples that have each token."""
    found: dict[str, Counter[str]] = {name: Counter() for name in FAMILIES}
    total = 0
    for stack, count in stacks:
        names = stack_names(stack)
        if not names or count <= 0:
            continue
        total += count
        found["self"][names[-1]] += count
        for name in set(names):
            found["under"][name] += count
        for pair in set(pairwise(names[-CALLS - 1 :])):
            found["call"][">".join(pair)] += count
        for part in {component(name) for name in names}:
            found["part"][part] += count
        for kind in {category_of(name) for name in names} - {None}:
            found["does"][str(kind)] += count
    if not total:
        return {}
    return {family: {name: n / total for name, n in sorted(counts.items())} for family, counts in found.items()}


def shows_no_names(profile: Profile) -> bool:
    """(Nearly) no sample has a name of the program itself on its stack: a stripped build."""
    named = sum(count for stack, count in profile.stacks if count > 0 and any(is_named(frame) for frame in stack))
    return named < LEAST_NAMED * profile.samples


def without_own_names(profile: Profile) -> Profile:
    """What a stripped build of the same program would show."""
    stacks = [([_STRIPPED if is_own(frame) else frame for frame in stack], count) for stack, count in profile.stacks]
    return Profile(stacks, profile.resources)


def histograms(resources: Mapping[str, Sequence[float]]) -> Floats:
    """One row of `BINS` shares a measure, a row of zeros where the measure is unknown."""
    series = {name: np.asarray(values, dtype=np.float64) for name, values in resources.items()}
    cpu = series.get("cpu_seconds")
    by_measure: dict[str, Floats] = {name: series[name] for name in ("resident_bytes", "threads") if name in series}
    if cpu is not None and cpu.sum() > LEAST_CPU_SECONDS:
        # A limited process stands still in some ticks: a rate is of the whole span where the tick has no CPU.
        per_tick = np.maximum(cpu, cpu.mean() / 4)
        if "voluntary_switches" in series:
            by_measure["voluntary_switches_per_cpu_second"] = series["voluntary_switches"] / per_tick
        by_measure["busy_relative_to_mean"] = cpu / cpu.mean()
    rows = np.zeros((len(MEASURES), BINS))
    for row, (name, (low, high)) in zip(rows, MEASURES.items(), strict=True):
        if name in by_measure and by_measure[name].size:
            row += _soft_histogram(by_measure[name], low, high)
    return rows


def _soft_histogram(values: Floats, low: float, high: float) -> Floats:
    """Shares by logarithmic bins; a value between two centres counts for both, so no edge makes a jump."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return np.zeros(BINS)
    place = np.log(np.clip(finite, low, high) / low) / np.log(high / low) * (BINS - 1)
    below = np.minimum(place.astype(np.intp), BINS - 2)
    part = place - below
    row = np.bincount(below, 1 - part, BINS) + np.bincount(below + 1, part, BINS)
    return np.asarray(row / finite.size, dtype=np.float64)
