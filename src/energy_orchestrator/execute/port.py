"""What the driver asks of an executor, whatever it moves: processes, pods or machines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

JsonObject = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TargetState:
    """Whether the target is as it was asked to be.

    `canary` and `baseline` name the replicas with and without the change; after full rollout all are canary.
    """

    converged: bool
    failed: bool
    message: str
    canary: tuple[str, ...]
    baseline: tuple[str, ...]


class Executor(Protocol):
    """An executor sets desired states: doing the same again changes nothing, so a repeated act does no harm."""

    name: str

    def pre_image(self, tenant: str, workload: str) -> JsonObject:
        """What a revert has to restore, taken before the first act."""
        ...

    def replicas(self, tenant: str, workload: str) -> int:
        """How many replicas are wanted now; decides whether there can be a canary."""
        ...

    def apply(self, tenant: str, workload: str, patch: JsonObject, pre_image: JsonObject, percent: int) -> None:
        """Give `percent` of the replicas (at least one) the change."""
        ...

    def revert(self, tenant: str, workload: str, pre_image: JsonObject) -> None:
        """Restore the pre-image."""
        ...

    def observe(self, tenant: str, workload: str) -> TargetState:
        """Compare what runs with what is wanted."""
        ...

    def smoke(self, tenant: str, workload: str) -> tuple[bool, str]:
        """Ask each changed replica its smoke test; True with a note when none is declared."""
        ...
