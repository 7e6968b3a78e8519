"""kepler_nx12, one node that measured itself every 3 s for some hours: what calibration, idle and telemetry share."""

from __future__ import annotations

import csv
from pathlib import Path

from energy_orchestrator.analyze.estimator import NodeHardware

FOLDER = "kepler_nx12"
NODE = NodeHardware(
    threads=32, cores=16, sockets=2, mhz=3200.0, cpu_model="Intel(R) Xeon(R) CPU E5-2667 v3 @ 3.20GHz", virtual=False
)
"""The CPU as its origin names it; two sockets and hyper-threading are the usual build of that server, not in the data.
Memory is unknown."""


def rows(data: Path, meter: str) -> list[dict[str, float]]:
    """In the order of time: counters, and of the meter `acpi` the `platform_power`, of `rapl` the watts by domain."""
    with (data / FOLDER / f"preprocess_abs_default_{meter}_Basic.csv").open(encoding="utf-8") as lines:
        read = [{name: float(cell) for name, cell in row.items()} for row in csv.DictReader(lines)]
    return sorted(read, key=lambda row: row["timestamp"])
