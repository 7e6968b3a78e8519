"""What the HTTP API, the page and (through HTTP) the CLI ask of the system.

`ControlPlane` is the port; `services/control_plane.py` implements it on the stores. The views below are the
JSON of `/api/v1` as it is documented in OpenAPI: plain values, units in the names, None for unknown.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Protocol

from pydantic import AwareDatetime, BaseModel, Field

from energy_orchestrator.model.fleet import FleetFile


class BoundedView(BaseModel):
    """A value with its 90 % interval."""

    value: float
    lower: float
    upper: float


class NodeView(BaseModel):
    """A node now. Power fields are means over the newest window; None where nothing is known yet."""

    tenant: str
    host: str
    tier: str | None
    power_source: str | None
    node_watts: BoundedView | None
    idle_watts: float | None
    active_watts: float | None
    unattributed_watts: float | None
    cpu_model: str | None
    cpu_threads: int | None
    memory_bytes: int | None
    virtual: bool | None
    capabilities: list[str]
    missing: list[str]
    last_seen: datetime | None


class PowerPoint(BaseModel):
    """One window of a node. node = idle + active + unattributed."""

    timestamp: datetime
    node_watts: float
    node_watts_lower: float
    node_watts_upper: float
    idle_watts: float
    active_watts: float
    unattributed_watts: float


class WorkloadView(BaseModel):
    """A workload over the asked span. J/op is None without a source of operations; then the reason says so."""

    tenant: str
    host: str
    workload: str
    workload_kind: str
    replicas: int | None
    active_watts: BoundedView | None
    tier: str | None
    cpu_cores: float
    mem_bytes: int
    operations_per_second: float | None
    operation: str | None
    joules_per_operation: BoundedView | None
    joules_per_operation_reason: str | None
    latency_p95_seconds: float | None
    language: str | None
    image: str | None
    hotspot_functions: list[str]
    profiled: bool
    labels: dict[str, str] = {}
    """Labels of the declaration or the container; the page filters by `label=value`."""


class CostRowView(BaseModel):
    """J/op of one workload in one version, on one node type, or both."""

    version: str | None = Field(description="Digest, image or checksum; null where unknown or not asked for.")
    version_reason: str | None = Field(description="Why the version is unknown.")
    node_type: str | None = Field(
        description="Instance type, else product, CPU and threads; null where unknown or not asked for."
    )
    node_type_reason: str | None = Field(description="Why the node type is unknown.")
    first_seen: datetime | None = Field(description="End of the first window of the span in which it ran.")
    last_seen: datetime | None = Field(description="End of the last one.")
    hosts: list[str] = Field(description="Where it ran.")
    tier: str | None
    windows: int = Field(description="Windows with energy whose operations are known.")
    windows_without_operations: int = Field(description="Windows with energy for which nothing told operations.")
    operations: float | None = Field(description="Done in the windows; null where nothing told operations.")
    operations_per_second: float | None
    active_joules: float = Field(description="Active energy, of all windows.")
    joules_per_operation: BoundedView | None
    joules_per_operation_reason: str | None
    joules_per_operation_by_meter: BoundedView | None = Field(
        description="The same with the meter's bounds alone: more windows make it no narrower."
    )
    note: str | None = Field(description="What the interval leaves out.")


class CostComparisonView(BaseModel):
    """By how much J/op of one version or node type differs from another's."""

    base: str = Field(description="What is compared with: the version before, or the node type with most operations.")
    other: str = Field(description="What is compared.")
    node_type: str | None = Field(description="Where both versions ran, when told apart by both; else null.")
    ratio: BoundedView | None = Field(description="J/op of other over base; null where it can't be told.")
    reason: str | None = Field(description="Why it can't be told.")
    same_meter: bool = Field(description="Same nodes, same tier: the meter's error falls out of the ratio.")
    differs: bool = Field(description="Whether the whole interval lies on one side of 1.")
    message: str


class WorkloadCostView(BaseModel):
    """J/op of a workload by version, node type or both."""

    tenant: str
    workload: str
    by: str = Field(description="version, node_type or both.")
    version_named_by: str | None = Field(
        description="What names versions: image_digest, image or checksum; null where none is known."
    )
    operation: str | None
    window_seconds: float = Field(description="Width of the windows that were compared.")
    rows: list[CostRowView] = Field(description="The first seen first.")
    comparisons: list[CostComparisonView] = Field(description="By how much they differ.")


class SciWorkloadView(BaseModel):
    """A workload in the view by reservation, over all nodes that it ran on. SCI = (energy x I + M) / operations."""

    workload: str
    hosts: list[str] = Field(description="Where it ran.")
    active_joules: float = Field(description="Active energy, as everywhere else.")
    reserved_idle_joules: float | None = Field(
        description="Idle of the nodes, by what is reserved of them; null where a node's size is unknown."
    )
    energy_joules: BoundedView | None = Field(
        description="SCI's E: active and reserved idle, with the meters' bounds; null where reserved idle is."
    )
    reserved_share: float | None = Field(description="Share of the idle of its nodes in its windows.")
    cpu_basis: list[str] = Field(description="What its CPUs rest on: declared limit, CPUs allowed, use.")
    memory_basis: list[str] = Field(description="What its memory rests on: declared limit, use.")
    operational_gco2e: float | None = Field(description="E x I; null without a grid factor.")
    embodied_gco2e: float | None = Field(description="SCI's M: its share of the nodes, of their lifetime.")
    embodied_reason: str | None = Field(description="Why M is null.")
    operation: str | None
    operations: float | None = Field(description="Counted in the span; null without a source.")
    sci_gco2e_per_operation: BoundedView | None = Field(description="Null where a part is unknown.")
    sci_reason: str | None = Field(description="Why it is null.")


class SciNodeView(BaseModel):
    """A node in the view by reservation: what nobody reserved stays with it."""

    host: str
    idle_joules: float = Field(description="All of its idle.")
    unreserved_idle_joules: float = Field(description="Idle that nobody reserved; not spread over workloads.")
    unattributed_joules: float = Field(description="Active energy of no workload; not spread either.")
    embodied_gco2e: float | None = Field(description="Embodied emissions of the span, of the whole node.")
    unreserved_embodied_gco2e: float | None = Field(description="The part that nobody reserved.")
    reason: str | None = Field(description="What is not known of the node.")


class SciView(BaseModel):
    """Energy by reservation, as SCI (ISO/IEC 21031) counts it. A view beside attribution, which shares no idle out."""

    tenant: str
    start: datetime = Field(description="Begin of the span.")
    end: datetime = Field(description="End of the span.")
    grid_gco2e_per_kwh: float | None = Field(description="SCI's I, from the settings.")
    grid_reason: str | None = Field(description="Why I is null.")
    basis: str = Field(description="How idle was split, in words.")
    nodes: list[SciNodeView] = Field(description="With the parts of idle that nobody reserved.")
    workloads: list[SciWorkloadView] = Field(description="The most energy first.")


class FlameNode(BaseModel):
    """Tree of d3-flame-graph. `value` is joules in the span (own and below)."""

    name: str
    value: float
    children: list[FlameNode] = []


class FingerprintView(BaseModel):
    """What a workload does, in a few words, and the group of those that do the same."""

    workload: str
    cluster: int | None
    samples: int
    made_at: datetime
    does: list[str]
    functions: list[str]


class NeighbourView(BaseModel):
    """A workload that does the same, and why it is thought so."""

    workload: str
    likeness: float
    cluster: int | None
    reason: str


class RecommendationView(BaseModel):
    """A recommendation with its decision."""

    id: str
    created_at: datetime
    expires_at: datetime
    tenant: str
    host: str | None
    workload: str
    suggestion_type: str
    status: str
    executor: str
    patch: dict[str, Any]
    inverse: dict[str, Any]
    current: dict[str, Any]
    """Present values of what `patch` would set."""
    expected_savings_j: BoundedView
    target_spend_j: BoundedView
    expected_savings_cost: BoundedView | None
    expected_savings_gco2e: BoundedView | None
    tier: str
    confidence: float
    confidence_reason: str
    risk_score: float
    risk_parts: dict[str, float]
    rank_score: float
    evidence: list[dict[str, Any]]
    explanation: str
    source: str
    decision: str | None
    """allow, needs_approval or deny; None before the first decision."""
    decision_reasons: list[str]
    rollout_id: str | None


class MetricView(BaseModel):
    """One metric of an analysis run, judged."""

    name: str
    phase: str
    judge: str
    baseline: float | None
    canary: float | None
    estimate: float | None
    lower: float | None
    upper: float | None
    unit: str
    samples_baseline: int
    samples_canary: int
    message: str


class RolloutEventView(BaseModel):
    """One line of a rollout's history."""

    at: datetime
    step: int | None
    phase: str
    message: str


class SavingView(BaseModel):
    """What the changed part saves, by the best method that the data allowed; positive is less energy."""

    method: str | None = Field(
        description="side_by_side, difference_in_differences or load_adjusted; null where none was possible."
    )
    reason: str = Field(description="Why this method and no better one; why none.")
    ratio: BoundedView | None = Field(description="Share of what would have been spent.")
    joules: BoundedView | None = Field(description="Saved in the windows that were measured.")
    joules_per_operation: BoundedView | None = Field(description="Saved by one operation.")
    joules_per_day: BoundedView | None = Field(
        description="Saved in a day by the part that was measured, if the load stays as it was."
    )
    found: bool = Field(description="Whether a saving is told from none: the 95 % interval lies above zero.")


class NodeChangeAsked(BaseModel):
    """A change to whole nodes, whose saving is asked for."""

    changed: list[str] = Field(min_length=1, max_length=200, description="Nodes that were changed.")
    at: AwareDatetime = Field(description="When.")
    control: list[str] = Field(default_factory=list, max_length=200, description="Nodes that nobody changed.")
    asleep: list[str] = Field(default_factory=list, max_length=200, description="Changed nodes that are off since.")
    workload: str | None = Field(None, description="Whose operations are the work; none: CPU seconds are.")
    hours: float = Field(2.0, gt=0, le=24 * 7, description="How much of the time before and after is compared.")
    alike: bool = Field(False, description="Changed and control did the same kind of work: compare side by side.")


class RolloutView(BaseModel):
    """A rollout. `steps` in words; `metrics` of the newest analysis run."""

    id: str
    recommendation_id: str
    tenant: str
    workload: str
    executor: str
    phase: str
    step_index: int
    steps: list[str]
    scope_percent: int
    patch: dict[str, Any]
    started_at: datetime
    finished_at: datetime | None
    message: str
    metrics: list[MetricView]
    events: list[RolloutEventView]
    verified_savings_j_per_operation: BoundedView | None
    measured_saving: SavingView | None = Field(
        None, description="What was measured, kept or not, with its method; null before the energy was compared."
    )


class AlertView(BaseModel):
    """A lasting shift of a workload's J/op."""

    at: datetime
    tenant: str
    workload: str
    severity: str = Field(description="warning where an operation costs more, info where it costs less.")
    before_joules_per_operation: float = Field(description="Geometric mean before the shift.")
    after_joules_per_operation: float = Field(description="Geometric mean after it.")
    change_ratio: float = Field(description="Rise as a share of what it was; negative is less.")
    change: BoundedView = Field(
        description="The same with its 90 % interval, by how windows differ: the meter is the same before and after."
    )
    p_value: float = Field(description="Probability of such a deviation without a shift.")
    version_before: str | None = Field(description="Version that was replaced then; null where none is known.")
    version_after: str | None = Field(description="Version that came; null where none is known.")
    version_named_by: str | None = Field(description="What names them: image_digest, image or checksum.")
    message: str


class PauseView(BaseModel):
    """The kill switch: who stopped everything, when and why."""

    id: str
    tenant: str
    by: str
    reason: str
    created_at: datetime
    lifted_at: datetime | None
    lifted_by: str | None


class AuditEntryView(BaseModel):
    """One entry of the log; `hash` covers `previous_hash` and the body."""

    sequence: int
    at: datetime
    tenant: str
    actor: str
    action: str
    subject: str
    body: dict[str, Any]
    previous_hash: str
    hash: str


class AuditVerification(BaseModel):
    """Result of walking the whole log."""

    ok: bool
    entries: int
    head: str
    first_bad_sequence: int | None
    message: str


class Readiness(BaseModel):
    """Parts and whether each works; `ready` when all do."""

    ready: bool
    parts: dict[str, str]


class ControlPlane(Protocol):
    """Every call takes the tenant. Raises the errors of `energy_orchestrator.errors`."""

    def readiness(self) -> Readiness: ...

    def nodes(self, tenant: str) -> list[NodeView]: ...

    def node_power(self, tenant: str, host: str, minutes: float) -> list[PowerPoint]: ...

    def workloads(self, tenant: str, minutes: float, limit: int) -> list[WorkloadView]: ...

    def sci(self, tenant: str, minutes: float) -> SciView: ...

    def workload_cost(self, tenant: str, workload: str, by: str, minutes: float) -> WorkloadCostView: ...

    def fleet(self, tenant: str, minutes: float) -> FleetFile: ...

    def node_saving(self, tenant: str, change: NodeChangeAsked) -> SavingView: ...

    def alerts(self, tenant: str, minutes: float) -> list[AlertView]: ...

    def flame_graph(self, tenant: str, workload: str, minutes: float) -> FlameNode: ...

    def fingerprints(self, tenant: str) -> list[FingerprintView]: ...

    def neighbours(self, tenant: str, workload: str, count: int) -> list[NeighbourView]: ...

    def recommendations(self, tenant: str, *, all_statuses: bool = False) -> list[RecommendationView]: ...

    def recommendation(self, tenant: str, recommendation_id: str) -> RecommendationView: ...

    def approve(self, tenant: str, recommendation_id: str, actor: str) -> RecommendationView: ...

    def refuse(self, tenant: str, recommendation_id: str, actor: str, reason: str) -> RecommendationView: ...

    def propose(
        self, tenant: str, workload: str, environment: dict[str, str], replicas: int | None, actor: str, reason: str
    ) -> RecommendationView: ...

    def rollouts(self, tenant: str) -> list[RolloutView]: ...

    def rollout(self, tenant: str, rollout_id: str) -> RolloutView: ...

    def abort_rollout(self, tenant: str, rollout_id: str, actor: str) -> RolloutView: ...

    def retry_rollout(self, tenant: str, rollout_id: str, actor: str) -> RolloutView: ...

    def pauses(self, tenant: str, *, active_only: bool = False) -> list[PauseView]: ...

    def pause(self, tenant: str, actor: str, reason: str) -> PauseView: ...

    def resume(self, tenant: str, actor: str) -> list[PauseView]: ...

    def audit(self, tenant: str, after: int, limit: int) -> list[AuditEntryView]: ...

    def verify_audit(self) -> AuditVerification: ...

    def import_runs(self, tenant: str, name: str, text: str, *, dry_run: bool) -> dict[str, Any]: ...

    def prometheus_metrics(self) -> bytes: ...
