"""Followers: one for each target, each remembers its last reading and tells what was done since.

`read` gives the target with what was recognised of its source, and the activity; None where there is nothing to tell
yet. A follower that cannot be read keeps its baseline, so what was done meanwhile arrives with the next success, over
the longer interval; after `MAX_GAP_SECONDS` the baseline is forgotten instead. Answers are bounded in time and size.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import httpx

from energy_orchestrator.errors import EoError, InvalidInputError, UnavailableError
from energy_orchestrator.ingest import prometheus, promql
from energy_orchestrator.ingest.exposition import names_in
from energy_orchestrator.ingest.known_servers import only_one, recognise
from energy_orchestrator.ingest.operations import Activity, Target
from energy_orchestrator.ingest.run_log_operations import LogTail, activity_of, parse_lines
from energy_orchestrator.model.workload import OperationSource, PromqlSource

MAX_RESPONSE_BYTES = 4 * 2**20
TIMEOUT_SECONDS = 2.0
MAX_GAP_SECONDS = 300.0

Done = tuple[Target, Activity]


class Follower(Protocol):
    """What the scraper needs. `unknown` gives reasons for figures that are NULL though they were asked for."""

    unknown: Mapping[str, str]

    async def read(self, client: httpx.AsyncClient, monotonic: Callable[[], float]) -> Done | None:
        """What was done since the last reading."""
        ...


def follower_of(target: Target) -> Follower:
    """By the kind of source."""
    if target.source.promql is not None:
        return PromqlFollower(target, target.source.promql)
    if target.source.run_log is not None:
        return LogFollower(target, LogTail(Path(target.source.run_log)))
    return EndpointFollower(target)


@dataclass
class EndpointFollower:
    """A Prometheus text endpoint."""

    target: Target
    unknown: Mapping[str, str] = field(default_factory=dict)
    _reading: tuple[OperationSource, prometheus.Reading] | None = None
    _read_at: float | None = None

    async def read(self, client: httpx.AsyncClient, monotonic: Callable[[], float]) -> Done | None:
        """See the protocol."""
        url = (self.target.source.prometheus or "").replace("{port}", str(self.target.port or ""))
        _, body = await fetch(client, "GET", url, accept=(200,))
        now = monotonic()
        try:
            source, reading = await asyncio.to_thread(_reading, body.decode(errors="replace"), self.target.source)
        except InvalidInputError as error:
            raise InvalidInputError(error.what, where=url, next_step=error.next_step) from error
        before, seconds = self._reading, _since(self._read_at, now)
        self._reading, self._read_at = (source, reading), now
        if before is None or seconds is None or before[0].metric != source.metric:
            return None
        activity = prometheus.activity_between(before[1], reading, seconds, source)
        return (replace(self.target, source=source), activity) if activity else None


@dataclass
class LogFollower:
    """A log of runs."""

    target: Target
    tail: LogTail
    unknown: Mapping[str, str] = field(default_factory=dict)
    malformed_lines: int = 0
    _read_at: float | None = None

    async def read(self, client: httpx.AsyncClient, monotonic: Callable[[], float]) -> Done | None:  # noqa: ARG002
        """See the protocol."""
        text = await asyncio.to_thread(self.tail.new_text)
        now = monotonic()
        seconds, self._read_at = _since(self._read_at, now), now
        if text is None or seconds is None:
            return None
        lines = await asyncio.to_thread(parse_lines, text)
        self.malformed_lines += lines.malformed
        return self.target, activity_of(lines.runs, seconds)


@dataclass
class PromqlFollower:
    """A Prometheus server. Asked every `every_seconds`; rows carry the time of the scrape that they end with."""

    target: Target
    source: PromqlSource
    unknown: Mapping[str, str] = field(default_factory=dict)
    _answer: promql.Answer | None = None
    _asked_at: float | None = None
    _problem: EoError | None = None

    async def read(self, client: httpx.AsyncClient, monotonic: Callable[[], float]) -> Done | None:
        """See the protocol."""
        now = monotonic()
        if self._asked_at is not None and now - self._asked_at < self.source.every_seconds:
            if self._problem is not None:
                raise self._problem
            return None
        self._asked_at = now
        try:
            answer = await self._ask(client)
        except EoError as error:
            self._problem = error
            raise
        self._problem, self.unknown = None, answer.unknown
        before, self._answer = self._answer, answer
        if before is None or answer.at - before.at > MAX_GAP_SECONDS:
            return None
        activity = promql.activity_between(before, answer)
        return (self.target, replace(activity, at=_instant(answer.at))) if activity else None

    async def _ask(self, client: httpx.AsyncClient) -> promql.Answer:
        url = f"{self.source.url.rstrip('/')}/api/v1/query"
        query = promql.question(self.source, port=self.target.port, replica=self.target.replica)
        form = {"query": query, "timeout": f"{TIMEOUT_SECONDS:g}s"}
        headers = {"Accept": "application/json", **_authorization(self.source.token_file)}
        status, body = await fetch(client, "POST", url, data=form, headers=headers)
        try:
            return await asyncio.to_thread(promql.read_answer, body, status, self.source)
        except EoError as error:
            raise type(error)(error.what, where=url, next_step=error.next_step) from error


async def fetch(
    client: httpx.AsyncClient,
    method: str,
    url: str,
    *,
    accept: tuple[int, ...] | None = None,
    data: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
) -> tuple[int, bytes]:
    """Status and body, bounded."""
    body = bytearray()
    try:
        async with (
            asyncio.timeout(2 * TIMEOUT_SECONDS),
            client.stream(method, url, data=data, headers=headers) as answer,
        ):
            if accept is not None and answer.status_code not in accept:
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
    return answer.status_code, bytes(body)


def _reading(text: str, source: OperationSource) -> tuple[OperationSource, prometheus.Reading]:
    """What the endpoint shows of the source, recognised if it names no metric."""
    apart = None
    if source.metric is None:
        recognised = recognise(names_in(text), source)
        source, apart = recognised.source, recognised.apart
    reading = prometheus.read(text, source)
    if reading.operations is None:
        raise InvalidInputError(
            f"no counter {_told(source.metric)} with a value", next_step="correct `operations.metric` of this workload"
        )
    only_one(reading.operations, apart)
    return source, reading


def _told(metric: str | tuple[str, ...] | None) -> str:
    return ", ".join(f"`{it}`" for it in ((metric,) if isinstance(metric, str) else metric or ()))


def _since(read_at: float | None, now: float) -> float | None:
    """Seconds since the baseline; None where there is none, or none of use."""
    return now - read_at if read_at is not None and 0 < now - read_at <= MAX_GAP_SECONDS else None


def _authorization(token_file: str | None) -> dict[str, str]:
    if token_file is None:
        return {}
    try:
        return {"Authorization": f"Bearer {Path(token_file).read_text(encoding='utf-8').strip()}"}
    except OSError as error:
        raise UnavailableError(
            f"the token cannot be read: {error.strerror}", where=token_file, next_step="check `token_file`"
        ) from error


def _instant(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
