"""Power of each node and window by its best meter, or by the model where there is none.

A node's meters answer per zone. Zones that contain each other must not be added up: `psys` or `node` is the whole
machine; else RAPL packages and DRAM are summed (`core` and `uncore` lie inside the package and are left out). Energy
counters beat gauges. Among tiers the best wins: wall, bmc, on_die.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from energy_orchestrator.analyze.estimator import NodePowerEstimate
from energy_orchestrator.model.units import Bounded, Tier

# On-die counters against wall meters, where a calibration is still to come: RAPL sees packages and DRAM, the wall
# also fans, disks and losses of the power supply. Bounds as factors (PEERS: 110 W more at the wall of a Threadripper).
TIER_BOUNDS = {Tier.WALL: (0.98, 1.02), Tier.BMC: (0.93, 1.07), Tier.ON_DIE: (0.95, 2.0)}
WHOLE = ("psys", "node")


@dataclass(frozen=True, slots=True)
class ZoneReading:
    """One zone over one window. Either energy or mean power is known."""

    meter: str
    zone: str
    tier: Tier
    energy_joules: float | None
    power_watts: float | None
    seconds: float

    @property
    def watts(self) -> float | None:
        """Mean power; the counter where there is one."""
        if self.energy_joules is not None and self.seconds > 0:
            return self.energy_joules / self.seconds
        return self.power_watts


@dataclass(frozen=True, slots=True)
class NodePower:
    """Watts of a node over a window, how they were found and what of them is idle."""

    watts: Bounded
    idle_watts: float
    tier: Tier
    source: str


def measured_power(readings: Iterable[ZoneReading]) -> tuple[float, Tier, str] | None:
    """Watts, tier and source of the best meter that has an answer; None without one."""
    by_meter: dict[tuple[Tier, str], dict[str, float]] = defaultdict(dict)
    for reading in readings:
        if reading.watts is not None:
            by_meter[reading.tier, reading.meter][reading.zone] = reading.watts
    for tier, meter in sorted(by_meter, key=lambda key: (key[0].rank, key[1])):
        zones = by_meter[tier, meter]
        for whole in WHOLE:
            if whole in zones:
                return zones[whole], tier, f"{meter}: {whole}"
        parts = {name: watts for name, watts in zones.items() if name.startswith(("package", "dram"))}
        parts = parts or {name: watts for name, watts in zones.items() if not name.startswith(("core", "uncore"))}
        if parts:
            return sum(parts.values()), tier, f"{meter}: {' + '.join(sorted(parts))}"
    return None


def node_power(
    readings: Iterable[ZoneReading], estimate: NodePowerEstimate, load: float, idle_at_rest_watts: float | None
) -> NodePower:
    """The best power for one window.

    Args:
        load: busy CPU time as a share of all CPU time, 0 to 1.
        idle_at_rest_watts: the lowest power seen from the same meter, where there is a history.
    """
    measured = measured_power(readings)
    if measured is None:
        return NodePower(estimate.watts_at(load), estimate.idle_watts.value, Tier.MODEL, f"model ({estimate.reason})")
    watts, tier, source = measured
    low, high = TIER_BOUNDS[tier]
    if idle_at_rest_watts is None:
        share = estimate.idle_watts.value / estimate.watts_at(load).value
        idle, source = watts * share, f"{source}; idle by the model's share, no rest seen yet"
    else:
        idle = idle_at_rest_watts
    return NodePower(Bounded(watts, watts * low, watts * high), min(idle, watts), tier, source)
