"""Joules per operation: energy joined with what was done, or a reason why it can't be.

Both are taken as rates over the seconds they cover, because the agent's and the scraper's intervals do not line up:
two samples of the one and three of the other may fall into a window. Without a source of operations, or with none
done, the answer is None and says why; energy per second is never passed off as energy per operation.
"""

from __future__ import annotations

from dataclasses import dataclass

from energy_orchestrator.model.units import Bounded


@dataclass(frozen=True, slots=True)
class PerOperation:
    """`value` in joules per operation; None with the reason."""

    value: Bounded | None
    reason: str | None


def joules_per_operation(
    active_joules: Bounded | None, energy_seconds: float, operations: float | None, operation_seconds: float
) -> PerOperation:
    """Ratio of the two rates."""
    if operations is None:
        return PerOperation(None, "no source of operations is declared or recognised")
    if active_joules is None or energy_seconds <= 0:
        return PerOperation(None, "no energy is known for this span")
    if operations <= 0 or operation_seconds <= 0:
        return PerOperation(None, "no operation was done in this span")
    seconds_per_operation = operation_seconds / operations
    return PerOperation(active_joules.scaled(seconds_per_operation / energy_seconds), None)
