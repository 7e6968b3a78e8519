"""Declared workloads: what an operator tells the system about a program it may run and tune.

The file (`eo.workloads.yaml`) is validated here as a whole, before anything is started: an error names the
field and the allowed values. The local executor runs what is declared; strategies read the knobs.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
EnvironmentName = Annotated[str, StringConstraints(pattern=r"^[A-Z_][A-Z0-9_]{0,127}$")]


class Strict(BaseModel):
    """Frozen, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class KnobMeaning(StrEnum):
    """What turning a knob does, so that a strategy can find it without knowing the program."""

    BATCH_SIZE = "batch_size"
    """Operations handled together at most."""
    THREADS = "threads"
    """Threads of a parallel section (BLAS, OpenMP, a worker pool)."""
    POLL_WAIT = "poll_wait"
    """How an idle loop waits: the lowest value spins, a higher one sleeps or blocks longer."""
    OTHER = "other"


class Knob(Strict):
    """An environment variable that may be changed, and to what."""

    meaning: KnobMeaning = KnobMeaning.OTHER
    allowed: tuple[str, ...] = Field(min_length=1, description="Every value that may be set, lowest first.")


class OperationSource(Strict):
    """Where the count of operations comes from."""

    prometheus: str | None = Field(None, description="URL of a text-format endpoint; `{port}` is the replica's port.")
    run_log: str | None = Field(None, description="Path of a JSON-lines log, one operation a line.")
    metric: str = Field("operations_total", description="Counter of completed operations.")
    error_metric: str | None = Field(None, description="Counter of failed operations.")
    latency_histogram: str | None = Field(None, description="Histogram of latency in seconds, without `_bucket`.")
    queue_gauge: str | None = Field(None, description="Gauge of operations waiting.")
    operation: str = Field("request", description="What one operation is: request, token, record, run.")

    @model_validator(mode="after")
    def _one_source(self) -> OperationSource:
        if (self.prometheus is None) == (self.run_log is None):
            raise ValueError("give exactly one of `prometheus` and `run_log`")
        return self


class Slo(Strict):
    """What must stay true. Checked before energy."""

    latency_p95_seconds: float | None = Field(None, gt=0)
    error_ratio: float | None = Field(None, ge=0, le=1)


class SmokeTest(Strict):
    """One HTTP request each changed replica must answer before it is measured."""

    http: str = Field(description="URL; `{port}` is the replica's port.")
    expect_status: int = 200
    timeout_seconds: float = Field(5.0, gt=0, le=60)


class Limits(Strict):
    """Bounds in force through a cgroup where the machine permits; `None` is no bound."""

    cpu: float | None = Field(None, gt=0, description="Logical CPUs.")
    memory_bytes: int | None = Field(None, ge=4_194_304)


class Declaration(Strict):
    """One workload. `environment` holds the present values of the knobs too."""

    name: Name
    command: tuple[str, ...] = Field(min_length=1, description="argv; `{port}` is the port.")
    working_directory: str | None = None
    replicas: int = Field(1, ge=0, le=64)
    base_port: int | None = Field(None, ge=1024, le=65_000, description="Replica k has port base_port + k.")
    nice: int = Field(0, ge=0, le=19)
    environment: dict[EnvironmentName, str] = Field(default_factory=dict)
    knobs: dict[EnvironmentName, Knob] = Field(default_factory=dict)
    operations: OperationSource | None = None
    slo: Slo = Slo()
    smoke: SmokeTest | None = None
    limits: Limits = Limits()
    labels: dict[str, str] = Field(default_factory=dict, description="`environment: production` forbids mode auto.")
    mode: Literal["advisory", "approve", "auto"] | None = Field(None, description="None: as the configuration says.")
    may_stop: bool = Field(False, description="The system may propose to stop it when idle.")

    @property
    def key(self) -> str:
        """Workload key as on the wire."""
        return f"declared/{self.name}"

    @model_validator(mode="after")
    def _values_in_range(self) -> Declaration:
        for variable, knob in self.knobs.items():
            value = self.environment.get(variable)
            if value is None:
                raise ValueError(f"knobs.{variable}: set its present value under `environment`")
            if value not in knob.allowed:
                raise ValueError(
                    f"environment.{variable}: {value!r} is outside the knob's range; allowed: {', '.join(knob.allowed)}"
                )
        needs_port = any("{port}" in part for part in self.command)
        if needs_port and self.base_port is None:
            raise ValueError("base_port: needed, since `command` uses {port}")
        return self


class WorkloadFile(Strict):
    """The whole file. Names are unique."""

    version: Literal[1] = 1
    workloads: tuple[Declaration, ...] = ()

    @model_validator(mode="after")
    def _unique(self) -> WorkloadFile:
        names = [declaration.name for declaration in self.workloads]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"workloads: named twice: {', '.join(twice)}")
        return self
