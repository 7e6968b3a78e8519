"""Imported benchmark runs. All of a log or nothing; importing it again changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from psycopg.types.json import Jsonb

from energy_orchestrator.model.run import Run
from energy_orchestrator.store.records.database import Connection


def insert_new(connection: Connection, tenant: str, runs: Sequence[Run], imported_from: str, now: datetime) -> int:
    """Add the runs whose id is not known yet; how many that were. In the caller's transaction."""
    added = 0
    for run in runs:
        done = connection.execute(
            "INSERT INTO run (tenant, run_id, workload, started_at, finished_at, operations, energy_joules,"
            " energy_reason, metadata, imported_from, imported_at)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (tenant, run_id) DO NOTHING",
            (
                tenant,
                run.run_id,
                run.workload,
                run.started_at,
                run.finished_at,
                run.operations,
                run.energy_joules,
                run.energy_reason,
                Jsonb(dict(run.metadata)),
                imported_from,
                now,
            ),
        )
        added += done.rowcount
    return added
