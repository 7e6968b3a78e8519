"""Zeus's published sweeps (ml-energy/zeus @ 75a8b9398034, Apache-2.0) as inputs of the strategies: one GPU each of A40,
P100, RTX 6000 and V100, six networks, many batch sizes and power limits. An operation is an epoch."""

from __future__ import annotations

import csv
from collections import defaultdict
from pathlib import Path

from energy_orchestrator.model.fleet import BatchPoint, CapPoint, PowerSweep

FOLDER = Path(__file__).parents[2] / "shared/data/zeus/examples/research_reproducibility/zeus_nsdi23/trace"
GPUS = ("a40", "p100", "rtx6000", "v100")


def power_sweeps(folder: Path = FOLDER, max_slowdown: float = 0.1) -> list[PowerSweep]:
    """Every network, batch size and optimizer on every GPU, running at its highest limit now."""
    found = []
    for gpu in GPUS:
        for name, rows in _rows(folder, gpu, ("dataset", "network", "batch_size", "optimizer")).items():
            points = {float(row["power_limit"]): row for row in rows}
            if len(points) < 2:
                continue
            found.append(
                PowerSweep(
                    workload="/".join(name),
                    node=gpu,
                    limit_watts_now=max(points),
                    max_slowdown=max_slowdown,
                    points=tuple(
                        CapPoint(
                            limit_watts=limit,
                            watts=float(row["average_power"]),
                            seconds_per_operation=float(row["time_per_epoch"]),
                        )
                        for limit, row in sorted(points.items())
                    ),
                )
            )
    return found


def batch_sweeps(folder: Path = FOLDER) -> dict[tuple[str, ...], list[BatchPoint]]:
    """GPU, network and optimizer at the highest limit -> J an epoch by batch size; at least four sizes."""
    found = {}
    for gpu in GPUS:
        for name, rows in _rows(folder, gpu, ("dataset", "network", "optimizer")).items():
            highest = max(float(row["power_limit"]) for row in rows)
            points = {
                int(row["batch_size"]): float(row["average_power"]) * float(row["time_per_epoch"])
                for row in rows
                if float(row["power_limit"]) == highest
            }
            if len(points) >= 4:
                found[gpu, *name] = [
                    BatchPoint(batch=size, joules_per_operation=joules) for size, joules in sorted(points.items())
                ]
    return found


def _rows(folder: Path, gpu: str, key: tuple[str, ...]) -> dict[tuple[str, ...], list[dict[str, str]]]:
    found: dict[tuple[str, ...], list[dict[str, str]]] = defaultdict(list)
    with (folder / f"summary_power_{gpu}.csv").open(encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            found[tuple(row[name] for name in key)].append(row)
    return found
