"""A fleet as a file: what `eo recommendations plan --fleet FILE` reads where no live data carries it (node watts
asleep, power sweeps, batch sweeps, forecasts, jobs, images).

Validated as a whole; an error names the field. Unknown is left out (None), never 0. Units are in the names.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Annotated, Literal

from pydantic import AwareDatetime, Field, FiniteFloat, StringConstraints, model_validator

from energy_orchestrator.model.recommendation import SuggestionType
from energy_orchestrator.model.workload import Strict

Text = Annotated[str, StringConstraints(min_length=1, max_length=253)]
Positive = Annotated[FiniteFloat, Field(gt=0)]
NotNegative = Annotated[FiniteFloat, Field(ge=0)]


class NodeSpec(Strict):
    """A node with what it draws."""

    name: Text
    cpu_cores: Positive
    memory_gb: Positive
    idle_watts: NotNegative
    full_watts: Positive
    sleep_watts: NotNegative = 0.0
    wake_joules: NotNegative = 0.0
    may_sleep: bool = Field(False, description="The system may propose to empty it and put it to sleep.")
    asleep: bool = False
    zone: str = ""
    labels: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _order(self) -> NodeSpec:
        if self.full_watts < self.idle_watts:
            raise ValueError("full_watts: less than idle_watts")
        if self.sleep_watts > self.idle_watts:
            raise ValueError("sleep_watts: more than idle_watts")
        return self


class WorkloadSpec(Strict):
    """A group of like replicas: where they stand, what one needs, and what may be done to them."""

    name: Text
    on: dict[Text, Annotated[int, Field(ge=1)]] = Field(description="Node -> replicas.", min_length=1)
    cpu_cores: NotNegative = Field(description="Peak need of one replica over the horizon.")
    mean_cores: NotNegative | None = Field(None, description="Mean need; default: the peak.")
    burst_cores: NotNegative = Field(0.0, description="Needed above the peak when it bursts; one workload at a time.")
    memory_gb: NotNegative
    move_joules: NotNegative | None = Field(None, description="Of moving one replica; default: by its memory.")
    max_moves: int | None = Field(None, ge=0, description="Replicas that may move; 0 pins, None: all, one at a time.")
    max_per_node: int | None = Field(None, ge=1)
    max_per_zone: int | None = Field(None, ge=1)
    near: str | None = Field(None, description="Workload that has to be on the same node.")
    node_labels: dict[str, str] = Field(default_factory=dict, description="Nodes it may go to.")


class CapPoint(Strict):
    """One measured power limit."""

    limit_watts: Positive
    watts: Positive
    seconds_per_operation: Positive


class PowerSweep(Strict):
    """Power limits tried on one device under one workload."""

    workload: Text
    node: Text
    limit_watts_now: Positive
    max_slowdown: Annotated[FiniteFloat, Field(ge=0, le=1)] = 0.05
    rest_watts: NotNegative = Field(0.0, description="Of the machine around it, that runs on while it is slower.")
    busy_share: Annotated[FiniteFloat, Field(gt=0, le=1)] = 1.0
    points: tuple[CapPoint, ...] = Field(min_length=2)


class BatchPoint(Strict):
    """One measured batch size."""

    batch: Annotated[int, Field(ge=1)]
    joules_per_operation: Positive
    latency_p95_seconds: Positive | None = None


class BatchSweep(Strict):
    """Batch sizes tried on one workload."""

    workload: Text
    node: Text | None = None
    batch_now: Annotated[int, Field(ge=1)]
    operations_per_day: Positive
    latency_slo_seconds: Positive | None = None
    allowed: tuple[int, ...] = Field((), description="Values it may take; default: the measured ones.")
    points: tuple[BatchPoint, ...] = Field(min_length=3)


class ForecastSlot(Strict):
    """Grid and price in one slot."""

    start: AwareDatetime
    gco2e_per_kwh: NotNegative | None = None
    price_per_kwh: FiniteFloat | None = None


class Forecast(Strict):
    """Slots of equal length, without gaps."""

    slot_minutes: Annotated[int, Field(ge=5, le=1440)] = 60
    slots: tuple[ForecastSlot, ...] = Field(min_length=1, max_length=2016)
    relative_error: NotNegative = Field(0.15, le=1, description="Of a day-ahead forecast; widens the bounds.")

    @model_validator(mode="after")
    def _even(self) -> Forecast:
        for before, after in zip(self.slots, self.slots[1:], strict=False):
            if (after.start - before.start).total_seconds() != self.slot_minutes * 60:
                raise ValueError(f"slots: {after.start} does not follow {before.start} after {self.slot_minutes} min")
        return self


class Job(Strict):
    """Work that may wait."""

    workload: Text
    node: Text | None = None
    watts: Positive
    minutes: Positive
    earliest: AwareDatetime
    deadline: AwareDatetime
    planned_start: AwareDatetime
    runs_per_day: Positive = 1.0

    @model_validator(mode="after")
    def _fits(self) -> Job:
        if (self.deadline - self.earliest).total_seconds() < self.minutes * 60:
            raise ValueError("deadline: it can't be kept, the job takes longer than from `earliest` to it")
        return self


class ImageRuns(Strict):
    """J/op of one image of a workload, window by window, on the same kind of node."""

    workload: Text
    image: Text
    current: bool = False
    created: datetime | None = None
    size_mb: Positive | None = None
    joules_per_operation: tuple[Positive, ...] = ()
    operations_per_day: Positive | None = None
    starts_per_day: NotNegative = 0.0


class InstanceUse(Strict):
    """A rented machine and what runs in it."""

    node: Text
    provider: Literal["aws", "gcp", "azure"]
    instance_type: Text
    cpu_cores_p95: NotNegative = Field(description="Virtual CPUs used, 95th percentile of at least a week.")
    mean_cores: NotNegative
    memory_gb_max: NotNegative
    price_per_hour: Positive | None = None
    prices_per_hour: dict[str, Positive] = Field(default_factory=dict, description="Of other types, where known.")
    same_architecture: bool = Field(True, description="False allows Arm for x86 and the reverse.")


class PastChange(Strict):
    """A change that was made already. Its targets are left alone for the cool-down and its moves count for a day; one
    whose result is known also teaches the playbook and the confidence."""

    at: AwareDatetime
    what: tuple[Text, ...] = Field(min_length=1, description="Workloads, and nodes as node/NAME.")
    moves: Annotated[int, Field(ge=0)] = Field(0, description="Replicas that were moved.")
    suggestion_type: SuggestionType | None = None
    claimed_confidence: Annotated[FiniteFloat, Field(ge=0, le=1)] | None = Field(None, description="Of the advice.")
    saved_share: Annotated[FiniteFloat, Field(le=1)] | None = Field(None, description="Measured; a loss is negative.")
    reverted: bool = False

    @property
    def judged(self) -> bool:
        """Whether it is known what came of it."""
        return self.reverted or self.saved_share is not None

    @model_validator(mode="after")
    def _whole(self) -> PastChange:
        if self.reverted and self.saved_share is not None:
            raise ValueError("saved_share: it was reverted, so nothing is saved; leave one of them out")
        if self.judged and self.suggestion_type is None:
            raise ValueError("suggestion_type: a result is of no use without it")
        return self


class FleetFile(Strict):
    """The whole file."""

    version: Literal[1] = 1
    tenant: Text = "local"
    horizon_hours: Positive = 1.0
    cpu_headroom: Annotated[FiniteFloat, Field(ge=0, lt=1)] = 0.15
    memory_headroom: Annotated[FiniteFloat, Field(ge=0, lt=1)] = 0.05
    max_moves: Annotated[int, Field(ge=0)] = 1000
    price_per_kwh: NotNegative | None = None
    gco2e_per_kwh: NotNegative | None = None
    shift_by: Literal["gco2e", "price"] = "gco2e"
    job_capacity_watts: Positive | None = None
    nodes: tuple[NodeSpec, ...] = Field((), max_length=100_000)
    workloads: tuple[WorkloadSpec, ...] = Field((), max_length=1_000_000)
    power_sweeps: tuple[PowerSweep, ...] = ()
    batch_sweeps: tuple[BatchSweep, ...] = ()
    forecast: Forecast | None = None
    jobs: tuple[Job, ...] = ()
    images: tuple[ImageRuns, ...] = ()
    instances: tuple[InstanceUse, ...] = ()
    changes: tuple[PastChange, ...] = Field((), description="What was changed already.")

    @model_validator(mode="after")
    def _names(self) -> FleetFile:
        for kind, names in (
            ("nodes", [it.name for it in self.nodes]),
            ("workloads", [it.name for it in self.workloads]),
        ):
            twice = sorted(name for name, times in Counter(names).items() if times > 1)
            if twice:
                raise ValueError(f"{kind}: named twice: {', '.join(twice[:5])}")
        known, groups = {it.name for it in self.nodes}, {it.name for it in self.workloads}
        for it in self.workloads:
            strange = sorted(set(it.on) - known)
            if strange:
                raise ValueError(f"workloads.{it.name}.on: no such node: {', '.join(strange[:5])}")
            if it.near is not None and it.near not in groups:
                raise ValueError(f"workloads.{it.name}.near: no such workload: {it.near}")
        if self.jobs and self.forecast is None:
            raise ValueError("jobs: they need a `forecast`")
        return self
