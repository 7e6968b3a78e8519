"""How good the estimator is on what it never saw: figures for docs/accuracy.md, each beside a simple baseline.

SPECpower's file here has two wall readings of a server, at rest and at full load, so these two are scored truthfully.
Loads between are scored on simulated curves: each server keeps its measured ends, and its shape is drawn from the
published spread of 619 servers: the model's own curve is the mean of that spread, so those scores flatter it. Every
function takes the servers and predictions held out, and returns rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from energy_orchestrator.analyze.estimator.hardware import generations, kinds, known_tdp
from energy_orchestrator.analyze.estimator.intervals import Intervals
from energy_orchestrator.analyze.estimator.model import PowerModel
from energy_orchestrator.analyze.estimator.readings import READING_ERROR, Z_90, Belief, after_all, prior
from energy_orchestrator.analyze.estimator.regression import PARTS, Prediction
from energy_orchestrator.analyze.estimator.shape import GROUPS, LOADS, Shapes, family_of
from energy_orchestrator.analyze.estimator.training import HeldOut, Servers, calibrated, groups, train

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

SHIFTS = ((2016, 2019), (2018, 2021), (2020, 2022), (2022, 2026))
"""Trained to, tested to. The widening for newer machines was set after all four had been seen."""
SIMULATION_SEED = 20260323


@dataclass(frozen=True, slots=True)
class Score:
    """Relative errors of one way on one set of machines, in percent; coverage None for a way without intervals."""

    way: str
    watts: str
    n: int
    mape: float
    median: float
    bias: float
    inside: float | None = None
    worst_tenth: float | None = None


def score(
    way: str, watts: str, truth: Floats, value: Floats, inside: Bools | None = None, by: Sequence[Floats] = ()
) -> Score:
    """Figures of one way. `by` are columns along which the worst tenth of machines is sought."""
    error = 100 * (value / truth - 1)
    tenths = [part for column in by for part in np.array_split(np.argsort(column, kind="stable"), 10)]
    worst = min((float(inside[part].mean()) for part in tenths), default=None) if inside is not None else None
    return Score(
        way,
        watts,
        len(truth),
        float(np.abs(error).mean()),
        float(np.median(np.abs(error))),
        float(error.mean()),
        None if inside is None else 100 * float(inside.mean()),
        None if worst is None else 100 * worst,
    )


def unseen_cpus(servers: Servers, out: HeldOut, listed_only: Bools | None = None) -> list[Score]:
    """CPU model unseen, nothing measured: the model with the TDP looked up and guessed, and two baselines."""
    rows = np.ones(len(servers.idle), dtype=bool) if listed_only is None else listed_only
    found = []
    for part, truth in (("idle", servers.idle), ("full", servers.full)):
        for way, prediction in (("TDP looked up", out.known), ("TDP guessed", out.guessed)):
            value = np.exp(prediction.log_idle if part == "idle" else prediction.log_full)
            inside = cross_covered(servers, out, part, guessed=way == "TDP guessed")
            by = [column[rows] for column in (servers.machines.threads, servers.machines.year, servers.full)]
            found.append(score(way, part, truth[rows], value[rows], inside[rows], by))
        for way, size in (
            ("TDP x sockets x median ratio (baseline)", out.known.tdp * servers.machines.sockets),
            ("watts a thread (baseline)", servers.machines.threads),
        ):
            value = proportional(truth, size, groups(servers.machines))
            found.append(score(way, part, truth[rows], value[rows]))
    return found


def proportional(truth: Floats, size: Floats, fold: NDArray[np.int64]) -> Floats:
    """The simple way: the median ratio of the other folds."""
    value = np.empty(len(truth))
    for k in np.unique(fold):
        held = fold == k
        value[held] = np.median((truth / size)[~held]) * size[held]
    return value


def cross_covered(servers: Servers, out: HeldOut, part: str, *, guessed: bool) -> Bools:
    """Whether each truth lies in its interval, the interval made from the errors of the other folds."""
    prediction = out.guessed if guessed else out.known
    truth = np.log(servers.idle if part == "idle" else servers.full)
    error = np.abs(truth - (prediction.log_idle if part == "idle" else prediction.log_full))
    inside = np.empty(len(truth), dtype=bool)
    for intervals, held in _cross_intervals(servers, out):
        inside[held] = error[held] <= intervals.half_widths(_some(prediction, held))[PARTS.index(part)]
    return inside


def _cross_intervals(servers: Servers, out: HeldOut) -> list[tuple[Intervals, Bools]]:
    fold = groups(servers.machines)
    found = []
    for k in np.unique(fold):
        rest = fold != k
        some = HeldOut(_some(out.known, rest), _some(out.guessed, rest))
        found.append((calibrated(servers.take(rest), some), ~rest))
    return found


def with_one_end(servers: Servers, out: HeldOut) -> list[Score]:
    """One reading at one end, the other end asked; baselines: the median ratio of idle to full of the other folds,
    and the prediction scaled by the reading."""
    fold = groups(servers.machines)
    found = []
    for read_at, asked, watts in ((1.0, servers.idle, "idle"), (0.0, servers.full, "full")):
        read = servers.full if read_at else servers.idle
        value, inside = np.empty(len(read)), np.empty(len(read), dtype=bool)
        for intervals, held in _cross_intervals(servers, out):
            belief = _belief(_some(out.known, held), intervals, _line).with_reading(
                np.full(held.sum(), read_at), read[held]
            )
            value[held], sigma = belief.watts(np.full(held.sum(), 1.0 - read_at))
            half = Z_90 * sigma * intervals.after_reading
            inside[held] = np.abs(np.log(asked[held] / value[held])) <= half
        by = (servers.machines.threads, servers.machines.year, servers.full)
        found.append(score("one reading at the other end", watts, asked, value, inside, by))
        found.append(score("median ratio (baseline)", watts, asked, proportional(asked, read, fold)))
        both = np.exp(out.known.log_idle), np.exp(out.known.log_full)
        scaled = both[0] * read / both[1] if read_at else both[1] * read / both[0]
        found.append(score("prediction scaled (baseline)", watts, asked, scaled))
    return found


def simulated_levels(
    servers: Servers, out: HeldOut, shapes: Shapes, statistics: Sequence[Mapping[str, str]], vendor_matters: bool
) -> list[Score]:
    """All eleven loads on simulated curves. `vendor_matters`: whether, since 2018, a curve's place in the spread
    goes with the vendor as `shape.py` infers, or not at all."""
    random = np.random.default_rng(SIMULATION_SEED)
    share = _drawn_shares(servers, statistics, random, vendor_matters)
    dynamic = servers.full - servers.idle
    truth = servers.idle[:, None] + share * dynamic[:, None]
    shape = share_of(servers, shapes)
    intervals = calibrated(servers, out)
    empty = _belief(out.known, intervals, shape)
    half = np.full(len(servers.idle), 0.5)
    ends = [(np.zeros_like(half), servers.idle), (np.ones_like(half), servers.full)]
    noisy = truth[:, 5] * np.exp(random.normal(0.0, READING_ERROR, len(half)))
    ways = (
        ("nothing measured", empty, 1.0),
        ("one reading at 50 %", empty.with_reading(half, noisy), intervals.after_reading),
        ("idle and full known", after_all(empty, ends), 1.0),
    )
    found = []
    for way, belief, scale in ways:
        parts = [belief.watts(np.full(len(half), load)) for load in LOADS]
        value, sigma = (np.column_stack([part[index] for part in parts]) for index in (0, 1))
        inside = np.abs(np.log(truth / value)) <= Z_90 * sigma * scale + 1e-9
        found.append(score(way, "all levels", truth.ravel(), value.ravel(), inside.ravel()))
    line = servers.idle[:, None] + LOADS[None, :] * dynamic[:, None]
    found.append(score("idle and full known, straight line (baseline)", "all levels", truth.ravel(), line.ravel()))
    flat = proportional(servers.full, out.known.tdp * servers.machines.sockets, groups(servers.machines))
    rest = proportional(servers.idle, out.known.tdp * servers.machines.sockets, groups(servers.machines))
    curve = rest[:, None] + LOADS[None, :] * (flat - rest)[:, None]
    found.append(score("nothing measured, TDP line (baseline)", "all levels", truth.ravel(), curve.ravel()))
    return found


def share_of(servers: Servers, shapes: Shapes) -> Callable[[Floats], tuple[Floats, Floats]]:
    """The shape of each server by its age and vendor."""
    machines = servers.machines
    born, _ = generations(machines, float(machines.year.max()))
    amd, _, _ = kinds(machines)
    family = family_of(amd, np.ones(len(machines)), born)
    return lambda load: shapes.at(load, born, family)


def _drawn_shares(
    servers: Servers, statistics: Sequence[Mapping[str, str]], random: np.random.Generator, vendor_matters: bool
) -> Floats:
    year, count = servers.machines.year, len(servers.idle)
    place = random.uniform(0.02, 0.98, count)
    amd, _, _ = kinds(servers.machines)
    groups_of = np.select([year <= 2012, year <= 2017, year <= 2020], [0, 1, 2], 3)
    share = np.empty((count, len(LOADS)))
    for index, group in enumerate(GROUPS):
        mine = groups_of == index
        if vendor_matters and index >= 2:
            part = amd[mine].mean()
            order = place[mine]
            place[mine] = np.where(amd[mine] > 0, 1 - part + part * order, (1 - part) * order)
        rows = sorted((row for row in statistics if row["hardware_year"] == group), key=lambda r: int(r["load_pct"]))
        for step, row in enumerate(rows, 1):
            known = [float(row[name]) for name in ("p05", "p25", "p50", "p75", "p95")]
            share[mine, step] = np.interp(place[mine], [0.05, 0.25, 0.5, 0.75, 0.95], known)
    share[:, 0], share[:, -1] = 0.0, 1.0
    return share


def shift_in_time(
    servers: Servers, tdp: Mapping[str, float], statistics: Sequence[Mapping[str, str]], tick: Callable[[], None]
) -> list[tuple[str, Score]]:
    """Trained on older results, asked about newer ones; CPU models seen before are left out of the test."""
    year, found = servers.machines.year, []
    cpus = np.array([name.lower() for name in servers.machines.cpu])
    for last, to in SHIFTS:
        old = year <= last
        new = (year > last) & (year <= to) & ~np.isin(cpus, cpus[old])
        document, _ = train(servers.take(old), tdp, statistics, {}, lambda: None)
        model, test = PowerModel(document), servers.take(new)
        belief, _, _ = model.belief(test.machines)
        size = test.machines.sockets * np.where(np.isfinite(tdp_ := known_tdp(test.machines, tdp)), tdp_, np.nan)
        for part, load, truth in (("idle", 0.0, test.idle), ("full", 1.0, test.full)):
            value, sigma = belief.watts(np.full(len(truth), load))
            inside = np.abs(np.log(truth / value)) <= Z_90 * sigma
            found.append((f"{last} / {to}", score("model", part, truth, value, inside)))
            ratio = _median_ratio(servers.take(old), tdp, part)
            listed = np.isfinite(size)
            if not listed.all():
                same = score("model, only where the TDP is listed", part, truth[listed], value[listed], inside[listed])
                found.append((f"{last} / {to}", same))
            simple = score("TDP x sockets x median ratio (baseline)", part, truth[listed], (ratio * size)[listed])
            found.append((f"{last} / {to}", simple))
        tick()
    return found


def _median_ratio(servers: Servers, tdp: Mapping[str, float], part: str) -> float:
    size = servers.machines.sockets * known_tdp(servers.machines, tdp)
    return float(np.nanmedian((servers.idle if part == "idle" else servers.full) / size))


def _belief(prediction: Prediction, intervals: Intervals, shape: Callable[[Floats], tuple[Floats, Floats]]) -> Belief:
    widths = intervals.half_widths(prediction)
    state, covariance = prior(prediction.log_idle, prediction.log_full, *widths, intervals.together)
    return Belief(state, covariance, shape)


def _line(load: Floats) -> tuple[Floats, Floats]:
    return load, np.zeros_like(load)


def _some(prediction: Prediction, rows: Bools) -> Prediction:
    names = Prediction.__dataclass_fields__
    return replace(prediction, **{name: getattr(prediction, name)[rows] for name in names})
