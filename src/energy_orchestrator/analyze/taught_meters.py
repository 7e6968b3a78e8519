"""Which meters of a node speak for a better one: own calibrations where it has both, and those of like nodes.

In go the answers of a node's meters window by window, out comes for each lesser meter, by its source, what it was
`Taught` or the reason why it learned nothing. Like nodes are those of the same tenant, CPU model, sockets and threads
whose lesser meter reads the same zones. `speak` turns a reading into watts of the better meter.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from energy_orchestrator.analyze.calibration import Calibration, carried, learn
from energy_orchestrator.model.units import Bounded, Tier

Likeness = tuple[object, ...]
LOAD_SOURCE = "load"
"""Where meters teach what the model says of the node's load, for when all of them are silent."""


@dataclass(frozen=True, slots=True)
class MeterAnswer:
    """What one meter says of the whole node in one window. `source` names the meter and its zones."""

    watts: float
    tier: Tier
    source: str


@dataclass(frozen=True, slots=True)
class Taught:
    """A calibration, the tier that it speaks for, and whether the node taught it itself."""

    calibration: Calibration
    better: Tier
    own: bool = True

    def source(self, answer: MeterAnswer) -> str:
        """How the number came about, for people. `services/series_queries.py` looks for 'calibrated on'."""
        teachers = self.calibration.nodes
        whose = "" if self.own else f" of {teachers} like node{'s' if teachers > 1 else ''}"
        beyond = not self.calibration.lowest <= answer.watts <= self.calibration.highest
        note = "; beyond the readings learned on, interval widened" if beyond else ""
        return f"{answer.source}, {answer.tier.value} calibrated on {self.better.value}{whose}{note}"


def speak(taught: Taught, watts: float, seconds: float | None = None) -> Bounded | None:
    """The better meter's watts for a reading of the lesser; None far beyond what it learned on."""
    value, low, high = (float(part[0]) for part in taught.calibration.watts(np.array([watts]), seconds))
    return Bounded(value, low, high) if np.isfinite(value) else None


def learn_node(windows: Iterable[tuple[float, Sequence[MeterAnswer]]]) -> dict[str, Taught | str]:
    """Of one node, by the source of each lesser meter. A window is its end in seconds and its meters' answers, best
    first. Where a meter has several betters, the best tier of which there is a calibration counts."""
    pairs: dict[tuple[str, Tier], dict[str, list[tuple[float, float, float]]]] = defaultdict(lambda: defaultdict(list))
    for seconds, answers in windows:
        for place, lesser in enumerate(answers):
            best_of_tier = {answer.tier: answer for answer in reversed(answers[:place])}
            for tier, better in best_of_tier.items():
                if tier.rank < lesser.tier.rank:
                    pairs[lesser.source, tier][better.source].append((better.watts, lesser.watts, seconds))
    found: dict[str, Taught | str] = {}
    for (source, tier), by_better in sorted(pairs.items(), key=lambda item: item[0][1].rank):
        made = learn(*np.array(max(by_better.values(), key=len)).T)
        if isinstance(made, Calibration):
            if not isinstance(found.get(source), Taught):
                found[source] = Taught(made, tier)
        else:
            found.setdefault(source, made)
    return found


def taught_by_like_nodes(
    nodes: Mapping[tuple[str, str], Mapping[str, Taught | str]], likeness: Mapping[tuple[str, str], Likeness]
) -> dict[tuple[Likeness, str], Taught]:
    """What a node that never had a better meter gets, by its likeness and the source of its meter."""
    teachers: dict[tuple[Likeness, str, Tier], list[Calibration]] = defaultdict(list)
    for node, meters in nodes.items():
        for source, taught in meters.items():
            if node in likeness and isinstance(taught, Taught):
                teachers[likeness[node], source, taught.better].append(taught.calibration)
    found: dict[tuple[Likeness, str], Taught] = {}
    for (kind, source, tier), curves in sorted(teachers.items(), key=lambda item: -item[0][2].rank):
        made = carried(curves)
        if made is not None:
            found[kind, source] = Taught(made, tier, own=False)
    return found
