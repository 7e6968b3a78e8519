"""How often the interval of J/op holds the truth, and how often versions are said to differ: simulated series.

    python -m benchmarks.operation_cost [--trials 2000] [--write]

A simulation, no measurement: an operation costs the same in every window but for noise of 6 % that has memory
(autoregression of order 1), under a load that swings. The meter is exact, so that the interval is that of the windows
alone. The same seeds give the same figures.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from rich.progress import track

from benchmarks.noise import with_memory
from benchmarks.report import run_simulation
from energy_orchestrator.analyze.operation_cost import (
    ASSUMED_MEMORY,
    CONFIDENCE,
    MIN_FOR_MEMORY,
    CostWindow,
    OperationCost,
    compare,
    operation_cost,
)

WINDOWS = (3, 5, MIN_FOR_MEMORY, 20, 60, 360)
MEMORIES = (0.0, 0.5, 0.8)
DEARER = 0.12
NOISE = 0.06
JOULES = 2.0


def cost(rng: np.random.Generator, count: int, memory: float, joules: float) -> OperationCost:
    """J/op of so many windows whose operations cost so many joules."""
    noise = with_memory(rng, count, memory)
    done = rng.uniform(50, 150, count)
    energy = joules * done * (1 + NOISE * noise)
    return operation_cost([CostWindow(e, e, e, o) for e, o in zip(energy, done, strict=True)])


def row(count: int, memory: float, trials: int, seed: int) -> str:
    """A line of the table."""
    rng = np.random.default_rng(seed)
    held, width, false, found, within = 0, 0.0, 0, 0, 0
    for _ in range(trials):
        old, same, dear = (cost(rng, count, memory, JOULES * factor) for factor in (1.0, 1.0, 1 + DEARER))
        assert old.value is not None
        held += old.value.lower <= JOULES <= old.value.upper
        width += (old.value.upper - old.value.lower) / old.value.value / 2
        false += compare(old, same, same_meter=True).differs
        against = compare(old, dear, same_meter=True)
        found += against.differs
        within += against.ratio is not None and against.ratio.lower <= 1 + DEARER <= against.ratio.upper
    cells = [f"{100 * it / trials:.1f}" for it in (held, width, false, found, within)]
    if count < MIN_FOR_MEMORY:
        cells[2:] = ["not compared"] * 3
    return f"| {count} | {memory:g} | {' | '.join(cells)} |"


def section(trials: int) -> str:
    """The section `operation-cost`."""
    cases = list(enumerate(product(WINDOWS, MEMORIES)))
    lines = [row(count, memory, trials, seed) for seed, (count, memory) in track(cases, "simulated series")]
    return f"""## J/op of versions (simulation)

Made by `python -m benchmarks.operation_cost --trials {trials} --write`. **A simulation**: noise of
{100 * NOISE:.0f} % with the memory (lag-1 autocorrelation) given, operations in a window from 50 to 150, an exact
meter, {trials} series for each figure. Intervals are asked to hold the truth {100 * CONFIDENCE:.0f} % of the time, so
two equal versions are said to differ in {100 - 100 * CONFIDENCE:.0f} %. With fewer than {MIN_FOR_MEMORY} windows
memory can't be told: {ASSUMED_MEMORY:g} is assumed, the note beside the figure says so, and nothing is compared.

| windows | memory | J/op held, % | half-width, % | equal said to differ, % | {100 * DEARER:.0f} % dearer found, % | that ratio held, % |
|{"---|" * 7}
{chr(10).join(lines)}
"""  # noqa: E501 (the head of a table)


def main() -> None:
    """The command line."""
    run_simulation("operation-cost", section, __doc__)


if __name__ == "__main__":
    main()
