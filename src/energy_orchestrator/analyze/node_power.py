"""Power of a node in a window by its best meter, or by the model where there is none.

Among tiers the best wins: wall, bmc, on_die (`analyze/meter_answers.py` makes one figure of a meter's zones).
Accelerators alone are no node: where nothing else answers, the model tells the rest, and the tier is the model's.

Where only a lesser meter answers that was taught by a better one (`analyze/taught_meters.py`), its reading is
translated: the tier stays the lesser's, the source says "calibrated on", the interval is the calibration's. Where all
are silent, the model's watts for the load are translated so, if a meter of the node has taught them before.

With a meter, idle is the lowest power that the same meter has shown (`at_rest`), corrected for the little work
there was even then; before there is such a history it is the model's share. A translated reading takes the rest of
the meter that it speaks for, else its own rest translated. `analyze/attribution.py` splits the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from energy_orchestrator.analyze.estimator import PowerCurve
from energy_orchestrator.analyze.meter_answers import Accelerators, ZoneReading, accelerators, meter_answers
from energy_orchestrator.analyze.taught_meters import LOAD_SOURCE, MeterAnswer, Taught, speak
from energy_orchestrator.model.units import Bounded, Tier

Floats = NDArray[np.float64]

TIER_BOUNDS = {Tier.WALL: (0.98, 1.02), Tier.BMC: (0.90, 1.10), Tier.ON_DIE: (0.98, 2.5)}
"""Whole node as factors of the reading, until a better meter calibrates it; sources in docs/accuracy.md."""
ACTIVE_BOUNDS = {**TIER_BOUNDS, Tier.ON_DIE: (0.80, 1.30)}
"""The same for the part above idle, once rest was seen: what RAPL does not see hardly changes with load."""
BOARD_BOUNDS = (0.95, 1.05)
"""Of an accelerator's own reading: NVML's documentation gives 5 %."""


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


def node_power(
    readings: Iterable[ZoneReading],
    curve: PowerCurve,
    load: float,
    at_rest: Mapping[Tier, tuple[float, float]] | None = None,
    taught: Mapping[str, Taught | str] | None = None,
    seconds: float | None = None,
    boards_at_rest: float = 0.0,
) -> NodePower:
    """The best power for one window.

    Args:
        load: busy CPU time as a share of all CPU time, 0 to 1.
        at_rest: lowest watts seen by a meter of each tier and the load then, where there is a history.
        taught: what lesser meters learned from better ones, or why nothing, by the lesser's source.
        seconds: when the window ended; a drift of the calibration widens the interval by age.
        boards_at_rest: watts of the node's accelerators at rest, all together.
    """
    return node_powers([readings], curve, np.array([load]), at_rest, taught, [seconds], boards_at_rest)[0]


def node_powers(
    readings: Sequence[Iterable[ZoneReading]],
    curve: PowerCurve,
    loads: Floats,
    at_rest: Mapping[Tier, tuple[float, float]] | None = None,
    taught: Mapping[str, Taught | str] | None = None,
    seconds: Sequence[float | None] | None = None,
    boards_at_rest: float = 0.0,
) -> list[NodePower]:
    """`node_power` of many windows of one node: what the curve says of all their loads is asked at once."""

    @cache
    def quiet(load: float) -> float:
        return float(curve.active(np.array([load]))[0][0])

    ends = seconds or [None] * len(readings)
    modelled = zip(*(part.tolist() for part in curve.active(loads)), strict=True)
    return [
        _power(list(zones), curve, model, quiet, at_rest or {}, taught or {}, end, boards_at_rest)
        for zones, model, end in zip(readings, modelled, ends, strict=True)
    ]


def _power(
    readings: Sequence[ZoneReading],
    curve: PowerCurve,
    model: tuple[float, float, float],
    quiet: Callable[[float], float],
    at_rest: Mapping[Tier, tuple[float, float]],
    taught: Mapping[str, Taught | str],
    seconds: float | None,
    boards_at_rest: float,
) -> NodePower:
    active, low, high = model
    modelled = Bounded(curve.idle.value + active, curve.idle.lower + low, curve.idle.upper + high)
    answers, boards = meter_answers(readings), accelerators(readings)
    if not answers:
        # What accelerators draw is no function of the CPUs' load.
        learned = None if boards else _of_load(modelled, curve, quiet, at_rest, taught.get(LOAD_SOURCE), seconds)
        return learned or _modelled(curve, model, boards, boards_at_rest)
    answer = answers[0]
    whole, source, translation = _whole(answer, taught.get(answer.source), seconds)
    active_low, active_high = ACTIVE_BOUNDS[answer.tier]
    rest = _rest(answer, at_rest, translation)
    if rest is None:
        drawn = min(boards.watts or 0.0, whole.value) if boards else 0.0
        idle = (whole.value - drawn) * curve.idle.value / modelled.value + min(boards_at_rest, drawn)
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


def _modelled(
    curve: PowerCurve, model: tuple[float, float, float], boards: Accelerators | None, boards_at_rest: float
) -> NodePower:
    """Of a node whose meters tell nothing, or of its accelerators only: those are added to what the model says."""
    active, low, high = model
    idle, source, drawn = curve.idle.value, f"model: {curve.reason}", 0.0
    if boards is not None and boards.watts is None:
        source += "; an accelerator does not answer, its power is not in it"
    elif boards is not None and boards.watts is not None:
        source += f" + {boards.source}"
        drawn = boards.watts
        idle += min(boards_at_rest, drawn)
        above = drawn - min(boards_at_rest, drawn)
        active, low, high = active + above, low + above * BOARD_BOUNDS[0], high + above * BOARD_BOUNDS[1]
    watts = Bounded(
        curve.idle.value + model[0] + drawn,
        curve.idle.lower + model[1] + drawn * BOARD_BOUNDS[0],
        curve.idle.upper + model[2] + drawn * BOARD_BOUNDS[1],
    )
    bounds = (low / active, high / active) if active > 0 else (1.0, 1.0)
    return NodePower(watts, idle, Tier.MODEL, source, *bounds)


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
