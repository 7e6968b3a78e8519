"""What tests of the agent need around it: its program, a word about what is missing, patience, what it printed, ports,
a meter that counts, a busy program."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any, NoReturn

import pytest

AGENT = Path(os.environ.get("EO_AGENT", Path(__file__).parents[2] / "agent" / "target" / "release" / "eo-agent"))
Row = dict[str, Any]


def missing(reason: str) -> NoReturn:
    """Skip on a user's machine, fail where everything must be there."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def needs_agent() -> None:
    """Skip, or fail in CI, without the built agent."""
    if not os.access(AGENT, os.X_OK):
        missing("the agent is not built: run `make up` or cargo build --release in agent/")


def eventually(found: Callable[[], Any], what: str, seconds: float = 40) -> Any:
    """What it returns, once that is true."""
    deadline = time.monotonic() + seconds
    while not (answer := found()):
        assert time.monotonic() < deadline, f"not seen within {seconds:g} s: {what}"
        time.sleep(0.1)
    return answer


def printed(output: Path) -> list[Row]:
    """Rows that an agent wrote to this file so far; a line that is still being written is left out."""
    return [json.loads(line) for line in output.read_text().split("\n")[:-1]]


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


def free_port() -> int:
    """A port that nobody listens on."""
    return free_ports(1)[0]


@contextlib.contextmanager
def repeated(act: Callable[[], object], every_seconds: float) -> Iterator[Callable[[], None]]:
    """`act` again and again in a thread, until the function that is given is called or on the way out."""
    stop = threading.Event()

    def run() -> None:
        while not stop.wait(every_seconds):
            act()

    def end() -> None:
        stop.set()
        acting.join()

    acting = threading.Thread(target=run)
    acting.start()
    try:
        yield end
    finally:
        end()


@contextlib.contextmanager
def counting_rapl(sysfs: Path) -> Iterator[Path]:
    """A made sysfs with this machine's CPUs and one RAPL zone, package-0, that counts ten joules a second up."""
    cpus = sysfs / "devices" / "system" / "cpu"
    cpus.mkdir(parents=True)
    # Without it the agent samples the first CPU only.
    (cpus / "online").write_text(Path("/sys/devices/system/cpu/online").read_text())
    zone = sysfs / "class" / "powercap" / "intel-rapl:0"
    zone.mkdir(parents=True)
    (zone / "name").write_text("package-0\n")
    (zone / "max_energy_range_uj").write_text("262143328850\n")
    (zone / "energy_uj").write_text("1000000\n")
    microjoules = count(2_000_000, 1_000_000)
    with repeated(lambda: (zone / "energy_uj").write_text(f"{next(microjoules)}\n"), 0.1):
        yield sysfs


@contextlib.contextmanager
def busy_shell(before: Sequence[str] = ()) -> Iterator[subprocess.Popen[bytes]]:
    """A program that is always on a CPU when nothing else is: on a quiet machine a profile would be empty.

    `before` starts it, e.g. as another user; it has to become the program by exec.
    """
    with subprocess.Popen([*before, "nice", "sh", "-c", "while :; do :; done"]) as process:
        try:
            yield process
        finally:
            process.kill()
