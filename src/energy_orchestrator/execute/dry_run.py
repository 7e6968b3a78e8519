"""The harmless executor: it keeps desired states in memory and moves nothing. Default, and the tests' simulation."""

from __future__ import annotations

from typing import Any

from energy_orchestrator.execute.merge_patch import compose
from energy_orchestrator.execute.port import JsonObject, TargetState


class DryRunExecutor:
    """Every workload has `replicas` replicas that do at once what is asked."""

    name = "dry_run"

    def __init__(self, replicas: int = 2) -> None:
        self._replicas = replicas
        self.promoted: dict[tuple[str, str], dict[str, Any]] = {}
        self.canaries: dict[tuple[str, str], int] = {}
        self.applied: list[tuple[str, int]] = []

    def pre_image(self, tenant: str, workload: str) -> JsonObject:
        """What is promoted now."""
        return {"promoted": dict(self.promoted.get((tenant, workload), {}))}

    def replicas(self, tenant: str, workload: str) -> int:  # noqa: ARG002 - the port's shape
        """As constructed."""
        return self._replicas

    def apply(self, tenant: str, workload: str, patch: JsonObject, pre_image: JsonObject, percent: int) -> None:
        """Remember it."""
        key = (tenant, workload)
        self.applied.append((workload, percent))
        self.canaries[key] = max(1, self._replicas * percent // 100) if percent < 100 else 0
        if percent >= 100:
            self.promoted[key] = compose(pre_image["promoted"], patch)

    def revert(self, tenant: str, workload: str, pre_image: JsonObject) -> None:
        """Restore it."""
        self.promoted[tenant, workload] = dict(pre_image["promoted"])
        self.canaries[tenant, workload] = 0

    def observe(self, tenant: str, workload: str) -> TargetState:
        """Always as wanted."""
        names = tuple(f"{workload.removeprefix('declared/')}-{k}" for k in range(self._replicas))
        canaries = self.canaries.get((tenant, workload), 0) or self._replicas
        return TargetState(True, False, "", names[-canaries:], names[:-canaries])

    def smoke(self, tenant: str, workload: str) -> tuple[bool, str]:  # noqa: ARG002 - the port's shape
        """Nothing runs, so nothing is asked."""
        return True, "dry run"
