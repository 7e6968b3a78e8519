"""Canary and baseline that ran together, replica beside replica or node beside node.

Whatever moved both - load, temperature, a noisy neighbour - is in both columns of a window and cancels in their
difference. Only windows that both have count.
"""

from __future__ import annotations

import math

import numpy as np

from energy_orchestrator.model.long_run import spread_of_mean
from energy_orchestrator.model.saving import Saving, SavingMethod
from energy_orchestrator.verify.savings.series import CannotTellError, Windows, needs, saving_of

MIN_WINDOWS = 5


def side_by_side(baseline: Windows, canary: Windows) -> Saving:
    """The canary's saving.

    Raises:
        CannotTellError: with the reason.
    """
    if not len(baseline) or not len(canary):
        raise CannotTellError("no canary ran beside a baseline")
    shared = np.intersect1d(baseline.at_seconds, canary.at_seconds)
    before, after = baseline.take(shared), canary.take(shared)
    needs("of both canary and baseline", after, MIN_WINDOWS)
    needs("of both canary and baseline", before, MIN_WINDOWS)
    log_ratio = math.log(after.joules_per_operation / before.joules_per_operation)
    spread = spread_of_mean(after.influence() - before.influence())
    reason = f"canary and baseline ran together in {len(shared)} windows"
    return saving_of(SavingMethod.SIDE_BY_SIDE, reason, after, log_ratio, spread)
