"""Power of a node in a window by its best meter, or by the model where there is none.

A node's meters answer by zone. Zones that contain each other must not be added up: `psys` or `node` is the whole
machine; else RAPL packages and DRAM are summed (`core` and `uncore` lie inside a package and are left out). Energy
counters beat gauges. Among tiers the best wins: wall, bmc, on_die. At tier on_die the CPU's meter and the
accelerators' (NVML) see different silicon and are summed; at the other tiers one meter sees the whole node. At the
wall a node with two supplies hangs on two outlets, perhaps of two PDUs: they are summed, and while one of them is
silent the sum is unknown, not half.

Where only a lesser meter answers that was taught by a better one (`analyze/taught_meters.py`), its reading is
translated: the tier stays the lesser's, the source says "calibrated on", the interval is the calibration's. Where all
are silent, the model's watts for the load are translated so, if a meter of the node has taught them before.

With a meter, idle is the lowest power that the same meter has shown (`at_rest`), corrected for the little work
there was even then; before there is such a history it is the model's share. A translated reading takes the rest of
the meter that it speaks for, else its own rest translated. `analyze/attribution.py` splits the rest.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from energy_orchestrator.analyze.estimator import PowerCurve
from energy_orchestrator.analyze.taught_meters import LOAD_SOURCE, MeterAnswer, Taught, speak
from energy_orchestrator.model.units import Bounded, Tier

Floats = NDArray[np.float64]

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


def meter_answers(readings: Iterable[ZoneReading]) -> list[MeterAnswer]:
    """What each meter that has an answer says of the node, best first; at tier on_die accelerators are added."""
    by_meter: dict[tuple[Tier, str], dict[str, float]] = defaultdict(dict)
    partial = set()
    for reading in readings:
        if reading.watts is not None:
            by_meter[reading.tier, reading.meter][reading.zone] = reading.watts
        elif reading.tier is Tier.WALL:
            partial.add((reading.tier, reading.meter))
    for source_of_part in partial:
        by_meter.pop(source_of_part, None)
    order = sorted(by_meter, key=lambda key: (key[0].rank, key[1] in ACCELERATORS, key[1]))
    found: list[MeterAnswer] = []
    for tier, meter in order:
        watts, zones = _meter_watts(by_meter[tier, meter])
        if not zones:
            continue
        source = f"{meter}: {zones}"
        chip = found[-1] if found and tier is Tier.ON_DIE and found[-1].tier is tier else None
        if chip and meter in ACCELERATORS and chip.source.partition(":")[0] not in ACCELERATORS:
            found[-1] = MeterAnswer(chip.watts + watts, tier, f"{chip.source} + {source}")
        else:
            found.append(MeterAnswer(watts, tier, source))
    return found


def measured_power(readings: Iterable[ZoneReading]) -> tuple[float, Tier, str] | None:
    """Watts, tier and source of the best meter that has an answer; None without one."""
    answers = meter_answers(readings)
    return (answers[0].watts, answers[0].tier, answers[0].source) if answers else None


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
    taught: Mapping[str, Taught | str] | None = None,
    seconds: float | None = None,
) -> NodePower:
    """The best power for one window.

    Args:
        load: busy CPU time as a share of all CPU time, 0 to 1.
        at_rest: lowest watts seen by a meter of each tier and the load then, where there is a history.
        taught: what lesser meters learned from better ones, or why nothing, by the lesser's source.
        seconds: when the window ended; a drift of the calibration widens the interval by age.
    """
    return node_powers([readings], curve, np.array([load]), at_rest, taught, [seconds])[0]


def node_powers(
    readings: Sequence[Iterable[ZoneReading]],
    curve: PowerCurve,
    loads: Floats,
    at_rest: Mapping[Tier, tuple[float, float]] | None = None,
    taught: Mapping[str, Taught | str] | None = None,
    seconds: Sequence[float | None] | None = None,
) -> list[NodePower]:
    """`node_power` of many windows of one node: what the curve says of all their loads is asked at once."""

    @cache
    def quiet(load: float) -> float:
        return float(curve.active(np.array([load]))[0][0])

    ends = seconds or [None] * len(readings)
    modelled = zip(*(part.tolist() for part in curve.active(loads)), strict=True)
    return [
        _power(zones, curve, model, quiet, at_rest or {}, taught or {}, end)
        for zones, model, end in zip(readings, modelled, ends, strict=True)
    ]


def _power(
    readings: Iterable[ZoneReading],
    curve: PowerCurve,
    model: tuple[float, float, float],
    quiet: Callable[[float], float],
    at_rest: Mapping[Tier, tuple[float, float]],
    taught: Mapping[str, Taught | str],
    seconds: float | None,
) -> NodePower:
    active, low, high = model
    modelled = Bounded(curve.idle.value + active, curve.idle.lower + low, curve.idle.upper + high)
    answers = meter_answers(readings)
    if not answers:
        learned = _of_load(modelled, curve, quiet, at_rest, taught.get(LOAD_SOURCE), seconds)
        bounds = (low / active, high / active) if active > 0 else (1.0, 1.0)
        return learned or NodePower(modelled, curve.idle.value, Tier.MODEL, f"model: {curve.reason}", *bounds)
    answer = answers[0]
    whole, source, translation = _whole(answer, taught.get(answer.source), seconds)
    active_low, active_high = ACTIVE_BOUNDS[answer.tier]
    rest = _rest(answer, at_rest, translation)
    if rest is None:
        idle = whole.value * curve.idle.value / modelled.value
        source += "; idle by the model's share, no rest seen yet"
        if active > 0:
            active_low, active_high = min(active_low, low / active), max(active_high, high / active)
    else:
        idle = rest[0] * curve.idle.value / (curve.idle.value + quiet(rest[1]))
        above = whole.value - idle
        if translation and translation.own and above > 0:
            active_low = max(active_low, 1 - (whole.value - whole.lower) / above)
            active_high = min(active_high, 1 + (whole.upper - whole.value) / above)
    return NodePower(whole, min(idle, whole.value), answer.tier, source, active_low, active_high)


def _of_load(
    modelled: Bounded,
    curve: PowerCurve,
    quiet: Callable[[float], float],
    at_rest: Mapping[Tier, tuple[float, float]],
    taught: Taught | str | None,
    seconds: float | None,
) -> NodePower | None:
    """While all meters are silent: what they taught of the node's load; None where they taught nothing, or not so
    far beyond what they saw."""
    whole = speak(taught, modelled.value, seconds) if isinstance(taught, Taught) else None
    if whole is None or not isinstance(taught, Taught):
        return None
    rest = at_rest.get(taught.better)
    share = curve.idle.value / (curve.idle.value + quiet(rest[1])) if rest else curve.idle.value / modelled.value
    idle = min((rest[0] if rest else whole.value) * share, whole.value)
    above = whole.value - idle
    bounds = (max(0.0, (whole.lower - idle) / above), (whole.upper - idle) / above) if above > 0 else (1.0, 1.0)
    source = taught.source(MeterAnswer(modelled.value, Tier.MODEL, "load"))
    return NodePower(whole, idle, Tier.MODEL, source, *bounds)


def _whole(
    answer: MeterAnswer, taught: Taught | str | None, seconds: float | None
) -> tuple[Bounded, str, Taught | None]:
    """Watts of the node, how they were found, and the calibration where one was used: where its interval is narrower
    than that of the tier."""
    below, above = TIER_BOUNDS[answer.tier]
    as_read = Bounded(answer.watts, answer.watts * below, answer.watts * above)
    if isinstance(taught, str):
        return as_read, f"{answer.source}; not calibrated: {taught}", None
    if taught is None:
        return as_read, answer.source, None
    spoken = speak(taught, answer.watts, seconds)
    if spoken is None:
        reason = "not calibrated: far beyond the readings learned on"
        return as_read, f"{answer.source}; {reason}", None
    if spoken.upper * below > spoken.lower * above:
        return as_read, f"{answer.source}; not calibrated: no narrower than by itself", None
    return spoken, taught.source(answer), taught


def _rest(
    answer: MeterAnswer, at_rest: Mapping[Tier, tuple[float, float]], translation: Taught | None
) -> tuple[float, float] | None:
    """Watts and load at rest, as the answer's watts are told: of the meter that it speaks for, else translated."""
    own = at_rest.get(answer.tier)
    if translation is None:
        return own
    if translation.better in at_rest:
        return at_rest[translation.better]
    spoken = speak(translation, own[0]) if own else None
    return (spoken.value, own[1]) if spoken and own else None
