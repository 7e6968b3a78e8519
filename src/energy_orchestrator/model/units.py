"""Quantities as types, tiers, and values that carry their own uncertainty.

Inside the code a quantity has one of the types below; where it leaves the code (a column, a JSON field, a
metric) its name ends in the unit: `_joules`, `_watts`, `_seconds`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import NewType

Joules = NewType("Joules", float)
Watts = NewType("Watts", float)
Seconds = NewType("Seconds", float)

SECONDS_PER_DAY = 86_400.0
JOULES_PER_KWH = 3_600_000.0


class Tier(StrEnum):
    """How a number was measured, best first (docs/glossary.md)."""

    WALL = "wall"
    BMC = "bmc"
    ON_DIE = "on_die"
    MODEL = "model"

    @property
    def rank(self) -> int:
        """0 for the best tier; larger is worse."""
        return list(Tier).index(self)


def worst_tier(*tiers: Tier) -> Tier:
    """The tier of a number that was made from several others."""
    return max(tiers, key=lambda tier: tier.rank)


def energy(power: Watts, duration: Seconds) -> Joules:
    """Energy of a constant power over a duration."""
    return Joules(power * duration)


@dataclass(frozen=True, slots=True)
class Bounded:
    """A value with the 90 % interval it is believed to lie in. The unit is that of the field that holds it."""

    value: float
    lower: float
    upper: float

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, (self.value, self.lower, self.upper))):
            raise ValueError(f"a bounded value must be finite: {self.lower}, {self.value}, {self.upper}")
        if not self.lower <= self.value <= self.upper:
            raise ValueError(f"bounds must enclose the value: {self.lower} <= {self.value} <= {self.upper}")

    def scaled(self, factor: float) -> Bounded:
        """The same belief in another unit; the factor must not be negative."""
        if factor < 0:
            raise ValueError("a negative factor would swap the bounds")
        return Bounded(self.value * factor, self.lower * factor, self.upper * factor)

    def times(self, other: Bounded) -> Bounded:
        """Each bound times the other's, none of which may be negative."""
        return Bounded(self.value * other.value, self.lower * other.lower, self.upper * other.upper)
