"""What a change saved, once measured: how much, between which bounds, and by which comparison."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from energy_orchestrator.model.units import Bounded


class SavingMethod(StrEnum):
    """Best first."""

    SIDE_BY_SIDE = "side_by_side"
    """Canary and baseline at the same time."""
    DIFFERENCE_IN_DIFFERENCES = "difference_in_differences"
    """Before and after, less what workloads that did not change did meanwhile."""
    LOAD_ADJUSTED = "load_adjusted"
    """After, against what the load would have cost before: IPMVP Option C."""


@dataclass(frozen=True, slots=True)
class Saving:
    """Positive is less energy; intervals are of 90 %. `method` None: it could not be measured, `reason` says why."""

    method: SavingMethod | None
    reason: str
    """Why this method was taken and the better ones were not."""
    ratio: Bounded | None = None
    """Share of what would have been spent."""
    joules: Bounded | None = None
    """Saved in the windows that were measured."""
    joules_per_operation: Bounded | None = None
    joules_per_day: Bounded | None = None
    """If the load stays as it was measured."""
    found: bool = False
    """A saving is told from none: the lower end of the 95 % interval is above zero."""
