"""What came of each executed recommendation: read by the playbook, the cool-downs and the rate limits."""

from __future__ import annotations

from datetime import datetime

from uuid_utils.compat import UUID

from energy_orchestrator.model.recommendation import Recommendation
from energy_orchestrator.model.units import Bounded
from energy_orchestrator.store.records.database import Connection


def add(connection: Connection, of: Recommendation, result: str, saving_ratio: Bounded | None, now: datetime) -> None:
    """Keep a result: successful, reverted, failed or refused; `saving_ratio` is the share of J/op saved."""
    ratio = (saving_ratio.value, saving_ratio.lower, saving_ratio.upper) if saving_ratio else (None, None, None)
    connection.execute(
        "INSERT INTO outcome (tenant, recommendation_id, at, target, suggestion_type, dedupe_key, result, saving_ratio,"
        " saving_ratio_lower, saving_ratio_upper) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
        (
            of.target.tenant,
            UUID(of.id),
            now,
            of.target.workload,
            of.suggestion_type.value,
            of.dedupe_key,
            result,
            *ratio,
        ),
    )


def last_revert(connection: Connection, tenant: str, target: str) -> datetime | None:
    """When a change of this target was last reverted."""
    row = connection.execute(
        "SELECT max(at) AS at FROM outcome WHERE tenant = %s AND target = %s AND result = 'reverted'", (tenant, target)
    ).fetchone()
    return row["at"] if row else None


def saving_ratios(connection: Connection, tenant: str, suggestion_type: str) -> list[float | None]:
    """Measured ratios of finished changes of one kind, newest first; None where it was reverted or not measured."""
    rows = connection.execute(
        "SELECT CASE WHEN result = 'successful' THEN saving_ratio END AS ratio FROM outcome"
        " WHERE tenant = %s AND suggestion_type = %s AND result <> 'refused' ORDER BY at DESC LIMIT 200",
        (tenant, suggestion_type),
    ).fetchall()
    return [row["ratio"] for row in rows]


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
