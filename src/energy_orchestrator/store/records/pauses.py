"""The pauses. One is in force for a tenant as long as it is not lifted."""

from __future__ import annotations

from datetime import datetime

from uuid_utils.compat import uuid7

from energy_orchestrator.model.pause import Pause
from energy_orchestrator.store.records.database import Connection

_COLUMNS = "id::text AS id, tenant, by, reason, created_at, lifted_at, lifted_by"


def add(connection: Connection, tenant: str, by: str, reason: str, now: datetime) -> Pause:
    """Stop everything."""
    pause = Pause(str(uuid7()), tenant, by, reason, now)
    connection.execute(
        "INSERT INTO pause (tenant, id, by, reason, created_at) VALUES (%s, %s, %s, %s, %s)",
        (tenant, pause.id, by, reason, now),
    )
    return pause


def lift_all(connection: Connection, tenant: str, by: str, now: datetime) -> list[Pause]:
    """Lift what is in force; the lifted ones."""
    rows = connection.execute(
        f"UPDATE pause SET lifted_at = %s, lifted_by = %s WHERE tenant = %s AND lifted_at IS NULL RETURNING {_COLUMNS}",  # noqa: S608 - constant column list
        (now, by, tenant),
    ).fetchall()
    return [Pause(**row) for row in rows]


def in_force(connection: Connection, tenant: str) -> Pause | None:
    """The oldest pause that is not lifted."""
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM pause WHERE tenant = %s AND lifted_at IS NULL ORDER BY created_at LIMIT 1",  # noqa: S608
        (tenant,),
    ).fetchone()
    return Pause(**row) if row else None


def listed(connection: Connection, tenant: str, *, active_only: bool) -> list[Pause]:
    """Newest first."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM pause WHERE tenant = %s AND (NOT %s OR lifted_at IS NULL)"  # noqa: S608
        " ORDER BY created_at DESC LIMIT 200",
        (tenant, active_only),
    ).fetchall()
    return [Pause(**row) for row in rows]
