"""Before and after, less what did not change did meanwhile: difference in differences.

Of the changed workload and of each control the logarithm of J/op is followed; the change is how the gap between them
moved. A drift that all share cancels. That gap must have been steady before the change (parallel trends): a slope in
it that can be told from none, and would have carried it on by more than 1 % by now, is a refusal. Bertrand, Duflo and
Mullainathan, "How much should we trust differences-in-differences estimates?", Quarterly Journal of Economics 119,
2004, on why the windows' autocorrelation must count.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce

import numpy as np

from energy_orchestrator.model.long_run import Floats, Spread, spread_of_mean, together
from energy_orchestrator.model.sample import MeasuredWindow
from energy_orchestrator.model.saving import Saving, SavingMethod
from energy_orchestrator.verify.savings.series import CannotTellError, Windows, columns, needs, saving_of

MIN_WINDOWS = 12
TREND_CONFIDENCE = 0.95
TREND_MATTERS = 0.01


def measured_enough(before: Sequence[MeasuredWindow], after: Sequence[MeasuredWindow]) -> bool:
    """Whether a workload has the windows that a control must have; one without would leave none for the others."""
    return min(len(columns(before)), len(columns(after))) >= MIN_WINDOWS


def difference_in_differences(before: Windows, after: Windows, controls: Sequence[tuple[Windows, Windows]]) -> Saving:
    """The saving; each control is its windows before and after.

    Raises:
        CannotTellError: with the reason.
    """
    if not controls:
        raise CannotTellError("no control workload was measured")
    then, gap, influence_then = _gap(before, [control[0] for control in controls], "before the change")
    now, gap_now, influence_now = _gap(after, [control[1] for control in controls], "after the change")
    reach = float(now.at_seconds.mean() - then.at_seconds.mean())
    _parallel(then.at_seconds, influence_then, reach)
    spread = together([spread_of_mean(influence_then), spread_of_mean(influence_now)])
    reason = f"{len(controls)} control(s), {len(then)} windows before and {len(now)} after"
    return saving_of(SavingMethod.DIFFERENCE_IN_DIFFERENCES, reason, now, gap_now - gap, spread)


def _gap(changed: Windows, controls: Sequence[Windows], when: str) -> tuple[Windows, float, Floats]:
    shared = reduce(np.intersect1d, [it.at_seconds for it in controls], changed.at_seconds)
    changed, others = changed.take(shared), [it.take(shared) for it in controls]
    for it in (changed, *others):
        needs(f"of the workload and its controls {when}", it, MIN_WINDOWS)
    gap = math.log(changed.joules_per_operation) - float(np.mean([math.log(it.joules_per_operation) for it in others]))
    return changed, gap, changed.influence() - np.mean([it.influence() for it in others], axis=0)


def _parallel(at_seconds: Floats, influence: Floats, reach_seconds: float) -> None:
    centred = at_seconds - at_seconds.mean()
    weights = centred / float(centred @ centred)
    slope = float(weights @ influence)
    scores = weights * (influence - influence.mean() - slope * centred) * len(centred)
    spread: Spread = spread_of_mean(scores)
    if abs(slope) > spread.margin(TREND_CONFIDENCE) and abs(slope * reach_seconds) > TREND_MATTERS:
        raise CannotTellError(
            "workload and controls drifted apart before the change already "
            f"({slope * reach_seconds:+.1%} over the span): they are no controls"
        )
