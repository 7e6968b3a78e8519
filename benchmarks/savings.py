"""How far measured savings can be believed: simulated fleets whose true saving is known.

    python -m benchmarks.savings [--trials 2000] [--write]

A simulation, no measurement: J/op of each workload is a base, a drift that all workloads of a place share, and noise
with memory (autoregression); the load has a day in it and gaps; some of the energy does not depend on the load. Each
fleet gets a change of known effect, and each method of `verify/savings` is asked for it. Told: how often the 90 %
interval holds the truth, how often a change that does nothing is called a saving, how often 5 % is found.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from benchmarks.noise import with_memory
from benchmarks.report import run_simulation
from energy_orchestrator.model.saving import Saving
from energy_orchestrator.verify.savings.difference import difference_in_differences
from energy_orchestrator.verify.savings.load_adjusted import load_adjusted
from energy_orchestrator.verify.savings.series import CannotTellError, Windows
from energy_orchestrator.verify.savings.side_by_side import side_by_side

Floats = NDArray[np.float64]
WINDOW_SECONDS = 300.0
DAY_WINDOWS = 288
SAVINGS = (-0.05, 0.02, 0.05, 0.20)
COLUMNS = ("method", "windows", "memory of noise", "fleets", "refused", "covered", "placebo: no saving", "5 % found")


@dataclass(frozen=True)
class Fleet:
    """One kind of simulated fleet. Noise is a share of the energy of a window."""

    windows: int
    memory: float
    noise: float = 0.06
    missing: float = 0.05
    drift: float = 0.10


def load(rng: np.random.Generator, count: int) -> Floats:
    """Operations of each window: a day, its own level, and noise."""
    day = 1 + 0.4 * np.sin(2 * np.pi * (np.arange(count) / DAY_WINDOWS * rng.uniform(1, 8) + rng.random()))
    operations: Floats = 1000 * rng.lognormal(0, 1) * day * np.exp(0.05 * rng.standard_normal(count))
    return operations


def noise(rng: np.random.Generator, fleet: Fleet, count: int) -> Floats:
    """Multiplies; its mean is 1."""
    factor: Floats = np.exp(fleet.noise * with_memory(rng, count, fleet.memory) - fleet.noise**2 / 2)
    return factor


def windows(at: Floats, joules: Floats, operations: Floats, rng: np.random.Generator, missing: float) -> Windows:
    """With gaps: some windows are missing, each workload its own."""
    kept = rng.random(len(at)) >= missing
    return Windows(at[kept], np.full(int(kept.sum()), WINDOW_SECONDS), joules[kept], operations[kept])


def shared_drift(rng: np.random.Generator, fleet: Fleet, count: int) -> Floats:
    """A walk that all workloads of a place make together (temperature, a change of the meter)."""
    walk: Floats = np.exp(fleet.drift * np.cumsum(rng.standard_normal(count)) / np.sqrt(count))
    return walk


def of_side_by_side(rng: np.random.Generator, fleet: Fleet, saved: float) -> Saving:
    """A canary beside a baseline, of the same load and drift."""
    count, at = fleet.windows, np.arange(fleet.windows) * WINDOW_SECONDS
    common = load(rng, count) * shared_drift(rng, fleet, count)
    sides = []
    for factor in (1.0, 1 - saved):
        operations = common * np.exp(0.02 * rng.standard_normal(count))
        joules = 0.5 * operations * factor * noise(rng, fleet, count)
        sides.append(windows(at, joules, operations, rng, fleet.missing))
    return side_by_side(*sides)


def of_difference(rng: np.random.Generator, fleet: Fleet, saved: float) -> Saving:
    """A change in the middle; one to three controls of other sizes, drifting along."""
    count = 2 * fleet.windows
    at = np.arange(count) * WINDOW_SECONDS
    drift = shared_drift(rng, fleet, count)
    halves: list[tuple[Windows, Windows]] = []
    for place in range(1 + int(rng.integers(1, 4))):
        operations = load(rng, count)
        factor = np.where(np.arange(count) < fleet.windows, 1.0, 1 - saved if place == 0 else 1.0)
        joules = rng.lognormal(0, 1) * operations * factor * drift * noise(rng, fleet, count)
        whole = [windows(at[part], joules[part], operations[part], rng, fleet.missing) for part in _halves(count)]
        halves.append((whole[0], whole[1]))
    return difference_in_differences(*halves[0], halves[1:])


def of_load_adjusted(rng: np.random.Generator, fleet: Fleet, saved: float) -> Saving:
    """Alone, with a fixed part: another load after than before changes J/op without any change."""
    count = 2 * fleet.windows
    at = np.arange(count) * WINDOW_SECONDS
    operations = load(rng, count)
    expected = 0.4 * operations.mean() + 0.6 * operations
    factor = np.where(np.arange(count) < fleet.windows, 1.0, 1 - saved)
    joules = expected * factor * noise(rng, fleet, count)
    halves = [windows(at[part], joules[part], operations[part], rng, fleet.missing) for part in _halves(count)]
    return load_adjusted(*halves)


def _halves(count: int) -> tuple[slice, slice]:
    return slice(0, count // 2), slice(count // 2, count)


METHODS: dict[str, Callable[[np.random.Generator, Fleet, float], Saving]] = {
    "side_by_side": of_side_by_side,
    "difference_in_differences": of_difference,
    "load_adjusted": of_load_adjusted,
}
FLEETS = tuple(Fleet(windows, memory) for windows in (48, 96, 288) for memory in (0.0, 0.5, 0.8))


@dataclass
class Tally:
    """Counts of one method on one kind of fleet."""

    asked: int = 0
    refused: int = 0
    covered: int = 0
    placebos: int = 0
    called: int = 0
    fives: int = 0
    found: int = 0

    def add(self, saved: float, answer: Saving | None) -> None:
        """One fleet's answer; None where the method refused."""
        self.asked += 1
        if answer is None or answer.ratio is None:
            self.refused += 1
            return
        self.covered += answer.ratio.lower <= saved <= answer.ratio.upper
        if saved == 0:
            self.placebos, self.called = self.placebos + 1, self.called + answer.found
        if saved == 0.05:
            self.fives, self.found = self.fives + 1, self.found + answer.found

    @property
    def answered(self) -> int:
        """Fleets that got a figure."""
        return self.asked - self.refused

    def plus(self, other: Tally) -> Tally:
        """Both together."""
        return Tally(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))


def simulate(method: str, fleet: Fleet, trials: int, seed: int) -> Tally:
    """Half of the fleets get a placebo, the others a change of known effect."""
    rng = np.random.default_rng(seed)
    tally = Tally()
    for trial in range(trials):
        saved = 0.0 if trial % 2 else SAVINGS[trial // 2 % len(SAVINGS)]
        try:
            answer = METHODS[method](rng, fleet, saved)
        except CannotTellError:
            answer = None
        tally.add(saved, answer)
    return tally


def row(method: str, count: str, memory: str, it: Tally) -> str:
    """A line of the table."""

    def share(part: int, whole: int) -> str:
        return f"{100 * part / whole:.1f} %" if whole else "-"

    cells = (
        method, count, memory, str(it.asked), share(it.refused, it.asked), share(it.covered, it.answered),
        share(it.placebos - it.called, it.placebos), share(it.found, it.fives),
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


def report(trials: int) -> str:
    """The section of docs/accuracy.md."""
    lines = [f"| {' | '.join(COLUMNS)} |", "|" + "---|" * len(COLUMNS)]
    totals = {method: Tally() for method in METHODS}
    cases = [(method, fleet) for method in METHODS for fleet in FLEETS]
    for seed, (method, fleet) in enumerate(track(cases, "simulated fleets")):
        tally = simulate(method, fleet, trials, seed)
        totals[method] = totals[method].plus(tally)
        lines.append(row(method, str(fleet.windows), f"{fleet.memory:g}", tally))
    lines += [row(f"**{method}**", "all", "all", tally) for method, tally in totals.items()]
    return f"""## Savings (simulation)

Made by `python -m benchmarks.savings --trials {trials} --write`. **A simulation with known true
savings, not a measurement**: windows of 5 minutes, load with a day in it, noise of 6 % of a window's energy with the
memory (lag-1 autocorrelation) given, 5 % of windows missing, a drift of 10 % shared by all workloads of a place, one
to three controls of other sizes. True savings: none (half of the fleets), -5, 2, 5 and 20 %. `windows` is each side's
number. `covered`: the 90 % interval holds the truth (aim 88 to 92 %). `placebo: no saving`: a change that does nothing
is not called a saving (aim >= 95 %; the verdict asks for the 95 % interval, so 97.5 % is expected). Refused fleets got
a reason instead of a figure and are not in the other columns.

{chr(10).join(lines)}

Not simulated: a control that drifts away from the workload only after the change. No method here can see that.
"""


def main() -> None:
    """The command line."""
    run_simulation("savings", report, __doc__)


if __name__ == "__main__":
    main()
