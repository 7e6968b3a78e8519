"""The collector: many small messages in, few large inserts out, and nothing acknowledged before it is stored.

One round is gather -> check -> store -> settle. A gather ends at `max_rows`, `max_bytes` or after `linger_seconds`;
ClickHouse likes 100,000 rows at a time, an agent sends 30. While one gather is being stored the next is pulled and
checked: two gathers in memory are the bound, and more waits on the bus (back-pressure).

- stored, or stored before: ack
- against the contract: dead letter, then term (if the dead letter cannot be kept: nak, so nothing is lost)
- store or bus down: nak with a delay that doubles, and wait as long before the next gather
- the store refuses rows that passed the check: each batch of that insert alone, and what is refused again becomes a
  dead letter, so that one poisonous batch holds up nobody

A batch has one timestamp, so its rows land in one part of the table, which is written whole or not at all: a batch
id found in the store means that the whole batch is there. Many collectors may share the consumer.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

import pyarrow as pa

from energy_orchestrator.errors import InvalidInputError, UnavailableError
from energy_orchestrator.ingest.bus import Consumer, Delivery, Publisher
from energy_orchestrator.ingest.dead_letter import bury
from energy_orchestrator.ingest.validation import InvalidBatch, ValidBatch, validate
from energy_orchestrator.model.wire import Kind
from energy_orchestrator.services.collector_metrics import STORE_REFUSED, CollectorCounts, CollectorMetrics
from energy_orchestrator.store.series.port import TimeRange
from energy_orchestrator.store.series.rows import BATCH_ID

log = logging.getLogger(__name__)


class CollectorBus(Consumer, Publisher, Protocol):
    """What the collector needs of the bus."""


class CollectorStore(Protocol):
    """What the collector needs of the store."""

    def insert(self, kind: Kind, table: pa.Table) -> None: ...  # noqa: D102

    def known_batches(self, kind: Kind, ids: Collection[str], within: TimeRange | None = None) -> set[str]: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Limits:
    """When a gather ends, and how a part that is down is met."""

    max_rows: int = 100_000
    max_bytes: int = 48 * 2**20
    linger_seconds: float = 0.5
    max_pull: int = 512
    first_delay_seconds: float = 0.5
    max_delay_seconds: float = 30.0


@dataclass(frozen=True, slots=True)
class _Checked:
    delivery: Delivery
    result: ValidBatch | InvalidBatch

    @property
    def rows(self) -> int:
        return self.result.rows.num_rows if isinstance(self.result, ValidBatch) else 0


class Collector:
    """Takes messages until told to stop. `clock` is the time that timestamps are judged by."""

    def __init__(
        self,
        bus: CollectorBus,
        store: CollectorStore,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        metrics: CollectorMetrics | None = None,
        limits: Limits | None = None,
    ) -> None:
        self._bus = bus
        self._store = store
        self._clock = clock
        self._limits = limits or Limits()
        self._failures = 0
        self._mean_rows = 1_000.0
        self._mean_bytes = 32_768.0
        self.metrics = metrics or CollectorMetrics()

    @property
    def counts(self) -> CollectorCounts:
        """What happened since the start."""
        return self.metrics.counts()

    async def run(self, stop: asyncio.Event) -> None:
        """Collect until `stop` is set; what was gathered by then is stored and settled first."""
        storing: asyncio.Task[None] | None = None
        try:
            while not stop.is_set():
                gathered = await self._gather(stop)
                if storing is not None:
                    await storing
                    storing = None
                if gathered:
                    storing = asyncio.create_task(self._store_and_settle(gathered))
                if self._failures:
                    await self._pause(stop)
        finally:
            if storing is not None:
                await storing

    async def _gather(self, stop: asyncio.Event) -> list[_Checked]:
        limits, gathered = self._limits, list[_Checked]()
        rows = size = 0
        deadline: float | None = None
        while rows < limits.max_rows and size < limits.max_bytes and not stop.is_set():
            wait = limits.linger_seconds if deadline is None else deadline - time.monotonic()
            if wait <= 0:
                break
            deliveries = await self._pull(self._pull_size(limits.max_rows - rows, limits.max_bytes - size), wait)
            if not deliveries:
                break
            deadline = deadline or time.monotonic() + limits.linger_seconds
            checked = await asyncio.to_thread(self._check, deliveries)
            new_rows, new_bytes = sum(item.rows for item in checked), sum(len(item.delivery.data) for item in checked)
            self._mean_rows, self._mean_bytes = new_rows / len(checked), new_bytes / len(checked)
            gathered, rows, size = gathered + checked, rows + new_rows, size + new_bytes
        return gathered

    async def _pull(self, limit: int, wait: float) -> list[Delivery]:
        try:
            return await self._bus.pull(limit, wait)
        except UnavailableError as error:
            self._note_failure(error)
            return []

    def _pull_size(self, rows_left: int, bytes_left: int) -> int:
        """Messages that should fit, judged by the last ones."""
        fitting = min(rows_left / max(self._mean_rows, 1), bytes_left / max(self._mean_bytes, 1))
        return max(1, min(self._limits.max_pull, int(fitting)))

    def _check(self, deliveries: Sequence[Delivery]) -> list[_Checked]:
        now = self._clock()
        return [_Checked(delivery, _validated(delivery, now)) for delivery in deliveries]

    async def _store_and_settle(self, gathered: Sequence[_Checked]) -> None:
        by_kind: dict[Kind, list[tuple[Delivery, ValidBatch]]] = defaultdict(list)
        for item in gathered:
            if isinstance(item.result, ValidBatch):
                by_kind[item.result.kind].append((item.delivery, item.result))
            else:
                await self._refuse(item.delivery, item.result.describe(), item.result.reason)
        for kind, batches in by_kind.items():
            await self._store_kind(kind, batches)

    async def _store_kind(self, kind: Kind, batches: Sequence[tuple[Delivery, ValidBatch]]) -> None:
        try:
            await asyncio.to_thread(self._insert_new, kind, [batch for _, batch in batches])
        except UnavailableError as error:
            self._note_failure(error)
            await self._give_back([delivery for delivery, _ in batches])
        except InvalidInputError as error:
            if len(batches) == 1:
                await self._refuse(batches[0][0], error.describe(), STORE_REFUSED)
                return
            for one in batches:
                await self._store_kind(kind, [one])
        else:
            self._failures = 0
            await _settled([delivery.ack() for delivery, _ in batches])

    def _insert_new(self, kind: Kind, batches: Sequence[ValidBatch]) -> None:
        """One insert of the batches that are not stored yet. Runs on a thread."""
        span = TimeRange(min(batch.first for batch in batches), max(batch.last for batch in batches))
        once = {batch.batch_id: batch for batch in batches}
        known = self._store.known_batches(kind, once.keys(), span)
        new = [batch for batch_id, batch in once.items() if batch_id not in known]
        if new:
            with self.metrics.insert_seconds.time():
                self._store.insert(kind, together(new))
        self.metrics.batches.labels(kind.value).inc(len(new))
        self.metrics.rows.labels(kind.value).inc(sum(batch.rows.num_rows for batch in new))
        self.metrics.duplicates.inc(len(batches) - len(new))
        self.metrics.dropped_columns.inc(sum(len(batch.dropped_columns) for batch in new))
        self.metrics.newest.set(span.last.timestamp())

    async def _refuse(self, delivery: Delivery, why: str, reason: str) -> None:
        try:
            await bury(self._bus, delivery.subject, delivery.data, why)
        except UnavailableError as error:
            self._note_failure(error)
            await self._give_back([delivery])
            return
        log.warning("refused a message on %s: %s", delivery.subject, why)
        self.metrics.dead_letters.labels(str(reason)).inc()
        await _settled([delivery.term()])

    async def _give_back(self, deliveries: Sequence[Delivery]) -> None:
        self.metrics.retries.inc(len(deliveries))
        await _settled([delivery.nak(self._delay()) for delivery in deliveries])

    def _note_failure(self, error: UnavailableError) -> None:
        self._failures += 1
        log.warning("collecting waits %.1f s: %s", self._delay(), error)

    def _delay(self) -> float:
        doubled = self._limits.first_delay_seconds * 2 ** min(self._failures - 1, 16)
        return min(self._limits.max_delay_seconds, float(doubled))

    async def _pause(self, stop: asyncio.Event) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), self._delay())


def together(batches: Sequence[ValidBatch]) -> pa.Table:
    """The rows of batches of one kind with their batch ids, as they are stored."""
    table = pa.Table.from_batches([batch.rows for batch in batches])
    ids = [pa.repeat(pa.scalar(batch.batch_id), batch.rows.num_rows) for batch in batches]
    return table.append_column(BATCH_ID, pa.chunked_array(ids))


def _validated(delivery: Delivery, now: datetime) -> ValidBatch | InvalidBatch:
    try:
        return validate(delivery.subject, delivery.data, now=now)
    except InvalidBatch as refused:
        return refused


async def _settled(settling: Sequence[Awaitable[None]]) -> None:
    """Settle all. One that cannot be settled now comes again and is then known to be stored."""
    for outcome in await asyncio.gather(*settling, return_exceptions=True):
        if isinstance(outcome, UnavailableError):
            log.info("a message will come again: %s", outcome)
        elif isinstance(outcome, BaseException):
            raise outcome
