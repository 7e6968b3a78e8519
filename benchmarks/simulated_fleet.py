"""A simulated fleet in the published shapes of real clusters: a simulation, every figure from it says so.

- Machines: `google` has the shapes of the 2011 trace (Reiss et al., "Heterogeneity and dynamicity of clouds at scale",
  SoCC 2012, table 1): CPU/memory of the largest 0.5/0.5 in 53 %, 0.5/0.25 31 %, 0.5/0.75 8 %, 1/1 6 %, the largest
  taken as 96 cores and 384 GB. `alibaba` has one shape, 96 cores (cluster-trace-v2018, 4034 like machines).
- Use: 20 to 40 % of a cluster's CPU is used (Reiss et al.; Cheng et al., arXiv 1808.02919); containers follow the day,
  their memory is nearly constant and is what runs out first (Jiang et al., IEEE TCC 2020). Requests are set by hand:
  about half of what is asked for is slack (Autopilot, EuroSys 2020: 46 %). Sizes are heavy-tailed (Tirmazi et al.,
  "Borg: the next generation", EuroSys 2020).
- Load: a day's curve with a phase of its own kind (interactive by day, batch by night), weaker weekends, a slow
  autoregressive drift per workload, noise per replica, and now and then a burst of up to twice the load in one
  workload.
- Watts: idle and full per thread as in Cloud Carbon Footprint's coefficients for the servers of a generation (0.6 to
  0.75 and 3.4 to 4.1 W, 0.392 W/GB of memory), idle raised by a third for what SPECpower's lean machines lack (an
  assumption); 10 W asleep. Waking: three minutes at half of full power (an assumption).
- Moving: 20 J + 0.512 J/MB (Liu et al., "Performance and energy modeling for live migration", HPDC 2011).

Some workloads may not be moved (2 %), some hold their replicas apart, some do nothing at all (`zombie`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from energy_orchestrator.recommend.placement.fleet import ANY, Counts, Floats, Nodes

STEP_SECONDS = 300.0
DAY = 288
SHAPES = {
    "google": ((48, 192, 0.53), (48, 96, 0.31), (48, 288, 0.08), (96, 384, 0.08)),
    "alibaba": ((96, 384, 1.0),),
}
WATTS_PER_THREAD = ((0.60, 3.45), (0.75, 4.06))
"""Idle and full, of a newer and an older generation."""
WATTS_PER_GB = 0.392
BARE = 4 / 3
SLEEP_WATTS = 10.0
WAKE_SECONDS = 180.0


@dataclass(frozen=True)
class Simulated:
    """`cpu[r, t]` is what replica r truly needs at step t; `group[r]` its workload; `home[r]` where it stands first."""

    nodes: Nodes
    cpu: NDArray[np.float32]
    memory_gb: Floats
    group: Counts
    request_cpu: Floats
    request_gb: Floats
    home: Counts
    pinned: NDArray[np.bool_]
    max_per_node: Counts
    move_joules: Floats
    zombie: NDArray[np.bool_]

    @property
    def groups(self) -> int:
        """Number of workloads."""
        return len(self.pinned)


def simulate(seed: int, nodes: int = 40, days: int = 21, shape: str = "google") -> Simulated:
    """The same seed, the same fleet."""
    random = np.random.default_rng(seed)
    machines = _machines(random, nodes, shape)
    sizes, group, request, memory = _workloads(random, machines)
    count = len(sizes)
    curve = _curves(random, count, days)
    noise = random.normal(1.0, 0.08, (len(group), days * DAY)).astype(np.float32)
    zombie = random.random(count) < 0.05
    level = np.where(zombie, 0.002, sizes)
    cpu = np.maximum(0.001, (level[:, None] * curve)[group] * noise).astype(np.float32)
    apart = random.random(count) < 0.4
    move = 20.165 + 0.512 * memory * 1000
    return Simulated(
        nodes=machines,
        cpu=cpu,
        memory_gb=memory,
        group=group,
        request_cpu=request,
        request_gb=memory * 1.4,
        home=_spread(machines, group, request, memory * 1.4, apart),
        pinned=random.random(count) < 0.02,
        max_per_node=np.where(apart, 1, ANY),
        move_joules=move,  # a replica of each workload
        zombie=zombie,
    )


def _machines(random: np.random.Generator, number: int, shape: str) -> Nodes:
    shapes = SHAPES[shape]
    shares = np.array([share for *_, share in shapes])
    kind = random.choice(len(shapes), number, p=shares / shares.sum())
    cores = np.array([shapes[k][0] for k in kind], float)
    memory = np.array([shapes[k][1] for k in kind], float)
    old = random.random(number) < 0.5
    idle = np.where(old, WATTS_PER_THREAD[1][0], WATTS_PER_THREAD[0][0]) * cores * BARE + WATTS_PER_GB * memory
    full = np.where(old, WATTS_PER_THREAD[1][1], WATTS_PER_THREAD[0][1]) * cores + WATTS_PER_GB * memory
    return Nodes(
        names=tuple(f"node-{n:03d}" for n in range(number)),
        cpu_cores=cores,
        memory_gb=memory,
        idle_watts=idle,
        watts_per_core=(full - idle) / cores,
        sleep_watts=np.full(number, SLEEP_WATTS),
        wake_joules=WAKE_SECONDS * full / 2,
        can_sleep=np.ones(number, bool),
        asleep=np.zeros(number, bool),
        zone=np.arange(number, dtype=np.int64) % 3,
    )


def _workloads(random: np.random.Generator, machines: Nodes) -> tuple[Floats, Counts, Floats, Floats]:
    """Mean cores of a replica, workload of each replica, requested cores and memory of each workload's replica;
    added until requests fill three quarters of the machines."""
    sizes, replicas, request, memory = [], [], [], []
    room_cpu, room_gb = 0.75 * machines.cpu_cores.sum(), 0.75 * machines.memory_gb.sum()
    while room_cpu > 0 and room_gb > 0:
        asked = float(np.clip(random.lognormal(0.6, 0.8), 0.25, 12))
        copies = int(np.clip(round(random.lognormal(1.0, 0.8)), 1, 12))
        held = float(np.clip(asked * random.lognormal(0.9, 0.5), 0.25, 32))
        sizes.append(asked * float(random.uniform(0.15, 0.55)))
        replicas.append(copies)
        request.append(asked)
        memory.append(held / 1.4)
        room_cpu -= asked * copies
        room_gb -= held * copies
    group = np.repeat(np.arange(len(sizes)), replicas)
    return np.array(sizes), group, np.array(request), np.array(memory)


def _curves(random: np.random.Generator, count: int, days: int) -> Floats:
    hours = np.arange(days * DAY) / 12
    night = random.random(count) < 0.25
    peak = np.where(night, random.normal(2, 2, count), random.normal(15, 2.5, count))
    swing = random.uniform(0.1, 0.6, count)
    curve = 1 + swing[:, None] * np.cos((hours[None, :] - peak[:, None]) / 24 * 2 * np.pi)
    weekend = (hours // 24 % 7 >= 5)[None, :]
    curve = curve * np.where(weekend & ~night[:, None], random.uniform(0.6, 1.0, count)[:, None], 1.0)
    drift = np.zeros((count, days * DAY))
    steps = random.normal(0, 0.01, (count, days * DAY))
    for t in range(1, days * DAY):
        drift[:, t] = 0.995 * drift[:, t - 1] + steps[:, t]
    curve = curve * np.exp(drift)
    for _ in range(count * days // 10):
        row, start = random.integers(count), random.integers(days * DAY)
        curve[row, start : start + random.integers(2, 12)] *= random.uniform(1.2, 2.0)
    return curve


def _spread(nodes: Nodes, group: Counts, cpu: Floats, memory: Floats, apart: NDArray[np.bool_]) -> Counts:
    """As Kubernetes spreads by default: each replica on the node with the least requested share that has room."""
    used_cpu, used_gb, home = np.zeros(len(nodes)), np.zeros(len(nodes)), np.full(len(group), -1, np.int64)
    for replica, g in enumerate(group):
        share = np.maximum((used_cpu + cpu[g]) / nodes.cpu_cores, (used_gb + memory[g]) / nodes.memory_gb)
        if apart[g]:
            share[home[:replica][group[:replica] == g]] += 10
        node = int(np.argmin(share))
        home[replica] = node
        used_cpu[node] += cpu[g]
        used_gb[node] += memory[g]
    return home
