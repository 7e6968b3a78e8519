"""Loops in threads: each does one thing again and again, survives its errors and says how it fares."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from energy_orchestrator.errors import EoError

log = logging.getLogger(__name__)

STALLED_SECONDS = 60.0
"""Of silence beyond a loop's interval."""
MAX_PAUSE_SECONDS = 15.0


class Loop:
    """Calls `work` every `interval_seconds`; after an error it waits longer, up to a quarter of a minute."""

    def __init__(self, name: str, interval_seconds: float, work: Callable[[], object]) -> None:
        self.name = name
        self.stopping = threading.Event()
        self._interval = interval_seconds
        self._work = work
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._succeeded_at: float | None = None
        self._error = ""
        self._failures = 0

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, timeout_seconds: float = 15.0) -> None:
        """End after the present call."""
        self.stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout_seconds)

    def succeeded(self) -> None:
        """Note a success; a long call may do so itself."""
        self._succeeded_at, self._error, self._failures = time.monotonic(), "", 0

    def state(self) -> str:
        """`ok`, or what is wrong."""
        if self._error:
            return self._error
        if self._succeeded_at is None:
            return "starting"
        silent = time.monotonic() - self._succeeded_at
        return "ok" if silent < self._interval + STALLED_SECONDS else f"silent for {silent:.0f} s"

    def _run(self) -> None:
        while not self.stopping.is_set():
            begun = time.monotonic()
            self._once()
            pause = self._interval - (time.monotonic() - begun)
            if self._failures:
                pause = min(MAX_PAUSE_SECONDS, self._interval * 2**self._failures)
            self.stopping.wait(max(0.01, pause))

    def _once(self) -> None:
        try:
            self._work()
            self.succeeded()
        except EoError as error:
            self._fail(str(error))
        except Exception as error:  # a loop outlives every error and shows it
            self._fail(f"{type(error).__name__}: {error}")
            log.exception("%s failed", self.name)

    def _fail(self, text: str) -> None:
        if text != self._error:
            log.warning("%s: %s", self.name, text)
        self._error = text
        self._failures = min(self._failures + 1, 6)


class Loops:
    """A group of loops."""

    def __init__(self) -> None:
        self._loops: dict[str, Loop] = {}

    def add(self, loop: Loop) -> None:
        """Before `start`."""
        self._loops[loop.name] = loop

    def start(self) -> None:
        """Start all."""
        for loop in self._loops.values():
            loop.start()

    def stop_one(self, name: str) -> None:
        """Stop one by name."""
        self._loops[name].stop()

    def stop(self) -> None:
        """Stop all: first tell every one, then wait."""
        for loop in self._loops.values():
            loop.stopping.set()
        for loop in self._loops.values():
            loop.stop()

    def states(self) -> dict[str, str]:
        """Name to state."""
        return {name: loop.state() for name, loop in self._loops.items()}
