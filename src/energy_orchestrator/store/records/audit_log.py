"""The rows of the audit log. One sequencer: an advisory lock, taken inside the transaction that is being recorded,
so an entry exists exactly when what it tells of does."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from energy_orchestrator.model.audit_record import AuditRecord, Head, next_record
from energy_orchestrator.store.records.database import Connection

_LOCK = 0x656F6175  # "eoau"


def append(
    connection: Connection,
    now: datetime,
    *,
    tenant: str,
    actor: str,
    action: str,
    subject: str,
    body: Mapping[str, Any],
) -> AuditRecord:
    """Add an entry in the caller's transaction."""
    connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
    text = json.dumps(body, sort_keys=True, default=str)
    record = next_record(
        head(connection), now, tenant=tenant, actor=actor, action=action, subject=subject, body=json.loads(text)
    )
    connection.execute(
        "INSERT INTO audit_entry (sequence, at, tenant, actor, action, subject, body, previous_hash, hash)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s::json, %s, %s)",
        (record.sequence, record.at, tenant, actor, action, subject, text, record.previous_hash, record.hash),
    )
    connection.execute("UPDATE audit_head SET sequence = %s, hash = %s", (record.sequence, record.hash))
    return record


def head(connection: Connection) -> Head:
    """The end of the log as the database keeps it."""
    row = connection.execute("SELECT sequence, hash FROM audit_head").fetchone()
    return Head(row["sequence"], row["hash"]) if row else Head()


def hash_of(connection: Connection, sequence: int) -> str | None:
    """Hash of one entry; None when there is none."""
    row = connection.execute("SELECT hash FROM audit_entry WHERE sequence = %s", (sequence,)).fetchone()
    return str(row["hash"]) if row else None


def entries(connection: Connection) -> Iterator[AuditRecord]:
    """All entries in order, streamed."""
    with connection.cursor(name="audit_entries") as cursor:
        cursor.execute("SELECT * FROM audit_entry ORDER BY sequence")
        for row in cursor:
            yield AuditRecord(**row)


def page(connection: Connection, tenant: str, after: int, limit: int) -> list[AuditRecord]:
    """A tenant's entries after a sequence; with `after` negative the newest ones."""
    if after < 0:
        rows = connection.execute(
            "SELECT * FROM (SELECT * FROM audit_entry WHERE tenant = %s ORDER BY sequence DESC LIMIT %s) newest"
            " ORDER BY sequence",
            (tenant, limit),
        ).fetchall()
    else:
        rows = connection.execute(
            "SELECT * FROM audit_entry WHERE tenant = %s AND sequence > %s ORDER BY sequence LIMIT %s",
            (tenant, after, limit),
        ).fetchall()
    return [AuditRecord(**row) for row in rows]
