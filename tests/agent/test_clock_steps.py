"""The node's clock is set while the agent runs (libfaketime fakes the wall clock of that process alone): what was
measured stays right, stamps follow the clock, and nothing is lost."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from .rig import Row, eventually, missing, printed
from .simulated import agent_program

pytestmark = pytest.mark.slow

INTERVAL_SECONDS = 0.5


@pytest.fixture(scope="module")
def libfaketime() -> Path:
    """Debian's libfaketime; installed where that is possible."""
    places = [*Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), *Path("/usr/lib").glob("faketime/*MT.so.1")]
    if not places and os.geteuid() == 0 and shutil.which("apt-get"):
        subprocess.run(["apt-get", "install", "-y", "-qq", "libfaketime"], capture_output=True, check=False)
        places = [*Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")]
    if not places:
        missing("libfaketime is not installed: apt-get install libfaketime")
    return places[0]


class Clocked:
    """An agent whose wall clock is what a file says."""

    def __init__(self, folder: Path, library: Path, start: str) -> None:
        self.clock, self.out = folder / "clock", folder / "rows"
        self.set(start)
        environment = {
            **os.environ,
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self.clock),
            "FAKETIME_NO_CACHE": "1",
            # As when an administrator or NTP sets the clock: the monotonic one goes on.
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        command = [str(agent_program()), "run", "--sink", "stdout", "--host", "node-a", "--profile-hz", "0"]
        with self.out.open("wb") as out:
            self.process = subprocess.Popen(
                [*command, "--interval-seconds", str(INTERVAL_SECONDS)],
                stdout=out, stderr=subprocess.DEVNULL, env=environment,
            )  # fmt: skip

    def set(self, when: str) -> None:
        """At one stroke: half a file is no clock."""
        new = self.clock.with_suffix(".new")
        new.write_text(when)
        new.rename(self.clock)

    def rows(self) -> list[Row]:
        """Of the kernel's meter: one each interval."""
        return [row for row in printed(self.out) if row["kind"] == "meters" and row["meter"] == "kernel"]

    def more(self, count: int = 4) -> list[Row]:
        """The next rows."""
        before = len(self.rows())
        eventually(lambda: len(self.rows()) >= before + count, f"{count} rows after {before}")
        return self.rows()[before:]


@contextlib.contextmanager
def agent(folder: Path, library: Path, start: str = "+0") -> Iterator[Clocked]:
    running = Clocked(folder, library, start)
    try:
        yield running
    finally:
        running.process.kill()
        running.process.wait()


def stamp(row: dict[str, Any]) -> datetime:
    """A row's timestamp."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=row["timestamp"])


def test_a_step_of_the_clock_moves_stamps_and_no_figure(tmp_path: Path, libfaketime: Path) -> None:
    """An hour back, then two hours on."""
    with agent(tmp_path, libfaketime) as running:
        before = running.more()
        running.set("-3600")
        # The first may have been under way.
        back = running.more(5)[1:]
        running.set("+3600")
        forth = running.more(5)[1:]
        rows = running.rows()
    now = datetime.now(UTC)
    for part, offset in ((before, 0), (back, -1), (forth, 1)):
        away = [abs(stamp(row) - now - timedelta(hours=offset)) for row in part]
        assert max(away) < timedelta(minutes=10), f"stamps do not follow a clock {offset} h away: {away}"
    intervals = [row["interval_seconds"] for row in rows]
    assert all(0.5 * INTERVAL_SECONDS < interval < 20 * INTERVAL_SECONDS for interval in intervals), intervals
    busy = [row["busy_cpu_seconds"] for row in rows if row["busy_cpu_seconds"] is not None]
    cpus = os.cpu_count() or 1
    assert busy
    assert all(0 <= used <= cpus * 20 * INTERVAL_SECONDS for used in busy), busy


def test_a_clock_before_1970_is_sent_as_it_stands(tmp_path: Path, libfaketime: Path) -> None:
    """A board without a battery: wrong, but not 1970 sharp for every row."""
    with agent(tmp_path, libfaketime, "@1960-06-01 12:00:00") as running:
        rows = running.more()
    assert all(stamp(row).year == 1960 for row in rows), rows[0]
    assert len({row["timestamp"] for row in rows}) == len(rows)
