"""Programs that a test starts: each with a log of its own, ended by the one who started it."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

Seen = TypeVar("Seen")
TAIL_BYTES = 4000


class NotSeenError(AssertionError):
    """Something did not come in time; the message has the end of the log."""


class Child:
    """A running program and its log."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process, self.log = process, log

    def tail(self) -> str:
        """The end of what it wrote."""
        return self.log.read_bytes()[-TAIL_BYTES:].decode(errors="replace")

    def until(self, look: Callable[[], Seen | None], what: str, seconds: float = 60) -> Seen:
        """What `look` finds, while the program lives."""

        def alive() -> Seen | None:
            if self.process.poll() is not None:
                raise NotSeenError(f"{self.process.args!r} ended with {self.process.returncode}: {self.tail()}")
            return look()

        return until(alive, what, seconds, self.tail)


def until(look: Callable[[], Seen | None], what: str, seconds: float = 60, why: Callable[[], str] = lambda: "") -> Seen:
    """The first answer of `look` that is something; looked for ten times a second."""
    deadline = time.monotonic() + seconds
    while True:
        if found := look():
            return found
        if time.monotonic() > deadline:
            raise NotSeenError(f"not seen within {seconds:.0f} s: {what}. {why()}")
        time.sleep(0.1)


@contextlib.contextmanager
def running(name: str, command: list[str], folder: Path, stop_seconds: float = 20) -> Iterator[Child]:
    """A program until the block ends: asked to stop, then killed. Its log is `folder/name.log`."""
    log = folder / f"{name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, cwd=folder, start_new_session=True)
    try:
        yield Child(process, log)
    finally:
        process.terminate()
        try:
            process.wait(stop_seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on at this moment."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])
