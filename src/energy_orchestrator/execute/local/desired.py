"""What should run: the declaration in the file, the promoted changes on top, and the canary's on top of those.

The result is one ReplicaSpec per replica. Its `generation` is a hash of everything that makes the process what it
is; a running process with another generation is replaced, one with the same is left alone.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from energy_orchestrator.execute.merge_patch import merge
from energy_orchestrator.model.workload import Declaration, Limits

BASE_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH")
"""Inherited from the orchestrator; everything else has to be declared."""

EMPTY: dict[str, Any] = {"promoted": {}, "canary_patch": None, "canary_replicas": 0}


class DesiredStore(Protocol):
    """Keeps what was promoted and what the canary tries, per tenant and workload key."""

    def read(self, tenant: str, workload: str) -> dict[str, Any] | None:
        """None when nothing was ever changed."""
        ...

    def write(self, tenant: str, workload: str, desired: Mapping[str, Any], now: datetime) -> None:
        """Replace it; writing the same again changes nothing."""
        ...

    def paused(self, tenant: str) -> bool:
        """Whether the kill switch is on."""
        ...


class MemoryDesiredStore:
    """For tests and for running without records; forgets at the end."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], dict[str, Any]] = {}
        self.paused_tenants: set[str] = set()

    def read(self, tenant: str, workload: str) -> dict[str, Any] | None:
        """As the port says."""
        return self._kept.get((tenant, workload))

    def write(self, tenant: str, workload: str, desired: Mapping[str, Any], now: datetime) -> None:  # noqa: ARG002
        """As the port says."""
        self._kept[tenant, workload] = dict(desired)

    def paused(self, tenant: str) -> bool:
        """As the port says."""
        return tenant in self.paused_tenants


@dataclass(frozen=True, slots=True)
class ReplicaSpec:
    """One process as it should be."""

    workload: str
    name: str
    index: int
    argv: tuple[str, ...]
    environment: Mapping[str, str]
    """Without the EO_ variables that the process table adds."""
    working_directory: str
    nice: int
    port: int | None
    limits: Limits
    canary: bool
    generation: str


def effective(declaration: Declaration, patch: Mapping[str, Any]) -> Declaration:
    """The declaration with a change; pydantic refuses values outside a knob's range."""
    return Declaration.model_validate(merge(declaration.model_dump(mode="json"), patch))


def replica_specs(declaration: Declaration, desired: Mapping[str, Any] | None, folder: Path) -> list[ReplicaSpec]:
    """All replicas of a workload. The canaries are the last ones.

    Args:
        folder: where relative working directories begin (that of the workload file).
    """
    desired = desired or EMPTY
    stable = effective(declaration, desired["promoted"])
    if desired["canary_patch"] is None:
        return [_spec(stable, index, folder, canary=False) for index in range(stable.replicas)]
    trial = effective(declaration, merge(desired["promoted"], desired["canary_patch"]))
    first = max(0, stable.replicas - int(desired["canary_replicas"]))
    return [_spec(stable, index, folder, canary=False) for index in range(first)] + [
        _spec(trial, index, folder, canary=True) for index in range(first, stable.replicas)
    ]


def _spec(declaration: Declaration, index: int, folder: Path, *, canary: bool) -> ReplicaSpec:
    port = declaration.base_port + index if declaration.base_port is not None else None
    words = {"{port}": str(port), "{python}": sys.executable}
    argv = tuple(_fill(part, words) for part in declaration.command)
    name = f"{declaration.name}-{index}"
    environment = _telemetry(declaration, name) | dict(declaration.environment)
    environment |= {"PORT": str(port)} if port is not None else {}
    directory = str((folder / (declaration.working_directory or ".")).resolve())
    content = [argv, sorted(environment.items()), directory, declaration.nice, declaration.limits.model_dump()]
    return ReplicaSpec(
        workload=declaration.name,
        name=name,
        index=index,
        argv=argv,
        environment=environment,
        working_directory=directory,
        nice=declaration.nice,
        port=port,
        limits=declaration.limits,
        canary=canary,
        generation=hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16],
    )


def _telemetry(declaration: Declaration, replica: str) -> dict[str, str]:
    """Tells the OpenTelemetry SDK of a program that sends metrics which replica it is: a canary needs its own."""
    if declaration.operations is None or declaration.operations.otlp is None:
        return {}
    attributes = f"eo.workload={declaration.key},eo.replica={replica}"
    return {"OTEL_SERVICE_NAME": declaration.operations.otlp, "OTEL_RESOURCE_ATTRIBUTES": attributes}


def _fill(part: str, words: Mapping[str, str]) -> str:
    for word, value in words.items():
        part = part.replace(word, value)
    return part
