"""Who decides in the backtest: the planner of this project and the simple rules beside it.

Each gets a `Past` that holds demand up to now less the lead and nothing later, where every replica stands, and which
nodes are asleep, and answers with a home for every replica.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from benchmarks.simulated_fleet import DAY, Simulated
from energy_orchestrator.recommend.demand import Season, burst_factor, forecast, margin, node_errors
from energy_orchestrator.recommend.placement.fleet import Counts, Flags, Fleet, Floats, Groups
from energy_orchestrator.recommend.placement.plan import Limits, plan_placement
from energy_orchestrator.recommend.placement.solver import Effort

CPU_LIMIT, MEMORY_LIMIT = 0.9, 0.95
"""The SLO of the simulation: a node whose replicas need more of it makes them wait, or kills them."""
LEAD = 1


@dataclass(frozen=True)
class Past:
    """What may be known at step `now`. `cpu` ends before it."""

    fleet: Simulated
    now: int
    cpu: Floats
    home: Counts
    asleep: Flags


Rule = Callable[[Past], Counts]


def nothing(past: Past) -> Counts:
    """Leave it as it is."""
    return past.home


def requests_first_fit(past: Past) -> Counts:
    """Pack by what was asked for, once a day."""
    it = past.fleet
    return _daily(past, it.request_cpu, it.request_gb, 1.0)


def krr_first_fit(past: Past) -> Counts:
    """KRR's defaults (95th percentile of a week's CPU, highest memory and 15 %) as requests, packed once a day."""
    it = past.fleet
    week = past.cpu[:, -7 * DAY :]
    p95 = _by_group(it, np.percentile(week, 95, axis=1), np.maximum)
    return _daily(past, p95, it.memory_gb * 1.15, 1.0)


def last_hour_first_fit(past: Past) -> Counts:
    """Pack every hour by the last hour's peak and 15 %."""
    it = past.fleet
    peak = _by_group(it, past.cpu[:, -12:].max(axis=1), np.maximum)
    return _first_fit(past, peak * 1.15, it.memory_gb, CPU_LIMIT)


def _daily(past: Past, cpu: Floats, memory: Floats, limit: float) -> Counts:
    return _first_fit(past, cpu, memory, limit) if past.now % DAY == 0 else past.home


def _by_group(it: Simulated, values: Floats, how: np.ufunc) -> Floats:
    found = np.zeros(it.groups)
    how.at(found, it.group, values)
    return found


def _first_fit(past: Past, cpu: Floats, memory: Floats, limit: float) -> Counts:
    """First-fit decreasing by the larger share of a machine, replicas that have to stand apart before the others;
    nodes that pinned replicas keep awake come first, then those with least idle power for their memory (the best of
    the orders tried: a plain first-fit did far worse). What fits nowhere stays."""
    it, nodes = past.fleet, past.fleet.nodes
    room_cpu, room_gb = nodes.cpu_cores * limit, nodes.memory_gb * MEMORY_LIMIT
    awake = np.bincount(past.home[it.pinned[it.group]], minlength=len(nodes)) > 0
    order = np.lexsort((nodes.idle_watts / nodes.memory_gb, ~awake))
    home, held = past.home.copy(), np.zeros((it.groups, len(nodes)), np.int64)
    share = np.maximum(cpu / nodes.cpu_cores.max(), memory / nodes.memory_gb.max())
    by_size = np.lexsort((-share[it.group], it.max_per_node[it.group]))
    fixed = it.pinned[it.group]
    for replica in [*by_size[fixed[by_size]], *by_size[~fixed[by_size]]]:
        group = it.group[replica]
        node = home[replica]
        if not fixed[replica]:
            fits = (room_cpu >= cpu[group]) & (room_gb >= memory[group]) & (held[group] < it.max_per_node[group])
            found = order[fits[order]]
            node = int(found[0]) if len(found) else int(home[replica])
        home[replica] = node
        held[group, node] += 1
        room_cpu[node] -= cpu[group]
        room_gb[node] -= memory[group]
    return home


@dataclass
class Planner:
    """This project's: seasonal forecast, conformal margin, every hour; by CP-SAT every six hours, greedy between."""

    use_solver: bool = True
    units: float = 1.0
    solve_every: int = 6
    decisions: int = 0
    errors: list[Floats] = field(default_factory=list)
    predicted: Floats | None = None
    factor: float = 1.0
    ratios: list[tuple[Floats, Floats]] = field(default_factory=list)
    margins: list[float] = field(default_factory=list)
    greedy_blocks: int = 0
    season: Season = field(default_factory=lambda: Season(DAY, 12, LEAD))

    def __call__(self, past: Past) -> Counts:
        """The rule."""
        it, nodes = past.fleet, past.fleet.nodes
        rows = np.zeros((it.groups, past.cpu.shape[1]))
        np.add.at(rows, it.group, past.cpu)
        rows /= np.bincount(it.group, minlength=it.groups)[:, None]
        if not self.errors:
            self._learn(past, rows)
        elif self.predicted is not None:
            self._remember(rows, self.predicted, past.now - 12)
            self.factor = burst_factor(*(np.concatenate(it) for it in zip(*self.ratios[-168:], strict=True)))
            self._compare(past, past.home, self.predicted, past.now - 12)
        peak, mean = forecast(rows, past.now, self.season)
        free = margin(np.array([it.max() for it in self.errors[-168:]]))
        self.margins.append(free)
        placed = np.zeros((it.groups, len(nodes)), np.int64)
        np.add.at(placed, (it.group, past.home), 1)
        replicas = placed.sum(axis=1)
        fleet = Fleet(
            replace(
                nodes,
                cpu_cores=nodes.cpu_cores * (CPU_LIMIT - free),
                memory_gb=nodes.memory_gb * MEMORY_LIMIT,
                asleep=past.asleep,
            ),
            Groups(
                names=tuple(f"w{g:03d}" for g in range(it.groups)),
                cpu_cores=peak,
                mean_cores=mean,
                burst_cores=peak * (self.factor - 1),
                memory_gb=it.memory_gb,
                move_joules=it.move_joules,
                max_moves=np.where(it.pinned, 0, replicas),
                max_per_node=it.max_per_node,
                max_per_zone=np.full(it.groups, 1_000_000),
                near=np.full(it.groups, -1),
            ),
            placed,
            np.ones(placed.shape, bool),
        )
        limits = Limits(
            total_seconds=600,
            effort=Effort(300, 1, 0.005, deterministic=self.units),
            use_solver=self.use_solver and self.decisions % self.solve_every == 0,
        )
        self.decisions += 1
        plan = plan_placement(fleet, limits, time.monotonic)
        self.greedy_blocks += plan.greedy_blocks
        self.predicted = peak
        return _carried_out(it, past.home, placed, plan.placed)

    def _learn(self, past: Past, rows: Floats) -> None:
        """Errors of the week before, at the placement of then."""
        starts = range(past.now - 7 * DAY, past.now - 12, 12)
        peaks = [forecast(rows[:, : start - LEAD], start, self.season)[0] for start in starts]
        for start, peak in zip(starts, peaks, strict=True):
            self._remember(rows, peak, start)
        self.factor = burst_factor(*(np.concatenate(it) for it in zip(*self.ratios, strict=True)))
        for start, peak in zip(starts, peaks, strict=True):
            self._compare(past, past.home, peak, start)

    def _remember(self, rows: Floats, peak: Floats, start: int) -> None:
        self.ratios.append((rows[:, start : start + 12].max(axis=1), peak))

    def _compare(self, past: Past, home: Counts, peak: Floats, start: int) -> None:
        nodes = past.fleet.nodes
        reached = np.zeros((len(nodes), min(12, past.cpu.shape[1] - start)))
        np.add.at(reached, home, past.cpu[:, start : start + reached.shape[1]])
        forecasts = np.zeros(len(nodes))
        np.add.at(forecasts, home, peak[past.fleet.group])
        used = forecasts > 0
        held = np.zeros((past.fleet.groups, len(nodes)))
        np.add.at(held, (past.fleet.group, home), 1)
        reserve = (held * (peak * (self.factor - 1))[:, None]).max(axis=0)
        errors = node_errors(reached.max(axis=1), forecasts, reserve, nodes.cpu_cores)
        self.errors.append(errors[used])


def _carried_out(it: Simulated, home: Counts, before: Counts, after: Counts) -> Counts:
    made = home.copy()
    for group in np.flatnonzero((before != after).any(axis=1)):
        change = after[group] - before[group]
        mine = np.flatnonzero(it.group == group)
        leaving = [mine[home[mine] == node][: -change[node]] for node in np.flatnonzero(change < 0)]
        made[np.concatenate(leaving)] = np.repeat(np.arange(len(change)), np.maximum(change, 0))
    return made
