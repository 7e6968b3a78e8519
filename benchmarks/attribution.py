"""How near the energy that attribution gives a workload is to what it spent: random fleets whose truth is known.

    python -m benchmarks.attribution [--fleets 200] [--write]

A simulation, no measurement. A node draws its idle watts and, for each CPU second of a workload, that workload's own
joules: programs differ in them (ten of energy_languages that keep more than 90 cores busy: by 9 %, standard deviation
of the logarithm). Part of the CPU time shows in no row (short-lived processes, interrupts). Varied are: how far
programs differ, how far off idle is known, how much CPU time no row shows. Attribution sees joules and CPU time.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from benchmarks import machine
from benchmarks.report import add_write, tell
from energy_orchestrator.analyze.attribution import attribute

Floats = NDArray[np.float64]
NODES, SECONDS, CORES = 50, 60.0, 64
COLUMNS = "| programs differ by | idle off by | CPU time in no row | conserved to | attribution | no idle | a head |"


@dataclass(frozen=True)
class Fleet:
    """One kind of fleet; all are shares. `mix`: deviation of the logarithm of joules a CPU second; `idle_error`: the
    same of idle watts as known; `hidden`: most CPU time of a node that no row shows."""

    mix: float
    idle_error: float
    hidden: float


CASES = (
    *(Fleet(mix, 0.0, 0.0) for mix in (0.0, 0.1, 0.3)),
    *(Fleet(0.1, 0.0, hidden) for hidden in (0.1, 0.3)),
    *(Fleet(0.1, idle, 0.1) for idle in (0.05, 0.15)),
)


@dataclass(frozen=True)
class Window:
    """One window of all nodes. The last two are by row (a workload on a node)."""

    joules: Floats
    idle: Floats
    busy: Floats
    node: NDArray[np.intp]
    cpu: Floats
    true_active: Floats


def simulate(fleet: Fleet, rng: np.random.Generator) -> Window:
    """Nodes of 2 to 40 workloads, 5 to 90 % busy, active power at full load one to three times that at rest."""
    counts = rng.integers(2, 41, NODES)
    node = np.repeat(np.arange(NODES), counts)
    idle = rng.uniform(50, 300, NODES) * SECONDS
    busy = rng.uniform(0.05, 0.9, NODES) * CORES * SECONDS
    weights = rng.lognormal(0.0, 1.0, node.size)
    hidden = rng.uniform(0, fleet.hidden, NODES) if fleet.hidden else np.zeros(NODES)
    whole = np.bincount(node, weights, NODES)
    cpu = weights / whole[node] * (busy * (1 - hidden))[node]
    rate = idle / SECONDS * rng.uniform(1, 3, NODES) / CORES
    true = cpu * rate[node] * rng.lognormal(0.0, fleet.mix, node.size)
    unseen = busy * hidden * rate * rng.lognormal(0.0, fleet.mix, NODES)
    return Window(idle + np.bincount(node, true, NODES) + unseen, idle, busy, node, cpu, true)


def missed(got: Floats, window: Window) -> float:
    """Joules given to the wrong workload or to none, as a share of all active ones: sum of |said - true| / true sum."""
    return float(np.abs(got - window.true_active).sum() / window.true_active.sum())


def measured(fleet: Fleet, fleets: int, seed: int) -> list[float]:
    """Worst gap of conservation of all node-windows; what is missed by attribution and by two simple ways."""
    rng, gaps, errors = np.random.default_rng(seed), [0.0], []
    for _ in range(fleets):
        it = simulate(fleet, rng)
        known = it.idle * rng.lognormal(0.0, fleet.idle_error, NODES)
        got = attribute(it.joules, known, it.busy, it.node, it.cpu)
        by_rows = np.bincount(it.node, got.workload_active, NODES)
        gaps.append(float(np.abs((got.idle + by_rows + got.unattributed) / it.joules - 1).max()))
        seen, rows = np.bincount(it.node, it.cpu, NODES), np.bincount(it.node, minlength=NODES)
        no_idle = it.joules[it.node] * it.cpu / seen[it.node]
        a_head = (it.joules - known).clip(0)[it.node] / rows[it.node]
        errors.append([missed(way, it) for way in (got.workload_active, no_idle, a_head)])
    return [max(gaps), *np.mean(errors, axis=0).tolist()]


def section(fleets: int) -> str:
    """Markdown."""
    lines = [COLUMNS, "|---|---|---|---|---|---|---|"]
    for seed, fleet in enumerate(track(CASES, "simulated fleets")):
        gap, *shares = measured(fleet, fleets, seed)
        given = (f"{100 * it:.0f} %" for it in (fleet.mix, fleet.idle_error))
        hidden = f"up to {100 * fleet.hidden:.0f} %" if fleet.hidden else "none"
        cells = [*given, hidden, f"{gap:.0e}" if gap else "0", *(f"{100 * it:.1f} %" for it in shares)]
        lines.append(f"| {' | '.join(cells)} |")
    return f"""## Attribution (simulation)

node = idle + sum of active + unattributed holds to rounding, by construction and by property tests; the product exports
the gap of each node as a metric.

Made by `python -m benchmarks.attribution --fleets {fleets} --write` on {machine.describe()["date"]}. **A simulation,
not a measurement**, since its truth is known: {fleets} fleets of {NODES} nodes for each line, 2 to 40 workloads a node,
windows of {SECONDS:.0f} s; active power is a sum over workloads of CPU time times a rate of their own. `conserved to`:
the largest gap of any node as a share of its energy. The last three columns: joules given to the wrong workload or to
none, as a share of all active joules, by attribution, by CPU share of the whole node (`no idle`: more than 100 %, since
idle goes to workloads too), and by equal parts of what is above idle (`a head`).

{chr(10).join(lines)}

Not simulated: memory, disk and network, cores that share a thread pair, a clock that changes with load. There a joule
has no single owner, and no truth to compare with but a convention.
"""


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fleets", type=int, default=200)
    add_write(parser)
    asked = parser.parse_args()
    tell("attribution", section(asked.fleets), asked.write)


if __name__ == "__main__":
    main()
