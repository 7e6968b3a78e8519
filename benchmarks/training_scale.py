"""The estimator trained by one worker and by two, on a Dask cluster of processes on this machine.

    python -m benchmarks.training_scale [--data ../shared/data] [--write]

First as `eo estimator train --workers` does it: folds are tasks, and the model must be the same byte for byte. Then
what was refused for it (docs/adr/0015): `xgboost.dask`, which splits the rows of one fit, with histograms since it has
no exact trees; how far its predictions with two workers are from those with one. Full-load trees on the real SPECpower
rows, trained on CPU models of nine folds and asked about the tenth.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import machine
from benchmarks.report import DATA, add_write, tell
from energy_orchestrator.analyze.estimator.hardware import COLUMNS, design, generations, known_tdp
from energy_orchestrator.analyze.estimator.training import RISING, ROUNDS, SETTINGS, TREE_COLUMNS, groups
from energy_orchestrator.services.dask_cluster import mapping
from energy_orchestrator.services.estimator_files import TrainingData, read_training_data
from energy_orchestrator.services.estimator_runs import trained

Floats = NDArray[np.float64]


def by_folds(data: TrainingData, workers: int) -> tuple[str, float, float]:
    """Digest of the model, seconds without the start of the cluster, and CPU seconds with it."""
    before = _cpu_seconds()
    with mapping(workers) as each:
        list(each(_warm, range(2 * workers)))
        begun = time.perf_counter()
        text, _ = trained(data, each=each)
        wall = time.perf_counter() - begun
    return hashlib.sha256(text.encode()).hexdigest(), wall, _cpu_seconds() - before


def _cpu_seconds() -> float:
    """Of this process and of the workers that have ended."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def by_rows(data: TrainingData, workers: int, **settings: Any) -> Floats:
    """Logarithm of full watts of servers held out, by trees that `workers` fitted together."""
    import xgboost
    from dask.array import from_array
    from distributed import Client, LocalCluster
    from xgboost import dask

    machines = data.servers.machines
    latest = float(generations(machines, float(np.nanmax(machines.year)))[0].max())
    known = known_tdp(machines, data.tdp_watts)
    tdp = np.where(np.isfinite(known), known, np.nanmedian(known))
    rows = design(machines, tdp, latest)[:, [COLUMNS.index(name) for name in TREE_COLUMNS["full"]]]
    target = np.log(data.servers.full / (machines.sockets * tdp))
    held = groups(machines) == 0
    rising = "(" + ",".join(str(int(name in RISING["full"])) for name in TREE_COLUMNS["full"]) + ")"
    asked = {**SETTINGS, "tree_method": "hist", "max_bin": 2048, "monotone_constraints": rising, **settings}
    train, wanted = rows[~held], target[~held]
    size = -(-len(train) // workers)
    with (
        LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None, silence_logs=50) as cluster,
        Client(cluster) as it,
    ):
        parts = from_array(train, chunks=(size, -1)), from_array(wanted, chunks=size)
        made = dask.train(it, asked, dask.DaskDMatrix(it, *parts), num_boost_round=ROUNDS)
        return np.asarray(made["booster"].predict(xgboost.DMatrix(rows[held])), dtype=np.float64)


def _warm(number: int) -> int:
    import xgboost

    return number + len(xgboost.__version__)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    add_write(parser)
    options = parser.parse_args()
    data = read_training_data(options.data)
    (one, alone, cpu_alone), (two, both, cpu_both) = by_folds(data, 1), by_folds(data, 2)
    if one != two:
        raise SystemExit("two workers and one do not give the same model")
    lines = []
    for name, settings in (("as trained (subsample 0.7)", {}), ("no subsampling", {"subsample": 1.0})):
        first, again, second = (by_rows(data, workers, **settings) for workers in (1, 1, 2))
        apart, noise = (np.abs(np.expm1(other - first)) for other in (second, again))
        lines.append(
            f"| `xgboost.dask`, {name} | {100 * np.median(apart):.2g} % | {100 * apart.max():.2g} % "
            f"| {100 * noise.max():.2g} % |"
        )
    on, held = machine.describe(), int((groups(data.servers.machines) == 0).sum())
    tell(
        "training scale",
        f"""## Training by one worker and by two

Made by `python -m benchmarks.training_scale --write` on {on["date"]}: {on["cpus"]} CPUs
({on["cpu"]}), load {os.getloadavg()[0]:.0f}. `eo estimator train`: one worker {alone:.0f} s ({cpu_alone:.0f} s of CPU),
two (Dask) {both:.0f} s without the start of the cluster ({cpu_both:.0f} s of CPU with it); the same model byte for byte
(sha256 {one[:12]}...). By the clock it also says how busy the machine was.

What was refused for it splits the rows of one fit. Predicted watts of {held} servers held out, two workers against one:

| way | apart, median | at most | one against one again, at most |
|---|---|---|---|
| folds as tasks (what `eo estimator train --workers` does) | 0 | 0 | 0 |
{chr(10).join(lines)}
""",
        options.write,
    )


if __name__ == "__main__":
    main()
