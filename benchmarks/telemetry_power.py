"""Watts from what the kernel counts: programs that were never seen, and blocks of time of one node.

    python -m benchmarks.telemetry_power [--data ../shared/data] [--write]

energy_languages: 38 programs in many languages on one machine, RAPL watts of package and DRAM; every program is left
out once. kepler_nx12: one node's ACPI watts by blocks of time. Ways and settings were chosen on 70 % of the programs
(by a hash of the name); the other programs and kepler_nx12 have been used for no choice but to be told here.
"""

from __future__ import annotations

import argparse
import csv
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from benchmarks.report import DATA, add_write, tell
from benchmarks.ridge_process import Bools, Floats, RidgeProcess, root_weights

PROGRAMS = "energy_languages/runs.csv"
NODE = "kepler_nx12/preprocess_abs_default_acpi_Basic.csv"
COUNTERS = (
    *("bpf_cpu_time_us", "cache_miss", "cgroupfs_cpu_usage_us", "cgroupfs_system_cpu_usage_us"),
    *("cgroupfs_user_cpu_usage_us", "cpu_cycles", "cpu_instructions", "kubelet_cpu_usage"),
)
PROCESS = RidgeProcess(length=2.0, noise=0.3, ridge=1.0, rows=1500)
SETTINGS = {
    **{"max_depth": 2, "eta": 0.05, "subsample": 0.7, "colsample_bytree": 0.7, "min_child_weight": 5},
    **{"nthread": 1, "seed": 1},
}
ROUNDS = 500
LEAST_MS = 1000.0
"""Shorter runs hold one RAPL sample or none."""
TIME_BLOCKS = 10
HEAD = "| data | way | rows | MAPE %, mean of rows | MAPE %, mean of {} |\n|---|---|---|---|---|"


@dataclass(frozen=True)
class Telemetry:
    """Rows of counters and watts. `line` are the columns of the simple way, `kind` its separate lines."""

    watts: Floats
    columns: Floats
    line: Floats
    kind: NDArray[np.str_]
    group: NDArray[np.str_]


Way = Callable[[Telemetry, Bools, Bools], Floats]


def programs(data: Path) -> Telemetry:
    """Of each run: cores busy, cache references and misses a second, whether the clock was held down."""
    with (data / PROGRAMS).open(encoding="utf-8") as lines:
        rows = [row for row in csv.DictReader(lines) if float(row["energy_duration_ms"]) >= LEAST_MS]
    rows = [row for row in rows if int(row["n_samples"]) > 1]

    def column(name: str) -> Floats:
        return np.array([float(row[name]) for row in rows])

    seconds = column("runtime_ms") / 1000
    cores = column("perf_count_sw_task_clock") / 1e9 / seconds
    references, misses = (column(f"perf_count_hw_cache_{name}") / seconds for name in ("references", "misses"))
    each = np.maximum(cores, 0.05)
    clock = np.array([row["config"] for row in rows])
    columns = (
        *(np.log1p(cores), np.minimum(cores, 1), np.log1p(np.maximum(cores - 1, 0))),
        *(np.log(rate + 1e3) for rate in (references, misses, references / each, misses / each)),
        np.log((misses + 1) / (references + 1)),
        *((clock == name).astype(np.float64) for name in ("docker-default", "docker-min-freq-cpuset-13")),
    )
    watts = (column("pkg_j") + column("dram_j")) / column("energy_duration_ms") * 1000
    return Telemetry(watts, np.column_stack(columns), cores, clock, np.array([row["benchmark"] for row in rows]))


def node(data: Path) -> Telemetry:
    """One node every 3 s."""
    with (data / NODE).open(encoding="utf-8") as lines:
        rows = sorted(csv.DictReader(lines), key=lambda row: int(row["timestamp"]))
    counters = np.array([[float(row[name]) for name in COUNTERS] for row in rows])
    floor = np.quantile(counters, 0.05, axis=0) + 0.01 * np.median(counters, axis=0) + 1
    cycles, instructions, misses = (counters[:, COUNTERS.index(name)] + 1 for name in
                                    ("cpu_cycles", "cpu_instructions", "cache_miss"))  # fmt: skip
    columns = np.column_stack([np.log(counters + floor), np.log(instructions / cycles), np.log(misses / instructions)])
    block = (np.arange(len(rows)) * TIME_BLOCKS // len(rows)).astype(str)
    watts = np.array([float(row["platform_power"]) for row in rows])
    return Telemetry(watts, columns, cycles, np.full(len(rows), "one"), block)


def line(data: Telemetry, train: Bools, test: Bools) -> Floats:
    """The simple way: watts by CPU alone, a straight line for each setting of the clock."""
    value = np.full(int(test.sum()), float(np.mean(data.watts[train])))
    for kind in np.unique(data.kind[test]):
        known, asked = train & (data.kind == kind), data.kind[test] == kind
        if known.any():
            degree = 1 if np.ptp(data.line[known]) > 0.5 else 0
            value[asked] = np.polyval(np.polyfit(data.line[known], data.watts[known], degree), data.line[test][asked])
    return value


def trees(data: Telemetry, train: Bools, test: Bools) -> Floats:
    """XGBoost on the logarithm of watts."""
    import xgboost

    weight = root_weights(data.group[train])
    known = xgboost.DMatrix(data.columns[train], np.log(data.watts[train]), weight=weight / weight.mean())
    return np.exp(np.asarray(xgboost.train(SETTINGS, known, ROUNDS).predict(xgboost.DMatrix(data.columns[test]))))


def process(data: Telemetry, train: Bools, test: Bools) -> Floats:
    """A Gaussian process over what a ridge regression leaves of the logarithm of watts."""
    return np.asarray(np.exp(PROCESS(data.columns, np.log(data.watts), data.group, train, test)))


WAYS: Sequence[tuple[str, Way]] = (
    ("Gaussian process", process),
    ("boosted trees", trees),
    ("straight line of CPU (baseline)", line),
)


def held_out(data: Telemetry, way: Way, name: str) -> Floats:
    """Every group predicted from the others."""
    value = np.empty(len(data.watts))
    for group in track(np.unique(data.group), name):
        test = data.group == group
        value[test] = way(data, ~test, test)
    return value


def rows_of(name: str, data: Telemetry, values: Sequence[Floats], rows: Bools) -> list[str]:
    """Lines of a table."""
    made = []
    for (way, _), value in zip(WAYS, values, strict=True):
        error = 100 * np.abs(value / data.watts - 1)
        by_group = [error[rows & (data.group == group)].mean() for group in np.unique(data.group[rows])]
        made.append(f"| {name} | {way} | {rows.sum()} | {error[rows].mean():.1f} | {np.mean(by_group):.1f} |")
    return made


def worst(data: Telemetry, value: Floats, count: int = 4) -> str:
    """The programs with the largest mean error, with its sign."""
    error = 100 * (value / data.watts - 1)
    bias = {str(group): float(error[data.group == group].mean()) for group in np.unique(data.group)}
    names = sorted(bias, key=lambda group: -abs(bias[group]))[:count]
    return ", ".join(f"{name} {bias[name]:+.0f} %" for name in names)


def section(folder: Path) -> str:
    """The section `telemetry`."""
    every, one = programs(folder), node(folder)
    chosen_on = np.array([zlib.crc32(("dev" + name).encode()) % 10 < 7 for name in every.group])
    of_programs, of_node = ([held_out(data, way, name) for name, way in WAYS] for data in (every, one))
    table = [HEAD.format("programs"), *rows_of("all programs", every, of_programs, np.ones_like(chosen_on))]
    table += rows_of("programs of no choice", every, of_programs, ~chosen_on)
    table += rows_of("programs chosen on", every, of_programs, chosen_on)
    blocks = [HEAD.format("blocks"), *rows_of("kepler_nx12", one, of_node, np.ones(len(one.watts), dtype=bool))]
    return SECTION.format(
        programs=len(np.unique(every.group)),
        fresh=len(np.unique(every.group[~chosen_on])),
        table="\n".join(table),
        worst=worst(every, of_programs[0]),
        time_blocks=TIME_BLOCKS,
        blocks="\n".join(blocks),
    )


SECTION = """## Watts from telemetry

Made by `python -m benchmarks.telemetry_power --write`. An evaluation of what such a model could do;
the analyzer does not use one: it has the estimator by hardware and load, and the calibration of a meter.

energy_languages: {programs} programs in many languages on one machine, RAPL watts of package and DRAM; every program is
left out once. Inputs: cores busy, cache references and misses a second, the setting of the clock. Ways and settings
were chosen on the last group of rows; {fresh} programs have had no say. Aim: 5.5 %.

{table}

kepler_nx12, one node against its ACPI meter, {time_blocks} blocks of time, the same ways and settings (nothing chosen
on it). Aim: 3 %. Where the node has RAPL, the calibration above does better than any of these:

{blocks}

Short of both aims. The programs that the Gaussian process misses most: {worst}.
A likely reason (not tested): which instructions run decides their watts, and these counters do not tell. Both data sets
are one machine each.
"""


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA)
    add_write(parser)
    asked = parser.parse_args()
    tell("telemetry", section(asked.data), asked.write)


if __name__ == "__main__":
    main()
