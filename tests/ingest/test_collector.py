"""The collector on the bus in memory and the real chDB: once, in order of importance: nothing lost, nothing twice."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterator
from datetime import timedelta

import pyarrow as pa
import pytest

from energy_orchestrator.errors import InvalidInputError, UnavailableError
from energy_orchestrator.ingest.dead_letter import list_refused, replay
from energy_orchestrator.ingest.memory_bus import MemoryBus
from energy_orchestrator.model.wire import Kind
from energy_orchestrator.services.collector import Collector, Limits
from energy_orchestrator.store.series.chdb_store import ChdbSeriesStore
from energy_orchestrator.store.series.port import TABLES, TimeRange

from .rows import NOW, message

QUICK = Limits(linger_seconds=0.05, first_delay_seconds=0.02, max_delay_seconds=0.05)


@pytest.fixture(scope="module")
def folder_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChdbSeriesStore]:
    with ChdbSeriesStore(tmp_path_factory.mktemp("series")) as store:
        store.migrate()
        yield store


@pytest.fixture
def store(folder_store: ChdbSeriesStore) -> ChdbSeriesStore:
    for table in TABLES.values():
        folder_store.query(f"TRUNCATE TABLE {table}")
    return folder_store


class FailingStore:
    """The real store, behind a fault that a test turns on."""

    def __init__(self, store: ChdbSeriesStore, fault: Callable[[pa.Table], Exception | None]) -> None:
        self.store = store
        self.fault = fault
        self.inserts = 0

    def insert(self, kind: Kind, table: pa.Table) -> None:
        self.inserts += 1
        error = self.fault(table)
        if error is not None:
            raise error
        self.store.insert(kind, table)

    def known_batches(self, kind: Kind, ids: Collection[str], within: TimeRange | None = None) -> set[str]:
        return self.store.known_batches(kind, ids, within)


async def collect_until(collector: Collector, done: Callable[[], bool], seconds: float = 20.0) -> None:
    stop = asyncio.Event()
    running = asyncio.create_task(collector.run(stop))
    deadline = time.monotonic() + seconds
    while not done() and not running.done() and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
    assert done(), f"not done in time: {collector.counts}"
    stop.set()
    await running


def rows_in(store: ChdbSeriesStore, kind: Kind) -> int:
    return int(store.query(f"SELECT count() AS n FROM {TABLES[kind]}")["n"][0].as_py())


def made(bus: MemoryBus, store: object, limits: Limits = QUICK) -> Collector:
    return Collector(bus, store, clock=lambda: NOW, limits=limits)  # type: ignore[arg-type]


async def test_batches_of_every_kind_are_stored_and_acknowledged(store: ChdbSeriesStore) -> None:
    bus = MemoryBus()
    for kind in Kind:
        for number in range(3):
            await message(kind, 7, host=f"node-{number}").publish(bus)
    collector = made(bus, store)
    await collect_until(collector, lambda: bus.waiting == 0)
    assert {kind: rows_in(store, kind) for kind in Kind} == dict.fromkeys(Kind, 21)
    assert (collector.counts.batches, collector.counts.rows) == (3 * len(Kind), 21 * len(Kind))


async def test_many_small_messages_become_one_insert(store: ChdbSeriesStore) -> None:
    bus, watched = MemoryBus(), FailingStore(store, lambda table: None)
    for number in range(300):
        await message(Kind.SAMPLES, 5, host=f"n{number}").publish(bus)
    await collect_until(made(bus, watched, Limits()), lambda: bus.waiting == 0)
    assert rows_in(store, Kind.SAMPLES) == 1500
    assert watched.inserts == 1


async def test_a_gather_is_bounded_by_rows(store: ChdbSeriesStore) -> None:
    bus, watched = MemoryBus(), FailingStore(store, lambda table: None)
    for number in range(20):
        await message(Kind.SAMPLES, 10, host=f"n{number}").publish(bus)
    limits = Limits(max_rows=50, linger_seconds=0.05, max_pull=5)
    await collect_until(made(bus, watched, limits), lambda: bus.waiting == 0)
    assert rows_in(store, Kind.SAMPLES) == 200
    assert watched.inserts >= 4


async def test_a_batch_delivered_twice_is_stored_once(store: ChdbSeriesStore) -> None:
    bus = MemoryBus()
    sent = message(Kind.SAMPLES, 10)
    for _ in range(3):
        await bus.publish(sent.subject, sent.data)  # within one gather
    collector = made(bus, store)
    await collect_until(collector, lambda: bus.waiting == 0)
    await bus.publish(sent.subject, sent.data)  # and after it was stored
    await collect_until(collector, lambda: bus.waiting == 0)
    assert rows_in(store, Kind.SAMPLES) == 10
    assert (collector.counts.batches, collector.counts.duplicates) == (1, 3)


async def test_a_crash_between_storing_and_acknowledging_doubles_nothing(store: ChdbSeriesStore) -> None:
    clock = [0.0]
    bus = MemoryBus(clock=lambda: clock[0])
    sent = message(Kind.SAMPLES, 10)
    await sent.publish(bus)
    first = made(bus, store)
    (delivery,) = await bus.pull(1, 0)
    first._insert_new(Kind.SAMPLES, [first._check([delivery])[0].result])  # type: ignore[list-item]
    assert (rows_in(store, Kind.SAMPLES), bus.waiting) == (10, 1)
    clock[0] += 61.0
    second = made(bus, store)
    await collect_until(second, lambda: bus.waiting == 0)
    assert rows_in(store, Kind.SAMPLES) == 10
    assert second.counts.duplicates == 1


async def test_what_breaks_the_contract_becomes_a_dead_letter_and_the_rest_is_stored(store: ChdbSeriesStore) -> None:
    bus = MemoryBus()
    await bus.publish("eo.v1.local.node_a.samples", b"no Arrow")
    await message(Kind.SAMPLES, 10).publish(bus)
    liar = message(Kind.SAMPLES, 10, tenant="acme")
    await bus.publish("eo.v1.local.node_a.samples", liar.data)
    collector = made(bus, store)
    await collect_until(collector, lambda: bus.waiting == 0)
    assert rows_in(store, Kind.SAMPLES) == 10
    assert collector.counts.dead_letters == {"not_arrow": 1, "tenant": 1}
    assert ["acme" in letter.reason for letter in await list_refused(bus)] == [False, True]


async def test_a_replayed_dead_letter_is_stored_once_its_cause_is_gone(store: ChdbSeriesStore) -> None:
    bus = MemoryBus()
    early = message(Kind.METERS, 4)
    await early.publish(bus)
    behind = Collector(bus, store, clock=lambda: NOW - timedelta(days=1), limits=QUICK)
    await collect_until(behind, lambda: bus.waiting == 0)
    assert behind.counts.dead_letters == {"time": 1}
    assert len(await replay(bus)) == 1
    await collect_until(made(bus, store), lambda: bus.waiting == 0)
    assert rows_in(store, Kind.METERS) == 4


async def test_while_the_store_is_down_messages_stay_on_the_bus_and_are_stored_afterwards(
    store: ChdbSeriesStore,
) -> None:
    down = [True]
    failing = FailingStore(store, lambda table: UnavailableError("disk full") if down[0] else None)
    bus = MemoryBus()
    for number in range(20):
        await message(Kind.SAMPLES, 5, host=f"n{number}").publish(bus)
    collector = made(bus, failing)
    await collect_until(collector, lambda: failing.inserts >= 3)
    assert (bus.waiting, rows_in(store, Kind.SAMPLES), await list_refused(bus)) == (20, 0, [])
    assert collector.counts.retries >= 20
    down[0] = False
    await collect_until(collector, lambda: bus.waiting == 0)
    assert rows_in(store, Kind.SAMPLES) == 100


async def test_one_batch_that_the_store_refuses_holds_up_nobody(store: ChdbSeriesStore) -> None:
    def refuse(table: pa.Table) -> Exception | None:
        return InvalidInputError("cannot parse") if "poison" in table["host"].to_pylist() else None

    bus = MemoryBus()
    for host in ("a", "poison", "b"):
        await message(Kind.SAMPLES, 5, host=host).publish(bus)
    collector = made(bus, FailingStore(store, refuse))
    await collect_until(collector, lambda: bus.waiting == 0)
    assert rows_in(store, Kind.SAMPLES) == 10
    assert collector.counts.dead_letters == {"store_refused": 1}


async def test_when_a_dead_letter_cannot_be_kept_the_message_is(store: ChdbSeriesStore) -> None:
    class FullForTheDead(MemoryBus):
        full = True

        async def publish(self, subject: str, data: bytes, **rest: object) -> None:  # type: ignore[override]
            if self.full and subject.startswith("eo.dead."):
                raise UnavailableError("full")
            await super().publish(subject, data, **rest)  # type: ignore[arg-type]

    bus = FullForTheDead()
    await bus.publish("eo.v1.local.a.samples", b"no Arrow")
    collector = made(bus, store)
    await collect_until(collector, lambda: collector.counts.retries >= 2)
    assert bus.waiting == 1
    bus.full = False
    await collect_until(collector, lambda: bus.waiting == 0)
    assert len(await list_refused(bus)) == 1


async def test_stopping_stores_what_was_gathered(store: ChdbSeriesStore) -> None:
    bus = MemoryBus()
    for number in range(50):
        await message(Kind.SAMPLES, 5, host=f"n{number}").publish(bus)
    stop = asyncio.Event()
    collector = made(bus, store, Limits(linger_seconds=5.0))
    running = asyncio.create_task(collector.run(stop))
    while not any(kept.attempts for kept in bus._kept.values()):
        await asyncio.sleep(0)
    stop.set()
    await bus.publish(*_one())
    await asyncio.wait_for(running, 20)
    assert rows_in(store, Kind.SAMPLES) == 5 * (51 - bus.waiting)
    assert collector.counts.batches + bus.waiting == 51


def _one() -> tuple[str, bytes]:
    sent = message(Kind.SAMPLES, 5, host="late")
    return sent.subject, sent.data
