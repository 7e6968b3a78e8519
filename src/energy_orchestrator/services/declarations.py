"""The declaration of a workload, where it has one."""

from __future__ import annotations

from collections.abc import Callable

from energy_orchestrator.errors import NotFoundError
from energy_orchestrator.model.workload import Declaration

DeclarationOf = Callable[[str, str], Declaration]
"""By tenant and workload the declaration in force, or NotFoundError."""


def declared(declaration_of: DeclarationOf, tenant: str, workload: str) -> Declaration | None:
    """None where nobody declared it."""
    try:
        return declaration_of(tenant, workload)
    except NotFoundError:
        return None
