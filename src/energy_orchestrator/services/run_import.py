"""Imports a harness log into run records: parsed as a whole first, stored in one transaction, audited."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from energy_orchestrator.errors import InvalidInputError
from energy_orchestrator.store.records import audit_log, runs
from energy_orchestrator.store.records.database import Database

SHOWN = 20


def import_runs(
    database: Database, tenant: str, name: str, text: str, now: datetime, *, dry_run: bool
) -> dict[str, Any]:
    """How many runs were read and how many were new.

    Raises:
        InvalidInputError: naming every malformed line (the first twenty); nothing was imported.
    """
    from energy_orchestrator.ingest.benchmark_log import parse_runs

    parsed = parse_runs(name, text)
    if parsed.problems:
        first = parsed.problems[0]
        told = "; ".join(f"line {problem.line}: {problem.reason}" for problem in parsed.problems[:SHOWN])
        raise InvalidInputError(
            f"{len(parsed.problems)} malformed line(s): {told}",
            where=f"{name}: line {first.line}",
            next_step="correct them; nothing was imported",
        )
    with_energy = sum(run.energy_joules is not None for run in parsed.records)
    added = 0
    if not dry_run:
        with database.transaction() as connection:
            added = runs.insert_new(connection, tenant, parsed.records, name, now)
            if added:
                audit_log.append(
                    connection,
                    now,
                    tenant=tenant,
                    actor="import",
                    action="runs.imported",
                    subject=f"runs/{name}",
                    body={"read": len(parsed.records), "added": added},
                )
    return {
        "read": len(parsed.records),
        "added": added,
        "known": None if dry_run else len(parsed.records) - added,
        "with_energy": with_energy,
        "dry_run": dry_run,
    }
