"""Fit the estimator of node power to SPECpower servers and write it where the package ships it.

    python tools/train_node_power_model.py [--data ../shared/data] [--out FILE] [--report docs/accuracy.md]

For idle watts and dynamic watts (full minus idle): robust ridge regression of log(watts a socket) on
`estimator.features`, once with the hardware's year and once without. The 90 % interval of each is the 5 and 95 %
quantile of out-of-fold errors (ten folds, a CPU model never in two of them). Rows with more than 64 sockets (two
micro-server chassis of 384 single-chip nodes) are left out: they are no servers of the kind asked about. Same data,
same bytes: figures are rounded to six digits and nothing depends on a clock.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from energy_orchestrator.analyze.estimator import MODEL_FILE, MODEL_VERSION, canonical_cpu, features

Floats = NDArray[np.float64]
ROOT = Path(__file__).parents[1]
SPEC_FILE = "ccf-coefficients/data/SPECpower-2026-03-09.csv"
CURVE_FILE = "load_curve/dynamic_power_fraction_by_load.csv"
FOLDS, RIDGE, HUBER, ROUNDS, MAX_SOCKETS = 10, 1.0, 1.345, 8, 64
RECENT = 2018
"""Hosts of today's virtual machines: servers published since."""
GUEST_WIDENING = 1.5
"""Assumed: hosts are sold with up to 1.5 times more threads than they have, and not all are sold."""
COLUMNS = ("full", "idle", "cores", "sockets", "threads", "mhz", "memory_gb", "year")
LOAD_YEARS = {"<=2012": (0, 2012), "2013-2017": (2013, 2017), "2018-2020": (2018, 2020), ">=2021": (2021, 9999)}


@dataclass(frozen=True)
class Servers:
    """Columns of the servers used."""

    cpu: list[str]
    full: Floats
    idle: Floats
    cores: Floats
    sockets: Floats
    threads: Floats
    mhz: Floats
    memory_gb: Floats
    year: Floats

    def rows(self, with_year: bool) -> Floats:
        """The design matrix."""
        return np.array(
            [
                features(
                    threads=self.threads[i],
                    cores=self.cores[i],
                    sockets=self.sockets[i],
                    mhz=self.mhz[i],
                    memory_gb=self.memory_gb[i],
                    cpu=self.cpu[i],
                    year=self.year[i] if with_year else None,
                )
                for i in range(len(self.cpu))
            ]
        )


def read_servers(file: Path) -> Servers:
    """All complete rows but the chassis of micro-servers."""
    found = []
    with file.open(encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            year = re.search(r"\d{4}", row["Published"])
            names = ("avg. watts @ 100%", "avg. watts @ active idle", "# Cores", "Chips", "Total Threads")
            texts = [row[name] for name in (*names, "Processor MHz", "Total Memory (GB)")]
            if year and all(texts) and float(row["Chips"]) <= MAX_SOCKETS:
                found.append(([float(text) for text in texts], float(year.group()), row["CPU Description"]))
    columns = np.array([[*numbers, year] for numbers, year, _ in found], dtype=np.float64).T
    numbers_of = dict(zip(COLUMNS, columns, strict=True))
    return Servers([canonical_cpu(cpu) for _, _, cpu in found], **numbers_of)


def robust_ridge(x: Floats, y: Floats) -> Floats:
    """Ridge with Huber weights; the first column is the intercept and is not shrunk."""
    weight: Floats = np.ones(len(y), dtype=np.float64)
    penalty = RIDGE * np.eye(x.shape[1])
    penalty[0, 0] = 0.0
    for _ in range(ROUNDS):
        solved = np.linalg.solve(x.T @ (x * weight[:, None]) + penalty, x.T @ (weight * y))
        beta = np.asarray(solved, dtype=np.float64)
        error = np.abs(y - x @ beta)
        limit = HUBER * 1.4826 * float(np.median(error))
        weight = np.asarray(np.minimum(1.0, limit / np.maximum(error, 1e-12)), dtype=np.float64)
    return beta


def standardised(rows: Floats) -> tuple[Floats, Floats, Floats]:
    """Columns with mean 0 and deviation 1, and an intercept before them."""
    mean, scale = rows.mean(axis=0), rows.std(axis=0)
    scale[scale == 0] = 1.0
    return np.column_stack([np.ones(len(rows)), (rows - mean) / scale]), mean, scale


def folds(cpus: list[str]) -> NDArray[np.int64]:
    """A fold for each CPU model, by a hash of its name: the same on every machine."""
    return np.array([zlib.crc32(cpu.encode()) % FOLDS for cpu in cpus])


def out_of_fold(rows: Floats, target: Floats, fold: NDArray[np.int64]) -> Floats:
    """Prediction of each row by a model that never saw its group; clipped to the range seen, as when shipped."""
    predicted = np.empty(len(target))
    for k in np.unique(fold):
        held = fold == k
        x, mean, scale = standardised(rows[~held])
        clipped = np.clip(rows[held], rows[~held].min(axis=0), rows[~held].max(axis=0))
        beta = robust_ridge(x, target[~held])
        predicted[held] = beta[0] + ((clipped - mean) / scale) @ beta[1:]
    return predicted


def digits(values: Any) -> Any:
    """Six significant digits, so that another BLAS gives the same file."""
    if isinstance(values, dict):
        return {key: digits(value) for key, value in values.items()}
    if isinstance(values, list | tuple | np.ndarray):
        return [digits(value) for value in values]
    return float(f"{values:.6g}") if isinstance(values, float | np.floating) else values


def fit(servers: Servers, with_year: bool) -> tuple[dict[str, Any], dict[str, Floats]]:
    """One model of both parts, and its out-of-fold predictions in watts."""
    rows, fold = servers.rows(with_year), folds(servers.cpu)
    x, mean, scale = standardised(rows)
    parts, held_out = {}, {}
    for part, watts in (("idle", servers.idle), ("dynamic", servers.full - servers.idle)):
        target = np.log(watts / servers.sockets)
        beta, predicted = robust_ridge(x, target), out_of_fold(rows, target, fold)
        error = np.quantile(target - predicted, [0.05, 0.95])
        parts[part] = {"intercept": beta[0], "coefficients": beta[1:], "log_error_90": error}
        held_out[part] = servers.sockets * np.exp(predicted)
    model = {"mean": mean, "scale": scale, "lowest": rows.min(axis=0), "highest": rows.max(axis=0), "parts": parts}
    return digits(model), held_out


def load_curves(file: Path) -> dict[str, Any]:
    """Share of dynamic power by load; 0 at rest and 1 at full load by definition."""
    with file.open(encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    curves = {}
    for name in ("all", *LOAD_YEARS):
        part = sorted((row for row in rows if row["hardware_year"] == name), key=lambda row: int(row["load_pct"]))
        curves[name] = {key: [0.0, *(float(row[key]) for row in part), 1.0] for key in ("mean", "p05", "p95")}
    return {"load": [k / 10 for k in range(11)], "years": LOAD_YEARS, "curves": curves}


def cpu_years(servers: Servers) -> dict[str, int]:
    """Year of the first result of each CPU: what a node's CPU name says of its age."""
    years: dict[str, int] = {}
    for cpu, year in zip(servers.cpu, servers.year, strict=True):
        years[cpu] = min(int(year), years.get(cpu, 9999))
    return dict(sorted(years.items()))


def spread(values: Floats) -> list[float]:
    """5, 50 and 95 %."""
    return [float(value) for value in np.quantile(values, [0.05, 0.5, 0.95])]


def train(data: Path) -> tuple[dict[str, Any], Servers, dict[str, dict[str, Floats]]]:
    """The document, the servers, and out-of-fold predictions by model."""
    servers = read_servers(data / SPEC_FILE)
    recent, dynamic = servers.year >= RECENT, servers.full - servers.idle
    with_year, held_with = fit(servers, True)
    without_year, held_without = fit(servers, False)
    per_thread = {name: spread((watts / servers.threads)[recent]) for name, watts in parts_of(servers.idle, dynamic)}
    whole = {name: spread((watts / servers.sockets * 2)[recent]) for name, watts in parts_of(servers.idle, dynamic)}
    document = {
        "version": MODEL_VERSION,
        "trained_on": {"file": Path(SPEC_FILE).name, "servers": len(servers.cpu), "cpus": len(set(servers.cpu))},
        "range": {
            "threads": [float(np.quantile(servers.threads, 0.01)), float(servers.threads.max())],
            "last_year": int(servers.year.max()),
        },
        "typical": {
            "threads": float(np.median((servers.threads / servers.sockets)[recent]) * 2),
            "threads_per_core": 2.0,
            "mhz": float(np.median(servers.mhz[recent])),
            "memory_gb_per_thread": float(np.median((servers.memory_gb / servers.threads)[recent])),
        },
        "with_year": with_year,
        "without_year": without_year,
        "watts_per_thread": {**per_thread, "widen": GUEST_WIDENING},
        "watts_per_server": whole,
        "load_curve": load_curves(data / CURVE_FILE),
        "cpu_years": cpu_years(servers),
    }
    return digits(document), servers, {"with_year": held_with, "without_year": held_without}


def parts_of(idle: Floats, dynamic: Floats) -> tuple[tuple[str, Floats], tuple[str, Floats]]:
    """The two parts that are predicted, by name."""
    return ("idle", idle), ("dynamic", dynamic)


def serialised(document: dict[str, Any]) -> str:
    """One key a line at the top, so that a difference can be read."""
    lines = [f"{json.dumps(key)}: {json.dumps(value, separators=(',', ':'))}" for key, value in document.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def main() -> None:
    """Train, write, and report where asked."""
    from node_power_report import report  # it imports this module

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--out", type=Path, default=ROOT / "src/energy_orchestrator/analyze" / MODEL_FILE)
    parser.add_argument("--report", type=Path)
    given = parser.parse_args()
    document, servers, held_out = train(given.data)
    given.out.write_text(serialised(document), encoding="utf-8")
    text = report(given.data, servers, held_out)
    print(text)
    if given.report:
        before = given.report.read_text(encoding="utf-8") if given.report.is_file() else ""
        _, mark, sections = before.partition("<!-- begin: ")
        given.report.write_text(f"{text}\n{mark}{sections}" if mark else text, encoding="utf-8")


if __name__ == "__main__":
    main()
