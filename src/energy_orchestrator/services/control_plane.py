"""Implements the port of the API on the stores and services of this process.

Reads of series are in `series_views`; what changes something goes to the orchestrator. Thread-safe: each call takes
its own connection, and the series store serialises statements itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest

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
    Readiness,
    RecommendationView,
    RolloutView,
    SavingView,
    SciView,
    WorkloadCostView,
    WorkloadView,
)
from energy_orchestrator.audit import chain, head_file
from energy_orchestrator.errors import ConflictError
from energy_orchestrator.model.fleet import FleetFile
from energy_orchestrator.model.recommendation import Recommendation, RecommendationStatus
from energy_orchestrator.services import run_import, views
from energy_orchestrator.services.declarations import DeclarationOf, declared
from energy_orchestrator.services.fingerprints import Fingerprints
from energy_orchestrator.services.operation_costs import By
from energy_orchestrator.services.orchestrator import Orchestrator
from energy_orchestrator.services.series_views import SeriesViews
from energy_orchestrator.store.records import audit_log, pauses, recommendations, rollouts
from energy_orchestrator.store.records.database import Connection, Database

ALL_STATUSES = tuple(status.value for status in RecommendationStatus)


class EmbeddedControlPlane:
    """Implements `api.control_plane.ControlPlane`."""

    def __init__(
        self,
        database: Database,
        series: SeriesViews,
        fingerprints: Fingerprints,
        orchestrator: Orchestrator,
        declaration_of: DeclarationOf,
        parts: Callable[[], Mapping[str, str]],
        registry: CollectorRegistry,
        audit_head_file: Path,
        clock: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._series = series
        self._fingerprints = fingerprints
        self._orchestrator = orchestrator
        self._declaration_of = declaration_of
        self._parts = parts
        self._registry = registry
        self._audit_head_file = audit_head_file
        self._clock = clock

    def readiness(self) -> Readiness:
        """All parts must say ok."""
        parts = dict(self._parts())
        return Readiness(ready=all(state.startswith("ok") for state in parts.values()), parts=parts)

    def nodes(self, tenant: str) -> list[NodeView]:
        """As the port says."""
        return self._series.nodes(tenant, self._clock())

    def node_power(self, tenant: str, host: str, minutes: float) -> list[PowerPoint]:
        """As the port says."""
        return self._series.node_power(tenant, host, self._since(minutes), self._clock())

    def workloads(self, tenant: str, minutes: float, limit: int) -> list[WorkloadView]:
        """As the port says."""
        return self._series.workloads(tenant, self._since(minutes), self._clock(), limit)

    def sci(self, tenant: str, minutes: float) -> SciView:
        """As the port says."""
        return self._series.sci(tenant, self._since(minutes), self._clock())

    def workload_cost(self, tenant: str, workload: str, by: str, minutes: float) -> WorkloadCostView:
        """As the port says."""
        return self._series.workload_cost(tenant, _key(workload), By(by), self._since(minutes), self._clock())

    def fleet(self, tenant: str, minutes: float) -> FleetFile:
        """As the port says."""
        return self._series.fleet(tenant, self._since(minutes), self._clock())

    def node_saving(self, tenant: str, change: NodeChangeAsked) -> SavingView:
        """As the port says."""
        return self._series.node_saving(tenant, change, self._clock())

    def alerts(self, tenant: str, minutes: float) -> list[AlertView]:
        """As the port says."""
        return self._series.alerts(tenant, self._since(minutes), self._clock())

    def flame_graph(self, tenant: str, workload: str, minutes: float) -> FlameNode:
        """As the port says."""
        return self._series.flame_graph(tenant, workload, self._since(minutes), self._clock())

    def fingerprints(self, tenant: str) -> list[FingerprintView]:
        """As the port says."""
        return self._fingerprints.listed(tenant)

    def neighbours(self, tenant: str, workload: str, count: int) -> list[NeighbourView]:
        """As the port says."""
        return self._fingerprints.neighbours(tenant, workload, count)

    def recommendations(self, tenant: str, *, all_statuses: bool = False) -> list[RecommendationView]:
        """As the port says."""
        with self._database.transaction() as connection:
            found = recommendations.listed(connection, tenant, ALL_STATUSES if all_statuses else recommendations.LIVE)
            return [self._view(connection, it) for it in found]

    def recommendation(self, tenant: str, recommendation_id: str) -> RecommendationView:
        """As the port says."""
        with self._database.transaction() as connection:
            return self._view(connection, recommendations.get(connection, tenant, recommendation_id))

    def approve(self, tenant: str, recommendation_id: str, actor: str) -> RecommendationView:
        """As the port says."""
        return self._viewed(self._orchestrator.approve(tenant, recommendation_id, actor))

    def refuse(self, tenant: str, recommendation_id: str, actor: str, reason: str) -> RecommendationView:
        """As the port says."""
        return self._viewed(self._orchestrator.refuse(tenant, recommendation_id, actor, reason))

    def propose(
        self, tenant: str, workload: str, environment: dict[str, str], replicas: int | None, actor: str, reason: str
    ) -> RecommendationView:
        """As the port says."""
        key = _key(workload)
        spend = self._series.spend_j_per_day(tenant, key, self._since(5), self._clock())
        made = self._orchestrator.propose(tenant, key, environment, replicas, actor, reason, spend)
        return self._viewed(made)

    def rollouts(self, tenant: str) -> list[RolloutView]:
        """As the port says."""
        with self._database.transaction() as connection:
            return [self._rollout_view(connection, it.tenant, it.id) for it in rollouts.listed(connection, tenant)]

    def rollout(self, tenant: str, rollout_id: str) -> RolloutView:
        """As the port says."""
        with self._database.transaction() as connection:
            return self._rollout_view(connection, tenant, rollout_id)

    def abort_rollout(self, tenant: str, rollout_id: str, actor: str) -> RolloutView:
        """As the port says."""
        self._orchestrator.decide_inconclusive(tenant, rollout_id, actor, retry=False)
        return self.rollout(tenant, rollout_id)

    def retry_rollout(self, tenant: str, rollout_id: str, actor: str) -> RolloutView:
        """As the port says."""
        self._orchestrator.decide_inconclusive(tenant, rollout_id, actor, retry=True)
        return self.rollout(tenant, rollout_id)

    def pauses(self, tenant: str, *, active_only: bool = False) -> list[PauseView]:
        """As the port says."""
        with self._database.transaction() as connection:
            return [views.pause_view(it) for it in pauses.listed(connection, tenant, active_only=active_only)]

    def pause(self, tenant: str, actor: str, reason: str) -> PauseView:
        """As the port says."""
        return views.pause_view(self._orchestrator.pause(tenant, actor, reason))

    def resume(self, tenant: str, actor: str) -> list[PauseView]:
        """As the port says."""
        return [views.pause_view(it) for it in self._orchestrator.resume(tenant, actor)]

    def audit(self, tenant: str, after: int, limit: int) -> list[AuditEntryView]:
        """As the port says."""
        with self._database.transaction() as connection:
            return [views.audit_view(it) for it in audit_log.page(connection, tenant, after, limit)]

    def verify_audit(self) -> AuditVerification:
        """Walk the log and compare it with the head in the database and with the head file."""
        with self._database.transaction() as connection:
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            found = verify_log(connection, self._audit_head_file)
        return AuditVerification(
            ok=found.ok,
            entries=found.entries,
            head=found.head,
            first_bad_sequence=found.first_bad_sequence,
            message=found.message,
        )

    def import_runs(self, tenant: str, name: str, text: str, *, dry_run: bool) -> dict[str, Any]:
        """As the port says."""
        return run_import.import_runs(self._database, tenant, name, text, self._clock(), dry_run=dry_run)

    def prometheus_metrics(self) -> bytes:
        """As the port says."""
        return generate_latest(self._registry)

    def _since(self, minutes: float) -> datetime:
        return self._clock() - timedelta(minutes=minutes)

    def _viewed(self, it: Recommendation) -> RecommendationView:
        with self._database.transaction() as connection:
            return self._view(connection, it)

    def _view(self, connection: Connection, it: Recommendation) -> RecommendationView:
        tenant = it.target.tenant
        declaration = declared(self._declaration_of, tenant, it.target.workload)
        decision = recommendations.last_decision(connection, tenant, it.id)
        return views.recommendation_view(
            it, declaration, decision, rollouts.of_recommendation(connection, tenant, it.id)
        )

    @staticmethod
    def _rollout_view(connection: Connection, tenant: str, rollout_id: str) -> RolloutView:
        return views.rollout_view(
            rollouts.get(connection, tenant, rollout_id),
            rollouts.events(connection, tenant, rollout_id),
            rollouts.last_analysis(connection, tenant, rollout_id),
            rollouts.savings(connection, tenant, rollout_id),
            rollouts.canary_analysis(connection, tenant, rollout_id),
        )


def _key(workload: str) -> str:
    """A name alone is that of a declared workload."""
    return workload if "/" in workload else f"declared/{workload}"


def keep_head(connection: Connection, file: Path) -> None:
    """Bring the head file up to the log; ConflictError, and the file stays, when the log does not continue it."""
    head_file.advance(file, audit_log.head(connection), lambda sequence: audit_log.hash_of(connection, sequence))


def verify_log(connection: Connection, file: Path) -> chain.Verification:
    """Walk the log; a head file that contradicts it, or that somebody wrote to, is a broken log too."""
    try:
        kept = head_file.read(file)
        older = {"head file": kept} if kept is not None else {}
        found = chain.verify(audit_log.entries(connection), {"database": audit_log.head(connection)}, older)
        if found.ok:
            keep_head(connection, file)
    except ConflictError as error:
        return chain.Verification(False, 0, "", None, str(error))
    return found
