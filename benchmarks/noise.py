"""Noise of simulated series: what lies beside each other goes together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

SETTLING = 200
"""Values thrown away first, so that the series does not begin at its mean."""


def with_memory(rng: np.random.Generator, count: int, memory: float) -> NDArray[np.float64]:
    """Autoregression of order 1 with that coefficient: mean 0, deviation 1."""
    drawn = rng.standard_normal(count + SETTLING)
    made: NDArray[np.float64] = lfilter([np.sqrt(1 - memory**2)], [1, -memory], drawn)[SETTLING:]
    return made
