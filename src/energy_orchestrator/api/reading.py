"""Routes that only read: nodes, workloads, recommendations, rollouts, the log.

Each is one call of the port; a query parameter that is out of range never reaches it. Handlers are plain
functions, so the framework runs them in its thread pool and a slow query does not hold up the others.
"""

from __future__ import annotations

import csv
import io
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from fastapi.responses import Response

from energy_orchestrator.api.context import Plane, Tenant
from energy_orchestrator.api.control_plane import (
    AlertView,
    AuditEntryView,
    AuditVerification,
    FingerprintView,
    FlameNode,
    NeighbourView,
    NodeChangeAsked,
    NodeView,
    PauseView,
    PowerPoint,
    RecommendationView,
    RolloutView,
    SavingView,
    SciView,
    WorkloadCostView,
    WorkloadView,
)

router = APIRouter(prefix="/api/v1")

Minutes = Annotated[float, Query(gt=0, le=7 * 24 * 60, description="How far back, in minutes.")]
FleetMinutes = Annotated[float, Query(gt=0, le=30 * 24 * 60, description="How far back, in minutes.")]
Limit = Annotated[int, Query(ge=1, le=1000, description="At most so many, the largest first.")]

CSV_COLUMNS = (
    "tenant", "host", "workload", "workload_kind", "replicas", "active_watts", "active_watts_lower",
    "active_watts_upper", "tier", "cpu_cores", "mem_bytes", "operations_per_second", "operation",
    "joules_per_operation", "joules_per_operation_lower", "joules_per_operation_upper",
    "joules_per_operation_reason", "latency_p95_seconds", "language", "image",
)  # fmt: skip


@router.get("/nodes", tags=["nodes"])
def nodes(plane: Plane, tenant: Tenant) -> list[NodeView]:
    """Every node with its power now and how that was measured."""
    return plane.nodes(tenant)


@router.get("/nodes/{host}/power", tags=["nodes"])
def node_power(plane: Plane, tenant: Tenant, host: str, minutes: Minutes = 15) -> list[PowerPoint]:
    """Power of a node by window: node = idle + active + unattributed."""
    return plane.node_power(tenant, host, minutes)


@router.get("/workloads", tags=["workloads"])
def workloads(plane: Plane, tenant: Tenant, minutes: Minutes = 5, limit: Limit = 100) -> list[WorkloadView]:
    """Workloads by active power, with J/op or the reason it is unknown."""
    return plane.workloads(tenant, minutes, limit)


@router.get("/workloads.csv", tags=["workloads"], response_class=Response)
def workloads_csv(plane: Plane, tenant: Tenant, minutes: Minutes = 5, limit: Limit = 1000) -> Response:
    """The same as CSV; unknown is an empty field."""
    text = workloads_as_csv(plane.workloads(tenant, minutes, limit))
    headers = {"Content-Disposition": 'attachment; filename="workloads.csv"'}
    return Response(text, media_type="text/csv; charset=utf-8", headers=headers)


@router.get("/workloads/flamegraph", tags=["workloads"])
def flame_graph(plane: Plane, tenant: Tenant, workload: str, minutes: Minutes = 5) -> FlameNode:
    """Joules by stack of one workload, in the tree that d3-flame-graph reads."""
    return plane.flame_graph(tenant, workload, minutes)


@router.get("/workloads/sci", tags=["workloads"])
def sci(plane: Plane, tenant: Tenant, minutes: Minutes = 60) -> SciView:
    """Energy and emissions by reservation (SCI): idle goes to who reserved it, the rest stays with the node."""
    return plane.sci(tenant, minutes)


@router.get("/workloads/cost", tags=["workloads"])
def workload_cost(
    plane: Plane,
    tenant: Tenant,
    workload: str,
    by: Annotated[Literal["version", "node_type", "both"], Query(description="What to tell apart.")] = "version",
    minutes: Minutes = 60,
) -> WorkloadCostView:
    """J/op of one workload by version and node type, and by how much they differ, with intervals."""
    return plane.workload_cost(tenant, workload, by, minutes)


@router.get("/fleet", tags=["nodes"])
def fleet(plane: Plane, tenant: Tenant, minutes: FleetMinutes = 24 * 60) -> dict[str, Any]:
    """Nodes and workloads that really run, as a fleet file (docs/fleet-file.md) to complete and to plan with."""
    return plane.fleet(tenant, minutes).model_dump(mode="json", exclude_defaults=True)


@router.post("/savings/nodes", tags=["nodes"])
def node_saving(plane: Plane, tenant: Tenant, change: NodeChangeAsked) -> SavingView:
    """What a change to whole nodes saved, idle included, with interval and method. Changes nothing."""
    return plane.node_saving(tenant, change)


@router.get("/fingerprints", tags=["workloads"])
def fingerprints(plane: Plane, tenant: Tenant) -> list[FingerprintView]:
    """What each profiled workload does, by group; from the last hour's stacks."""
    return plane.fingerprints(tenant)


@router.get("/fingerprints/neighbours", tags=["workloads"])
def neighbours(plane: Plane, tenant: Tenant, workload: str, limit: Limit = 5) -> list[NeighbourView]:
    """Workloads that do the same as this one, the most alike first, with the reason."""
    return plane.neighbours(tenant, workload, limit)


@router.get("/alerts", tags=["workloads"])
def alerts(plane: Plane, tenant: Tenant, minutes: Minutes = 60) -> list[AlertView]:
    """Shifts of J/op, the newest first, with the version change that coincides."""
    return plane.alerts(tenant, minutes)


@router.get("/recommendations", tags=["recommendations"])
def recommendations(
    plane: Plane,
    tenant: Tenant,
    all: Annotated[bool, Query(description="Also those that are decided, done or expired.")] = False,
) -> list[RecommendationView]:
    """Recommendations, the best rank first."""
    return plane.recommendations(tenant, all_statuses=all)


@router.get("/recommendations/{recommendation_id}", tags=["recommendations"])
def recommendation(plane: Plane, tenant: Tenant, recommendation_id: str) -> RecommendationView:
    """One recommendation with its evidence and its decision."""
    return plane.recommendation(tenant, recommendation_id)


@router.get("/rollouts", tags=["rollouts"])
def rollouts(plane: Plane, tenant: Tenant) -> list[RolloutView]:
    """Rollouts, the newest first."""
    return plane.rollouts(tenant)


@router.get("/rollouts/{rollout_id}", tags=["rollouts"])
def rollout(plane: Plane, tenant: Tenant, rollout_id: str) -> RolloutView:
    """One rollout with its steps, its measured metrics and its history."""
    return plane.rollout(tenant, rollout_id)


@router.get("/pauses", tags=["pauses"])
def pauses(
    plane: Plane,
    tenant: Tenant,
    active: Annotated[bool, Query(description="Only those in force.")] = False,
) -> list[PauseView]:
    """Pauses: who stopped every executor, when and why."""
    return plane.pauses(tenant, active_only=active)


@router.get("/audit", tags=["audit"])
def audit(
    plane: Plane,
    tenant: Tenant,
    after: Annotated[int, Query(ge=-1, description="Entries after this sequence number.")] = 0,
    limit: Limit = 100,
) -> list[AuditEntryView]:
    """Entries of the append-only log in their order."""
    return plane.audit(tenant, after, limit)


@router.get("/audit/verify", tags=["audit"])
def verify_audit(plane: Plane) -> AuditVerification:
    """Walk the whole log and check that every hash follows from the one before."""
    return plane.verify_audit()


def workloads_as_csv(rows: list[WorkloadView]) -> str:
    """CSV text; a cell that a spreadsheet would run as a formula is quoted with an apostrophe."""
    text = io.StringIO()
    writer = csv.DictWriter(text, CSV_COLUMNS, extrasaction="ignore")
    writer.writeheader()
    for row in rows:
        cells = row.model_dump(exclude={"active_watts", "joules_per_operation"})
        for name in ("active_watts", "joules_per_operation"):
            bounded = getattr(row, name)
            if bounded is not None:
                cells |= {name: bounded.value, f"{name}_lower": bounded.lower, f"{name}_upper": bounded.upper}
        writer.writerow({name: _inert(cell) for name, cell in cells.items()})
    return text.getvalue()


def _inert(cell: object) -> object:
    return f"'{cell}" if isinstance(cell, str) and cell[:1] in {"=", "+", "-", "@", "\t", "\r"} else cell
