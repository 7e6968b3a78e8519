"""Instance type: a rented machine that fits what runs in it with less power.

In: what is used (95th percentile of CPU, highest memory), the present type, a catalogue with watts at rest and at full
load. Out: the type of the same provider with the least power at the mean load, that holds the peaks with headroom.

What a virtual CPU does differs by architecture and is not in the catalogue, so across architectures the load is taken
as 0.8 to 1.25 of now, and a type must hold the peak at 1.25. Watts of a catalogue are +-20 %, against each other +-10 %
within one architecture (assumptions: the spread of SPECpower servers of one CPU family, docs/accuracy.md). A type whose
watts are a stand-in for another architecture's promises nothing at its lower bound. Money only where both prices are
given. Catalogue: Cloud Carbon Footprint's coefficients (Apache-2.0), built by tools/build_instance_catalogue.py.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path

from energy_orchestrator.errors import InvalidInputError
from energy_orchestrator.model.fleet import InstanceUse
from energy_orchestrator.model.recommendation import SuggestionType
from energy_orchestrator.model.units import Bounded, Tier
from energy_orchestrator.recommend.observation import Finding, Prior
from energy_orchestrator.recommend.playbook import Measured, corrected
from energy_orchestrator.recommend.subject import Found, Subject, between

CATALOGUE_FILE = Path(__file__).with_name("data") / "instance_types.csv"
COLUMNS = (
    "provider", "instance_type", "vcpus", "memory_gb", "architecture", "isa", "idle_watts", "full_watts",
    "price_per_hour", "basis",
)  # fmt: skip
CPU_HEADROOM, MEMORY_HEADROOM = 1.2, 1.15
OTHER_ARCHITECTURE = (0.8, 1.25)
SAME_ERROR, OTHER_ERROR = 0.10, 0.20
MINIMUM_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class InstanceType:
    """One row of the catalogue. The shipped one has no `price_per_hour`; a file of prices gives them
    (`services/price_file.py`)."""

    provider: str
    name: str
    vcpus: float
    memory_gb: float
    architecture: str
    isa: str
    idle_watts: float
    full_watts: float
    price_per_hour: float | None
    basis: str

    def watts(self, cores: float) -> float:
        """At a mean load."""
        return self.idle_watts + (self.full_watts - self.idle_watts) * min(1.0, cores / self.vcpus)


def read_catalogue(lines: Sequence[str]) -> list[InstanceType]:
    """Rows of a catalogue's text; comments begin with `#`."""
    rows = csv.DictReader([line for line in lines if not line.startswith("#")])
    return [
        InstanceType(
            row["provider"],
            row["instance_type"],
            float(row["vcpus"]),
            float(row["memory_gb"]),
            row["architecture"],
            row["isa"],
            float(row["idle_watts"]),
            float(row["full_watts"]),
            float(row["price_per_hour"]) if row["price_per_hour"] else None,
            row["basis"],
        )
        for row in rows
    ]


@cache
def shipped_catalogue() -> tuple[InstanceType, ...]:
    """The catalogue that comes with the package."""
    return tuple(read_catalogue(CATALOGUE_FILE.read_text(encoding="utf-8").splitlines()))


def instance_type(
    use: InstanceUse, catalogue: Sequence[InstanceType], measured: Measured, tenant: str, now: datetime
) -> Found | None:
    """See the module.

    Raises:
        InvalidInputError: the present type is not in the catalogue.
    """
    offered = [it for it in catalogue if it.provider == use.provider]
    present = next((it for it in offered if it.name == use.instance_type), None)
    if present is None:
        raise InvalidInputError(
            f"{use.provider} {use.instance_type} is not in the catalogue",
            where=f"instances.{use.node}.instance_type",
            next_step="correct it, or leave this machine out (no types with accelerators or an unnamed CPU)",
        )
    before = present.watts(use.mean_cores)
    fitting = [it for it in offered if it != present and _fits(use, present, it)]
    best = min(fitting, key=lambda it: (it.watts(use.mean_cores), it.vcpus, it.name), default=None)
    if best is None or 1 - best.watts(use.mean_cores) / before < MINIMUM_SHARE:
        return None
    node = f"node/{use.node}"
    subject = Subject(tenant, node, use.node, now, now, Tier.MODEL, {node: ""})
    return Found(subject, _finding(use, present, best, measured))


def _finding(use: InstanceUse, present: InstanceType, best: InstanceType, measured: Measured) -> Finding:
    prior = corrected(
        Prior(_share(use, present, best), 0.6, "coefficients of the architectures; not tried here yet"), measured
    )
    before, after = present.watts(use.mean_cores), best.watts(use.mean_cores)
    money, unpriced = _cheaper_by(use, present, best)
    rent = f"Money unknown: no price of {unpriced} was given." if money is None else f"It costs {money:.2f} less a day."
    stand_in = "" if best.basis == "measured" else "Its watts stand in for an architecture that nobody measured. "
    return Finding(
        strategy="instance_type",
        suggestion_type=SuggestionType.INSTANCE_TYPE,
        patch={"instance_type": best.name},
        inverse={"instance_type": present.name},
        saved_watts=prior.ratio.scaled(before),
        spent_watts=Bounded(before, before * (1 - OTHER_ERROR), before * (1 + OTHER_ERROR)),
        confidence=prior.confidence,
        confidence_reason=prior.source,
        risk_parts={
            "availability": 0.5,
            "latency": 0.3 if best.architecture == present.architecture else 0.5,
            "blast_radius": 0.4,
            "reversibility": 0.2 if best.isa == present.isa else 0.6,
        },
        evidence=[
            ("CPU, 95th percentile", use.cpu_cores_p95, f"of {present.vcpus:g} vCPU"),
            ("memory, highest", use.memory_gb_max, f"of {present.memory_gb:g} GB"),
            (f"{present.name} ({present.architecture}) at mean load", round(before, 2), "W"),
            (f"{best.name} ({best.architecture}) at the same", round(after, 2), "W"),
            ("price", f"unknown: none of {unpriced}" if money is None else round(money, 4), "a day less"),
        ],
        explanation=(
            f"{best.name} ({best.vcpus:g} vCPU, {best.memory_gb:g} GB, {best.architecture}) holds "
            f"{use.cpu_cores_p95:g} cores x {CPU_HEADROOM} and {use.memory_gb_max:g} GB x {MEMORY_HEADROOM}; at a mean "
            f"of {use.mean_cores:g} cores it draws about {after:.1f} W instead of {before:.1f} W. {stand_in}{rent}"
        ),
        restarted_replicas=1,
        executor="none",
        cost_per_day=None if money is None else Bounded(money, money, money),
        rented=True,
    )


def _cheaper_by(use: InstanceUse, present: InstanceType, best: InstanceType) -> tuple[float | None, str]:
    """Money saved a day, None where a price is lacking; and of which types it is."""
    now_paid, then_paid = _price(use, present), _price(use, best)
    unpriced = " and ".join(it.name for it, price in ((present, now_paid), (best, then_paid)) if price is None)
    return None if now_paid is None or then_paid is None else (now_paid - then_paid) * 24, unpriced


def _price(use: InstanceUse, it: InstanceType) -> float | None:
    """Of an hour: what is paid, told for this machine, or in the catalogue."""
    told = use.price_per_hour if it.name == use.instance_type else use.prices_per_hour.get(it.name)
    return it.price_per_hour if told is None else told


def _slower(present: InstanceType, other: InstanceType) -> tuple[float, float]:
    """Cores that the same work takes on the other type, times those now: at best and at worst."""
    return (1.0, 1.0) if other.architecture == present.architecture else OTHER_ARCHITECTURE


def _fits(use: InstanceUse, present: InstanceType, it: InstanceType) -> bool:
    if use.same_architecture and it.isa != present.isa:
        return False
    _, worst = _slower(present, it)
    enough_cpu = it.vcpus >= use.cpu_cores_p95 * CPU_HEADROOM * worst
    return enough_cpu and it.memory_gb >= use.memory_gb_max * MEMORY_HEADROOM


def _share(use: InstanceUse, present: InstanceType, best: InstanceType) -> Bounded:
    before = present.watts(use.mean_cores)
    error = SAME_ERROR if best.architecture == present.architecture else OTHER_ERROR
    least, most = (best.watts(use.mean_cores * slower) for slower in _slower(present, best))
    lower = 1 - most * (1 + error) / before if best.basis == present.basis == "measured" else 0.0
    return between(1 - best.watts(use.mean_cores) / before, lower, 1 - least * (1 - error) / before, 1.0)
