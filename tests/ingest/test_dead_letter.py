"""Refused messages are kept once, can be listed with the reason, and can be sent again."""

from __future__ import annotations

import pytest

from energy_orchestrator.ingest.dead_letter import bury, list_refused, replay
from energy_orchestrator.ingest.memory_bus import MemoryBus

SUBJECT = "eo.v1.local.node_a.samples"


async def test_a_refused_message_is_listed_with_its_reason_and_first_subject() -> None:
    bus = MemoryBus()
    await bury(bus, SUBJECT, b"bytes", "threads: NULL\nvalues °")
    (letter,) = await list_refused(bus)
    assert (letter.subject, letter.reason, letter.size_bytes) == (SUBJECT, "threads: NULL values", 5)


async def test_the_same_message_delivered_twice_is_kept_once() -> None:
    bus = MemoryBus()
    for _ in range(2):
        await bury(bus, SUBJECT, b"bytes", "wrong")
    assert len(await list_refused(bus)) == 1


async def test_replaying_puts_the_bytes_back_on_their_subject_and_forgets_the_letter() -> None:
    bus = MemoryBus()
    for number in range(230):
        await bury(bus, SUBJECT, b"%d" % number, "wrong")
    assert len(await replay(bus)) == 230
    assert await list_refused(bus) == []
    back = await bus.pull(1000, 0)
    assert [(delivery.subject, delivery.data) for delivery in back] == [(SUBJECT, b"%d" % n) for n in range(230)]


async def test_only_the_named_ones_are_replayed() -> None:
    bus = MemoryBus()
    for text in (b"a", b"b", b"c"):
        await bury(bus, SUBJECT, text, "wrong")
    _, second, _ = await list_refused(bus)
    assert await replay(bus, {second.sequence, 999}) == [second.sequence]
    assert [delivery.data for delivery in await bus.pull(10, 0)] == [b"b"]
    assert len(await list_refused(bus)) == 2


@pytest.mark.parametrize("reason", ["", "\n\r", "ü" * 5000, "x" * 5000])
async def test_any_reason_fits_a_header(reason: str) -> None:
    bus = MemoryBus()
    await bury(bus, SUBJECT, b"bytes", reason)
    (letter,) = await list_refused(bus)
    assert 0 < len(letter.reason) <= 1000
    assert letter.reason.isascii()
