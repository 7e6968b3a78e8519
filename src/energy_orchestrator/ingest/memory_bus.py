"""The bus in memory: the semantics of the real one without a server, for tests, dry runs and examples.

Kept: redelivery after the acknowledgement time (by the clock given), delayed naks, terms, the duplicate window,
delivery counts, a bound on bytes that refuses what does not fit, and dead letters. Not kept: anything, once the
process ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from energy_orchestrator.errors import InvalidInputError, UnavailableError
from energy_orchestrator.ingest.bus import (
    ACK_WAIT_SECONDS,
    DEAD_PREFIX,
    DUPLICATE_WINDOW_SECONDS,
    SUBJECT_PREFIX,
    DeadLetter,
    Delivery,
)


@dataclass
class _Kept:
    sequence: int
    subject: str
    data: bytes
    deliverable_at: float
    attempts: int = 0


class MemoryDelivery:
    """See Delivery."""

    def __init__(self, bus: MemoryBus, kept: _Kept) -> None:
        self._bus = bus
        self._sequence = kept.sequence
        self.subject = kept.subject
        self.data = kept.data
        self.attempts = kept.attempts

    async def ack(self) -> None:
        """See Delivery."""
        self._bus.settle(self._sequence)

    async def nak(self, delay_seconds: float = 0.0) -> None:
        """See Delivery."""
        self._bus.give_back(self._sequence, delay_seconds)

    async def term(self) -> None:
        """See Delivery."""
        self._bus.settle(self._sequence)


class MemoryBus:
    """See Bus. `clock` counts seconds and never goes back."""

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        ack_wait_seconds: float = ACK_WAIT_SECONDS,
        max_bytes: int = 256 * 2**20,
    ) -> None:
        self._clock = clock
        self._ack_wait = ack_wait_seconds
        self._max_bytes = max_bytes
        self._kept: dict[int, _Kept] = {}
        self._dead: dict[int, DeadLetter] = {}
        self._seen: dict[str, float] = {}
        self._sequence = 0
        self._bytes = 0
        self._arrived = asyncio.Event()

    async def publish(
        self, subject: str, data: bytes, *, message_id: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        """See Publisher."""
        if not subject.startswith((SUBJECT_PREFIX, DEAD_PREFIX)):
            raise InvalidInputError("no stream takes this subject", where=subject, next_step=f"use {SUBJECT_PREFIX}…")
        if message_id is not None and self._is_duplicate(message_id):
            return
        if self._bytes + len(data) > self._max_bytes:
            raise UnavailableError("the bus is full", where=subject, next_step="keep it and publish it later")
        if message_id is not None:
            self._seen[message_id] = self._clock()
        self._sequence += 1
        if subject.startswith(DEAD_PREFIX):
            self._dead[self._sequence] = DeadLetter(self._sequence, subject, data, dict(headers or {}))
        else:
            self._kept[self._sequence] = _Kept(self._sequence, subject, data, self._clock())
            self._bytes += len(data)
            self._arrived.set()

    async def pull(self, limit: int, timeout_seconds: float) -> list[Delivery]:
        """See Consumer."""
        taken = self._take(limit)
        if taken or timeout_seconds <= 0:
            return taken
        self._arrived.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._arrived.wait(), timeout_seconds)
        return self._take(limit)

    async def dead_letters(self, limit: int, after_sequence: int = 0) -> list[DeadLetter]:
        """See DeadLetters."""
        return [letter for sequence, letter in self._dead.items() if sequence > after_sequence][:limit]

    async def remove_dead_letter(self, sequence: int) -> None:
        """See DeadLetters."""
        self._dead.pop(sequence, None)

    async def close(self) -> None:
        """See Bus."""
        for kept in self._kept.values():
            kept.deliverable_at = self._clock()

    def settle(self, sequence: int) -> None:
        """Remove a message; nothing where it is gone."""
        kept = self._kept.pop(sequence, None)
        if kept is not None:
            self._bytes -= len(kept.data)

    def give_back(self, sequence: int, delay_seconds: float) -> None:
        """Make a message deliverable after a delay."""
        kept = self._kept.get(sequence)
        if kept is not None:
            kept.deliverable_at = self._clock() + delay_seconds
            self._arrived.set()

    @property
    def waiting(self) -> int:
        """Messages that are not settled."""
        return len(self._kept)

    def _take(self, limit: int) -> list[Delivery]:
        now = self._clock()
        due = [kept for kept in self._kept.values() if kept.deliverable_at <= now][:limit]
        for kept in due:
            kept.attempts += 1
            kept.deliverable_at = now + self._ack_wait
        return [MemoryDelivery(self, kept) for kept in due]

    def _is_duplicate(self, message_id: str) -> bool:
        oldest = self._clock() - DUPLICATE_WINDOW_SECONDS
        self._seen = {known: at for known, at in self._seen.items() if at >= oldest}
        return message_id in self._seen
