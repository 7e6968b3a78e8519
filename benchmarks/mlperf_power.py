"""Wall watts of whole systems in MLPerf's power runs, of systems and of hardware that were never seen.

    python -m benchmarks.mlperf_power [--data ../shared/data] [--write]

Two groupings, since systems of different names are often the same board with other software. Ways and settings were
chosen on 70 % of the groups (by a hash of the name). The TDPs of accelerators and boards below were typed in, from
memory of their makers' data sheets and after the range of watts of each had been seen; so everything is told without
the boards' too. Those of CPUs are codecarbon's list. How many samples a second a system does, beside what the systems
trained on do at the same task, is an input: it is known without a power meter.
"""

from __future__ import annotations

import argparse
import csv
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from benchmarks.report import DATA, add_write, tell
from benchmarks.ridge_process import Bools, Floats, RidgeProcess, root_weights
from energy_orchestrator.analyze.estimator.cpu_names import cpu_key
from energy_orchestrator.services.estimator_files import TDP_FILE, read_tdp

RUNS = "mlperf_power/power_results.csv"
ACCELERATORS = (
    *(("h200", 700), ("a100-sxm", 400), ("a100-pcie-40", 250), ("a100-pcie", 300), ("a30", 165), ("a2", 60)),
    *(("a10", 150), ("l4", 72), ("4090", 450), ("dm.2", 15), ("cloud ai 100", 75), ("agx orin", 60), ("orin", 50)),
    *(("agx xavier", 30), ("xavier nx", 15), ("speedai", 75), ("mlsoc", 10)),
)
"""Watts of one; the first name that fits."""
WHOLE_BOARDS = (15.0, 30.0, 50.0, 60.0)
"""An accelerator of so many watts is the whole board."""
BOARDS = (
    *(("carmel", 30), ("cortex-a78", 60), ("v8l", 60), ("rk3588", 12), ("a311d", 8), ("s922x", 8), ("bcm2", 8)),
    *(("snapdragon", 10), ("cortex-a65", 10)),
)
SERVER = re.compile("xeon|epyc|ryzen|altra")
WATTS_A_CORE = 3.3
"""Of server CPUs that the list lacks; judged."""
WORDS = (
    *("neon", "opencl", "tflite", "ref", "ruy", "tensorrt", "maxq", "bert", "resnet", "ssd", "rnnt", "3d-unet"),
    *("dlrm", "retinanet", "gpt", "llama", "mobilenet", "efficientnet", "offline", "server", "singlestream"),
)
SETTINGS = {
    **{"max_depth": 3, "eta": 0.05, "subsample": 0.7, "colsample_bytree": 0.5, "min_child_weight": 3, "lambda": 3.0},
    **{"nthread": 1, "seed": 1},
}
ROUNDS, FOLDS = 300, 10
LEAST_RATE = 1e-3
PROCESS = RidgeProcess(length=4.0, noise=0.3, ridge=30.0, rows=1200)
HEAD = (
    "| unseen | boards' TDP | rows of | way | n | MAPE %, mean of rows | MAPE %, mean of groups |\n" + "|---" * 7 + "|"
)


@dataclass(frozen=True)
class Runs:
    """Watts, inputs, the sum of TDPs, and the two groupings."""

    watts: Floats
    columns: Floats
    tdp: Floats
    rate: Floats
    """Logarithm of samples a second."""
    task: NDArray[np.str_]
    """Model and scenario."""
    server: Bools
    system: NDArray[np.str_]
    hardware: NDArray[np.str_]


def _first(table: Sequence[tuple[str, float]], name: str) -> float | None:
    return next((float(watts) for key, watts in table if key in name.lower()), None)


def _tdps(row: Mapping[str, str], listed: Mapping[str, float], boards: bool) -> tuple[float, float]:
    """Of the accelerators, and of the rest; without `boards` a board counts as a watt a core."""
    count = max(1.0, float(row["accelerators_per_node"]))
    accelerators = (_first(ACCELERATORS, row["accelerator_model_name"]) or 0.0) * count
    cpu, sockets = row["host_processor_model_name"], float(row["host_processors_per_node"])
    if SERVER.search(cpu.lower()):
        return accelerators, sockets * (listed.get(cpu_key(cpu)) or WATTS_A_CORE * _cores(row) / sockets)
    if accelerators in WHOLE_BOARDS:
        return accelerators, 0.0
    return accelerators, (_first(BOARDS, cpu) if boards else None) or _cores(row)


def _cores(row: Mapping[str, str]) -> float:
    each = sum(map(float, re.findall(r"\d+", row["host_processor_core_count"])))
    return each * float(row["host_processors_per_node"])


def read(folder: Path, boards: bool) -> Runs:
    """Every run; `boards`: with the TDPs of boards."""
    listed = read_tdp(folder / TDP_FILE)
    with (folder / RUNS).open(encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    accelerators, rest = np.array([_tdps(row, listed, boards) for row in rows]).T
    cores = np.array([_cores(row) for row in rows])
    memory = [re.search(r"[\d.]+", row["host_memory_capacity"]) for row in rows]
    gigabytes = np.array([max(0.5, float(found.group())) if found else 0.5 for found in memory])
    server = np.array([bool(SERVER.search(row["host_processor_model_name"].lower())) for row in rows])
    text = [" ".join(row[name] for name in ("system", "framework", "model", "scenario")).lower() for row in rows]
    said = np.array([[word in line for word in WORDS] for line in text], dtype=np.float64)
    numbers = (accelerators + 1, np.maximum(rest, 1), accelerators + rest, cores, gigabytes)
    quantised = np.array([("quantized" in line) - ("non-quantized" in line) for line in text], dtype=np.float64)
    hardware = [
        re.sub("[^a-z0-9]", "", re.sub("(cpu @|processor).*", "", line.lower()))
        for line in (f"{row['accelerator_model_name']}|{row['host_processor_model_name']}" for row in rows)
    ]
    return Runs(
        np.array([float(row["avg_watts"]) for row in rows]),
        np.column_stack([*map(np.log, numbers), server.astype(np.float64), quantised, said]),
        accelerators + rest,
        np.log([max(float(row["samples_per_s"] or 0), LEAST_RATE) for row in rows]),
        np.array([f"{row['model']} {row['scenario']}" for row in rows]),
        server,
        np.array([row["system"] for row in rows]),
        np.array(hardware),
    )


Way = Callable[[Runs, NDArray[np.str_], Bools, Bools], Floats]


def inputs(runs: Runs, group: NDArray[np.str_], train: Bools) -> Floats:
    """The columns, and the rate over the middle of the known groups' at the same task; 0 where no other does it."""
    ahead = np.zeros(len(runs.watts))
    for task in np.unique(runs.task):
        mine = runs.task == task
        known = mine & train
        each = [np.median(runs.rate[known & (group == one)]) for one in np.unique(group[known])]
        if each:
            ahead[mine] = runs.rate[mine] - np.median(each)
    return np.column_stack([runs.columns, ahead, runs.rate])


def tdp_ratio(runs: Runs, _: NDArray[np.str_], train: Bools, test: Bools) -> Floats:
    """The simple way: the median ratio to the sum of TDPs."""
    return np.asarray(np.median((runs.watts / runs.tdp)[train]) * runs.tdp[test])


def trees(runs: Runs, group: NDArray[np.str_], train: Bools, test: Bools) -> Floats:
    """XGBoost on the logarithm of the ratio."""
    import xgboost

    ratio = np.log(runs.watts / runs.tdp)[train]
    columns = inputs(runs, group, train)
    known = xgboost.DMatrix(columns[train], ratio, weight=root_weights(group[train]))
    said = xgboost.train(SETTINGS, known, ROUNDS).predict(xgboost.DMatrix(columns[test]))
    return np.asarray(runs.tdp[test] * np.exp(said), dtype=np.float64)


def process(runs: Runs, group: NDArray[np.str_], train: Bools, test: Bools) -> Floats:
    """A Gaussian process over what a ridge regression leaves of the logarithm of the ratio."""
    logs = np.log(runs.watts / runs.tdp)
    return np.asarray(runs.tdp[test] * np.exp(PROCESS(inputs(runs, group, train), logs, group, train, test)))


WAYS: Sequence[tuple[str, Way]] = (
    ("Gaussian process", process),
    ("boosted trees", trees),
    ("median ratio to the sum of TDPs (baseline)", tdp_ratio),
)


BOTH = "geometric mean of the first two"


def section(folder: Path) -> str:
    """The section `mlperf`."""
    runs, lines, apart = read(folder, boards=False), [HEAD], ""
    for unseen, boards in (("system", False), ("hardware", False), ("system", True), ("hardware", True)):
        runs = read(folder, boards)
        group: NDArray[np.str_] = getattr(runs, unseen)
        fold = np.array([zlib.crc32(name.encode()) % FOLDS for name in group])
        chosen_on = np.array([zlib.crc32(("dev" + name).encode()) % 10 < 7 for name in group])
        values = {name: _held_out(runs, group, fold, way, name) for name, way in WAYS}
        values = {BOTH: np.sqrt(values[WAYS[0][0]] * values[WAYS[1][0]]), **values}
        apart = apart or _apart(runs, values[BOTH])
        for rows, what in ((np.ones_like(chosen_on), "all"), (~chosen_on, "groups of no choice")):
            for name, value in values.items():
                error = 100 * np.abs(value / runs.watts - 1)
                each = [error[rows & (group == one)].mean() for one in np.unique(group[rows])]
                figures = f"{rows.sum()} | {error[rows].mean():.1f} | {np.mean(each):.1f}"
                told = "told" if boards else "not told"
                lines.append(f"| {unseen} | {told} | {what} | {name} | {figures} |")
    return SECTION.format(
        runs=len(runs.watts),
        systems=len(np.unique(runs.system)),
        hardware=len(np.unique(runs.hardware)),
        folds=FOLDS,
        apart=apart,
        known=_same_system(runs),
        table="\n".join(lines),
    )


def _apart(runs: Runs, value: Floats) -> str:
    """The errors of servers and of boards."""
    error = 100 * np.abs(value / runs.watts - 1)
    parts = (("servers", runs.server), ("boards", ~runs.server))
    return ", ".join(f"{error[rows].mean():.1f} % for {name} ({rows.sum()} runs)" for name, rows in parts)


def _same_system(runs: Runs) -> float:
    """How far a run is off the median of the other tasks' runs on the same system, in percent."""
    error = []
    for name in np.unique(runs.system):
        mine = np.flatnonzero(runs.system == name)
        for row in mine:
            others = runs.watts[mine[runs.task[mine] != runs.task[row]]]
            if len(others):
                error.append(abs(float(np.median(others) / runs.watts[row]) - 1))
    return 100 * float(np.mean(error))


def _held_out(runs: Runs, group: NDArray[np.str_], fold: NDArray[np.int64], way: Way, name: str) -> Floats:
    value = np.empty(len(runs.watts))
    for k in track(np.unique(fold), name):
        value[fold == k] = way(runs, group, fold != k, fold == k)
    return value


SECTION = """## Wall watts of inference systems (MLPerf power)

Made by `python -m benchmarks.mlperf_power --write`. An evaluation of what such a model could do; no
part of the program uses it. {runs} runs with a wall analyser of {systems} systems; not official MLPerf results. Many
systems are one board under several names, so that `system` leaks: the second grouping ({hardware} pairs of
accelerator and CPU) is the one to believe. {folds} folds, whole groups held out. Ways and settings were chosen on 70 %
of the groups. Inputs: parts, task, framework, and samples a second beside what others do at the same task. Aim: 20 %
for a system unseen.

TDPs of accelerators and boards were typed in from memory of data sheets, after the range of watts of each had been
seen. Where a board has no accelerator with a name that guided the hand, so the lower half of the table (`told`)
flatters; the upper half does without the boards' (a watt a core instead).

{table}

The aim is reached with the boards' TDPs only. About 85 % of the rows are edge boards of which the file names neither a
TDP nor the board's other parts. The first line's errors are
{apart}.
Watts of other systems with the same accelerator or CPU as an input were tried and made it worse, on the groups chosen
on as elsewhere: few systems share parts by name. Who has measured a system at other tasks, and takes the median of
those, misses by {known:.1f} %: a reading of the machine is worth more than this model.
"""


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA)
    add_write(parser)
    asked = parser.parse_args()
    tell("mlperf", section(asked.data), asked.write)


if __name__ == "__main__":
    main()
