"""J/op over many windows with its interval, and by how much one differs from another.

In: windows of energy with the meter's bounds and with what was done in them. Out: the ratio of the sums, so that energy
of windows in which nothing was done counts too. Two things make it uncertain, and they are kept apart:

- the meter: its bounds are one unknown factor on all windows of a meter, so more windows do not make it smaller;
- the windows: another hour would have given other ones. The variance is that of a ratio estimator, from the residuals
  energy - J/op x operations in the order of time. Neighbouring windows go together, so from `MIN_FOR_MEMORY` windows
  on `model/long_run.py` minds autocorrelation; with fewer it can't be told and Student's t of independent windows is
  used, and the note says so. One window has no spread: the interval is the meter's alone, and the note says so.

Both are taken as independent 90 % intervals: half-widths are added in squares, on each side by itself, and no J/op is
negative. Of two costs measured on the same nodes at the same tier the meter's factor is the same in both and falls out
of their ratio; of others both factors count.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from energy_orchestrator.model.long_run import Floats, Spread, spread_of_mean, together
from energy_orchestrator.model.units import Bounded

CONFIDENCE = 0.9
MIN_FOR_MEMORY = 8
"""Windows from which autocorrelation can be estimated at all."""
MAX_LOG = 20.0
"""A ratio that may be off by e^20 is not known."""

NO_SOURCE = "no source of operations is declared or recognised"
NO_ENERGY = "no energy is known for this span"
NOT_COUNTED = "nothing told operations in its windows"
NOTHING_DONE = "no operation was done in this span"
ONE_WINDOW = "one window only: the interval is that of the meter, how windows differ is not in it"
FEW_WINDOWS = "few windows: taken as independent of each other, since their memory can't be told"


@dataclass(frozen=True, slots=True)
class CostWindow:
    """Joules of a window with the meter's bounds, and the operations done in it; 0 operations is known to be none."""

    joules: float
    lower_joules: float
    upper_joules: float
    operations: float


@dataclass(frozen=True, slots=True)
class OperationCost:
    """`value` in joules per operation with its 90 % interval, None with the `reason`. `by_meter` is the same value with
    the meter's bounds alone; `spread` is the variance of the value between windows, None where one window has none."""

    value: Bounded | None
    reason: str | None
    by_meter: Bounded | None
    spread: Spread | None
    note: str | None
    windows: int
    operations: float
    joules: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """`ratio` of J/op, other over base, with its 90 % interval; None with the `reason`."""

    ratio: Bounded | None
    reason: str | None

    @property
    def differs(self) -> bool:
        """Whether the whole interval lies on one side of 1."""
        return self.ratio is not None and (self.ratio.lower > 1 or self.ratio.upper < 1)


def operation_cost(windows: Sequence[CostWindow]) -> OperationCost:
    """J/op of windows in the order of time; gaps are closed up.

    Raises:
        ValueError: on negative or non-finite figures.
    """
    columns = np.array([(it.joules, it.lower_joules, it.upper_joules, it.operations) for it in windows], dtype=float)
    joules, lower, upper, done = columns.reshape(-1, 4).T
    if not np.isfinite(columns).all() or (columns < 0).any():
        raise ValueError("energies and operations must be finite and not negative")
    energy, operations = math.fsum(joules), math.fsum(done)
    if not windows or operations <= 0:
        reason = NOTHING_DONE if windows else NO_ENERGY
        return OperationCost(None, reason, None, None, None, len(windows), operations, energy)
    value = energy / operations
    low, high = math.fsum(lower) / operations, math.fsum(upper) / operations
    by_meter = Bounded(value, min(low, value), max(high, value))
    spread, note = _spread(joules, done, value)
    bounded = _widened(by_meter, spread.margin(CONFIDENCE)) if spread else by_meter
    return OperationCost(bounded, None, by_meter, spread, note, len(windows), operations, energy)


def compare(base: OperationCost, other: OperationCost, *, same_meter: bool) -> Comparison:
    """How many times an operation of `other` costs one of `base`.

    Args:
        same_meter: both were measured on the same nodes at the same tier.
    """
    for name, cost in (("the one", base), ("the other", other)):
        if cost.value is None:
            return Comparison(None, f"J/op of {name} is unknown: {cost.reason}")
        if cost.spread is None:
            return Comparison(None, f"{name} has one window only: what windows differ by is unknown")
        if cost.value.value <= 0:
            return Comparison(None, f"J/op of {name} is 0: no ratio to it")
    margins = _log_margins(base, other, same_meter)
    if margins is None:
        return Comparison(None, "the intervals are too wide to compare")
    assert base.value is not None
    assert other.value is not None
    ratio = other.value.value / base.value.value
    below, above = margins
    return Comparison(Bounded(ratio, ratio * math.exp(-below), ratio * math.exp(above)), None)


def _spread(joules: Floats, done: Floats, value: float) -> tuple[Spread | None, str | None]:
    """Variance of a ratio of sums, by its residuals; and what must be said of it."""
    n = len(joules)
    if n < 2:
        return None, ONE_WINDOW
    residual = joules - value * done
    scale = 1 / float(done.mean())
    if n < MIN_FOR_MEMORY:
        return Spread(float(residual.var(ddof=1)) / n, n - 1).scaled(scale), FEW_WINDOWS
    return spread_of_mean(residual).scaled(scale), None


def _widened(by_meter: Bounded, margin: float) -> Bounded:
    value = by_meter.value
    below, above = math.hypot(value - by_meter.lower, margin), math.hypot(by_meter.upper - value, margin)
    return Bounded(value, max(0.0, value - below), value + above)


def _log_margins(base: OperationCost, other: OperationCost, same_meter: bool) -> tuple[float, float] | None:
    """How far the logarithm of the ratio may be off, below and above; None where that is no figure."""
    assert base.by_meter is not None
    assert other.by_meter is not None
    spreads = [cost.spread.scaled(1 / cost.by_meter.value) for cost in (base, other) if cost.spread and cost.by_meter]
    sampled = together(spreads).margin(CONFIDENCE)
    below = above = sampled
    if not same_meter:
        meters = (base.by_meter, other.by_meter)
        if min(it.lower for it in meters) <= 0:
            return None
        (base_down, base_up), (down, up) = (
            (math.log(it.value / it.lower), math.log(it.upper / it.value)) for it in meters
        )
        below, above = math.hypot(sampled, down, base_up), math.hypot(sampled, up, base_down)
    return (below, above) if max(below, above) <= MAX_LOG else None
