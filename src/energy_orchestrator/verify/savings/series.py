"""What the methods compare: energy and operations, window by window; and the answer that all of them give.

Every method ends in one figure: the logarithm of what was spent over what would have been spent, and its spread. What
was spent is counted, not guessed, so all else follows: saved = spent (1 / ratio - 1).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from energy_orchestrator.model.long_run import Floats, Spread
from energy_orchestrator.model.sample import MeasuredWindow
from energy_orchestrator.model.saving import Saving, SavingMethod
from energy_orchestrator.model.units import SECONDS_PER_DAY, Bounded

CONFIDENCE = 0.90
FOUND_CONFIDENCE = 0.95
"""An interval of 90 % calls one placebo in twenty a saving; the verdict is stricter, one in forty."""
MAX_SHARE = 20.0
"""The widest logarithm of a ratio that is told; beyond it is no figure at all."""


@dataclass(frozen=True, slots=True)
class Windows:
    """Columns of equal length in the order of time: start and length of a window, what was spent, what was done."""

    at_seconds: Floats
    seconds: Floats
    joules: Floats
    operations: Floats

    def __len__(self) -> int:
        return len(self.at_seconds)

    def take(self, chosen: Floats) -> Windows:
        """Those that begin at the given times, in that order."""
        index = np.searchsorted(self.at_seconds, chosen)
        return Windows(self.at_seconds[index], self.seconds[index], self.joules[index], self.operations[index])

    @property
    def joules_per_operation(self) -> float:
        """Of all windows together."""
        return float(self.joules.sum() / self.operations.sum())

    def influence(self) -> Floats:
        """What each window adds to the logarithm of J/op: the linearised ratio of sums, mean 0."""
        per = self.joules_per_operation
        influence: Floats = (self.joules - per * self.operations) / (per * self.operations.mean())
        return influence


class CannotTellError(Exception):
    """A method's refusal; the text is the reason."""


def columns(windows: Sequence[MeasuredWindow]) -> Windows:
    """The windows whose energy and operations are known, each start once, oldest first."""
    known = {
        window.window_start.timestamp(): window
        for window in windows
        if _usable(window.active_joules) and _usable(window.operations)
    }
    rows = [
        (at, (it.window_end - it.window_start).total_seconds(), _joules(it), it.operations)
        for at, it in sorted(known.items())
    ]
    table = np.array(rows, dtype=np.float64).reshape(-1, 4)
    return Windows(*(np.ascontiguousarray(table[:, column]) for column in range(4)))


def _joules(window: MeasuredWindow) -> float | None:
    """Of the seconds that the operations cover: J/op already minds that the two do not line up."""
    per, done = window.joules_per_operation, window.operations
    return per * done if per is not None and done and _usable(per) else window.active_joules


def _usable(value: float | None) -> bool:
    return value is not None and math.isfinite(value) and value >= 0


def needs(side: str, windows: Windows, least: int) -> None:
    """Refuse what is too little, or did or cost nothing."""
    if len(windows) < least:
        raise CannotTellError(f"{len(windows)} windows {side} have energy and operations, {least} are needed")
    if windows.operations.sum() <= 0 or windows.joules.sum() <= 0:
        raise CannotTellError(f"no energy or no operation {side}")


def saving_of(method: SavingMethod, reason: str, spent: Windows, log_ratio: float, spread: Spread) -> Saving:
    """The answer, from the logarithm of spent over what would have been spent."""
    margin = spread.margin(CONFIDENCE)
    if not math.isfinite(margin) or abs(log_ratio) + margin > MAX_SHARE:
        raise CannotTellError("the windows differ too much from each other for any figure")
    value, low, high = (math.exp(log_ratio + off) for off in (0.0, -margin, margin))

    def saved(amount: float) -> Bounded:
        return Bounded(*(amount * (1 / it - 1) for it in (value, high, low)))

    joules, seconds = float(spent.joules.sum()), float(spent.seconds.sum())
    return Saving(
        method,
        reason,
        ratio=Bounded(1 - value, 1 - high, 1 - low),
        joules=saved(joules),
        joules_per_operation=saved(spent.joules_per_operation),
        joules_per_day=saved(joules / seconds * SECONDS_PER_DAY),
        found=log_ratio + spread.margin(FOUND_CONFIDENCE) < 0,
    )
