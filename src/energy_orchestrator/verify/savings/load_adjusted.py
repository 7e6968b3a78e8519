"""What the load of the time after the change would have cost before it: IPMVP Option C, whole facility.

Energy of a window before the change is fitted as a + b x operations (no change points); the fit is asked what the
operations of the time after would have cost. Refused, with the reason, where the fit is poor (CV(RMSE), ASHRAE
Guideline 14-2014, 30 % for hourly or finer data), where the load after leaves the range that was fitted, or where
windows are of different lengths. The spread has both parts: noise after the change, and what the noise before did to
the fit, each with its autocorrelation. IPMVP Core Concepts 2022, chapter 6; ASHRAE 14-2014, section 4.2.11 and 5.2.10.
"""

from __future__ import annotations

import math

import numpy as np

from energy_orchestrator.model.long_run import spread_of_mean, together
from energy_orchestrator.model.saving import Saving, SavingMethod
from energy_orchestrator.verify.savings.series import CannotTellError, Windows, needs, saving_of

MIN_BEFORE = 24
MIN_AFTER = 8
MAX_CV_RMSE = 0.30
BEYOND = 0.10
"""How far, as a share of the fitted range, the load after may leave it."""
MAX_OUTSIDE = 0.05
"""Share of windows after the change that may lie beyond that."""


def load_adjusted(before: Windows, after: Windows) -> Saving:
    """The saving against the fitted baseline.

    Raises:
        CannotTellError: with the reason.
    """
    needs("before the change", before, MIN_BEFORE)
    needs("after the change", after, MIN_AFTER)
    _within(before, after)
    load, watts = before.operations / before.seconds, before.joules / before.seconds
    x = np.column_stack([np.ones_like(load), load])
    inverse = np.linalg.pinv(x.T @ x)
    fit = inverse @ x.T @ watts
    residual = watts - x @ fit
    cv_rmse = math.sqrt(float(residual @ residual) / (len(watts) - 2)) / float(watts.mean())
    if cv_rmse > MAX_CV_RMSE:
        raise CannotTellError(
            f"operations explain the energy poorly: CV(RMSE) {cv_rmse:.0%}, at most {MAX_CV_RMSE:.0%}"
        )
    asked = np.column_stack([np.ones(len(after)), after.operations / after.seconds])
    expected = asked @ fit
    if float(expected.mean()) <= 0:
        raise CannotTellError("the fit expects no energy at this load")
    spent = after.joules / after.seconds
    ratio = float(spent.mean() / expected.mean())
    noise = spread_of_mean((spent - ratio * expected) / float(spent.mean()))
    scores = x @ (inverse @ asked.mean(axis=0)) * residual * len(watts)
    fitted = spread_of_mean(scores / float(expected.mean()))
    reason = f"fitted on {len(before)} windows, CV(RMSE) {cv_rmse:.1%}, and compared with {len(after)}"
    return saving_of(SavingMethod.LOAD_ADJUSTED, reason, after, math.log(ratio), together([noise, fitted]))


def _within(before: Windows, after: Windows) -> None:
    lengths = np.concatenate([before.seconds, after.seconds])
    if lengths.max() > 1.01 * lengths.min():
        raise CannotTellError("windows differ in length")
    low, high = float(before.operations.min()), float(before.operations.max())
    room = BEYOND * (high - low)
    outside = float(np.mean((after.operations < low - room) | (after.operations > high + room)))
    if outside > MAX_OUTSIDE:
        raise CannotTellError(
            f"{outside:.0%} of the windows after the change had a load outside of the {low:g} to {high:g} operations "
            "a window that were seen before"
        )
