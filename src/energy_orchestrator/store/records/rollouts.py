"""Rollouts, their events, their intent journal and their analysis runs.

The state of a rollout is one row, replaced by compare-and-set on its version: the driver and a person who aborts may
both hold an older copy, and only the first of them is kept. Columns are what is asked for by SQL; the rest of the
state is one JSON value.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from psycopg.errors import UniqueViolation
from psycopg.types.json import Jsonb
from uuid_utils.compat import UUID

from energy_orchestrator.errors import ConflictError, NotFoundError
from energy_orchestrator.model.analysis_run import AnalysisPhase, AnalysisRun, MetricResult
from energy_orchestrator.model.rollout import Rollout, RolloutPhase, Step, StepKind
from energy_orchestrator.model.saving import Saving, SavingMethod
from energy_orchestrator.model.units import Bounded
from energy_orchestrator.store.records.database import Connection


@dataclass(frozen=True, slots=True)
class RolloutEvent:
    """One line of history."""

    at: datetime
    step: int | None
    phase: str
    message: str


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """An act that was intended, and what became of it."""

    id: str
    kind: str
    payload: dict[str, Any]
    state: str
    message: str


def insert(connection: Connection, rollout: Rollout) -> None:
    """Begin; ConflictError when the workload is already being changed."""
    try:
        connection.execute(
            "INSERT INTO rollout (tenant, id, recommendation_id, workload, executor, phase, started_at, finished_at,"
            " state) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
            (
                rollout.tenant,
                UUID(rollout.id),
                UUID(rollout.recommendation_id),
                rollout.workload,
                rollout.executor,
                rollout.phase.value,
                rollout.started_at,
                rollout.finished_at,
                Jsonb(_state(rollout)),
            ),
        )
    except UniqueViolation as error:
        raise ConflictError(
            "another change of this workload is under way",
            where=rollout.workload,
            next_step="wait for it; `eo rollouts list` shows it",
        ) from error


def save(connection: Connection, rollout: Rollout) -> None:
    """Keep the state that follows `rollout.version`; ConflictError when another one was kept meanwhile."""
    done = connection.execute(
        "UPDATE rollout SET phase = %s, finished_at = %s, state = %s, version = version + 1"
        " WHERE tenant = %s AND id = %s AND version = %s",
        (
            rollout.phase.value,
            rollout.finished_at,
            Jsonb(_state(rollout)),
            rollout.tenant,
            UUID(rollout.id),
            rollout.version,
        ),
    )
    if done.rowcount != 1:
        raise ConflictError(
            "it moved on meanwhile", where=f"rollout {rollout.id}", next_step="look at it again and repeat the call"
        )


def get(connection: Connection, tenant: str, rollout_id: str) -> Rollout:
    """One, by its whole id; NotFoundError."""
    try:
        key = UUID(rollout_id)
    except ValueError:
        key = None
    row = key and connection.execute("SELECT * FROM rollout WHERE tenant = %s AND id = %s", (tenant, key)).fetchone()
    if not row:
        raise NotFoundError(f"no rollout {rollout_id!r}", next_step="`eo rollouts list` shows them all")
    return _from_row(row)


def listed(connection: Connection, tenant: str, limit: int = 100) -> list[Rollout]:
    """Newest first."""
    rows = connection.execute(
        "SELECT * FROM rollout WHERE tenant = %s ORDER BY started_at DESC LIMIT %s", (tenant, limit)
    ).fetchall()
    return [_from_row(row) for row in rows]


def active(connection: Connection) -> list[Rollout]:
    """Those of all tenants that are not finished."""
    rows = connection.execute("SELECT * FROM rollout WHERE finished_at IS NULL ORDER BY started_at").fetchall()
    return [_from_row(row) for row in rows]


def of_recommendation(connection: Connection, tenant: str, recommendation_id: str) -> str | None:
    """Id of the newest rollout of a recommendation."""
    row = connection.execute(
        "SELECT id FROM rollout WHERE tenant = %s AND recommendation_id = %s ORDER BY started_at DESC LIMIT 1",
        (tenant, UUID(recommendation_id)),
    ).fetchone()
    return str(row["id"]) if row else None


def started_since(connection: Connection, tenant: str, since: datetime) -> int:
    """How many rollouts began after a moment: the rate limit, which so survives restarts."""
    row = connection.execute(
        "SELECT count(*) AS n FROM rollout WHERE tenant = %s AND started_at > %s", (tenant, since)
    ).fetchone()
    return int(row["n"]) if row else 0


def workloads_since(connection: Connection, tenant: str, since: datetime) -> set[str]:
    """Workloads that a rollout of that time touched, or touches."""
    found = connection.execute(
        "SELECT DISTINCT workload FROM rollout WHERE tenant = %s AND (finished_at IS NULL OR finished_at >= %s)",
        (tenant, since),
    )
    return {row["workload"] for row in found}


def changed_at(connection: Connection, tenant: str, since: datetime, now: datetime) -> dict[str, datetime]:
    """Workloads that a rollout changed since a moment, and when it ended; one that goes on changes it now."""
    found = connection.execute(
        "SELECT workload, max(coalesce(finished_at, %s)) AS at FROM rollout"
        " WHERE tenant = %s AND (finished_at IS NULL OR finished_at >= %s) GROUP BY workload",
        (now, tenant, since),
    )
    return {row["workload"]: row["at"] for row in found}


def add_event(connection: Connection, rollout: Rollout, at: datetime, message: str) -> None:
    """Add a line of history."""
    connection.execute(
        "INSERT INTO rollout_event (tenant, rollout_id, at, step, phase, message) VALUES (%s, %s, %s, %s, %s, %s)",
        (rollout.tenant, UUID(rollout.id), at, rollout.step_index, rollout.phase.value, message),
    )


def events(connection: Connection, tenant: str, rollout_id: str) -> list[RolloutEvent]:
    """History, oldest first."""
    rows = connection.execute(
        "SELECT at, step, phase, message FROM rollout_event WHERE tenant = %s AND rollout_id = %s ORDER BY id",
        (tenant, UUID(rollout_id)),
    ).fetchall()
    return [RolloutEvent(**row) for row in rows]


def intend(
    connection: Connection, rollout: Rollout, action_id: str, kind: str, payload: dict[str, Any], at: datetime
) -> None:
    """Write an act down before it is done; a second time changes nothing."""
    connection.execute(
        "INSERT INTO action (tenant, id, rollout_id, kind, payload, state, intended_at)"
        " VALUES (%s, %s, %s, %s, %s, 'intended', %s) ON CONFLICT (tenant, id) DO NOTHING",
        (rollout.tenant, action_id, UUID(rollout.id), kind, Jsonb(payload), at),
    )


def finish_action(connection: Connection, tenant: str, action_id: str, state: str, message: str, at: datetime) -> None:
    """Mark an act done or failed."""
    connection.execute(
        "UPDATE action SET state = %s, message = %s, finished_at = %s WHERE tenant = %s AND id = %s",
        (state, message, at, tenant, action_id),
    )


def journal_entry(connection: Connection, tenant: str, action_id: str) -> JournalEntry | None:
    """An act by its id."""
    row = connection.execute(
        "SELECT id, kind, payload, state, message FROM action WHERE tenant = %s AND id = %s", (tenant, action_id)
    ).fetchone()
    return JournalEntry(**row) if row else None


def save_analysis(connection: Connection, rollout: Rollout, run: AnalysisRun, at: datetime) -> None:
    """Keep the newest state of an analysis run."""
    connection.execute(
        "INSERT INTO analysis_run (tenant, rollout_id, step, attempt, at, phase, detail)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT (tenant, rollout_id, step, attempt)"
        " DO UPDATE SET at = excluded.at, phase = excluded.phase, detail = excluded.detail",
        (
            rollout.tenant,
            UUID(rollout.id),
            rollout.step_index,
            rollout.attempt,
            at,
            run.phase.value,
            Jsonb(asdict(run)),
        ),
    )


def last_analysis(connection: Connection, tenant: str, rollout_id: str) -> AnalysisRun | None:
    """The newest analysis run, if any."""
    row = connection.execute(
        "SELECT detail FROM analysis_run WHERE tenant = %s AND rollout_id = %s ORDER BY at DESC LIMIT 1",
        (tenant, UUID(rollout_id)),
    ).fetchone()
    return _analysis(row["detail"]) if row else None


def canary_analysis(connection: Connection, tenant: str, rollout_id: str) -> AnalysisRun | None:
    """The run that proves the saving: canary against baseline where there was one, else the newest."""
    row = connection.execute(
        "SELECT detail FROM analysis_run WHERE tenant = %s AND rollout_id = %s"
        " ORDER BY (detail->>'method' = 'canary_vs_baseline') DESC, at DESC LIMIT 1",
        (tenant, UUID(rollout_id)),
    ).fetchone()
    return _analysis(row["detail"]) if row else None


def _analysis(detail: dict[str, Any]) -> AnalysisRun:
    metrics = tuple(MetricResult(**metric | {"phase": AnalysisPhase(metric["phase"])}) for metric in detail["metrics"])
    kept = detail.get("saving")
    saving = _saving(kept) if kept else None
    return AnalysisRun(AnalysisPhase(detail["phase"]), metrics, detail["method"], detail["message"], saving)


def _saving(kept: dict[str, Any]) -> Saving:
    bounded = {name: Bounded(**value) for name, value in kept.items() if isinstance(value, dict)}
    method = SavingMethod(kept["method"]) if kept["method"] else None
    return Saving(**kept | bounded | {"method": method})


def save_savings(connection: Connection, rollout: Rollout, per_operation: Bounded) -> None:
    """Keep the verified saving in joules per operation."""
    connection.execute(
        "UPDATE rollout SET savings_per_operation = %s WHERE tenant = %s AND id = %s",
        (Jsonb(asdict(per_operation)), rollout.tenant, UUID(rollout.id)),
    )


def savings(connection: Connection, tenant: str, rollout_id: str) -> Bounded | None:
    """The verified saving in joules per operation, once there is one."""
    row = connection.execute(
        "SELECT savings_per_operation AS s FROM rollout WHERE tenant = %s AND id = %s", (tenant, UUID(rollout_id))
    ).fetchone()
    return Bounded(**row["s"]) if row and row["s"] else None


def _state(it: Rollout) -> dict[str, Any]:
    return {
        "patch": dict(it.patch),
        "pre_image": dict(it.pre_image),
        "steps": [{"kind": s.kind.value, "percent": s.percent, "seconds": s.seconds} for s in it.steps],
        "step_started_at": it.step_started_at.isoformat(),
        "step_index": it.step_index,
        "attempt": it.attempt,
        "scope_percent": it.scope_percent,
        "message": it.message,
        "failure": it.failure.value if it.failure else None,
        "paused_at": it.paused_at.isoformat() if it.paused_at else None,
    }


def _from_row(row: dict[str, Any]) -> Rollout:
    state = row["state"]
    return Rollout(
        id=str(row["id"]),
        recommendation_id=str(row["recommendation_id"]),
        tenant=row["tenant"],
        workload=row["workload"],
        executor=row["executor"],
        patch=state["patch"],
        pre_image=state["pre_image"],
        steps=tuple(Step(StepKind(s["kind"]), s["percent"], s["seconds"]) for s in state["steps"]),
        started_at=row["started_at"],
        step_started_at=datetime.fromisoformat(state["step_started_at"]),
        phase=RolloutPhase(row["phase"]),
        step_index=state["step_index"],
        attempt=state["attempt"],
        scope_percent=state["scope_percent"],
        message=state["message"],
        failure=RolloutPhase(state["failure"]) if state["failure"] else None,
        finished_at=row["finished_at"],
        paused_at=datetime.fromisoformat(state["paused_at"]) if state.get("paused_at") else None,
        version=row["version"],
    )
