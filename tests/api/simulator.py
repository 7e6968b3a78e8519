"""A whole control plane in memory, with state that stays consistent.

Two nodes, five workloads, three recommendations, and the rules that matter to whoever talks to the API: advice
expires, is decided once, is stopped by a pause, and every act lands in a log whose hashes follow from each other.
Time stands still unless `clock` is moved.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from energy_orchestrator.api.control_plane import (
    AlertView,
    AuditEntryView,
    AuditVerification,
    BoundedView,
    CostComparisonView,
    CostRowView,
    FingerprintView,
    FlameNode,
    MetricView,
    NeighbourView,
    NodeChangeAsked,
    NodeView,
    PauseView,
    PowerPoint,
    Readiness,
    RecommendationView,
    RolloutEventView,
    RolloutView,
    SavingView,
    SciNodeView,
    SciView,
    SciWorkloadView,
    WorkloadCostView,
    WorkloadView,
)
from energy_orchestrator.errors import ConflictError, DeniedError, InvalidInputError, NotFoundError
from energy_orchestrator.model.fleet import FleetFile, NodeSpec

STEPS = ["setScope 50 %", "smoke", "analysis", "setScope 100 %", "watch 30 s"]
KNOBS = {"declared/inference": {"BATCH_MAX": ("1", "4", "8", "16")}, "declared/poller": {"POLL_MS": ("0", "50")}}
ENVIRONMENT = {"declared/inference": {"BATCH_MAX": "1"}, "declared/poller": {"POLL_MS": "0"}}
BATCH, POLL, ADVICE = "0190a1b2-batch", "0190a1c3-poll", "0190ffee-advice"


def bounded(value: float, spread: float = 0.2) -> BoundedView:
    return BoundedView(value=value, lower=value * (1 - spread), upper=value * (1 + spread))


@dataclass
class Simulator:
    """Implements `ControlPlane`."""

    clock: datetime = field(default_factory=lambda: datetime.now(UTC))
    empty: bool = False
    ready: bool = True

    def __post_init__(self) -> None:
        self.saved: dict[str, RecommendationView] = {}
        self.running: dict[str, RolloutView] = {}
        self.stops: list[PauseView] = []
        self.log: list[AuditEntryView] = []
        self.imported: set[str] = set()
        if not self.empty:
            for row in (self._batching(), self._polling(), self._advice()):
                self.saved[row.id] = row

    # -- reading ---------------------------------------------------------------------------------------------

    def readiness(self) -> Readiness:
        parts = {"bus": "ok", "series": "ok", "records": "ok" if self.ready else "starting"}
        return Readiness(ready=self.ready, parts=parts)

    def nodes(self, tenant: str) -> list[NodeView]:
        if self.empty:
            return []
        return [
            self._node("rack1-n07", "on_die", "RAPL package + DRAM", 61.4, 0.04, 28.2, 29.1),
            self._node("vm-builder-2", "model", "CPU utilisation model", 43.0, 0.35, 21.0, 17.6),
        ]

    def _node(
        self, host: str, tier: str, source: str, watts: float, spread: float, idle: float, active: float
    ) -> NodeView:
        return NodeView(
            tenant="local",
            host=host,
            tier=tier,
            power_source=source,
            node_watts=bounded(watts, spread),
            idle_watts=idle,
            active_watts=active,
            unattributed_watts=round(watts - idle - active, 3),
            cpu_model="EPYC 7313P" if tier != "model" else "Virtual CPU",
            cpu_threads=32,
            memory_bytes=68_719_476_736,
            virtual=tier == "model",
            capabilities=["cgroup2"],
            missing=["RAPL: /sys/class/powercap is empty", "perf events: perf_event_paranoid is 3"]
            if tier == "model"
            else [],
            last_seen=self.clock,
        )

    def node_power(self, tenant: str, host: str, minutes: float) -> list[PowerPoint]:
        node = next((node for node in self.nodes(tenant) if node.host == host), None)
        if node is None or node.node_watts is None or node.idle_watts is None:
            raise NotFoundError(f"no node {host!r}", where="host", next_step="see /api/v1/nodes")
        share = (node.node_watts.upper - node.node_watts.value) / node.node_watts.value
        points = []
        for index in range(int(minutes * 12)):
            active = (node.active_watts or 0) * (1 + 0.25 * math.sin(index / 9) + 0.08 * math.sin(index * 1.7))
            loose = (node.unattributed_watts or 0) * (1 + 0.3 * math.sin(index / 4))
            total = node.idle_watts + active + loose
            points.append(
                PowerPoint(
                    timestamp=self.clock - timedelta(seconds=5 * (minutes * 12 - index)),
                    node_watts=total,
                    node_watts_lower=total * (1 - share),
                    node_watts_upper=total * (1 + share),
                    idle_watts=node.idle_watts,
                    active_watts=active,
                    unattributed_watts=loose,
                )
            )
        return points

    def workloads(self, tenant: str, minutes: float, limit: int) -> list[WorkloadView]:
        if self.empty:
            return []
        rows = [
            self._workload("declared/inference", 14.2, 3.1, "python", (412.0, "request", 0.0345), {"team": "search"}),
            self._workload("declared/poller", 8.9, 1.0, "python", (9.7, "record", 0.918), {"team": "ingest"}),
            self._workload("system.slice/postgresql.service", 3.4, 0.6, None, None, {}),
            self._workload("kubepods/besteffort/pod9/etl", 2.2, 0.4, "java", None, {"environment": "production"}),
            self._workload("user.slice/shell", 0.4, 0.05, "c", None, {}, "operations stopped 40 s ago"),
        ]
        return rows[:limit]

    def _workload(
        self,
        key: str,
        watts: float,
        cores: float,
        language: str | None,
        work: tuple[float, str, float] | None,
        labels: dict[str, str],
        reason: str = "no source of operations is declared",
    ) -> WorkloadView:
        return WorkloadView(
            tenant="local",
            host="rack1-n07",
            workload=key,
            workload_kind=key.partition("/")[0],
            replicas=4 if work else None,
            active_watts=bounded(watts, 0.1),
            tier="on_die",
            cpu_cores=cores,
            mem_bytes=int(cores * 400_000_000),
            operations_per_second=work[0] if work else None,
            operation=work[1] if work else None,
            joules_per_operation=bounded(work[2], 0.12) if work else None,
            joules_per_operation_reason=None if work else reason,
            latency_p95_seconds=0.042 if work else None,
            language=language,
            image=None,
            hotspot_functions=["matmul"],
            profiled=bool(work),
            labels=labels,
        )

    def fleet(self, tenant: str, minutes: float) -> FleetFile:
        node = NodeSpec(name="rack1-n07", cpu_cores=64, memory_gb=256, idle_watts=110, full_watts=420)
        return FleetFile(tenant=tenant, nodes=(node,))

    def node_saving(self, tenant: str, change: NodeChangeAsked) -> SavingView:
        if "rack1-n07" not in change.changed:
            raise NotFoundError("nothing is known of these nodes in this span", where="changed", next_step="eo nodes")
        return SavingView(
            method="difference_in_differences" if change.control else "load_adjusted",
            reason="as simulated",
            ratio=bounded(0.12, 0.2),
            joules=bounded(12_000.0, 0.2),
            joules_per_operation=bounded(0.4, 0.2),
            joules_per_day=bounded(288_000.0, 0.2),
            found=True,
        )

    def workload_cost(self, tenant: str, workload: str, by: str, minutes: float) -> WorkloadCostView:
        if workload != "declared/inference":
            raise NotFoundError(f"nothing is known of {workload!r}", where="workload", next_step="see the list")
        message = "sha256:new costs 12 % (8 to 16) more than sha256:old"
        return WorkloadCostView(
            tenant=tenant,
            workload=workload,
            by=by,
            version_named_by="image_digest",
            operation="request",
            window_seconds=10.0,
            rows=[
                self._cost("sha256:old", bounded(0.0345, 0.12), "m5.large" if by != "version" else None),
                self._cost("sha256:new", bounded(0.0386, 0.12), "m5.large" if by != "version" else None),
                self._cost(None, None, None),
            ],
            comparisons=[
                CostComparisonView(
                    base="sha256:old",
                    other="sha256:new",
                    node_type=None,
                    ratio=BoundedView(value=1.12, lower=1.08, upper=1.16),
                    reason=None,
                    same_meter=True,
                    differs=True,
                    message=message,
                )
            ],
        )

    def sci(self, tenant: str, minutes: float) -> SciView:
        def row(workload: str, per: BoundedView | None, reason: str | None, basis: str) -> SciWorkloadView:
            return SciWorkloadView(
                workload=workload,
                hosts=["rack1-n07"],
                active_joules=51_120.0,
                reserved_idle_joules=25_380.0,
                energy_joules=bounded(76_500.0, 0.1),
                reserved_share=0.25,
                cpu_basis=[basis],
                memory_basis=["use"],
                operational_gco2e=8.1,
                embodied_gco2e=1.2 if per else None,
                embodied_reason=None if per else reason,
                operation="request" if per else None,
                operations=1_483_200.0 if per else None,
                sci_gco2e_per_operation=per,
                sci_reason=reason,
            )

        return SciView(
            tenant=tenant,
            start=self.clock - timedelta(minutes=minutes),
            end=self.clock,
            grid_gco2e_per_kwh=380.0,
            grid_reason=None,
            basis="idle by share of the node",
            nodes=[
                SciNodeView(
                    host="rack1-n07",
                    idle_joules=101_520.0,
                    unreserved_idle_joules=50_760.0,
                    unattributed_joules=14_760.0,
                    embodied_gco2e=None,
                    unreserved_embodied_gco2e=None,
                    reason="embodied emissions of rack1-n07 are not configured",
                )
            ],
            workloads=[
                row("declared/inference", bounded(6.3e-6, 0.1), None, "declared limit"),
                row("service/postgresql.service", None, "no source of operations is declared", "use"),
            ],
        )

    def _cost(self, version: str | None, per: BoundedView | None, node_type: str | None) -> CostRowView:
        return CostRowView(
            version=version,
            version_reason=None if version else "more than one ran in the same window",
            node_type=node_type,
            node_type_reason=None,
            first_seen=self.clock,
            last_seen=self.clock,
            hosts=["rack1-n07"],
            tier="on_die",
            windows=12 if per else 0,
            windows_without_operations=0 if per else 3,
            operations=4944.0 if per else None,
            operations_per_second=412.0 if per else None,
            active_joules=170.0,
            joules_per_operation=per,
            joules_per_operation_reason=None if per else "nothing told operations in its windows",
            joules_per_operation_by_meter=per,
            note=None,
        )

    def alerts(self, tenant: str, minutes: float) -> list[AlertView]:
        if self.empty:
            return []
        return [
            AlertView(
                at=self.clock - timedelta(minutes=7),
                tenant=tenant,
                workload="declared/inference",
                severity="warning",
                before_joules_per_operation=0.0345,
                after_joules_per_operation=0.0386,
                change_ratio=0.12,
                change=BoundedView(value=0.12, lower=0.08, upper=0.16),
                p_value=1e-6,
                version_before="9f86d081884c7d65",
                version_after="2c26b46b68ffc68f",
                version_named_by="checksum",
                message="J/op rose by 12.0% (8.0% to 16.0%): executable with checksum 9f86… was replaced by 2c26… then",
            )
        ]

    def fingerprints(self, tenant: str) -> list[FingerprintView]:
        return [
            FingerprintView(
                workload=name,
                cluster=cluster,
                samples=900,
                made_at=self.clock,
                does=["json decoding"],
                functions=["parse"],
            )
            for name, cluster in (("declared/inference", 1), ("declared/poller", None))
        ]

    def neighbours(self, tenant: str, workload: str, count: int) -> list[NeighbourView]:
        if workload not in {row.workload for row in self.fingerprints(tenant)}:
            raise NotFoundError("this workload has no fingerprint", where=workload, next_step="see the list")
        why = "same hot path: json decoding (60 % and 40 % of the samples)"
        return [NeighbourView(workload="declared/poller", likeness=0.87, cluster=None, reason=why)][:count]

    def flame_graph(self, tenant: str, workload: str, minutes: float) -> FlameNode:
        if workload not in {row.workload for row in self.workloads(tenant, minutes, 100)}:
            raise NotFoundError(f"no workload {workload!r}", where="workload", next_step="see /api/v1/workloads")
        leaf = FlameNode
        serve = leaf(
            name="serve",
            value=3100,
            children=[
                leaf(
                    name="handle_request",
                    value=2600,
                    children=[
                        leaf(
                            name="predict",
                            value=2100,
                            children=[leaf(name="matmul", value=1720), leaf(name="softmax", value=240)],
                        ),
                        leaf(name="json.loads", value=330),
                    ],
                ),
                leaf(name="epoll_wait", value=310),
            ],
        )
        return leaf(name=workload, value=3800, children=[serve, leaf(name="gc_collect", value=460)])

    def recommendations(self, tenant: str, *, all_statuses: bool = False) -> list[RecommendationView]:
        rows = [row for row in self.saved.values() if all_statuses or row.status == "open"]
        return sorted(rows, key=lambda row: row.rank_score, reverse=True)

    def recommendation(self, tenant: str, recommendation_id: str) -> RecommendationView:
        if recommendation_id not in self.saved:
            raise NotFoundError(
                f"no recommendation {recommendation_id!r}", where="id", next_step="see `eo recommendations list`"
            )
        return self.saved[recommendation_id]

    # -- changing --------------------------------------------------------------------------------------------

    def approve(self, tenant: str, recommendation_id: str, actor: str) -> RecommendationView:
        row = self._open(tenant, recommendation_id)
        if self.pauses(tenant, active_only=True):
            raise DeniedError("everything is paused", where="pause", next_step="resume first: `eo resume`")
        if row.executor == "none":
            raise DeniedError("advice only: no executor owns it", where=row.workload, next_step="apply it by hand")
        rollout = RolloutView(
            id=f"ro-{row.id}",
            recommendation_id=row.id,
            tenant=tenant,
            workload=row.workload,
            executor=row.executor,
            phase="Running",
            step_index=0,
            steps=STEPS,
            scope_percent=0,
            patch=row.patch,
            started_at=self.clock,
            finished_at=None,
            message="",
            metrics=[],
            events=[],
            verified_savings_j_per_operation=None,
        )
        self.running[rollout.id] = rollout
        self._event(rollout, "approved, intent written")
        self._record(tenant, actor, "approve", row.id, {"patch": row.patch})
        return self._save(row, status="executing", decision="allow", rollout_id=rollout.id)

    def refuse(self, tenant: str, recommendation_id: str, actor: str, reason: str) -> RecommendationView:
        row = self._open(tenant, recommendation_id)
        self._record(tenant, actor, "refuse", row.id, {"reason": reason})
        return self._save(row, status="refused", decision_reasons=[reason])

    def propose(
        self, tenant: str, workload: str, environment: dict[str, str], replicas: int | None, actor: str, reason: str
    ) -> RecommendationView:
        if workload not in KNOBS:
            raise NotFoundError(
                f"no declared workload {workload!r}", where="workload", next_step="see the workloads file"
            )
        for name, value in environment.items():
            allowed = KNOBS[workload].get(name)
            if allowed is None:
                known = ", ".join(KNOBS[workload])
                raise InvalidInputError(
                    f"no knob {name!r}", where=f"environment.{name}", next_step=f"take one of: {known}"
                )
            if value not in allowed:
                raise InvalidInputError(
                    f"{value!r} is outside the knob's range",
                    where=f"environment.{name}",
                    next_step=f"take one of: {', '.join(allowed)}",
                )
        if not environment and replicas is None:
            raise InvalidInputError("nothing to change", where="environment", next_step="set a knob or replicas")
        made = self._recommendation(f"0190eeee-{len(self.saved)}", workload, "runtime_flags", environment, 1000.0, 0.1)
        self.saved[made.id] = made
        self._record(tenant, actor, "propose", made.id, {"environment": environment, "reason": reason})
        return self._save(made, source="operator")

    def rollouts(self, tenant: str) -> list[RolloutView]:
        return list(reversed(self.running.values()))

    def rollout(self, tenant: str, rollout_id: str) -> RolloutView:
        if rollout_id not in self.running:
            raise NotFoundError(f"no rollout {rollout_id!r}", where="id", next_step="see `eo rollouts list`")
        return self.running[rollout_id]

    def abort_rollout(self, tenant: str, rollout_id: str, actor: str) -> RolloutView:
        row = self.rollout(tenant, rollout_id)
        if row.finished_at is not None:
            raise ConflictError(f"it is {row.phase}", where=f"rollout {rollout_id}", next_step="nothing is left to do")
        ended = row.model_copy(update={"phase": "Failed", "finished_at": self.clock, "message": f"aborted by {actor}"})
        self.running[rollout_id] = ended
        self._record(tenant, actor, "rollout.aborted", rollout_id, {})
        return ended

    def retry_rollout(self, tenant: str, rollout_id: str, actor: str) -> RolloutView:
        row = self.rollout(tenant, rollout_id)
        if row.phase != "Inconclusive":
            raise ConflictError(f"it is {row.phase}", where=f"rollout {rollout_id}", next_step="wait for its verdict")
        self.running[rollout_id] = row.model_copy(update={"phase": "Running"})
        return self.running[rollout_id]

    def pauses(self, tenant: str, *, active_only: bool = False) -> list[PauseView]:
        return [stop for stop in self.stops if stop.lifted_at is None or not active_only]

    def pause(self, tenant: str, actor: str, reason: str) -> PauseView:
        stop = PauseView(
            id=f"p{len(self.stops)}",
            tenant=tenant,
            by=actor,
            reason=reason,
            created_at=self.clock,
            lifted_at=None,
            lifted_by=None,
        )
        self.stops.append(stop)
        self._record(tenant, actor, "pause", stop.id, {"reason": reason})
        return stop

    def resume(self, tenant: str, actor: str) -> list[PauseView]:
        lifted = self.pauses(tenant, active_only=True)
        for stop in lifted:
            stop.lifted_at, stop.lifted_by = self.clock, actor
            self._record(tenant, actor, "resume", stop.id, {})
        return lifted

    def audit(self, tenant: str, after: int, limit: int) -> list[AuditEntryView]:
        return [entry for entry in self.log if entry.sequence > after][:limit]

    def verify_audit(self) -> AuditVerification:
        previous = "0" * 64
        for entry in self.log:
            if entry.previous_hash != previous or entry.hash != digest(previous, entry.body):
                return AuditVerification(
                    ok=False,
                    entries=len(self.log),
                    head=previous,
                    first_bad_sequence=entry.sequence,
                    message=f"entry {entry.sequence} was changed",
                )
            previous = entry.hash
        return AuditVerification(
            ok=True, entries=len(self.log), head=previous, first_bad_sequence=None, message="every hash follows"
        )

    def import_runs(self, tenant: str, name: str, text: str, *, dry_run: bool) -> dict[str, Any]:
        lines = [line for line in text.splitlines() if line.strip()]
        bad = [number for number, line in enumerate(lines, 1) if not line.startswith("{")]
        if bad:
            raise InvalidInputError("not a run", where=f"{name}: line {bad[0]}", next_step="correct the line")
        new = set(lines) - self.imported
        if not dry_run:
            self.imported |= new
        return {
            "name": name,
            "runs": len(lines),
            "imported": 0 if dry_run else len(new),
            "duplicates": len(lines) - len(new),
        }

    def prometheus_metrics(self) -> bytes:
        return b"# TYPE eo_node_watts gauge\neo_node_watts 61.4\n"

    # -- the hands of a test ---------------------------------------------------------------------------------

    def advance(self, rollout_id: str) -> RolloutView:
        """One step further; measured at `analysis`, successful after the last."""
        rollout = self.running[rollout_id]
        rollout.step_index += 1
        rollout.scope_percent = 50 if rollout.step_index < 4 else 100
        if rollout.step_index == 2:
            rollout.metrics = measured()
        if rollout.step_index == len(STEPS):
            rollout.phase, rollout.finished_at = "Successful", self.clock
            rollout.verified_savings_j_per_operation = bounded(0.0121, 0.2)
            self._save(self.saved[rollout.recommendation_id], status="successful")
        self._event(rollout, STEPS[min(rollout.step_index, len(STEPS) - 1)])
        return rollout

    def expire(self, recommendation_id: str) -> None:
        self._save(self.saved[recommendation_id], expires_at=self.clock - timedelta(seconds=1))

    # -- inside ----------------------------------------------------------------------------------------------

    def _open(self, tenant: str, recommendation_id: str) -> RecommendationView:
        row = self.recommendation(tenant, recommendation_id)
        if row.status != "open":
            raise ConflictError(f"it is {row.status}", where=row.id, next_step="only open advice can be decided")
        if row.expires_at <= self.clock:
            raise ConflictError("it has expired", where=row.id, next_step="wait for fresh advice")
        return row

    def _save(self, row: RecommendationView, **changes: Any) -> RecommendationView:
        self.saved[row.id] = row.model_copy(update=changes)
        return self.saved[row.id]

    def _event(self, rollout: RolloutView, message: str) -> None:
        rollout.events.append(
            RolloutEventView(at=self.clock, step=rollout.step_index, phase=rollout.phase, message=message)
        )

    def _record(self, tenant: str, actor: str, action: str, subject: str, body: dict[str, Any]) -> None:
        previous = self.log[-1].hash if self.log else "0" * 64
        self.log.append(
            AuditEntryView(
                sequence=len(self.log) + 1,
                at=self.clock,
                tenant=tenant,
                actor=actor,
                action=action,
                subject=subject,
                body=body,
                previous_hash=previous,
                hash=digest(previous, body),
            )
        )

    def _recommendation(
        self, key: str, workload: str, kind: str, environment: dict[str, str], joules: float, risk: float
    ) -> RecommendationView:
        current = ENVIRONMENT.get(workload, {})
        figure = {"window_start": self.clock - timedelta(minutes=5), "window_end": self.clock}
        return RecommendationView(
            id=key,
            created_at=self.clock,
            expires_at=self.clock + timedelta(hours=1),
            tenant="local",
            host="rack1-n07",
            workload=workload,
            suggestion_type=kind,
            status="open",
            executor="local",
            patch={"environment": environment},
            inverse={"environment": current},
            current={"environment": current},
            expected_savings_j=bounded(joules, 0.35),
            target_spend_j=bounded(joules * 2.9, 0.1),
            expected_savings_cost=bounded(joules / 3.6e6 * 0.31, 0.35),
            expected_savings_gco2e=bounded(joules / 3.6e6 * 380),
            tier="on_die",
            confidence=0.82,
            confidence_reason="9 of 11 changes like this came true here",
            risk_score=risk,
            risk_parts={"slo": risk, "restart": risk / 2},
            rank_score=joules / (risk + 0.01),
            evidence=[
                {
                    "name": "operations per batch",
                    "value": 1.0,
                    "unit": "requests",
                    "note": "the queue held 6",
                    **figure,
                },
                {"name": "energy per request", "value": 34.5, "unit": "mJ", "note": "", **figure},
            ],
            explanation="Requests wait in a queue while the model handles them one at a time; "
            "each call has a fixed cost that a batch shares.",
            source="batching",
            decision="needs_approval",
            decision_reasons=["mode is approve"],
            rollout_id=None,
        )

    def _batching(self) -> RecommendationView:
        return self._recommendation(BATCH, "declared/inference", "batching", {"BATCH_MAX": "8"}, 412_000.0, 0.21)

    def _polling(self) -> RecommendationView:
        row = self._recommendation(POLL, "declared/poller", "runtime_flags", {"POLL_MS": "50"}, 298_000.0, 0.42)
        row.explanation = "The loop asks for work without waiting; 96 % of its samples are in an empty poll."
        return row

    def _advice(self) -> RecommendationView:
        row = self._recommendation(ADVICE, "system.slice/postgresql.service", "right_size", {}, 41_000.0, 0.7)
        row.patch, row.current = {"limits": {"cpu": 1.0}}, {"limits": {"cpu": 4.0}}
        row.executor, row.source = "none", "right_size"
        return row


def measured() -> list[MetricView]:
    return [
        MetricView(
            name="joules per request",
            phase="Successful",
            judge="mann_whitney",
            baseline=0.0345,
            canary=0.0224,
            estimate=-0.0121,
            lower=-0.0145,
            upper=-0.0098,
            unit="J",
            samples_baseline=12,
            samples_canary=12,
            message="the whole interval is below zero",
        ),
        MetricView(
            name="latency p95",
            phase="Successful",
            judge="threshold",
            baseline=0.042,
            canary=0.047,
            estimate=0.005,
            lower=-0.002,
            upper=0.011,
            unit="s",
            samples_baseline=12,
            samples_canary=12,
            message="within 100 ms",
        ),
        MetricView(
            name="error ratio",
            phase="Inconclusive",
            judge="threshold",
            baseline=None,
            canary=None,
            estimate=None,
            lower=None,
            upper=None,
            unit="ratio",
            samples_baseline=0,
            samples_canary=0,
            message="no data",
        ),
    ]


def digest(previous: str, body: dict[str, Any]) -> str:
    return hashlib.sha256((previous + json.dumps(body, sort_keys=True)).encode()).hexdigest()
