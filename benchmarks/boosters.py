"""XGBoost against LightGBM for the estimator's trees, on the same folds: figures of docs/adr/0012.

    pip install lightgbm; python -m benchmarks.boosters [--data ../shared/data]

Ten folds with whole CPU models held out, the same columns, monotone constraints, depth, rounds and rate. LightGBM's
own settings are the best of a small grid on the development CPUs, for idle and for full; the other CPUs have no say.
Told for trees alone and for the mean with the Gaussian process, which is what the estimator ships.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import itertools
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from benchmarks.report import DATA
from energy_orchestrator.analyze.estimator.hardware import COLUMNS
from energy_orchestrator.analyze.estimator.regression import PARTS, SMOOTH
from energy_orchestrator.analyze.estimator.training import (
    DEPTH,
    RATE,
    RISING,
    ROUNDS,
    TREE_COLUMNS,
    development,
    fit,
    groups,
)
from energy_orchestrator.services.estimator_files import TrainingData, read_training_data

Floats = NDArray[np.float64]
GRID = [
    {"min_data_in_leaf": leaf, "lambda_l2": l2, "feature_fraction": part}
    for leaf, l2, part in itertools.product((4, 8, 16), (0.0, 3.0), (0.7, 1.0))
]


def lightgbm_predicts(rows: Floats, target: Floats, asked: Floats, part: str, settings: dict[str, Any]) -> Floats:
    """Trained on rows, asked about others."""
    import lightgbm

    names = TREE_COLUMNS[part]
    columns = [COLUMNS.index(name) for name in names]
    fixed = {
        **{"objective": "regression", "num_leaves": 2**DEPTH, "max_depth": DEPTH, "learning_rate": RATE},
        **{"bagging_fraction": 0.7, "bagging_freq": 1, "num_threads": 1, "seed": 1, "deterministic": True},
        **{
            "force_row_wise": True,
            "verbose": -1,
            "monotone_constraints": [int(name in RISING[part]) for name in names],
        },
    }
    data = lightgbm.Dataset(rows[:, columns], target, free_raw_data=False)
    made = lightgbm.train({**fixed, **settings}, data, ROUNDS)
    return np.asarray(made.predict(asked[:, columns]), dtype=np.float64)


def logs_held_out(data: TrainingData) -> tuple[dict[tuple[str, str, int], Floats], float]:
    """Logarithm of watts by library, part and place in the grid, and the seconds of one fit of LightGBM."""
    servers, fold = data.servers, groups(data.servers.machines)
    made: dict[tuple[str, str, int], Floats] = {}
    seconds = 0.0
    truth = {"idle": np.log(servers.idle), "full": np.log(servers.full)}
    for k in track(np.unique(fold), "folds"):
        rest, held = servers.take(fold != k), servers.take(fold == k)
        model = fit(rest, data.tdp_watts)
        of_rest, of_held = model.predict(rest.machines), model.predict(held.machines)
        base_rest = np.log(rest.machines.sockets * of_rest.tdp)
        base_held = np.log(held.machines.sockets * of_held.tdp)
        asked = np.clip(of_held.rows, model.low, model.high)
        for part in PARTS:
            smooth = model.process[part].predict(of_held.rows)[0]
            answers = {("xgboost", 0): model.trees[part].predict(asked)}
            target = truth[part][fold != k] - base_rest
            for place, settings in enumerate(GRID):
                start = time.perf_counter()
                answers["lightgbm", place] = lightgbm_predicts(of_rest.rows, target, asked, part, settings)
                seconds += time.perf_counter() - start
            for (library, place), value in answers.items():
                mean = (1 - SMOOTH[part]) * value + SMOOTH[part] * smooth
                for name, log in ((library, value), (f"{library} + process", mean)):
                    whole = made.setdefault((name, part, place), np.empty(len(fold)))
                    whole[fold == k] = base_held + log
    return made, seconds / len(GRID) / len(PARTS) / len(np.unique(fold))


def mape(log: Floats, truth: Floats, rows: NDArray[np.bool_]) -> float:
    """In percent."""
    return 100 * float(np.mean(np.abs(np.exp(log[rows]) / truth[rows] - 1)))


def import_seconds(library: str) -> float:
    """Best of five fresh interpreters, an empty one taken off; numpy and scipy count for neither."""

    def run(code: str) -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", f"import numpy, scipy.sparse; {code}"], check=True)
        return time.perf_counter() - start

    return min(run(f"import {library}") for _ in range(5)) - min(run("pass") for _ in range(5))


def megabytes(distribution: str) -> float:
    """Of its installed files, without what it requires."""
    files = importlib.metadata.files(distribution) or []
    places = [Path(str(file.locate())) for file in files]
    return sum(place.stat().st_size for place in places if place.is_file()) / 1e6


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA)
    data = read_training_data(parser.parse_args().data)
    servers = data.servers
    chosen_on = development(servers.machines)
    logs, seconds = logs_held_out(data)
    truth = {"idle": servers.idle, "full": servers.full}
    best = {
        part: min(range(len(GRID)), key=lambda place: mape(logs["lightgbm", part, place], truth[part], chosen_on))
        for part in PARTS
    }
    print("| trees | watts | MAPE %, all | MAPE %, the other 30 % of CPUs |\n|---|---|---|---|")
    for library in ("xgboost", "lightgbm", "xgboost + process", "lightgbm + process"):
        for part in PARTS:
            log = logs[library, part, 0 if library.startswith("xgboost") else best[part]]
            every, untouched = (mape(log, truth[part], rows) for rows in (np.ones(len(log), dtype=bool), ~chosen_on))
            print(f"| {library} | {part} | {every:.2f} | {untouched:.2f} |")
    print(f"\nLightGBM's settings: { ({part: GRID[place] for part, place in best.items()}) }; {seconds:.2f} s a fit")
    for library, distribution in (("xgboost", "xgboost-cpu"), ("lightgbm", "lightgbm")):
        version = importlib.metadata.version(distribution)
        print(f"{distribution} {version}: {megabytes(distribution):.1f} MB, import {import_seconds(library):.2f} s")


if __name__ == "__main__":
    main()
