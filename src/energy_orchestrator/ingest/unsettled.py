"""What a consumer pulled from a log and has not settled: given out, given out again, settled in any order.

For buses that know nothing but an offset (Kafka). Asked from an event loop and from the thread that pulls; no I/O, the
clock is injected. `offsets.py` says what may be committed.
"""

from __future__ import annotations

import heapq
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from energy_orchestrator.ingest.bus import DUPLICATE_WINDOW_SECONDS
from energy_orchestrator.ingest.offsets import Offsets, Partition

MAX_REMEMBERED_IDS = 200_000
Key = tuple[str, int, int]
"""Topic, partition, offset."""


@dataclass(slots=True)
class Held:
    """A message between pull and settling. `due` is when it is given out again."""

    subject: str
    data: bytes
    id: str | None
    attempts: int = 0
    due: float = 0.0


@dataclass
class Unsettled:
    """Bounded by number and bytes: `full` says when to take no more."""

    ack_wait_seconds: float
    max_messages: int
    max_bytes: int
    monotonic: Callable[[], float]
    offsets: Offsets = field(default_factory=Offsets)
    held: dict[Key, Held] = field(default_factory=dict)
    size_bytes: int = 0
    _times: list[tuple[float, Key]] = field(default_factory=list)
    _ids: OrderedDict[str, float] = field(default_factory=OrderedDict)
    _held_ids: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def full(self) -> bool:
        """Whether no further message should be taken."""
        return len(self.held) >= self.max_messages or self.size_bytes >= self.max_bytes

    def take(self, key: Key, subject: str, data: bytes, identity: str | None) -> None:
        """Hold a message, to be given out at once; one whose id is known already is settled instead."""
        held = Held(subject, data, identity, due=self.monotonic())
        with self._lock:
            self.offsets.took(key[:2], key[2])
            if key in self.held:
                return
            if identity is not None and self._knows(identity):
                self.offsets.settled(key[:2], key[2])
                return
            self.held[key] = held
            self.size_bytes += len(held.data)
            if identity is not None:
                self._held_ids.add(identity)
            heapq.heappush(self._times, (held.due, key))

    def due(self, limit: int) -> list[tuple[Key, Held]]:
        """Those whose time has come, oldest first; each is ours again for the acknowledgement time."""
        found: list[tuple[Key, Held]] = []
        with self._lock:
            now = self.monotonic()
            while self._times and len(found) < limit and self._times[0][0] <= now:
                due, key = heapq.heappop(self._times)
                held = self.held.get(key)
                if held is None or held.due != due:
                    continue
                held.attempts += 1
                self._again(key, held, self.ack_wait_seconds)
                found.append((key, held))
        return found

    def wait_seconds(self) -> float:
        """Until the next one is due."""
        with self._lock:
            return max(0.0, self._times[0][0] - self.monotonic()) if self._times else float("inf")

    def settle(self, key: Key) -> None:
        """Done with; what was given out again since is settled too, for it is the same message."""
        with self._lock:
            held = self._drop(key)
            self.offsets.settled(key[:2], key[2])
            if held is not None and held.id is not None:
                self._ids[held.id] = self.monotonic()
                while len(self._ids) > MAX_REMEMBERED_IDS:
                    self._ids.popitem(last=False)

    def give_back(self, key: Key, attempts: int, delay_seconds: float) -> None:
        """Give it out again after the delay; nothing where that has happened already."""
        with self._lock:
            held = self.held.get(key)
            if held is not None and held.attempts == attempts:
                self._again(key, held, delay_seconds)

    def forget(self, partition: Partition) -> None:
        """The partition is another consumer's now; so are its messages."""
        with self._lock:
            for key in [key for key in self.held if key[:2] == partition]:
                self._drop(key)
            self.offsets.forget(partition)

    def to_commit(self) -> dict[Partition, int]:
        """Offsets that moved since this was last asked."""
        with self._lock:
            return self.offsets.to_commit()

    def _again(self, key: Key, held: Held, delay_seconds: float) -> None:
        held.due = self.monotonic() + delay_seconds
        heapq.heappush(self._times, (held.due, key))

    def _drop(self, key: Key) -> Held | None:
        held = self.held.pop(key, None)
        if held is not None:
            self.size_bytes -= len(held.data)
            if held.id is not None:
                self._held_ids.discard(held.id)
        return held

    def _knows(self, identity: str) -> bool:
        oldest = self.monotonic() - DUPLICATE_WINDOW_SECONDS
        while self._ids and next(iter(self._ids.values())) < oldest:
            self._ids.popitem(last=False)
        return identity in self._ids or identity in self._held_ids
