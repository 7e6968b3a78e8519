"""The log in the real Postgres: it refuses to be changed, and shows what a superuser did to it anyway."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from energy_orchestrator.audit import head_file
from energy_orchestrator.audit.chain import Verification, verify
from energy_orchestrator.errors import ConflictError
from energy_orchestrator.model.audit_record import Head
from energy_orchestrator.store.records import audit_log
from energy_orchestrator.store.records.database import Database

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.fixture
def database(database: Database) -> Database:
    for n in range(5):
        write(database, n)
    return database


def write(database: Database, n: int, tenant: str = "local") -> None:
    with database.transaction() as connection:
        body = {"reason": f"é {n}", "watts": 0.1 * n, "patch": {"b": 1, "a": None}}
        audit_log.append(connection, NOW, tenant=tenant, actor="ada", action="pause", subject=f"pause/{n}", body=body)


def check(database: Database, known: Head | None = None) -> Verification:
    with database.transaction() as connection:
        heads = {"database": audit_log.head(connection)}
        return verify(audit_log.entries(connection), heads, {"head file": known} if known else None)


def head(database: Database) -> Head:
    with database.transaction() as connection:
        return audit_log.head(connection)


def as_superuser(database: Database, *statements: str) -> None:
    with database.transaction() as connection:
        connection.execute("ALTER TABLE audit_entry DISABLE TRIGGER USER")
        for statement in statements:
            connection.execute(statement.encode())
        connection.execute("ALTER TABLE audit_entry ENABLE TRIGGER USER")


def test_what_was_written_verifies(database: Database) -> None:
    found = check(database)
    assert (found.ok, found.entries) == (True, 5)


@pytest.mark.parametrize(
    "statement",
    ["UPDATE audit_entry SET actor = 'mallory'", "DELETE FROM audit_entry", "TRUNCATE audit_entry"],
)
def test_the_database_refuses_to_change_entries(database: Database, statement: str) -> None:
    with pytest.raises(psycopg.errors.RaiseException, match="append-only"), database.transaction() as connection:
        connection.execute(statement.encode())
    assert check(database).ok


@pytest.mark.parametrize(
    ("statements", "bad"),
    [
        (["UPDATE audit_entry SET actor = 'mallory' WHERE sequence = 3"], 3),
        (["""UPDATE audit_entry SET body = '{"reason":"x"}' WHERE sequence = 1"""], 1),
        (["DELETE FROM audit_entry WHERE sequence = 2"], 3),
        (["DELETE FROM audit_entry WHERE sequence = 1"], 2),
        (["DELETE FROM audit_entry WHERE sequence > 3"], 4),
        (["DELETE FROM audit_entry"], 1),
        (
            [
                "UPDATE audit_entry SET sequence = 100 WHERE sequence = 2",
                "UPDATE audit_entry SET sequence = 2 WHERE sequence = 3",
                "UPDATE audit_entry SET sequence = 3 WHERE sequence = 100",
            ],
            2,
        ),
        (["UPDATE audit_head SET sequence = 4"], 5),
        (["INSERT INTO audit_entry SELECT 6, at, tenant, actor, action, subject, body, hash, 'f' FROM audit_entry"
          " WHERE sequence = 5"], 6),
    ],
)  # fmt: skip
def test_a_superuser_is_found_out(database: Database, statements: list[str], bad: int) -> None:
    as_superuser(database, *statements)
    found = check(database)
    assert (found.ok, found.first_bad_sequence) == (False, bad)


def test_a_superuser_who_mends_the_head_is_found_out_by_the_head_file(database: Database, tmp_path: Path) -> None:
    path = tmp_path / "audit-head"
    head_file.advance(path, head(database), lambda _: None)
    as_superuser(
        database,
        "DELETE FROM audit_entry WHERE sequence > 3",
        "UPDATE audit_head SET (sequence, hash) = (SELECT sequence, hash FROM audit_entry WHERE sequence = 3)",
    )
    assert check(database).ok  # the database alone can't tell
    assert not check(database, head_file.read(path)).ok
    for n in range(3):
        write(database, n)  # and growing again does not hide it
        with pytest.raises(ConflictError, match="rewritten"):
            head_file.advance(path, head(database), lambda sequence: hash_of(database, sequence))
    assert not check(database, head_file.read(path)).ok


def hash_of(database: Database, sequence: int) -> str | None:
    with database.transaction() as connection:
        return audit_log.hash_of(connection, sequence)


def test_the_head_file_follows_an_honest_log(database: Database, tmp_path: Path) -> None:
    path = tmp_path / "audit-head"
    for n in range(3):
        write(database, n)
        head_file.advance(path, head(database), lambda sequence: hash_of(database, sequence))
        assert head_file.read(path) == head(database)
    assert list(tmp_path.iterdir()) == [path]


def test_a_head_file_that_somebody_wrote_to_is_not_taken_for_a_missing_one(tmp_path: Path) -> None:
    path = tmp_path / "audit-head"
    assert head_file.read(path) is None
    path.write_text("nonsense")
    with pytest.raises(ConflictError):
        head_file.read(path)


def test_writers_at_once_make_one_chain_without_gaps(database: Database) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: write(database, n, f"tenant-{n % 3}"), range(40)))
    found = check(database)
    assert (found.ok, found.entries) == (True, 45)


def test_an_entry_exists_only_if_what_it_tells_of_does(database: Database) -> None:
    def write_and_fail() -> None:
        with database.transaction() as connection:
            audit_log.append(connection, NOW, tenant="local", actor="a", action="b", subject="c", body={})
            raise ConflictError("rolled back")

    with pytest.raises(ConflictError):
        write_and_fail()
    assert check(database).entries == 5


def test_a_page_shows_the_tenants_own_entries_in_order(database: Database) -> None:
    write(database, 9, "other")
    with database.transaction() as connection:
        assert [it.sequence for it in audit_log.page(connection, "local", 2, 2)] == [3, 4]
        assert [it.sequence for it in audit_log.page(connection, "local", -1, 2)] == [4, 5]
        assert [it.sequence for it in audit_log.page(connection, "other", 0, 9)] == [6]
