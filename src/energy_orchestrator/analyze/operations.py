"""Joules per operation: energy joined with what was done, or a reason why it can't be.

Which energy belongs to which operations is found where they are read (`services/operation_queries.py`): the agent's and
the scraper's intervals do not line up, and a replica of which only one side is known counts on neither. Without a
source of operations, or with none done, the answer is None and says why; energy per second is never passed off as
energy per operation.
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
    joules: Bounded | None, operations: float | None, counted_operations: float | None
) -> PerOperation:
    """Ratio of the energy and the operations that belong together.

    Args:
        joules: active energy of the replicas whose operations are known too; None where there is none.
        operations: all that were counted; None without a source.
        counted_operations: those of them that `joules` is the energy of.
    """
    if operations is None:
        return PerOperation(None, "no source of operations is declared or recognised")
    if operations <= 0:
        return PerOperation(None, "no operation was done in this span")
    if joules is None or not counted_operations:
        return PerOperation(None, "no energy is known of the replicas and the time whose operations were counted")
    return PerOperation(joules.scaled(1 / counted_operations), None)
