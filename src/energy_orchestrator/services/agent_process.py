"""The agent as a child: started with its login from a file, started again when it ends, gone when we are."""

from __future__ import annotations

import logging
import os
import subprocess
import time
from pathlib import Path

from energy_orchestrator.errors import UnavailableError

log = logging.getLogger(__name__)

RESTART_SECONDS = (1.0, 2.0, 5.0, 15.0, 60.0)


class AgentProcess:
    """`start`, then `keep` now and then; `stop` at the end."""

    def __init__(self, binary: Path, arguments: list[str], log_file: Path) -> None:
        self._command = [str(binary), "run", *arguments, "--parent-pid", str(os.getpid())]
        self._log_file = log_file
        self._process: subprocess.Popen[bytes] | None = None
        self._ended = 0
        self._again_at = 0.0

    def start(self) -> None:
        """Start it; UnavailableError when the binary can't be run."""
        self._log_file.parent.mkdir(parents=True, exist_ok=True)
        try:
            with self._log_file.open("ab") as output:
                self._process = subprocess.Popen(  # noqa: S603 - our own binary and arguments
                    self._command, stdin=subprocess.DEVNULL, stdout=output, stderr=output
                )
        except OSError as error:
            raise UnavailableError(
                f"the agent can't be started: {error.strerror}", where=self._command[0], next_step="run `make up`"
            ) from error

    def keep(self) -> None:
        """Start it again after a pause that grows, if it has ended."""
        if self._process is None or self._process.poll() is None:
            return
        now = time.monotonic()
        if not self._again_at:
            wait = RESTART_SECONDS[min(self._ended, len(RESTART_SECONDS) - 1)]
            self._ended += 1
            self._again_at = now + wait
            log.warning(
                "the agent ended with %s; again in %g s (its log: %s)", self._process.returncode, wait, self._log_file
            )
        elif now >= self._again_at:
            self._again_at = 0.0
            self.start()

    def alive(self) -> bool:
        """Whether it runs now."""
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """End it."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
