"""Recommendations and the decisions about them.

A strategy finds the same advice again every few seconds: `upsert_found` then renews the open row (same
`dedupe_key`) instead of adding one, and leaves alone what a person refused or a rollout reverted until its
cool-down is over. A status changes only by compare-and-set, so two approvals cannot both win.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from psycopg.types.json import Jsonb
from uuid_utils.compat import UUID

from energy_orchestrator.errors import ConflictError, NotFoundError
from energy_orchestrator.model.decision import Decision, DecisionOutcome, Mode
from energy_orchestrator.model.recommendation import (
    Change,
    Evidence,
    Recommendation,
    RecommendationStatus,
    SuggestionType,
    Target,
)
from energy_orchestrator.model.units import Bounded, Tier
from energy_orchestrator.store.records.database import Connection

REFUSED_COOL_DOWN = timedelta(days=7)
REVERTED_COOL_DOWN = timedelta(hours=24)
LIVE = ("open", "approved", "executing")
_INSERT = (
    "INSERT INTO recommendation (tenant, id, created_at, expires_at, updated_at, target, host, suggestion_type,"
    " expected_savings_j, confidence, risk_score, rank_score, status, source, dedupe_key, detail)"
    " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
)


def upsert_found(connection: Connection, found: Recommendation, now: datetime) -> Recommendation | None:
    """Store a found recommendation, or renew the open one that says the same (it keeps its id and its age).

    None when nothing is to be decided: a cool-down is in force, or the same change is already under way.
    """
    if _cooling(connection, found, now):
        return None
    row = connection.execute(
        f"{_INSERT} ON CONFLICT (tenant, dedupe_key) WHERE status IN ('open', 'approved', 'executing') DO UPDATE SET"
        " expires_at = excluded.expires_at, updated_at = excluded.updated_at,"
        " expected_savings_j = excluded.expected_savings_j, confidence = excluded.confidence,"
        " risk_score = excluded.risk_score, rank_score = excluded.rank_score, detail = excluded.detail"
        " WHERE recommendation.status = 'open' AND recommendation.source <> 'operator' RETURNING *",
        _values(found, now),
    ).fetchone()
    return _from_row(row) if row else None


def insert(connection: Connection, new: Recommendation, now: datetime) -> None:
    """Add a row; ConflictError when the same change is open or under way."""
    done = connection.execute(
        f"{_INSERT} ON CONFLICT (tenant, dedupe_key) WHERE status IN ('open', 'approved', 'executing') DO NOTHING",
        _values(new, now),
    )
    if done.rowcount != 1:
        raise ConflictError(
            "the same change is already proposed",
            where=new.target.workload,
            next_step="`eo recommendations list` shows it",
        )


def _values(new: Recommendation, now: datetime) -> tuple[Any, ...]:
    return (
        new.target.tenant,
        UUID(new.id),
        new.created_at,
        new.expires_at,
        now,
        new.target.workload,
        new.target.host,
        new.suggestion_type.value,
        new.expected_savings_j.value,
        new.confidence,
        new.risk_score,
        new.rank_score,
        new.status.value,
        new.source,
        new.dedupe_key,
        Jsonb(_detail(new)),
    )


def _cooling(connection: Connection, found: Recommendation, now: datetime) -> bool:
    row = connection.execute(
        "SELECT 1 FROM recommendation WHERE tenant = %s AND dedupe_key = %s AND ("
        " (status = 'refused' AND updated_at > %s) OR (status IN ('reverted', 'failed') AND updated_at > %s)"
        " OR (status = 'successful' AND updated_at > %s)) LIMIT 1",
        (
            found.target.tenant,
            found.dedupe_key,
            now - REFUSED_COOL_DOWN,
            now - REVERTED_COOL_DOWN,
            now - timedelta(minutes=5),
        ),
    ).fetchone()
    return row is not None


def expire(connection: Connection, now: datetime) -> list[Recommendation]:
    """Close what nobody found again in time."""
    rows = connection.execute(
        "UPDATE recommendation SET status = 'expired', updated_at = %s WHERE status = 'open' AND expires_at < %s"
        " RETURNING *",
        (now, now),
    ).fetchall()
    return [_from_row(row) for row in rows]


def listed(connection: Connection, tenant: str, statuses: Sequence[str] = LIVE) -> list[Recommendation]:
    """Best first."""
    rows = connection.execute(
        "SELECT * FROM recommendation WHERE tenant = %s AND status = ANY(%s)"
        " ORDER BY rank_score DESC, created_at LIMIT 1000",
        (tenant, list(statuses)),
    ).fetchall()
    return [_from_row(row) for row in rows]


def outranks(connection: Connection, found: Recommendation, since: datetime, now: datetime) -> bool:
    """Whether nothing better was found of the same target since then; what is worse lapses. One at a time: the lock is
    held until the transaction ends."""
    target = found.target
    key = f"{target.tenant}/{target.host}/{target.workload}"
    connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (key,))
    values = (target.tenant, target.workload, target.host, since)
    better = connection.execute(
        "SELECT 1 FROM recommendation WHERE tenant = %s AND target = %s AND host IS NOT DISTINCT FROM %s"
        " AND updated_at >= %s AND status = 'open' AND source <> 'operator' AND rank_score > %s AND expires_at > %s"
        " LIMIT 1",
        (*values, found.rank_score, now),
    ).fetchone()
    if better is None:
        connection.execute(
            "UPDATE recommendation SET expires_at = %s WHERE tenant = %s AND target = %s"
            " AND host IS NOT DISTINCT FROM %s AND updated_at >= %s AND status = 'open' AND source <> 'operator'"
            " AND dedupe_key <> %s",
            (now, *values, found.dedupe_key),
        )
    return better is None


def undecided(connection: Connection) -> list[Recommendation]:
    """Open ones of all tenants that nobody has decided about: a batch elsewhere kept them."""
    rows = connection.execute(
        "SELECT * FROM recommendation r WHERE status = 'open' AND source <> 'operator' AND NOT EXISTS ("
        "SELECT 1 FROM decision d WHERE d.tenant = r.tenant AND d.recommendation_id = r.id)"
        " ORDER BY rank_score DESC LIMIT 100"
    ).fetchall()
    return [_from_row(row) for row in rows]


def get(connection: Connection, tenant: str, recommendation_id: str) -> Recommendation:
    """One, by its whole id; NotFoundError."""
    try:
        key = UUID(recommendation_id)
    except ValueError:
        key = None
    row = (
        key
        and connection.execute("SELECT * FROM recommendation WHERE tenant = %s AND id = %s", (tenant, key)).fetchone()
    )
    if not row:
        raise NotFoundError(
            f"no recommendation {recommendation_id!r}", next_step="`eo recommendations list` shows those that are open"
        )
    return _from_row(row)


def transition(
    connection: Connection,
    tenant: str,
    recommendation_id: str,
    expected: Sequence[RecommendationStatus],
    new: RecommendationStatus,
    now: datetime,
) -> Recommendation:
    """Compare-and-set of the status; ConflictError names the present one."""
    row = connection.execute(
        "UPDATE recommendation SET status = %s, updated_at = %s"
        " WHERE tenant = %s AND id = %s AND status = ANY(%s) RETURNING *",
        (new.value, now, tenant, UUID(recommendation_id), [status.value for status in expected]),
    ).fetchone()
    if row is None:
        present = get(connection, tenant, recommendation_id)
        raise ConflictError(
            f"it is {present.status.value}, not {' or '.join(status.value for status in expected)}",
            where=f"recommendation {recommendation_id}",
            next_step="`eo recommendations list` shows those that are open",
        )
    return _from_row(row)


def add_decision(
    connection: Connection, tenant: str, recommendation_id: str, decision: Decision, actor: str, now: datetime
) -> None:
    """Keep a decision."""
    connection.execute(
        "INSERT INTO decision (tenant, recommendation_id, at, outcome, mode, reasons, policies, actor)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
        (
            tenant,
            UUID(recommendation_id),
            now,
            decision.outcome.value,
            decision.mode.value,
            Jsonb(list(decision.reasons)),
            Jsonb(list(decision.policies)),
            actor,
        ),
    )


def last_decision(connection: Connection, tenant: str, recommendation_id: str) -> Decision | None:
    """The newest decision, if any."""
    row = connection.execute(
        "SELECT * FROM decision WHERE tenant = %s AND recommendation_id = %s ORDER BY id DESC LIMIT 1",
        (tenant, UUID(recommendation_id)),
    ).fetchone()
    if row is None:
        return None
    return Decision(DecisionOutcome(row["outcome"]), Mode(row["mode"]), tuple(row["reasons"]), tuple(row["policies"]))


def _detail(it: Recommendation) -> dict[str, Any]:
    bounded = {
        name: asdict(value) if (value := getattr(it, name)) is not None else None
        for name in ("expected_savings_j", "target_spend_j", "expected_savings_cost", "expected_savings_gco2e")
    }
    evidence = [
        asdict(item) | {"window_start": item.window_start.isoformat(), "window_end": item.window_end.isoformat()}
        for item in it.evidence
    ]
    return bounded | {
        "executor": it.change.executor,
        "patch": dict(it.change.patch),
        "inverse": dict(it.change.inverse),
        "tier": it.tier.value,
        "confidence_reason": it.confidence_reason,
        "risk_parts": dict(it.risk_parts),
        "evidence": evidence,
        "explanation": it.explanation,
        "labels": dict(it.labels),
    }


def _bounded(value: dict[str, float] | None) -> Bounded | None:
    return Bounded(**value) if value is not None else None


def _from_row(row: dict[str, Any]) -> Recommendation:
    detail = row["detail"]
    evidence = tuple(
        Evidence(
            **item
            | {
                "window_start": datetime.fromisoformat(item["window_start"]),
                "window_end": datetime.fromisoformat(item["window_end"]),
            }
        )
        for item in detail["evidence"]
    )
    return Recommendation(
        id=str(row["id"]),
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        target=Target(row["tenant"], row["target"], row["host"]),
        suggestion_type=SuggestionType(row["suggestion_type"]),
        change=Change(detail["executor"], detail["patch"], detail["inverse"]),
        expected_savings_j=Bounded(**detail["expected_savings_j"]),
        target_spend_j=Bounded(**detail["target_spend_j"]),
        tier=Tier(detail["tier"]),
        confidence=row["confidence"],
        confidence_reason=detail["confidence_reason"],
        risk_score=row["risk_score"],
        risk_parts=detail["risk_parts"],
        evidence=evidence,
        explanation=detail["explanation"],
        source=row["source"],
        rank_score=row["rank_score"],
        expected_savings_cost=_bounded(detail["expected_savings_cost"]),
        expected_savings_gco2e=_bounded(detail["expected_savings_gco2e"]),
        status=RecommendationStatus(row["status"]),
        labels=detail["labels"],
    )
