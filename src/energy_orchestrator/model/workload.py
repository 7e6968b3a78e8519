"""Declared workloads: what an operator tells the system about a program it may run and tune.

The file (`eo.workloads.yaml`) is validated here as a whole, before anything is started: an error names the
field and the allowed values. The local executor runs what is declared; strategies read the knobs.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from energy_orchestrator.model.selector import parse_matchers, parse_selector

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
EnvironmentName = Annotated[str, StringConstraints(pattern=r"^[A-Z_][A-Z0-9_]{0,127}$")]


def _selector(text: str) -> str:
    parse_selector(text)
    return text


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


Metric = Annotated[str, StringConstraints(max_length=2000), AfterValidator(_selector)]
"""`name` or `name{label="value"}` (model/selector.py)."""


class Counted(StrEnum):
    """Who keeps a counter, and so what it means when it falls or appears."""

    PROCESS = "process"
    """The process that answers: it counts from nought, after each restart again."""
    EXPORTER = "exporter"
    """Another process, asked by the one that answers: the start time shown is not the counter's."""
    OFFSET = "offset"
    """A position that may be moved back (Kafka): a fall is no restart, and nothing was done by it."""


SOURCES = ("prometheus", "promql", "otlp", "run_log")


class PromqlSource(Strict):
    """Questions to a Prometheus server. `{port}` and `{replica}` stand for those of the replica.

    Counters are asked for as they are, each series by itself: what they grew by is told here, so that a restart is
    seen as one and intervals add up. `rate()`, `increase()` and `sum()` hide it.
    """

    url: str = Field(description="The server: `http://127.0.0.1:9090`, or with the path it is served under.")
    operations: Metric = Field(description='Counter of operations: `http_requests_total{job="api"}`.')
    errors: Metric | None = Field(None, description='Counter of failed ones: `http_requests_total{code=~"5.."}`.')
    latency_p50_seconds: str | None = Field(None, description="Expression that gives one value, in seconds.")
    latency_p95_seconds: str | None = Field(None, description="`histogram_quantile(0.95, ...)`, one value.")
    latency_p99_seconds: str | None = Field(None, description="Expression that gives one value, in seconds.")
    queue_depth: str | None = Field(None, description="Expression that gives one value: operations waiting.")
    every_seconds: float = Field(5.0, ge=1, le=300, description="How often to ask.")
    token_file: str | None = Field(None, description="File with a bearer token.")


class OperationSource(Strict):
    """Where the count of operations comes from, and what else is known of them.

    Several metrics in one field are added up; a sample that two of them mean counts once. An endpoint without
    `metric` is recognised by what it exposes (`ingest/known_servers.json`).
    """

    prometheus: str | None = Field(None, description="URL of a text-format endpoint; `{port}` is the replica's port.")
    promql: PromqlSource | None = Field(None, description="Questions to a Prometheus server.")
    otlp: str | None = Field(None, description="`service.name` of a program that sends OTLP metrics (`otlp_port`).")
    run_log: str | None = Field(None, description="Path of a JSON-lines log, one operation a line.")
    server: str | None = Field(None, description="Which known server it is, where an endpoint shows several.")
    metric: Metric | tuple[Metric, ...] | None = Field(
        None, description='Counter of operations, also as `name{label=~"..."}`; None: recognised.'
    )
    error_metric: Metric | tuple[Metric, ...] | None = Field(None, description="Counter of failed operations.")
    latency_histogram: Metric | None = Field(None, description="Histogram of latency, without `_bucket`.")
    latency_unit: Literal["s", "ms", "us"] = Field("s", description="Unit of that histogram's bounds.")
    queue_gauge: Metric | None = Field(None, description="Gauge of operations waiting.")
    matching: str | None = Field(
        None, max_length=2000, description='Only samples with these labels: `consumergroup="billing"`.'
    )
    counted: Counted = Field(Counted.PROCESS, description="Who keeps the counter.")
    own_operations: float = Field(0.0, ge=0, description="Operations that reading the endpoint makes by itself.")
    operation: str | None = Field(None, description="What one operation is: request, token, record, run.")

    @field_validator("matching")
    @classmethod
    def _readable_matchers(cls, value: str | None) -> str | None:
        parse_matchers(value or "")
        return value

    @model_validator(mode="after")
    def _one_source(self) -> OperationSource:
        given = [name for name in SOURCES if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of {', '.join(f'`{name}`' for name in SOURCES)}")
        return self

    @property
    def kind(self) -> str:
        """As on the wire."""
        return next(name for name in SOURCES if getattr(self, name) is not None)

    @property
    def by_replica(self) -> bool:
        """Whether replicas are told apart: a log or a question without `{port}` or `{replica}` speaks for all."""
        if self.promql is not None:
            texts = [str(value) for value in self.promql.model_dump().values()]
            return any("{port}" in text or "{replica}" in text for text in texts)
        return self.run_log is None

    @property
    def operation_name(self) -> str:
        """What one operation is, where nothing says it: a request."""
        return self.operation or "request"


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
