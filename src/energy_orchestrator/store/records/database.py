"""The pool of connections, transactions, and the migrations that bring a database up to date.

Everything above this module sees a `Connection` inside `Database.transaction()` and the project's own errors: a
server that does not answer is UnavailableError, a value that can't be kept is InvalidInputError.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import yoyo
from psycopg.rows import DictRow, dict_row
from psycopg_pool import ConnectionPool, PoolTimeout

from energy_orchestrator.errors import InvalidInputError, UnavailableError

MIGRATIONS = Path(__file__).parents[1] / "migrations" / "postgres"

Connection = psycopg.Connection[DictRow]


class Database:
    """A Postgres database by its URL (`postgresql://…`; never printed, it may hold a password)."""

    def __init__(self, url: str, *, pool_size: int = 8, open_timeout: float = 20.0) -> None:
        self._url = url
        self._open_timeout = open_timeout
        self._here = threading.local()
        self._pool: ConnectionPool[Any] = ConnectionPool(
            url,
            min_size=1,
            max_size=pool_size,
            open=False,
            kwargs={"row_factory": dict_row, "application_name": "energy-orchestrator"},
            timeout=10,
            # A server that was restarted would else fail one call for each connection in the pool.
            check=ConnectionPool.check_connection,
        )

    def open(self) -> None:
        """Connect and migrate; UnavailableError when the server does not answer."""
        try:
            self._pool.open(wait=True, timeout=self._open_timeout)
            self._migrate()
        except (PoolTimeout, psycopg.OperationalError) as error:
            raise UnavailableError(
                "Postgres does not answer", where="records", next_step="see that it runs; its log is in the data folder"
            ) from error

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """One transaction: committed at the end, rolled back by any exception.

        Inside another one of the same thread it is a part of that (a savepoint). A second connection would do too,
        until as many threads as there are connections each wait for their second.
        """
        outer: Connection | None = getattr(self._here, "connection", None)
        if outer is not None:
            with outer.transaction():
                yield outer
            return
        try:
            with self._pool.connection() as connection:
                self._here.connection = connection
                try:
                    yield connection
                finally:
                    self._here.connection = None
        except psycopg.DataError as error:
            raise InvalidInputError(
                f"Postgres can't keep this value: {str(error).splitlines()[0]}",
                where="records",
                next_step="correct the value (no NUL characters, no numbers that are not finite)",
            ) from error
        except (PoolTimeout, psycopg.OperationalError) as error:
            raise UnavailableError(
                f"Postgres: {type(error).__name__}", where="records", next_step="the call can be repeated"
            ) from error

    def _migrate(self) -> None:
        logging.getLogger("yoyo").setLevel(logging.WARNING)
        backend = yoyo.get_backend(_for_yoyo(self._url))
        migrations = yoyo.read_migrations(str(MIGRATIONS))
        with backend.lock():
            backend.apply_migrations(backend.to_apply(migrations))
        backend.connection.close()


def _for_yoyo(url: str) -> str:
    """The same address in yoyo's form: driver psycopg 3, a socket directory as a query parameter."""
    parts = psycopg.conninfo.conninfo_to_dict(url)
    user = quote(str(parts.get("user", "")), safe="")
    if parts.get("password"):
        user += ":" + quote(str(parts["password"]), safe="")
    host, port = str(parts.get("host", "")), parts.get("port")
    name = str(parts.get("dbname", "postgres"))
    if host.startswith("/"):
        return f"postgresql+psycopg://{user}@/{name}?host={quote(host, safe='')}" + (f"&port={port}" if port else "")
    return f"postgresql+psycopg://{user}@{host}:{port or 5432}/{name}"
