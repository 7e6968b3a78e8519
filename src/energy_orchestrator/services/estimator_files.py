"""The files of the estimator: the data that it is trained on, and the model file. The arithmetic is in `analyze`."""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from energy_orchestrator.analyze.estimator.cpu_names import cpu_key, vendor
from energy_orchestrator.analyze.estimator.hardware import Machines, righted
from energy_orchestrator.analyze.estimator.model import PowerModel, default_model, of_text
from energy_orchestrator.analyze.estimator.training import Servers
from energy_orchestrator.errors import NotFoundError

SPEC_FILE = "ccf-coefficients/data/SPECpower-2026-03-09.csv"
CURVE_FILE = "load_curve/dynamic_power_fraction_by_load.csv"
TDP_FILE = "codecarbon/codecarbon/data/hardware/cpu_power.csv"
MAX_SOCKETS = 64
"""Two chassis of 384 single-chip nodes are left out: no servers of the kind asked about."""
_LISTED = re.compile(r"xeon|epyc|opteron|ryzen|threadripper|core|pentium|celeron|^\d{4}")
_COLUMNS = {
    "sockets": "Chips",
    "cores": "# Cores",
    "threads": "Total Threads",
    "mhz": "Processor MHz",
    "memory_gb": "Total Memory (GB)",
    "idle": "avg. watts @ active idle",
    "full": "avg. watts @ 100%",
}


@dataclass(frozen=True, slots=True)
class TrainingData:
    """Everything that training reads, and the checksums of its files."""

    servers: Servers
    tdp_watts: Mapping[str, float]
    load_statistics: list[dict[str, str]]
    sha256: Mapping[str, str]


def read_training_data(folder: Path) -> TrainingData:
    """From the shared data folder; NotFoundError names the file that is missing."""
    files = {name: folder / name for name in (SPEC_FILE, CURVE_FILE, TDP_FILE)}
    for name, file in files.items():
        if not file.is_file():
            raise NotFoundError(
                f"no {name} there", where=str(folder), next_step="name the folder of the data: --data DIR"
            )
    sums = {name: hashlib.sha256(file.read_bytes()).hexdigest() for name, file in files.items()}
    statistics = _rows(files[CURVE_FILE])
    return TrainingData(read_servers(files[SPEC_FILE]), read_tdp(files[TDP_FILE]), statistics, sums)


def read_servers(file: Path) -> Servers:
    """All complete rows but the chassis of micro-servers, memory in GB and threads as the cores allow."""
    found, names, years = [], [], []
    for row in _rows(file):
        year = re.search(r"\d{4}", row["Published"])
        if year and all(row[name] for name in _COLUMNS.values()) and float(row["Chips"]) <= MAX_SOCKETS:
            found.append([float(row[name]) for name in _COLUMNS.values()])
            names.append(row["CPU Description"])
            years.append(float(year.group()))
    columns = dict(zip(_COLUMNS, np.array(found, dtype=np.float64).T, strict=True))
    idle, full = columns.pop("idle"), columns.pop("full")
    machines = Machines(cpu=names, year=np.array(years), tdp_watts=np.full(len(names), np.nan), **columns)
    return Servers(righted(machines), idle, full)


def read_tdp(file: Path) -> dict[str, float]:
    """Watts by `cpu_key`, of CPUs that a server or a workstation may have; lines that are no number are left out."""
    table: dict[str, float] = {}
    for row in _rows(file):
        name = row["Name"] if vendor(row["Name"]) else f"AMD {row['Name']}"
        if _LISTED.search(row["Name"].lower()) and re.fullmatch(r"\d+(\.\d+)?", row["TDP"]) and float(row["TDP"]) > 0:
            table.setdefault(cpu_key(name), float(row["TDP"]))
    return table


def read_model(file: Path | None) -> PowerModel:
    """The model of a file, or the shipped one."""
    if file is None:
        return default_model()
    if not file.is_file():
        raise NotFoundError("no such model file", where=str(file), next_step="train one: eo estimator train --out FILE")
    return of_text(file.read_text(encoding="utf-8", errors="replace"), str(file))


def _rows(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))
