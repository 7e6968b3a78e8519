"""How far a lesser meter can be believed once a better one has taught it: RAPL beside ACPI and a wall plug.

    python -m benchmarks.calibration [--data ../shared/data] [--write]

Two sections: `meters` (what RAPL sees of a node before any calibration) and `calibration` (errors before and after,
held out by blocks of time and by kind of load, beside simple ways). Everything is computed from the data.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks import kepler_nx12
from benchmarks.report import DATA, add_write, tell
from energy_orchestrator.analyze.calibration import LEAST_PAIRS, Calibration, carried, learn

Floats = NDArray[np.float64]
Answer = tuple[Floats, Floats, Floats]

PROFILES = "codecarbon/codecarbon/data/hardware/cpu_load_profiling"
TIME_BLOCKS = 10
BLOCK = 10
"""Rows of 3 s: single ones are noisy, since the two meters are not read at the same moment."""
FIRST = (30, 100, 300)
HEAD = "| split | way | n | answered, % | MAPE % | bias % | inside 90 % interval, % |\n|---|---|---|---|---|---|---|"


@dataclass(frozen=True)
class Pairs:
    """Watts of the better and the lesser meter at the same time."""

    better: Floats
    lesser: Floats
    seconds: Floats

    def take(self, rows: NDArray[np.bool_]) -> Pairs:
        """Some of them."""
        return Pairs(self.better[rows], self.lesser[rows], self.seconds[rows])


def kepler(data: Path) -> Pairs:
    """ACPI platform power and RAPL package + DRAM of one node, every 3 s."""
    platform = {row["timestamp"]: row["platform_power"] for row in kepler_nx12.rows(data, "acpi")}
    rows = [
        (platform[row["timestamp"]], row["package_power"] + row["dram_power"], row["timestamp"])
        for row in kepler_nx12.rows(data, "rapl")
    ]
    better, lesser, seconds = np.array(rows).T
    return Pairs(better, lesser, seconds)


def codecarbon(data: Path) -> dict[tuple[str, str], Pairs]:
    """Wall plug and RAPL by CPU and kind of load; only rows where the plug answered."""
    found: dict[tuple[str, str], list[tuple[float, float, float]]] = {}
    for file in sorted((data / PROFILES).glob("*/*.csv")):
        with file.open(encoding="utf-8") as lines:
            for row in csv.DictReader(lines):
                if float(row["tapo_power"] or 0) > 0 and float(row["rapl_power"] or 0) > 0:
                    pair = (float(row["tapo_power"]), float(row["rapl_power"]), float(row["timestamp"]))
                    found.setdefault((row["cpu_name"], row["load_type"]), []).append(pair)
    return {name: Pairs(*np.array(rows).T) for name, rows in found.items()}


def as_read(_: Pairs, test: Pairs) -> Answer:
    """The lesser meter's own word, with the interval that the analyzer gives it until it is calibrated."""
    from energy_orchestrator.analyze.node_power import TIER_BOUNDS
    from energy_orchestrator.model.units import Tier

    low, high = TIER_BOUNDS[Tier.ON_DIE]
    return test.lesser, test.lesser * low, test.lesser * high


def one_factor(train: Pairs, test: Pairs) -> Answer:
    """The median ratio."""
    value = test.lesser * np.median(train.better / train.lesser)
    return value, np.full_like(value, np.nan), np.full_like(value, np.nan)


def straight_line(train: Pairs, test: Pairs) -> Answer:
    """Least squares."""
    value = np.polyval(np.polyfit(train.lesser, train.better, 1), test.lesser)
    return value, np.full_like(value, np.nan), np.full_like(value, np.nan)


def calibration(train: Pairs, test: Pairs) -> Answer:
    """The way of analyze/calibration.py; NaN throughout where it makes none."""
    made = learn(train.better, train.lesser, train.seconds)
    if isinstance(made, str):
        return tuple(np.full_like(test.lesser, np.nan) for _ in range(3))  # type: ignore[return-value]
    return made.watts(test.lesser)


def calibration_of_few(train: Pairs, test: Pairs) -> Answer:
    """The same with the least number of pairs waived."""
    made = learn(train.better, train.lesser, train.seconds, least_pairs=5)
    assert isinstance(made, Calibration), made
    return made.watts(test.lesser)


def carried_over(train: Pairs, test: Pairs) -> Answer:
    """The calibration of one node used on another."""
    made = learn(train.better, train.lesser, train.seconds)
    assert isinstance(made, Calibration), made
    other = carried([made])
    assert other is not None
    return other.watts(test.lesser)


Way = tuple[str, Callable[[Pairs, Pairs], Answer]]
WAYS: Sequence[Way] = (
    ("calibration", calibration),
    ("as read (baseline)", as_read),
    ("one factor (baseline)", one_factor),
    ("straight line (baseline)", straight_line),
)


def rows_of(split: str, splits: Sequence[tuple[Pairs, Pairs]], ways: Sequence[Way] = WAYS) -> list[str]:
    """Lines of the table: every way on the same splits, the tests put together."""
    lines = []
    for name, way in ways:
        answers = [way(train, test) for train, test in splits]
        value, low, high = (np.concatenate([answer[index] for answer in answers]) for index in range(3))
        truth = np.concatenate([test.better for _, test in splits])
        known = np.isfinite(value)
        error = 100 * (value[known] / truth[known] - 1)
        figures = f"{np.abs(error).mean():.1f} | {error.mean():+.1f}" if known.any() else "- | -"
        inside = (truth >= low) & (truth <= high)
        covered = f"{100 * inside[known].mean():.1f}" if np.isfinite(low).any() else "-"
        lines.append(f"| {split} | {name} | {len(truth)} | {100 * known.mean():.0f} | {figures} | {covered} |")
    return lines


def kepler_rows(pairs: Pairs) -> list[str]:
    """One node, held out by time and by load."""
    count = len(pairs.seconds)
    block = np.arange(count) * TIME_BLOCKS // count
    by_time = [(pairs.take(block != k), pairs.take(block == k)) for k in range(TIME_BLOCKS)]
    half = np.arange(count) < count // 2
    low = pairs.lesser < np.median(pairs.lesser)
    lines = rows_of(f"{TIME_BLOCKS} blocks of time", by_time)
    lines += rows_of("first half, then the second", [(pairs.take(half), pairs.take(~half))])
    for first in FIRST:
        start = np.arange(count) < first
        lines += rows_of(f"first {first} pairs, then the rest", [(pairs.take(start), pairs.take(~start))], WAYS[::3])
    lines += rows_of("learned on the lower half of readings, asked above", [(pairs.take(low), pairs.take(~low))])
    lines += rows_of("learned on the upper half, asked below", [(pairs.take(~low), pairs.take(low))])
    return lines


def codecarbon_rows(profiles: dict[tuple[str, str], Pairs], other: Pairs) -> list[str]:
    """Learned on one kind of load, asked about the other, by CPU; and the other data set's node carried over."""
    lines: list[str] = []
    for cpu in sorted({cpu for cpu, _ in profiles}):
        kinds = [pairs for (name, _), pairs in profiles.items() if name == cpu]
        splits = [(train, test) for train in kinds for test in kinds if train is not test]
        lines += rows_of("the other kind of load", splits, (*WAYS, ("calibration, 5 pairs enough", calibration_of_few)))
        every = [(other, test) for test in kinds]
        lines += rows_of("another machine, **unlike**", every, (("carried from kepler_nx12", carried_over),))
    return lines


def calibration_section(data: Path) -> str:
    """The section `calibration`."""
    node, profiles = kepler(data), codecarbon(data)
    whole = learn(node.better, node.lesser, node.seconds)
    assert isinstance(whole, Calibration), whole
    return SECTION.format(
        least=LEAST_PAIRS,
        kepler="\n".join([HEAD, *kepler_rows(node)]),
        hours=float(np.ptp(node.seconds)) / 3600,
        drift=100 * whole.drift_per_day / 24,
        error=100 * whole.drift_error_per_day / 24,
        verdict="more than noise" if whole.drifts else "no more than noise",
        plugs=sum(len(pairs.better) for pairs in profiles.values()),
        cpus=" and ".join(sorted({cpu for cpu, _ in profiles})),
        codecarbon="\n".join([HEAD, *codecarbon_rows(profiles, node)]),
    )


def meters_section(data: Path) -> str:
    """The section `meters`: intervals used before any calibration, and how much of a node RAPL shows."""
    pairs = kepler(data)
    whole, seen = pairs.better, pairs.lesser
    ratio, beside = np.quantile(whole / seen, [0.05, 0.95]), np.quantile(whole - seen, [0.05, 0.95])
    rest = np.quantile(seen, 0.02)
    at_rest = np.median(whole[seen <= rest])
    blocks = [part[: len(part) // BLOCK * BLOCK].reshape(-1, BLOCK).mean(axis=1) for part in (whole, seen)]
    busy = blocks[1] > 1.2 * rest
    dynamic = np.quantile((blocks[0][busy] - at_rest) / (blocks[1][busy] - rest), [0.05, 0.5, 0.95])
    return METERS.format(
        rows=len(whole), ratio=ratio, highest=(whole / seen).max(), beside=beside, dynamic=dynamic, blocks=busy.sum()
    )


METERS = """## Meters

Made by `python -m benchmarks.calibration --write`.

| tier | interval used until a better meter calibrates it | source |
|---|---|---|
| `wall` | ±2 % | outlet-metered PDUs state ±1 %; twice that for sampling |
| `bmc` | ±10 % | assumed: BMC readings are PSU telemetry, coarse in steps and time |
| `on_die` | -2 % to +150 % | package and DRAM only; see below |

What RAPL sees of a node (kepler_nx12, Xeon E5-2667v3, {rows} rows of 3 s): the platform drew
{ratio[0]:.2f} to {ratio[1]:.2f} times package plus DRAM (5 to 95 %, highest {highest:.2f}), most at rest, and
{beside[0]:.0f} to {beside[1]:.0f} W more. Above rest the two go together: dynamic power of the platform was
{dynamic[0]:.2f} to {dynamic[2]:.2f} times RAPL's over blocks of 30 s (median {dynamic[1]:.2f}, {blocks} blocks).
Hence 0.8 to 1.3 for active energy, once the meter has been seen at rest. One machine: a calibration on your own
replaces it (next section).
"""

SECTION = """## Calibration of a lesser meter on a better one

Made by `python -m benchmarks.calibration --write`. Where a node has two meters, the lesser learns
from the better: `a + b x + c x^2`, fitted robustly, from at least {least} pairs over a load that moves. `as read` is
what the lesser meter says by itself, with the interval of the table above. MAPE = mean of |said / measured - 1|.

kepler_nx12: one node, RAPL package + DRAM against the platform's ACPI meter, {hours:.1f} hours at 3 s. ACPI stands for
the better meter here; it is itself no wall plug. The two are not read at the same moment, which is part of the error:

{kepler}

Drift of the residual over these {hours:.1f} hours: {drift:+.2f} % an hour, 90 % interval ±{error:.2f}: {verdict}.
Longer drift can't be measured on this data.

codecarbon: {plugs} rows of 30 s with a wall plug, all of one machine ({cpus}), half of
them at part load of all cores, half at full load of some. A row's plug reading is one moment, RAPL's a mean of 30 s,
so the truth itself is noisy. Neither half has {least} pairs, so **no calibration is made**; `5 pairs enough` shows what
one of eleven pairs would be. The last line carries kepler_nx12's curve to this machine; the analyzer would not, since
the CPUs are not alike, and that the curve comes near here proves nothing for other machines:

{codecarbon}

What these figures do not cover: no public data here has two like nodes with both meters, so the width of what is
carried to like nodes is judged (from how servers of one CPU model differ in SPECpower), not measured, and tested on
simulated nodes only. How steep the curve may go on beyond its range is assumed; the lines above test it on one
machine, and it was not chosen on them.
"""


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA)
    add_write(parser)
    asked = parser.parse_args()
    for name, text in (("meters", meters_section(asked.data)), ("calibration", calibration_section(asked.data))):
        tell(name, text, asked.write)


if __name__ == "__main__":
    main()
