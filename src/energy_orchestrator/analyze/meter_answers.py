"""What each meter of a node says of the whole of it in one window.

Zones that contain each other must not be added up: `psys` or `node` is the whole machine; else RAPL packages and DRAM
are summed (`core` and `uncore` lie inside a package and are left out). Energy counters beat gauges. At tier on_die the
CPU's meter and the accelerators' (NVML) see different silicon and are summed; at the other tiers one meter sees the
whole node. At the wall a node with two supplies hangs on two outlets, perhaps of two PDUs: they are summed. While an
outlet, a CPU package or an accelerator is silent the sum is unknown, not what the others say.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from energy_orchestrator.analyze.taught_meters import MeterAnswer
from energy_orchestrator.model.units import Tier

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


def meter_answers(readings: Iterable[ZoneReading]) -> list[MeterAnswer]:
    """What each meter that has an answer says of the node, best first; at tier on_die accelerators are added.

    Accelerators without a CPU's meter are no answer: see `accelerators`."""
    readings = list(readings)
    zones, unknown = _grouped(reading for reading in readings if reading.meter not in ACCELERATORS)
    boards = accelerators(readings)
    found: list[MeterAnswer] = []
    for tier, meter in sorted(zones, key=lambda key: (key[0].rank, key[1])):
        watts, names = _meter_watts(zones[tier, meter])
        if not names or ((tier, meter) in unknown and names not in WHOLE):
            continue
        answer = MeterAnswer(watts, tier, f"{meter}: {names}")
        if boards is None or tier is not Tier.ON_DIE or names in WHOLE:
            found.append(answer)
        elif boards.watts is not None:
            found.append(MeterAnswer(watts + boards.watts, tier, f"{answer.source} + {boards.source}"))
    return found


@dataclass(frozen=True, slots=True)
class Accelerators:
    """All of a node's together; watts are None while one of them is silent."""

    watts: float | None
    source: str


def accelerators(readings: Iterable[ZoneReading]) -> Accelerators | None:
    """What the accelerators of a node say; None where it shows none."""
    zones, unknown = _grouped(reading for reading in readings if reading.meter in ACCELERATORS)
    if not zones and not unknown:
        return None
    told = [(meter, *_meter_watts(zones[tier, meter])) for tier, meter in sorted(zones)]
    source = " + ".join(f"{meter}: {names}" for meter, _, names in told)
    return Accelerators(None if unknown else sum(watts for _, watts, _ in told), source)


def _grouped(
    readings: Iterable[ZoneReading],
) -> tuple[dict[tuple[Tier, str], dict[str, float]], set[tuple[Tier, str]]]:
    """Watts of each zone by tier and meter; and which meters lack a zone without which their sum is unknown."""
    zones: dict[tuple[Tier, str], dict[str, float]] = defaultdict(dict)
    unknown = set()
    for reading in readings:
        if reading.watts is not None:
            zones[reading.tier, reading.meter][reading.zone] = reading.watts
        elif _needed(reading):
            unknown.add((reading.tier, reading.meter))
    return zones, unknown


def _needed(reading: ZoneReading) -> bool:
    """Whether a meter's sum is unknown while this zone is silent. Others may be broken for good (a malformed zone, DRAM
    that a kernel hides); what they would add lies within the tier's bounds."""
    return reading.tier is Tier.WALL or reading.meter in ACCELERATORS or reading.zone.startswith("package")


def _meter_watts(zones: Mapping[str, float]) -> tuple[float, str]:
    """Sum of the zones that do not contain each other, and their names ("" where none can be used)."""
    for whole in WHOLE:
        if whole in zones:
            return zones[whole], whole
    outer = {name: watts for name, watts in zones.items() if not name.split("/")[-1].startswith(("core", "uncore"))}
    return sum(outer.values()), " + ".join(sorted(outer))
