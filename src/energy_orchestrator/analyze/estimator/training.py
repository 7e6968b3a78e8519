"""Fit the estimator of node power: columns of servers in, the model's document out. Same data, same bytes.

Idle and full watts, each as a ratio to sockets x TDP, are fitted by boosted trees (XGBoost, exact splits, one thread,
a fixed seed) and by a Gaussian process; `regression.py` takes their mean. Errors for the intervals come from ten folds
with whole CPU models held out. Trees' settings and the process's length scales were chosen on 70 % of the CPU models
(`development`). For errors the other 30 % are untouched; for coverage they are not, since the groups of the intervals
were chosen after coverage over all CPU models had been seen. docs/accuracy.md gives both.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from energy_orchestrator.analyze.estimator.cpu_names import cpu_key, vendor
from energy_orchestrator.analyze.estimator.hardware import (
    COLUMNS,
    Machines,
    design,
    generations,
    known_tdp,
    tdp_design,
)
from energy_orchestrator.analyze.estimator.intervals import Errors, Intervals, conformal, half_width
from energy_orchestrator.analyze.estimator.model import MODEL_VERSION, digest
from energy_orchestrator.analyze.estimator.process import Process
from energy_orchestrator.analyze.estimator.readings import Z_90, Belief, prior
from energy_orchestrator.analyze.estimator.regression import PARTS, Linear, Prediction, Regression, socket_tdp
from energy_orchestrator.analyze.estimator.shape import GROUPS, shapes
from energy_orchestrator.analyze.estimator.tdp_list import TdpList
from energy_orchestrator.analyze.estimator.trees import Trees, of_xgboost

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

Each = Callable[[Callable[[int], Any], Iterable[int]], Iterable[Any]]
"""`map`, or what does the same on other machines."""

FOLDS = 10
DEPTH, ROUNDS, RATE = 3, 250, 0.08
SETTINGS = {
    "objective": "reg:squarederror",
    "tree_method": "exact",
    "max_depth": DEPTH,
    "eta": RATE,
    "subsample": 0.7,
    "colsample_bytree": 0.7,
    "min_child_weight": 4,
    "lambda": 3.0,
    "nthread": 1,
    "seed": 1,
}
TREE_COLUMNS = {
    "idle": [name for name in COLUMNS if name != "tdp_core"],
    "full": [name for name in COLUMNS if not name.startswith("tdp") and name != "memory_tdp"],
}
"""Full watts are proportional to TDP by construction, all else alike: the trees see no TDP."""
RISING = {"idle": ("memory_thread", "memory_tdp"), "full": ("cores", "smt", "memory_thread")}
LENGTHS = {
    "idle": dict.fromkeys(COLUMNS, 2.0),
    "full": dict(zip(COLUMNS, (1.7, 2.1, 30, 19, 5.8, 1.1, 30, 1.6, 0.34, 8.3, 3.4, 12, 4.5), strict=True)),
}
"""In standard deviations. Full: the largest marginal likelihood on the development CPUs; idle: best of seven tried."""
NOISE = {"idle": 0.1, "full": 0.107}
RECENT = 2018
"""Hosts of today's virtual machines: servers published since."""
RECENT_SPAN = 4
"""Years that count as recent where all results are older (as when a shift in time is scored)."""
BACKTESTS, BACKTEST_YEARS, LEAST_SERVERS = (2, 4, 6), 3, 100
"""Years before the last, how far each looks ahead, and the fewest servers that one is fitted to."""
GUEST_WIDENING = 1.5
"""Assumed: hosts are sold with up to 1.5 times more threads than they have, and not all are sold."""


@dataclass(frozen=True, slots=True)
class Servers:
    """Measured machines: watts at rest and at full load."""

    machines: Machines
    idle: Floats
    full: Floats

    def take(self, rows: Bools) -> Servers:
        """Some of them."""
        return Servers(self.machines.take(rows), self.idle[rows], self.full[rows])


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Predictions of machines whose CPU model was held out, with the TDP looked up and with it guessed."""

    known: Prediction
    guessed: Prediction


def groups(machines: Machines, count: int = FOLDS, salt: str = "") -> NDArray[np.int64]:
    """A fold for each CPU model, by a hash of its name: the same on every machine."""
    return np.array([zlib.crc32((salt + cpu_key(name)).encode()) % count for name in machines.cpu])


def development(machines: Machines) -> Bools:
    """The CPU models on which settings were chosen; the others are for the last word on errors (not on coverage)."""
    return np.array([zlib.crc32(("dev" + cpu_key(name).split(":")[1]).encode()) % 10 < 7 for name in machines.cpu])


def fit(servers: Servers, tdp_table: Mapping[str, float]) -> Regression:
    """Both ends fitted to all servers given."""
    machines = servers.machines
    born, _ = generations(machines, float(np.nanmax(machines.year)))
    latest = float(born.max())
    listed = TdpList(tdp_table)
    linear = _tdp_of(machines, known_tdp(machines, tdp_table), latest)
    _, _, tdp = socket_tdp(machines, listed, linear, latest)
    rows = design(machines, tdp, latest)
    base = np.log(machines.sockets * tdp)
    targets = {"idle": np.log(servers.idle) - base, "full": np.log(servers.full) - base}
    trees = {part: _boosted(rows, targets[part], part) for part in PARTS}
    process = {part: _process(rows, targets[part], part) for part in PARTS}
    return Regression(linear, trees, process, rows.min(axis=0), rows.max(axis=0), latest, listed)


def held_out(
    servers: Servers, tdp_table: Mapping[str, float], tick: Callable[[], None] = lambda: None, each: Each = map
) -> HeldOut:
    """Each machine's prediction by a model that never saw its CPU. `each` is where the folds are fitted: one after the
    other, or wherever a cluster has room."""
    fold = groups(servers.machines)
    found = []
    for part in each(partial(_held_out_fold, servers, tdp_table), np.unique(fold).tolist()):
        found.append(part)
        tick()
    order = np.argsort(np.concatenate([part[0] for part in found]))
    return HeldOut(_joined([part[1] for part in found], order), _joined([part[2] for part in found], order))


def _held_out_fold(
    servers: Servers, tdp_table: Mapping[str, float], k: int
) -> tuple[NDArray[np.intp], Prediction, Prediction]:
    fold = groups(servers.machines)
    model, held = fit(servers.take(fold != k), tdp_table), servers.machines.take(fold == k)
    bare = replace(model, tdp_list=TdpList({}))
    unknown = replace(held, tdp_watts=np.full(len(held), np.nan))
    return np.flatnonzero(fold == k), model.predict(held), bare.predict(unknown)


def calibrated(servers: Servers, out: HeldOut) -> Intervals:
    """Conformal intervals from predictions held out."""

    def errors(prediction: Prediction, rows: Bools) -> Errors:
        idle, full = np.log(servers.idle) - prediction.log_idle, np.log(servers.full) - prediction.log_full
        recent = prediction.recent & prediction.tdp_guessed
        return Errors(idle[rows], full[rows], prediction.likeness[rows], prediction.log_full[rows], recent[rows])

    listed = ~out.known.tdp_guessed
    made = conformal(errors(out.known, listed), errors(out.guessed, np.ones_like(listed)))
    return replace(made, after_reading=_after_reading(servers, out.known, made))


def _after_reading(servers: Servers, prediction: Prediction, made: Intervals) -> float:
    """How much wider than the filter says the interval after one reading must be: idle read, full asked, and back."""
    widths = made.half_widths(prediction)
    state, covariance = prior(prediction.log_idle, prediction.log_full, *widths, made.together)
    belief = Belief(state, covariance, lambda load: (load, np.zeros_like(load)))
    scores = []
    for load, read, asked in ((0.0, servers.idle, servers.full), (1.0, servers.full, servers.idle)):
        after = belief.with_reading(np.full(len(read), load), read)
        watts, sigma = after.watts(np.full(len(read), 1.0 - load))
        scores.append(np.log(asked / watts) / (Z_90 * sigma))
    return half_width(np.concatenate(scores))


def with_newer(intervals: Intervals, servers: Servers, tdp_table: Mapping[str, float]) -> Intervals:
    """With the width for machines newer than all these, from what earlier models missed of what came after them."""
    year, cpus = servers.machines.year, np.array([cpu_key(name) for name in servers.machines.cpu])
    missed = []
    for back in BACKTESTS:
        last = year.max() - back
        old = year <= last
        new = (year > last) & (year <= last + BACKTEST_YEARS) & ~np.isin(cpus, cpus[old])
        if old.sum() >= LEAST_SERVERS and new.any():
            later = servers.take(new)
            found = fit(servers.take(old), tdp_table).predict(later.machines)
            missed.append((np.log(later.idle) - found.log_idle, np.log(later.full) - found.log_full))
    if not missed:
        return intervals
    return replace(intervals, newer=np.array([half_width(np.concatenate(part)) for part in zip(*missed, strict=True)]))


def train(
    servers: Servers,
    tdp_table: Mapping[str, float],
    load_statistics: Sequence[Mapping[str, str]],
    sources: Mapping[str, str],
    tick: Callable[[], None] = lambda: None,
    each: Each = map,
) -> tuple[dict[str, Any], HeldOut]:
    """The model's document, and the predictions held out that its intervals rest on.

    Args:
        servers: complete machines but for the TDP.
        tdp_table: watts by `cpu_key`.
        load_statistics: rows of the load curve's file.
        sources: checksum of each file by its name.
        tick: called after each fold.
        each: where the folds are fitted; the answers come in the order of the folds.
    """
    out = held_out(servers, tdp_table, tick, each)
    machines, dynamic = servers.machines, servers.full - servers.idle
    recent = machines.year >= min(RECENT, machines.year.max() - RECENT_SPAN)
    per = {"watts_per_thread": machines.threads, "watts_per_server": machines.sockets / 2}
    rough = {
        name: {"idle": _spread((servers.idle / by)[recent]), "dynamic": _spread((dynamic / by)[recent])}
        for name, by in per.items()
    }
    document = {
        "version": MODEL_VERSION,
        "trained_on": {"servers": len(machines), "cpus": len(set(map(cpu_key, machines.cpu))), "sha256": dict(sources)},
        "range": {
            "threads": [float(np.quantile(machines.threads, 0.01)), float(machines.threads.max())],
            "last_year": int(machines.year.max()),
        },
        "typical": {
            "threads": float(np.median((machines.threads / machines.sockets)[recent]) * 2),
            "threads_per_core": 2.0,
            "mhz": float(np.median(machines.mhz[recent])),
            "memory_gb_per_thread": float(np.median((machines.memory_gb / machines.threads)[recent])),
        },
        "intervals": with_newer(calibrated(servers, out), servers, tdp_table).document(),
        "shapes": shapes(load_statistics, amd_shares(machines)).document(),
        "watts_per_thread": {**rough["watts_per_thread"], "widen": GUEST_WIDENING},
        "watts_per_server": rough["watts_per_server"],
        "tdp_watts": dict(sorted(tdp_table.items())),
        "regression": fit(servers, tdp_table).document(),
    }
    rounded: dict[str, Any] = digits(document)
    return {"sha256": digest(rounded), **rounded}, out


def amd_shares(machines: Machines) -> dict[str, float]:
    """Part of the servers that are AMD's, by the load statistics' groups of years."""
    amd = np.array([vendor(name) == "amd" for name in machines.cpu])
    bounds = {"<=2012": (0, 2012), "2013-2017": (2013, 2017), "2018-2020": (2018, 2020), ">=2021": (2021, 9999)}
    mine = {group: (machines.year >= bounds[group][0]) & (machines.year <= bounds[group][1]) for group in GROUPS}
    return {group: float(amd[rows].mean()) if rows.any() else float(amd.mean()) for group, rows in mine.items()}


def digits(values: Any) -> Any:
    """Plain lists; floats of six significant digits (trees round their own), so that another BLAS gives the same."""
    if isinstance(values, dict):
        return {key: value if key in ("threshold", "leaf") else digits(value) for key, value in values.items()}
    if isinstance(values, list | tuple | np.ndarray):
        return [digits(value) for value in values]
    return float(f"{values:.6g}") if isinstance(values, float | np.floating) else values


def serialised(document: Mapping[str, Any]) -> str:
    """One key a line at the top, so that a difference can be read."""
    lines = [f"{json.dumps(key)}: {json.dumps(value, separators=(',', ':'))}" for key, value in document.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _boosted(rows: Floats, target: Floats, part: str) -> Trees:
    import xgboost  # wanted by training only (docs/adr/0012)

    names = TREE_COLUMNS[part]
    columns = np.array([COLUMNS.index(name) for name in names])
    rising = "(" + ",".join(str(int(name in RISING[part])) for name in names) + ")"
    data = xgboost.DMatrix(rows[:, columns], target)
    booster = xgboost.train({**SETTINGS, "monotone_constraints": rising}, data, ROUNDS)
    made = of_xgboost(json.loads(bytes(booster.save_raw("json"))), DEPTH)
    return Trees(made.base, columns[made.column], made.threshold, made.leaf)


def _process(rows: Floats, target: Floats, part: str) -> Process:
    deviation = rows.std(axis=0)
    lengths = np.array([LENGTHS[part][name] for name in COLUMNS])
    scale = np.asarray(digits(np.where(deviation > 0, deviation, 1.0) * lengths))
    points = np.asarray(digits(rows / scale))
    squares = ((points[:, None, :] - points[None, :, :]) ** 2).sum(axis=2)
    kernel = np.exp(-0.5 * squares) + NOISE[part] * np.eye(len(points))
    mean = float(f"{target.mean():.6g}")
    return Process(scale, points, np.linalg.solve(kernel, target - mean), mean)


def _tdp_of(machines: Machines, known: Floats, latest: float) -> Linear:
    rows, listed = tdp_design(machines, latest), np.isfinite(known)
    mean, scale = rows[listed].mean(axis=0), np.maximum(rows[listed].std(axis=0), 1e-9)
    scaled = (rows[listed] - mean) / scale
    target = np.log(known[listed])
    weights = np.linalg.solve(scaled.T @ scaled + np.eye(scaled.shape[1]), scaled.T @ (target - target.mean())) / scale
    return Linear(float(target.mean() - mean @ weights), weights, rows[listed].min(axis=0), rows[listed].max(axis=0))


def _spread(values: Floats) -> list[float]:
    return [float(value) for value in np.quantile(values, [0.05, 0.5, 0.95])]


def _joined(parts: Sequence[Prediction], order: NDArray[np.intp]) -> Prediction:
    names = Prediction.__dataclass_fields__
    return Prediction(**{name: np.concatenate([getattr(part, name) for part in parts])[order] for name in names})
