"""How often a shift of J/op is cried where there is none, and found where there is one: simulated series.

    python -m benchmarks.change_points [--trials 2000] [--write]

A simulation, no measurement: windows of J/op with noise of 6 % that has memory (autoregression of order 1); half of
the cases step up in the middle. The same seeds give the same figures.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from benchmarks.noise import with_memory
from benchmarks.report import run_simulation
from energy_orchestrator.analyze.change_points import ALPHA, MIN_SHARE, MIN_WINDOWS, shifts

Floats = NDArray[np.float64]
WINDOWS = (MIN_WINDOWS, 144, 288, 720)
MEMORIES = (0.0, 0.5, 0.8)
STEPS = (0.05, 0.10, 0.20)
BACK = 0.20
"""A rise in the middle third that is taken back."""
NOISE = 0.06


def series(rng: np.random.Generator, count: int, memory: float, extra: Floats) -> list[float]:
    """J/op of each window; `extra` is added to its logarithm."""
    values: list[float] = np.exp(NOISE * with_memory(rng, count, memory) + extra).tolist()
    return values


def row(count: int, memory: float, trials: int, seed: int) -> str:
    """A line of the table."""
    rng, place = np.random.default_rng(seed), np.arange(count)
    false = sum(bool(shifts(series(rng, count, memory, np.zeros(count)))) for _ in range(trials))
    cells = [f"{100 * false / trials:.1f}"]
    for step in STEPS:
        extra = np.where(place < count // 2, 0.0, np.log1p(step))
        found = sum(any(it.share > 0 for it in shifts(series(rng, count, memory, extra))) for _ in range(trials))
        cells.append(f"{100 * found / trials:.1f}")
    extra = np.where((place >= count // 3) & (place < 2 * count // 3), np.log1p(BACK), 0.0)
    found = sum(any(it.share > 0 for it in shifts(series(rng, count, memory, extra))) for _ in range(trials))
    return f"| {count} | {memory:g} | {' | '.join([*cells, f'{100 * found / trials:.1f}'])} |"


def section(trials: int) -> str:
    """The section `change-points`."""
    steps = " | ".join(f"{100 * step:.0f} % more found, %" for step in STEPS)
    head = f"| windows | memory of noise | false alarms, % | {steps} | {100 * BACK:.0f} % more, taken back, found, % |"
    cases = list(enumerate(product(WINDOWS, MEMORIES)))
    lines = [row(count, memory, trials, seed) for seed, (count, memory) in track(cases, "simulated series")]
    return f"""## Shifts of J/op (simulation)

Made by `python -m benchmarks.change_points --trials {trials} --write`. **A simulation**: noise of
{100 * NOISE:.0f} % with the memory (lag-1 autocorrelation) given, {trials} series for each figure. Asked for are
{100 * ALPHA:.0f} % false alarms and shifts of {100 * MIN_SHARE:.0f} % or more; series shorter than {MIN_WINDOWS}
windows have no answer. The step is in the middle. `taken back`: a rise in the middle third only, which this test is
weak at.

{head}
|{"---|" * 7}
{chr(10).join(lines)}
"""


def main() -> None:
    """The command line."""
    run_simulation("change-points", section, __doc__)


if __name__ == "__main__":
    main()
