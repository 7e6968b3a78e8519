"""Reads every declared source of operations again and again and publishes what was done, as an agent would.

Each tick asks for the targets anew (replicas come and go), reads all of them at once, and publishes one batch. A
target's first reading is its baseline and yields nothing. A target that cannot be read keeps its baseline, so its
operations of the gap arrive with the next success, over the longer interval; after `MAX_GAP_SECONDS` the baseline is
forgotten instead. One target's trouble is that target's: it is counted, logged once when it begins, and the others
go on. Answers are bounded in time and size, redirects are not followed, compression is not asked for.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import httpx

from energy_orchestrator.errors import EoError, InvalidInputError, UnavailableError
from energy_orchestrator.ingest import prometheus
from energy_orchestrator.ingest.bus import Publisher
from energy_orchestrator.ingest.encode import encode
from energy_orchestrator.ingest.operations import Activity, Target, operations_table
from energy_orchestrator.ingest.run_log_operations import LogTail, activity_of, parse_lines
from energy_orchestrator.model.wire import Kind

MAX_RESPONSE_BYTES = 4 * 2**20
TIMEOUT_SECONDS = 2.0
MAX_GAP_SECONDS = 300.0
MAX_AT_ONCE = 32

log = logging.getLogger(__name__)


@dataclass
class _Followed:
    """What is remembered of a target between ticks."""

    reading: prometheus.Reading | None = None
    tail: LogTail | None = None
    read_at: float | None = None
    problem: str | None = None


@dataclass
class OperationsScraper:
    """`targets` is asked at each tick. `monotonic` measures intervals, `clock` stamps rows."""

    publisher: Publisher
    tenant: str
    host: str
    targets: Callable[[], Sequence[Target]]
    interval_seconds: float = 1.0
    clock: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))
    monotonic: Callable[[], float] = time.monotonic
    malformed_lines: int = 0
    _followed: dict[Target, _Followed] = field(default_factory=dict)

    async def run(self, stop: asyncio.Event) -> None:
        """Tick until stopped. A bus that is down costs the rows of that tick and is logged."""
        async with self.client() as client:
            while not stop.is_set():
                began = self.monotonic()
                try:
                    await self.tick(client)
                except UnavailableError as error:
                    log.warning("operations of this interval are lost: %s", error)
                with contextlib.suppress(TimeoutError):
                    wait = self.interval_seconds - (self.monotonic() - began)
                    await asyncio.wait_for(stop.wait(), max(wait, 0.01))

    @staticmethod
    def client() -> httpx.AsyncClient:
        """The HTTP client that `tick` takes."""
        return httpx.AsyncClient(
            timeout=TIMEOUT_SECONDS,
            follow_redirects=False,
            trust_env=False,
            headers={"Accept-Encoding": "identity", "Accept": "text/plain;version=0.0.4"},
            limits=httpx.Limits(max_connections=MAX_AT_ONCE),
        )

    async def tick(self, client: httpx.AsyncClient) -> list[tuple[Target, Activity]]:
        """Read all targets once, publish what was done, and return it."""
        targets = _distinct(self.targets())
        self._followed = {target: self._followed.get(target, _Followed()) for target in targets}
        found = await asyncio.gather(*(self._follow(client, target) for target in targets))
        done = [(target, activity) for target, activity in zip(targets, found, strict=True) if activity is not None]
        if done:
            rows = operations_table(self.tenant, self.host, self.clock(), done)
            await encode(Kind.OPERATIONS, rows).publish(self.publisher)
        return done

    @property
    def problems(self) -> dict[str, str]:
        """Targets that cannot be read now, and why; the key is `workload` or `workload#replica`."""
        return {_label(target): state.problem for target, state in self._followed.items() if state.problem}

    async def _follow(self, client: httpx.AsyncClient, target: Target) -> Activity | None:
        state = self._followed[target]
        try:
            activity = await self._read(client, target, state)
        except EoError as error:
            if state.problem is None:
                log.warning("operations of %s are unknown: %s", _label(target), error)
            state.problem = error.describe()
            return None
        state.problem = None
        return activity

    async def _read(self, client: httpx.AsyncClient, target: Target, state: _Followed) -> Activity | None:
        if target.source.prometheus is None:
            return await asyncio.to_thread(self._read_log, target, state)
        url = target.source.prometheus.replace("{port}", str(target.port or ""))
        text = await _fetch(client, url)
        now = self.monotonic()
        reading = await asyncio.to_thread(prometheus.read, text, target.source)
        if reading.operations is None:
            raise InvalidInputError(
                f"no counter `{target.source.metric}` with a value",
                where=url,
                next_step="correct `operations.metric` of this workload",
            )
        before, seconds = state.reading, self._since(state, now)
        state.reading, state.read_at = reading, now
        return prometheus.activity_between(before, reading, seconds) if before and seconds is not None else None

    def _read_log(self, target: Target, state: _Followed) -> Activity | None:
        state.tail = state.tail or LogTail(Path(target.source.run_log or ""))
        text, now = state.tail.new_text(), self.monotonic()
        seconds, state.read_at = self._since(state, now), now
        if text is None or seconds is None:
            return None
        lines = parse_lines(text)
        self.malformed_lines += lines.malformed
        return activity_of(lines.runs, seconds)

    def _since(self, state: _Followed, now: float) -> float | None:
        """Seconds since the baseline; None where there is none, or none of use."""
        if state.read_at is None or not 0 < now - state.read_at <= MAX_GAP_SECONDS:
            return None
        return now - state.read_at


async def _fetch(client: httpx.AsyncClient, url: str) -> str:
    body = bytearray()
    try:
        async with asyncio.timeout(2 * TIMEOUT_SECONDS), client.stream("GET", url) as answer:
            if answer.status_code != 200:
                raise UnavailableError(f"answered {answer.status_code}", where=url, next_step="check the endpoint")
            async for chunk in answer.aiter_raw(65_536):
                body += chunk
                if len(body) > MAX_RESPONSE_BYTES:
                    raise InvalidInputError(
                        f"more than {MAX_RESPONSE_BYTES} bytes", where=url, next_step="point at a smaller endpoint"
                    )
    except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, OSError) as error:
        why = str(error) or type(error).__name__
        raise UnavailableError(f"cannot be scraped: {why}", where=url, next_step="check that it listens") from error
    return body.decode("utf-8", errors="replace")


def _distinct(targets: Sequence[Target]) -> list[Target]:
    """Each once. Replicas that write one log are one target: it does not say which of them ran a line."""
    writers = Counter(target.source.run_log for target in targets if target.source.run_log)
    shared = {log for log, count in writers.items() if count > 1}
    merged = (replace(t, replica=None, port=None) if t.source.run_log in shared else t for t in targets)
    return list(dict.fromkeys(merged))


def _label(target: Target) -> str:
    return target.workload if target.replica is None else f"{target.workload}#{target.replica}"
