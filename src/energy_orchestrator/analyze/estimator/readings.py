"""One or two wall readings of a machine, taken into its predicted curve: Bayes in the logarithm.

Three things are uncertain of a curve: the logarithm of idle watts, that of full watts, and the shape between (in
standard deviations of the share). Their covariance before any reading comes from errors on CPU models held out. A
reading at a load is a linear view of the three, so one step of a Kalman filter (iterated, as the view bends) gives
the curve and the covariance after it; idle and full known are just two readings. Source: Bar-Shalom, Estimation with
Applications to Tracking and Navigation, 2001, section 10.5 (iterated extended filter).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
ShareAt = Callable[[Floats], tuple[Floats, Floats]]
"""From a load for each row to the share of dynamic power there and its standard deviation."""

READING_ERROR = 0.01
"""Standard deviation of a wall reading, relative: SPEC's rules allow an analyser 1 %, plus the load not being exact."""
ITERATIONS = 6
Z_90 = 1.6448536
MOST_IDLE = 0.95
"""Of full watts: a machine at rest draws less than at full load."""


@dataclass(frozen=True, slots=True)
class Belief:
    """What is believed of many curves. `state` (n, 3): log idle, log full, shape; `covariance` (n, 3, 3)."""

    state: Floats
    covariance: Floats
    share_at: ShareAt

    def watts(self, load: Floats) -> tuple[Floats, Floats]:
        """Watts of each row at its load, and the standard deviation of their logarithm."""
        value, view = self._view(self.state, load)
        variance = np.einsum("ni,nij,nj->n", view, self.covariance, view)
        return value, np.sqrt(np.maximum(variance, 0.0))

    def with_reading(self, load: Floats, watts: Floats) -> Belief:
        """After a reading; rows whose reading is NaN stay as they are."""
        known = np.isfinite(load) & np.isfinite(watts)
        at, log_watts = np.where(known, load, 0.5), np.log(np.where(known, watts, 1.0))
        prior, covariance, state = self.state, self.covariance, self.state
        for _ in range(ITERATIONS):
            value, view = self._view(state, at)
            spread = np.einsum("nij,nj->ni", covariance, view)
            variance = (view * spread).sum(axis=1) + READING_ERROR**2
            gain = spread / variance[:, None]
            missing = log_watts - np.log(value) - (view * (prior - state)).sum(axis=1)
            state = prior + gain * missing[:, None]
            state = _possible(state)
        after = covariance - gain[:, :, None] * spread[:, None, :]
        return Belief(
            np.where(known[:, None], state, prior), np.where(known[:, None, None], after, covariance), self.share_at
        )

    def _view(self, state: Floats, load: Floats) -> tuple[Floats, Floats]:
        idle, full = np.exp(state[:, 0]), np.exp(state[:, 1])
        mean, spread = self.share_at(load)
        share = np.clip(mean + state[:, 2] * spread, 0.0, 1.0)
        watts = idle + share * (full - idle)
        view = np.column_stack([idle * (1 - share), full * share, (full - idle) * spread]) / watts[:, None]
        return watts, view


def _possible(state: Floats) -> Floats:
    """Idle below full, and a shape within what was seen."""
    idle = np.minimum(state[:, 0], state[:, 1] + np.log(MOST_IDLE))
    return np.column_stack([idle, state[:, 1], np.clip(state[:, 2], -2.5, 2.5)])


def prior(
    log_idle: Floats, log_full: Floats, half_idle: Floats, half_full: Floats, together: float
) -> tuple[Floats, Floats]:
    """State and covariance before any reading, from the 90 % half-widths of both ends and the correlation."""
    state = _possible(np.column_stack([log_idle, log_full, np.zeros(len(log_idle))]))
    covariance = np.zeros((len(log_idle), 3, 3))
    idle, full = half_idle / Z_90, half_full / Z_90
    covariance[:, 0, 0], covariance[:, 1, 1], covariance[:, 2, 2] = idle**2, full**2, 1.0
    covariance[:, 0, 1] = covariance[:, 1, 0] = together * idle * full
    return state, covariance


def after_all(belief: Belief, readings: Sequence[tuple[Floats, Floats]]) -> Belief:
    """The belief after several readings, each a load and watts for every row."""
    for load, watts in readings:
        belief = belief.with_reading(load, watts)
    return belief
