"""What came of each executed recommendation: read by the playbook, the cool-downs and the rate limits."""

from __future__ import annotations

from datetime import datetime

from uuid_utils.compat import UUID

from energy_orchestrator.model.recommendation import Recommendation, Tried
from energy_orchestrator.model.units import Bounded
from energy_orchestrator.store.records.database import Connection


def add(connection: Connection, of: Recommendation, result: str, saving_ratio: Bounded | None, now: datetime) -> None:
    """Keep a result: successful, reverted, failed or refused; `saving_ratio` is the share of J/op saved."""
    ratio = (saving_ratio.value, saving_ratio.lower, saving_ratio.upper) if saving_ratio else (None, None, None)
    connection.execute(
        "INSERT INTO outcome (tenant, recommendation_id, at, target, suggestion_type, dedupe_key, result, saving_ratio,"
        " saving_ratio_lower, saving_ratio_upper, cluster_id) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s,"
        " (SELECT cluster_id FROM fingerprint WHERE tenant = %s AND workload = %s))",
        (
            of.target.tenant,
            UUID(of.id),
            now,
            of.target.workload,
            of.suggestion_type.value,
            of.dedupe_key,
            result,
            *ratio,
            of.target.tenant,
            of.target.workload,
        ),
    )


def last_revert(connection: Connection, tenant: str, target: str) -> datetime | None:
    """When a change of this target was last reverted."""
    row = connection.execute(
        "SELECT max(at) AS at FROM outcome WHERE tenant = %s AND target = %s AND result = 'reverted'", (tenant, target)
    ).fetchone()
    return row["at"] if row else None


def tried(connection: Connection, tenant: str, suggestion_type: str) -> list[Tried]:
    """Finished changes of one kind, newest first, with the fingerprint group of their target: of then, or else of
    now."""
    rows = connection.execute(
        "SELECT o.target, coalesce(o.cluster_id, f.cluster_id) AS cluster_id,"
        " CASE WHEN o.result = 'successful' THEN o.saving_ratio END AS ratio"
        " FROM outcome o LEFT JOIN fingerprint f ON f.tenant = o.tenant AND f.workload = o.target"
        " WHERE o.tenant = %s AND o.suggestion_type = %s AND o.result <> 'refused' ORDER BY o.at DESC LIMIT 200",
        (tenant, suggestion_type),
    ).fetchall()
    return [Tried(row["target"], row["cluster_id"], row["ratio"]) for row in rows]


def claims(connection: Connection, tenant: str, suggestion_type: str) -> list[tuple[float, bool]]:
    """What strategies claimed of finished changes of one kind, and whether it came true: kept, and energy saved."""
    rows = connection.execute(
        "SELECT coalesce((r.detail->'labels'->>'claimed_confidence')::double precision, r.confidence) AS claim,"
        " o.result = 'successful' AND coalesce(o.saving_ratio, 0) > 0 AS came_true"
        " FROM outcome o JOIN recommendation r ON r.tenant = o.tenant AND r.id = o.recommendation_id"
        " WHERE o.tenant = %s AND o.suggestion_type = %s AND o.result <> 'refused' AND r.source <> 'operator'"
        " ORDER BY o.at DESC LIMIT 2000",
        (tenant, suggestion_type),
    ).fetchall()
    return [(row["claim"], row["came_true"]) for row in rows]
