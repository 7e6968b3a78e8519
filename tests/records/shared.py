"""One real Postgres for all tests of a run; each test module gets a database of its own in it."""

from __future__ import annotations

import atexit
import shutil
import tempfile
import uuid
from functools import cache
from pathlib import Path

import psycopg

from energy_orchestrator.services.postgres_server import PostgresServer
from energy_orchestrator.store.records.database import Database


@cache
def server_url() -> str:
    folder = Path(tempfile.mkdtemp(prefix="eo-test-"))
    folder.chmod(0o755)
    server = PostgresServer(folder / "postgres")
    url = server.start()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    atexit.register(server.stop)
    return url


def new_url() -> str:
    """Of a new, empty database."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server_url(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return server_url().replace("/postgres?", f"/{name}?")


def new_database() -> Database:
    database = Database(new_url(), pool_size=4)
    database.open()
    return database


TABLES = (
    "rollout_event, action, analysis_run, outcome, decision, rollout, recommendation, local_desired, pause, run,"
    " fingerprint, fingerprint_next_cluster"
)


def emptied(database: Database) -> Database:
    """The same database without rows; the log's trigger is set aside for it."""
    with database.transaction() as connection:
        connection.execute(f"TRUNCATE {TABLES}")
        connection.execute("ALTER TABLE audit_entry DISABLE TRIGGER audit_entry_append_only")
        connection.execute("TRUNCATE audit_entry")
        connection.execute("ALTER TABLE audit_entry ENABLE TRIGGER audit_entry_append_only")
        connection.execute("UPDATE audit_head SET sequence = 0, hash = repeat('0', 64)")
    return database
