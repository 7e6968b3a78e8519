"""Power of a node in a window by its best meter, or by the model where there is none.

A node's meters answer by zone. Zones that contain each other must not be added up: `psys` or `node` is the whole
machine; else RAPL packages and DRAM are summed (`core` and `uncore` lie inside a package and are left out). Energy
counters beat gauges. Among tiers the best wins: wall, bmc, on_die. At tier on_die the CPU's meter and the
accelerators' (NVML) see different silicon and are summed; at the other tiers one meter sees the whole node. At the
wall a node with two supplies hangs on two outlets, perhaps of two PDUs: they are summed, and while one of them is
silent the sum is unknown, not half.

With a meter, idle is the lowest power that the same meter has shown (`at_rest`), corrected for the little work
there was even then; before there is such a history it is the model's share. `analyze/attribution.py` splits the rest.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from energy_orchestrator.analyze.estimator import PowerCurve
from energy_orchestrator.model.units import Bounded, Tier

TIER_BOUNDS = {Tier.WALL: (0.98, 1.02), Tier.BMC: (0.90, 1.10), Tier.ON_DIE: (0.98, 2.5)}
"""Whole node as factors of the reading, until a better meter calibrates it; sources in docs/accuracy.md."""
ACTIVE_BOUNDS = {**TIER_BOUNDS, Tier.ON_DIE: (0.80, 1.30)}
"""The same for the part above idle, once rest was seen: what RAPL does not see hardly changes with load."""
WHOLE = ("psys", "node")
ACCELERATORS = frozenset({"nvml"})


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
    """Watts of a node over a window, what of them is idle, and how both were found.

    `active_low` and `active_high` are factors that bound the active part: watts minus idle, times the factor.
    """

    watts: Bounded
    idle_watts: float
    tier: Tier
    source: str
    active_low: float
    active_high: float


def measured_power(readings: Iterable[ZoneReading]) -> tuple[float, Tier, str] | None:
    """Watts, tier and source of the best meter that has an answer; None without one."""
    by_meter: dict[tuple[Tier, str], dict[str, float]] = defaultdict(dict)
    partial = set()
    for reading in readings:
        if reading.watts is not None:
            by_meter[reading.tier, reading.meter][reading.zone] = reading.watts
        elif reading.tier is Tier.WALL:
            partial.add((reading.tier, reading.meter))
    for source_of_part in partial:
        by_meter.pop(source_of_part, None)
    answers = [(tier, meter, *_meter_watts(zones)) for (tier, meter), zones in by_meter.items() if zones]
    answers = [answer for answer in answers if answer[3]]
    if not answers:
        return None
    answers.sort(key=lambda answer: (answer[0].rank, answer[1] in ACCELERATORS, answer[1]))
    tier, meter, watts, zones = answers[0]
    source = f"{meter}: {zones}"
    for other, beside, more, which in answers[1:]:
        if tier is Tier.ON_DIE and other is tier and beside in ACCELERATORS and meter not in ACCELERATORS:
            watts, source = watts + more, f"{source} + {beside}: {which}"
    return watts, tier, source


def _meter_watts(zones: Mapping[str, float]) -> tuple[float, str]:
    """Sum of the zones that do not contain each other, and their names ("" where none can be used)."""
    for whole in WHOLE:
        if whole in zones:
            return zones[whole], whole
    outer = {name: watts for name, watts in zones.items() if not name.split("/")[-1].startswith(("core", "uncore"))}
    return sum(outer.values()), " + ".join(sorted(outer))


def node_power(
    readings: Iterable[ZoneReading],
    curve: PowerCurve,
    load: float,
    at_rest: Mapping[Tier, tuple[float, float]] | None = None,
) -> NodePower:
    """The best power for one window.

    Args:
        load: busy CPU time as a share of all CPU time, 0 to 1.
        at_rest: lowest watts seen by a meter of each tier and the load then, where there is a history.
    """
    active, low, high = (float(part[0]) for part in curve.active(np.array([load])))
    modelled = Bounded(curve.idle.value + active, curve.idle.lower + low, curve.idle.upper + high)
    measured = measured_power(readings)
    if measured is None:
        bounds = (low / active, high / active) if active > 0 else (1.0, 1.0)
        return NodePower(modelled, curve.idle.value, Tier.MODEL, f"model: {curve.reason}", *bounds)
    watts, tier, source = measured
    below, above = TIER_BOUNDS[tier]
    active_low, active_high = ACTIVE_BOUNDS[tier]
    lowest = (at_rest or {}).get(tier)
    if lowest is None:
        idle = watts * curve.idle.value / modelled.value
        source += "; idle by the model's share, no rest seen yet"
        if active > 0:
            active_low, active_high = min(active_low, low / active), max(active_high, high / active)
    else:
        quiet = float(curve.active(np.array([lowest[1]]))[0][0])
        idle = lowest[0] * curve.idle.value / (curve.idle.value + quiet)
    whole = Bounded(watts, watts * below, watts * above)
    return NodePower(whole, min(idle, watts), tier, source, active_low, active_high)
