"""Reads every declared source of operations again and again and publishes what was done, as an agent would.

Each tick asks for the targets anew (replicas come and go), reads all of them at once, and publishes a batch for each
time that intervals end at. A target's first reading is its baseline and yields nothing (`followers.py`). One target's
trouble is that target's: it is counted, logged once when it begins, and the others go on. Redirects are not followed,
compression is not asked for.
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

import httpx

from energy_orchestrator.errors import EoError, UnavailableError
from energy_orchestrator.ingest.bus import Publisher
from energy_orchestrator.ingest.encode import encode
from energy_orchestrator.ingest.followers import TIMEOUT_SECONDS, Done, Follower, follower_of
from energy_orchestrator.ingest.operations import Target, operations_table
from energy_orchestrator.model.wire import Kind

MAX_AT_ONCE = 32

log = logging.getLogger(__name__)


@dataclass
class _Followed:
    """A target between ticks."""

    follower: Follower
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

    async def tick(self, client: httpx.AsyncClient) -> list[Done]:
        """Read all targets once, publish what was done, and return it, with what was recognised of the source."""
        targets = _distinct(self.targets())
        self._followed = {it: self._followed.get(it) or _Followed(follower_of(it)) for it in targets}
        found = await asyncio.gather(*(self._follow(client, target) for target in targets))
        done = [one for one in found if one is not None]
        for at in dict.fromkeys(activity.at for _, activity in done):
            ended = [one for one in done if one[1].at == at]
            rows = operations_table(self.tenant, self.host, at or self.clock(), ended)
            await encode(Kind.OPERATIONS, rows).publish(self.publisher)
        return done

    @property
    def problems(self) -> dict[str, str]:
        """Targets that cannot be read now, and why; the key is `workload` or `workload#replica`."""
        return {_label(target): state.problem for target, state in self._followed.items() if state.problem}

    @property
    def unknown(self) -> dict[str, dict[str, str]]:
        """By target, figures that were asked for and not answered, and why."""
        return {_label(it): dict(state.follower.unknown) for it, state in self._followed.items()}

    def problem_of(self, workload: str) -> str | None:
        """What is wrong with a source of the workload, of the first replica that has trouble."""
        found = (it.problem for target, it in list(self._followed.items()) if target.workload == workload)
        return next((problem for problem in found if problem), None)

    async def _follow(self, client: httpx.AsyncClient, target: Target) -> Done | None:
        state = self._followed[target]
        unknown = dict(state.follower.unknown)
        try:
            done = await state.follower.read(client, self.monotonic)
        except EoError as error:
            if state.problem is None:
                log.warning("operations of %s are unknown: %s", _label(target), error)
            state.problem = error.describe()
            return None
        for figure, why in state.follower.unknown.items():
            if unknown.get(figure) != why:
                log.warning("%s of %s is unknown: %s", figure, _label(target), why)
        state.problem = None
        return done


def _distinct(targets: Sequence[Target]) -> list[Target]:
    """Each once. Replicas that write one log, or are asked for by one question, are one target: it does not say which
    of them did what."""
    sources = Counter(target.source for target in targets)
    merged = (
        replace(it, replica=None, port=None) if sources[it.source] > 1 and not it.source.by_replica else it
        for it in targets
    )
    return list(dict.fromkeys(merged))


def _label(target: Target) -> str:
    return target.workload if target.replica is None else f"{target.workload}#{target.replica}"
