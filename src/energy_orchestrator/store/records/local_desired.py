"""Desired state of the local executor: the promoted changes on top of the file, and the canary's.

Written by a rollout's acts, read by every pass of the supervisor; so a restart finds what was wanted.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from energy_orchestrator.store.records import pauses
from energy_orchestrator.store.records.database import Database


class LocalDesiredStore:
    """Implements `execute.local.desired.DesiredStore` on Postgres."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def read(self, tenant: str, workload: str) -> dict[str, Any] | None:
        """`{"promoted": …, "canary_patch": …, "canary_replicas": n}`, or None when nothing was ever changed."""
        with self._database.transaction() as connection:
            row = connection.execute(
                "SELECT promoted, canary_patch, canary_replicas FROM local_desired WHERE tenant = %s AND workload = %s",
                (tenant, workload),
            ).fetchone()
        return dict(row) if row else None

    def write(self, tenant: str, workload: str, desired: Mapping[str, Any], now: datetime) -> None:
        """Replace it; the same value again changes nothing."""
        canary = desired["canary_patch"]
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO local_desired (tenant, workload, promoted, canary_patch, canary_replicas, updated_at)"
                " VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT (tenant, workload) DO UPDATE SET"
                " promoted = excluded.promoted, canary_patch = excluded.canary_patch,"
                " canary_replicas = excluded.canary_replicas, updated_at = excluded.updated_at",
                (
                    tenant,
                    workload,
                    Jsonb(desired["promoted"]),
                    Jsonb(canary) if canary is not None else None,
                    desired["canary_replicas"],
                    now,
                ),
            )

    def paused(self, tenant: str) -> bool:
        """Whether the kill switch is on."""
        with self._database.transaction() as connection:
            return pauses.in_force(connection, tenant) is not None
