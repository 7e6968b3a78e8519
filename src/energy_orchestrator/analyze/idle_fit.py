"""What a node draws at rest, by its watts at the loads it was seen at.

In goes the mean power of a node by load and the shape of its power between rest and full load (the estimator's curve),
out comes the intercept of `watts = idle + scale * shape(load)` by least squares with both terms not negative, and not
more than the lowest power seen. So a node that has never been at rest has an idle too: on kepler_nx12, shown its busy
windows only, this misses by 8 to 18 % where scaling the model by the lowest power misses by half
(docs/accuracy.md). Where the loads seen lie too near each other the answer is None.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from energy_orchestrator.analyze.attribution import Floats

QUIET_LOAD = 0.02
"""A node that was seen at no more load than this was seen at rest: its lowest power is no guess."""
LEAST_SPREAD = 0.2
"""Of the loads seen. Nearer ones say nothing of the intercept."""
LEAST_BINS = 4


@dataclass(frozen=True, slots=True)
class LoadBin:
    """Windows of about the same load: mean busy CPUs and watts, and how many they are."""

    busy_cores: float
    watts: float
    windows: float


def fitted_idle(
    bins: Sequence[LoadBin], lowest_watts: float, threads: float, shape: Callable[[Floats], Floats]
) -> float | None:
    """Watts at rest; None where the loads seen do not tell.

    Args:
        bins: windows by load, in any order.
        lowest_watts: the least that the node was seen to draw.
        threads: logical CPUs of the node.
        shape: power above idle by load from 0 to 1, in any unit.
    """
    loads = np.array([it.busy_cores / threads for it in bins])
    if len(bins) < LEAST_BINS or loads.max() - loads.min() < LEAST_SPREAD:
        return None
    watts = np.array([it.watts for it in bins])
    weight = np.sqrt(np.array([it.windows for it in bins]))
    above = np.asarray(shape(np.clip(loads, 0.0, 1.0)), dtype=np.float64)
    (idle, _), _ = nnls(np.column_stack([weight, weight * above]), weight * watts)
    return float(min(idle, lowest_watts)) if idle > 0 else None
