"""Operations from a log of runs: JSON lines `{"ts": ..., "latency_seconds": ..., "ok": true}`, one operation a line.

The log is followed from its end: what was written before we looked has no energy to be joined with. A line counts
once its line break is there. A log that got shorter or was replaced (rotation) is read from its start. Lines that
are not in the form are counted, never guessed at. Latencies are exact here, so are the quantiles.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from energy_orchestrator.errors import UnavailableError
from energy_orchestrator.ingest.operations import Activity

MAX_BYTES_A_READ = 4 * 2**20


@dataclass(frozen=True, slots=True)
class Run:
    """One line."""

    ok: bool
    latency_seconds: float | None


@dataclass(frozen=True, slots=True)
class ReadLines:
    """Runs, and how many lines were none."""

    runs: tuple[Run, ...]
    malformed: int


def parse_lines(text: str) -> ReadLines:
    """The runs in whole lines."""
    runs = [_run(line) for line in text.splitlines() if line.strip()]
    good = tuple(run for run in runs if run is not None)
    return ReadLines(good, len(runs) - len(good))


def activity_of(runs: Sequence[Run], seconds: float) -> Activity:
    """Completed runs are operations, failed ones errors; latencies are those of completed runs."""
    latencies = [run.latency_seconds for run in runs if run.ok and run.latency_seconds is not None]
    p50, p95, p99 = (float(value) for value in np.quantile(latencies, (0.5, 0.95, 0.99))) if latencies else (None,) * 3
    done = sum(run.ok for run in runs)
    return Activity(seconds, float(done), float(len(runs) - done), p50, p95, p99)


class LogTail:
    """Follows one file. The first call of `new_text` finds the end and gives None."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._inode: int | None = None
        self._offset = 0

    def new_text(self) -> str | None:
        """Whole lines since the last call, at most 4 MiB of them; UnavailableError where there is no such file."""
        try:
            with self._path.open("rb") as stream:
                return self._read(stream)
        except OSError as error:
            raise UnavailableError(
                f"the run log cannot be read: {error.strerror}", where=str(self._path), next_step="check `run_log`"
            ) from error

    def _read(self, stream: BinaryIO) -> str | None:
        status = os.fstat(stream.fileno())
        if self._inode is None:
            self._inode, self._offset = status.st_ino, _end_of_last_line(stream, status.st_size)
            return None
        if status.st_ino != self._inode or status.st_size < self._offset:
            self._inode, self._offset = status.st_ino, 0
        stream.seek(self._offset)
        data = stream.read(MAX_BYTES_A_READ)
        whole = data[: data.rfind(b"\n") + 1]
        if not whole and len(data) == MAX_BYTES_A_READ:
            whole = data  # one endless line: it is malformed, and must not stop us for ever
        self._offset += len(whole)
        return whole.decode("utf-8", errors="replace")


def _end_of_last_line(stream: BinaryIO, size: int) -> int:
    """Where the next whole line starts: a line that is being written now is still to be counted."""
    start = max(0, size - MAX_BYTES_A_READ)
    stream.seek(start)
    tail = stream.read(size - start)
    return start + tail.rfind(b"\n") + 1


def _run(line: str) -> Run | None:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(entry, dict) or not isinstance(entry.get("ok", True), bool):
        return None
    latency = entry.get("latency_seconds")
    if latency is None:
        return Run(entry.get("ok", True), None)
    if isinstance(latency, bool) or not isinstance(latency, int | float) or not math.isfinite(latency) or latency < 0:
        return None
    return Run(entry.get("ok", True), float(latency))
