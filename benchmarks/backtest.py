"""Backtest of placement on simulated fleets: weeks replayed hour by hour, nobody sees the future.

    python -m benchmarks.backtest [--write] [--seeds 3] [--days 7] [--nodes 40] [--shape google alibaba]

Two weeks are history (one for the seasonal forecast, one for its errors), then every hour each rule of
`backtest_rules` decides from what was known five minutes before the hour. Counted are the energy of nodes that are
on, asleep and waking, the energy of moves, and SLO violations: five-minute steps in which the replicas of a node need
more than 90 % of its CPU or 95 % of its memory.

The optimum is a proven bound: for every hour the least energy with full knowledge of the hour, replicas divisible at
will, moves and wakes free; as many nodes as the largest workload whose replicas stand apart, and those of pinned
replicas, are on (a small integer program over machine shapes, by HiGHS). No placement can beat it, and
none reaches it. `reached` = saved / (what the bound saves).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from rich.console import Console
from rich.progress import Progress
from scipy.optimize import LinearConstraint, milp

from benchmarks import machine
from benchmarks.backtest_rules import (
    CPU_LIMIT,
    LEAD,
    MEMORY_LIMIT,
    Past,
    Planner,
    Rule,
    krr_first_fit,
    last_hour_first_fit,
    nothing,
    requests_first_fit,
)
from benchmarks.report import add_write, tell
from benchmarks.simulated_fleet import DAY, SHAPES, STEP_SECONDS, Simulated, simulate
from energy_orchestrator.recommend.placement.fleet import Counts, Flags, Floats, Nodes

HOUR = 12
HISTORY_DAYS = 14
TOP = 20


@dataclass
class Score:
    """Totals of one rule on one fleet."""

    joules: float = 0.0
    moves: int = 0
    wakes: int = 0
    violations: int = 0
    node_steps: int = 0
    nodes_on: float = 0.0
    seconds: float = 0.0
    right_at_20: list[float] = field(default_factory=list)


@dataclass
class Sleepers:
    """The 20 nodes whose sleep is said to save most, day by day, and whether that came true."""

    nodes: Nodes
    best: Counts = field(default_factory=lambda: np.empty(0, np.int64))
    woken: set[int] = field(default_factory=set)
    crowded: set[int] = field(default_factory=set)

    def choose(self, asleep: Flags) -> None:
        """At the first hour of a day."""
        saved = np.where(asleep, self.nodes.idle_watts - self.nodes.sleep_watts, 0.0)
        order = np.argsort(-saved, kind="stable")[:TOP]
        self.best, self.woken, self.crowded = order[asleep[order]], set(), set()

    def watch(self, asleep: Flags, over: Flags) -> None:
        """An hour of the day: who is asleep, who broke a limit."""
        self.woken |= {int(it) for it in self.best if not asleep[it]}
        self.crowded |= {int(it) for it in np.flatnonzero(over)}

    def right(self) -> float | None:
        """Share that slept all day. Each node that broke a limit meanwhile counts as one asleep too many."""
        wrong = len(self.woken) + len(self.crowded)
        return max(0.0, 1 - wrong / len(self.best)) if len(self.best) else None


def rules() -> dict[str, Rule]:
    """Fresh ones: the planner remembers its errors."""
    return {
        "no action": nothing,
        "first-fit by requests, daily": requests_first_fit,
        "KRR-like p95 + first-fit, daily": krr_first_fit,
        "first-fit by the last hour + 15 %, hourly": last_hour_first_fit,
        "this project, greedy only": Planner(use_solver=False),
        "this project": Planner(),
    }


def replay(it: Simulated, rule: Rule, days: int, tick: Callable[[], None] = lambda: None) -> Score:
    """One rule over the evaluated days."""
    home, asleep, score, sleepers = it.home.copy(), np.zeros(len(it.nodes), bool), Score(), Sleepers(it.nodes)
    for now in range(HISTORY_DAYS * DAY, (HISTORY_DAYS + days) * DAY, HOUR):
        past = Past(it, now, it.cpu[:, : now - LEAD].astype(float), home, asleep)
        begun = time.monotonic()
        after = rule(past)
        score.seconds += time.monotonic() - begun
        held = np.bincount(after, minlength=len(it.nodes)) > 0
        on = held if rule is not nothing else np.ones(len(it.nodes), bool)
        moved = after != home
        score.moves += int(moved.sum())
        score.wakes += int((on & asleep).sum())
        score.joules += float(it.move_joules[it.group][moved].sum())
        score.joules += float(it.nodes.wake_joules[on & asleep].sum())
        over = _hour(it, after, on, now, score)
        if now % DAY == 0:
            sleepers.choose(~on)
        sleepers.watch(~on, over)
        if (now + HOUR) % DAY == 0 and (right := sleepers.right()) is not None:
            score.right_at_20.append(right)
        home, asleep = after, ~on
        tick()
    return score


def _hour(it: Simulated, home: Counts, on: Flags, now: int, score: Score) -> Flags:
    """Adds an hour to the score; the nodes that broke a limit in it."""
    nodes = it.nodes
    load = np.zeros((len(nodes), HOUR))
    np.add.at(load, home, it.cpu[:, now : now + HOUR])
    memory = np.zeros(len(nodes))
    np.add.at(memory, home, it.memory_gb[it.group])
    watts = np.where(on[:, None], nodes.idle_watts[:, None] + nodes.watts_per_core[:, None] * load, 0.0)
    watts += np.where(on, 0.0, nodes.sleep_watts)[:, None]
    score.joules += float(watts.sum() * STEP_SECONDS)
    over = (load > CPU_LIMIT * nodes.cpu_cores[:, None]) | (memory > MEMORY_LIMIT * nodes.memory_gb)[:, None]
    score.violations += int(over.sum())
    score.node_steps += int(on.sum()) * HOUR
    score.nodes_on += float(on.sum())
    broke: Flags = over.any(axis=1)
    return broke


def bound_joules(it: Simulated, days: int) -> float:
    """The proven least energy; see the module."""
    nodes = it.nodes
    held = np.zeros(len(nodes), bool)
    held[it.home[it.pinned[it.group]]] = True
    kinds, of = np.unique(np.stack([nodes.cpu_cores, nodes.memory_gb, nodes.idle_watts]), axis=1, return_inverse=True)
    first = np.array([np.flatnonzero(of == k)[0] for k in range(kinds.shape[1])])
    most, least = np.bincount(of), np.bincount(of[held], minlength=kinds.shape[1])
    memory = it.memory_gb[it.group].sum()
    apart = [len(set(it.home[it.group == group])) for group in np.flatnonzero(it.max_per_node == 1)]
    total = 0.0
    for now in range(HISTORY_DAYS * DAY, (HISTORY_DAYS + days) * DAY, HOUR):
        load = it.cpu[:, now : now + HOUR].sum(axis=0)
        total += _least(it, first, most, least, load, float(memory), max(apart, default=0))
    return total


def _least(
    it: Simulated, kinds: Counts, most: Counts, least: Counts, load: Floats, memory: float, together: int
) -> float:
    """Whole nodes of each kind for the hour, `together` at least, and each step's load divided among the kinds."""
    nodes, n, steps = it.nodes, len(kinds), len(load)
    above = (nodes.idle_watts - nodes.sleep_watts)[kinds] * STEP_SECONDS * steps
    slope = nodes.watts_per_core[kinds] * STEP_SECONDS
    cost = np.concatenate([above, np.tile(slope, steps)])
    rooms = np.zeros((n * steps, n + n * steps))
    split = np.zeros((steps, n + n * steps))
    for step in range(steps):
        for kind in range(n):
            rooms[step * n + kind, kind] = -CPU_LIMIT * nodes.cpu_cores[kinds[kind]]
            rooms[step * n + kind, n + step * n + kind] = 1
        split[step, n + step * n : n + (step + 1) * n] = 1
    room_gb = np.concatenate([MEMORY_LIMIT * nodes.memory_gb[kinds], np.zeros(n * steps)])
    found = milp(
        cost,
        integrality=np.concatenate([np.ones(n), np.zeros(n * steps)]),
        bounds=(
            np.concatenate([least, np.zeros(n * steps)]),
            np.concatenate([most, np.full(n * steps, np.inf)]),
        ),
        constraints=[
            LinearConstraint(rooms, -np.inf, 0),
            LinearConstraint(split, load, load),
            LinearConstraint(room_gb[None, :], memory, np.inf),
            LinearConstraint(np.concatenate([np.ones(n), np.zeros(n * steps)])[None, :], together, np.inf),
        ],
        options={"mip_rel_gap": 1e-6},
    )
    if not found.success:
        raise RuntimeError(f"the bound of an hour was not found: {found.message}")
    lowest = found.mip_dual_bound if found.mip_dual_bound is not None else found.fun
    return float(lowest) + float(nodes.sleep_watts.sum()) * STEP_SECONDS * steps


@dataclass(frozen=True)
class Row:
    """One rule over all fleets."""

    rule: str
    saved: float
    reached: float
    worst_reached: float
    regret_kwh_day: float
    violations: int
    node_steps: int
    moves_replica_day: float
    nodes_on: float
    right_at_20: float | None
    seconds_decision: float


def run(shape: str, seeds: int, nodes: int, days: int, progress: Progress) -> list[Row]:
    """Every rule on every fleet of one shape."""
    scores: dict[str, list[tuple[Score, Score, float, int]]] = {}
    task = progress.add_task(f"{shape}", total=seeds * len(rules()) * days * 24)
    for seed in range(seeds):
        it = simulate(seed, nodes, HISTORY_DAYS + days, shape)
        least, base = bound_joules(it, days), replay(it, nothing, days)
        for name, rule in rules().items():
            score = replay(it, rule, days, lambda: progress.advance(task))
            scores.setdefault(name, []).append((score, base, least, len(it.group)))
    return [_row(name, found, days) for name, found in scores.items()]


def _row(name: str, found: list[tuple[Score, Score, float, int]], days: int) -> Row:
    right = [share for it, *_ in found for share in it.right_at_20]
    reached = [(base.joules - it.joules) / (base.joules - least) for it, base, least, _ in found]
    return Row(
        rule=name,
        saved=float(np.mean([1 - it.joules / base.joules for it, base, _, _ in found])),
        reached=float(np.mean(reached)),
        worst_reached=min(reached),
        regret_kwh_day=float(np.mean([(it.joules - least) / 3.6e6 / days for it, _, least, _ in found])),
        violations=sum(it.violations for it, _, _, _ in found),
        node_steps=sum(it.node_steps for it, _, _, _ in found),
        moves_replica_day=float(np.mean([it.moves / replicas / days for it, _, _, replicas in found])),
        nodes_on=float(np.mean([it.nodes_on / days / 24 for it, _, _, _ in found])),
        right_at_20=float(np.mean(right)) if right else None,
        seconds_decision=float(np.mean([it.seconds / days / 24 for it, _, _, _ in found])),
    )


def table(rows: list[Row], shape: str) -> str:
    """Markdown."""
    lines = [
        f"| {shape} fleet, rule | energy saved, % | reached of the bound, % (worst fleet) | regret, kWh a day | "
        "SLO violations of node-steps | precision at 20, % | moves a replica and day | nodes on | seconds a decision |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for it in rows:
        lines.append(
            f"| {it.rule} | {100 * it.saved:.1f} | {100 * it.reached:.1f} ({100 * it.worst_reached:.1f}) | "
            f"{it.regret_kwh_day:.1f} | {it.violations} of {it.node_steps} | "
            f"{'-' if it.right_at_20 is None else f'{100 * it.right_at_20:.1f}'} | {it.moves_replica_day:.2f} | "
            f"{it.nodes_on:.1f} | {it.seconds_decision:.2f} |"
        )
    return "\n".join(lines)


INTRODUCTION = """## Placement, backtest on simulated fleets

A simulation (`benchmarks/simulated_fleet.py` names the papers its shapes come from and what is assumed), made by
`python -m benchmarks.backtest --write --seeds {fleets} --days {days}` on {date}. Fleets of each shape: {fleets} (seeds
0 to {last}), {nodes} nodes, {days} days replayed hour by hour after two weeks of history; no rule sees later than five
minutes before the hour. What a node keeps free is what the worst node of an hour is expected to exceed once a year, by
the last week's errors of its own forecasts (that rule was chosen on seeds 101 and 104). The bound is the least energy
of each hour with full knowledge of it, replicas divisible at will, moves and wakes free (nodes of pinned replicas on,
and at least as many as the largest workload whose replicas stand apart): it is proven, and nothing can quite reach it.
Regret is the energy above it. A violation is a five-minute step in which the replicas of one node need more than 90 %
of its CPU or 95 % of its memory. Precision at 20: of the 20 nodes whose sleep saves most at the first decision of a
day, those that slept all day, less one for each node that broke a limit meanwhile (one sleep too many). A rule that
decides once a day wakes nobody, and one that decides hourly may let a like node sleep instead, which counts as wrong
here and costs a wake. Aim: >= 90 % reached with zero violations.
"""


def main() -> None:
    """Print the tables; `--write` also puts them into docs/accuracy.md."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_write(options)
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--nodes", type=int, default=40)
    options.add_argument("--days", type=int, default=7)
    options.add_argument("--shape", nargs="+", default=list(SHAPES), choices=list(SHAPES))
    chosen = options.parse_args()
    intro = INTRODUCTION.format(
        fleets=chosen.seeds,
        last=chosen.seeds - 1,
        nodes=chosen.nodes,
        days=chosen.days,
        date=machine.describe()["date"],
    )
    sections = {"placement-backtest": intro}
    with Progress(console=Console(stderr=True)) as progress:
        for shape in chosen.shape:
            rows = run(shape, chosen.seeds, chosen.nodes, chosen.days, progress)
            sections[f"placement-backtest-{shape}"] = table(rows, shape)
    for name, text in sections.items():
        tell(name, text, chosen.write)


if __name__ == "__main__":
    main()
