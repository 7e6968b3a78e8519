"""Numbered SQL files, applied once each and in order, and the record of which were.

ClickHouse has no transactions over tables, so every statement is written to be repeatable (`IF NOT EXISTS`): a
migration that was cut off is run again from its first statement. An applied file must not change; its hash is kept,
and a difference is an error rather than two databases that claim to be the same.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources

import pyarrow as pa

from energy_orchestrator.errors import ConflictError
from energy_orchestrator.store.series.port import Parameters

LEDGER = """
CREATE TABLE IF NOT EXISTS applied_migration (
    name String, sha256 String, applied_at DateTime64(3, 'UTC') DEFAULT now64(3)
) ENGINE = ReplacingMergeTree ORDER BY name
"""
_COMMENT = re.compile(r"--[^\n]*")

Query = Callable[[str, Parameters | None], pa.Table]


@dataclass(frozen=True, slots=True)
class Migration:
    """One file."""

    name: str
    text: str

    @property
    def sha256(self) -> str:
        """Hash of the text as it is in the file."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def statements(self) -> list[str]:
        """The statements, without comments. No migration has a `;` or `--` inside a literal."""
        parts = _COMMENT.sub("", self.text).split(";")
        return [part.strip() for part in parts if part.strip()]


def known_migrations() -> list[Migration]:
    """The files of this release, lowest number first."""
    folder = resources.files("energy_orchestrator.store") / "migrations" / "clickhouse"
    files = sorted((entry for entry in folder.iterdir() if entry.name.endswith(".sql")), key=lambda entry: entry.name)
    return [Migration(entry.name, entry.read_text(encoding="utf-8")) for entry in files]


def apply(query: Query, migrations: list[Migration] | None = None) -> list[str]:
    """Apply what is missing; returns the names applied now."""
    query(LEDGER, None)
    rows = query("SELECT name, sha256 FROM applied_migration FINAL", None).to_pylist()
    applied = {row["name"]: row["sha256"] for row in rows}
    done = []
    for migration in known_migrations() if migrations is None else migrations:
        if migration.name in applied:
            _refuse_a_changed_file(migration, applied[migration.name])
            continue
        for statement in migration.statements:
            query(statement, None)
        query(
            "INSERT INTO applied_migration (name, sha256) VALUES ({name:String}, {sha256:String})",
            {"name": migration.name, "sha256": migration.sha256},
        )
        done.append(migration.name)
    return done


def _refuse_a_changed_file(migration: Migration, applied_sha256: str) -> None:
    if migration.sha256 != applied_sha256:
        raise ConflictError(
            "this migration was applied with another text",
            where=f"migrations/clickhouse/{migration.name}",
            next_step="put the old text back and write the change as a new, higher-numbered file",
        )
