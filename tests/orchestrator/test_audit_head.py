"""The running system keeps a head outside the database, and never helps to forget what it knew."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from energy_orchestrator.audit.chain import Verification
from energy_orchestrator.errors import ConflictError
from energy_orchestrator.services.control_plane import keep_head, verify_log
from energy_orchestrator.store.records import audit_log
from energy_orchestrator.store.records.database import Database

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.fixture
def database(database: Database) -> Database:
    write(database, 5)
    return database


def write(database: Database, entries: int) -> None:
    with database.transaction() as connection:
        for n in range(entries):
            audit_log.append(connection, NOW, tenant="local", actor="ada", action="pause", subject=f"p/{n}", body={})


def keep(database: Database, file: Path) -> None:
    with database.transaction() as connection:
        keep_head(connection, file)


def verified(database: Database, file: Path) -> Verification:
    with database.transaction() as connection:
        return verify_log(connection, file)


def cut_the_tail_and_mend_the_head(database: Database) -> None:
    with database.transaction() as connection:
        connection.execute("ALTER TABLE audit_entry DISABLE TRIGGER USER")
        connection.execute("DELETE FROM audit_entry WHERE sequence > 3")
        connection.execute(
            "UPDATE audit_head SET (sequence, hash) = (SELECT 3, hash FROM audit_entry WHERE sequence = 3)"
        )
        connection.execute("ALTER TABLE audit_entry ENABLE TRIGGER USER")


def test_a_shortened_log_stays_found_however_often_the_head_is_kept(database: Database, tmp_path: Path) -> None:
    file = tmp_path / "audit-head"
    keep(database, file)
    cut_the_tail_and_mend_the_head(database)
    for _ in range(2):
        with pytest.raises(ConflictError, match="rewritten"):
            keep(database, file)
        assert not verified(database, file).ok


def test_a_shortened_log_that_grew_again_is_found(database: Database, tmp_path: Path) -> None:
    file = tmp_path / "audit-head"
    keep(database, file)
    cut_the_tail_and_mend_the_head(database)
    with database.transaction() as connection:
        for n in range(4):
            audit_log.append(connection, NOW, tenant="local", actor="eve", action="pause", subject=f"x/{n}", body={})
    with pytest.raises(ConflictError, match="rewritten"):
        keep(database, file)
    assert verified(database, file).first_bad_sequence == 5


def test_an_honest_log_verifies_before_and_after_it_grows(database: Database, tmp_path: Path) -> None:
    file = tmp_path / "audit-head"
    assert verified(database, file).ok
    write(database, 2)
    assert verified(database, file).entries == 7


def test_a_head_file_that_somebody_wrote_to_is_a_broken_log(database: Database, tmp_path: Path) -> None:
    file = tmp_path / "audit-head"
    file.write_text("nothing to see", encoding="ascii")
    found = verified(database, file)
    assert not found.ok
    assert "backup" in found.message
