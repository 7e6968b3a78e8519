"""The power curve of one node: watts at rest, dynamic watts and the share of them at each load, with intervals.

The small interface of the live path: `analyze/node_power.py` asks for `idle`, `full` and `active(load)`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from energy_orchestrator.model.units import Bounded

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PowerCurve:
    """Watts at rest and dynamic watts (full minus rest), and the share of the latter at each load."""

    idle: Bounded
    dynamic: Bounded
    load: Floats
    share: Floats
    share_lower: Floats
    share_upper: Floats
    reason: str
    """Where the numbers come from and why the interval is what it is."""

    @property
    def full(self) -> Bounded:
        """Watts at 100 % load."""
        return Bounded(
            self.idle.value + self.dynamic.value,
            self.idle.lower + self.dynamic.lower,
            self.idle.upper + self.dynamic.upper,
        )

    def active(self, utilisation: Floats) -> tuple[Floats, Floats, Floats]:
        """Dynamic watts at each utilisation (0 to 1) with bounds.

        The errors of the height and of the shape are unrelated, so their logarithms add as squares.
        """
        at = np.clip(utilisation, 0.0, 1.0)
        shares = [np.interp(at, self.load, curve) for curve in (self.share, self.share_lower, self.share_upper)]
        value = self.dynamic.value * shares[0]
        down = _combined(self.dynamic.lower / self.dynamic.value, shares[1], shares[0])
        up = _combined(self.dynamic.upper / self.dynamic.value, shares[2], shares[0])
        return value, value / down, value * up


def _combined(height: float, shape: Floats, middle: Floats) -> Floats:
    ratio = np.divide(shape, middle, out=np.ones_like(middle), where=middle > 0)
    return np.asarray(np.exp(np.hypot(abs(math.log(height)), np.log(np.maximum(ratio, 1e-3)))))
