"""Settling one by one on a log that knows one offset: what may be committed, what is given out again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from energy_orchestrator.ingest.bus import DUPLICATE_WINDOW_SECONDS
from energy_orchestrator.ingest.offsets import Offsets
from energy_orchestrator.ingest.unsettled import Key, Unsettled

PARTITION = ("eo.v1.local.samples", 0)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def holder(max_messages: int = 100, max_bytes: int = 1000) -> tuple[Unsettled, Clock]:
    clock = Clock()
    return Unsettled(60.0, max_messages, max_bytes, clock), clock


def key(offset: int, partition: int = 0) -> Key:
    return (*(PARTITION[0], partition), offset)


@given(st.lists(st.integers(1, 3), min_size=1, max_size=30), st.data())
def test_what_is_committed_never_passes_what_is_not_settled(gaps: list[int], data: st.DataObject) -> None:
    """In any order of settling and asking; and once all is settled, all is committed."""
    offsets, at, taken, done = Offsets(), 0, list[int](), set[int]()
    committed = -1
    for gap in gaps:
        at += gap
        taken.append(at)
        offsets.took(PARTITION, at)
    for one in data.draw(st.permutations(taken)):
        offsets.settled(PARTITION, one)
        done.add(one)
        if data.draw(st.booleans()):
            place = offsets.to_commit().get(PARTITION)
            assert place is None or place > committed
            committed = place or committed
            assert all(it in done for it in taken if it < committed)
    committed = offsets.to_commit().get(PARTITION, committed)
    assert committed == taken[-1] + 1
    assert offsets.to_commit() == {}


def test_nothing_is_committed_before_anything_is_settled_nor_for_a_lost_partition() -> None:
    offsets = Offsets()
    offsets.took(PARTITION, 7)
    assert offsets.to_commit() == {}
    offsets.forget(PARTITION)
    offsets.settled(PARTITION, 7)
    assert offsets.to_commit() == {}


def test_a_message_is_given_out_again_after_its_time_or_its_delay() -> None:
    unsettled, clock = holder()
    unsettled.take(key(0), "s", b"x", None)
    unsettled.take(key(1), "s", b"y", None)
    assert [(it[1].data, it[1].attempts) for it in unsettled.due(10)] == [(b"x", 1), (b"y", 1)]
    unsettled.give_back(key(0), 1, 5.0)
    assert unsettled.wait_seconds() == 5.0
    clock.now = 5.0
    assert [(it[1].data, it[1].attempts) for it in unsettled.due(10)] == [(b"x", 2)]
    unsettled.give_back(key(0), 1, 0.0)  # by who had it before: too late
    assert unsettled.due(10) == []
    clock.now = 60.0
    assert [it[1].data for it in unsettled.due(10)] == [b"y"]


def test_an_id_is_taken_once_while_held_and_within_the_window() -> None:
    unsettled, clock = holder()
    unsettled.take(key(0), "s", b"first", "id")
    unsettled.take(key(1), "s", b"second", "id")
    assert [it[1].data for it in unsettled.due(10)] == [b"first"]
    unsettled.settle(key(0))
    assert unsettled.to_commit() == {PARTITION: 2}
    clock.now = DUPLICATE_WINDOW_SECONDS + 1
    unsettled.take(key(2), "s", b"later", "id")
    assert [it[1].data for it in unsettled.due(10)] == [b"later"]


def test_it_is_full_by_number_and_by_bytes_until_something_is_settled() -> None:
    unsettled, _ = holder(max_messages=2)
    unsettled.take(key(0), "s", b"x", None)
    assert not unsettled.full
    unsettled.take(key(1), "s", b"x", None)
    assert unsettled.full
    unsettled.settle(key(0))
    assert not unsettled.full
    unsettled.take(key(2), "s", b"x" * 1000, None)
    assert unsettled.full


def test_a_lost_partition_takes_its_messages_with_it() -> None:
    unsettled, _ = holder()
    unsettled.take(key(0, 0), "s", b"x", "a")
    unsettled.take(key(0, 1), "s", b"y", "b")
    unsettled.forget(PARTITION)
    assert [it[1].data for it in unsettled.due(10)] == [b"y"]
    unsettled.take(key(0, 0), "s", b"x", "a")  # back again
    assert [it[1].data for it in unsettled.due(10)] == [b"x"]
