"""The port to the bus: publish a message, pull some, settle each.

Delivery is at least once. A message that was pulled is ours until it is settled: `ack` (stored, never again), `nak`
(give it back, after a delay), `term` (never again, without being stored; its dead letter is safe). What is not
settled within the acknowledgement time comes back, so a crash between storing and settling costs a second delivery
and no data. A message id seen within the duplicate window is taken once.

`nats_bus.py` is the real one, `memory_bus.py` has the same semantics for tests and dry runs; one suite tests both
(`tests/contract/test_bus.py`). All calls raise UnavailableError when the bus cannot do it now.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from energy_orchestrator.model.wire import Kind

SUBJECT_PREFIX = "eo.v1."
DEAD_PREFIX = "eo.dead.v1."
DUPLICATE_WINDOW_SECONDS = 120.0
ACK_WAIT_SECONDS = 60.0
_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")


def subject_token(name: str) -> str:
    """A tenant or host as it is written in a subject (`schemas/README.md`)."""
    return "".join(letter if letter in _PLAIN else "_" for letter in name)


def subject_of(tenant: str, host: str, kind: Kind) -> str:
    """`eo.v1.<tenant>.<host>.<kind>`."""
    return f"{SUBJECT_PREFIX}{subject_token(tenant)}.{subject_token(host)}.{kind.value}"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that failed validation, as it is kept. `sequence` names it within the stream of dead letters."""

    sequence: int
    subject: str
    data: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


class Delivery(Protocol):
    """A pulled message. Settle it exactly once."""

    @property
    def subject(self) -> str:
        """Where it was published."""
        ...

    @property
    def data(self) -> bytes:
        """The bytes."""
        ...

    @property
    def attempts(self) -> int:
        """How often it was delivered, 1 the first time."""
        ...

    async def ack(self) -> None:
        """It is stored."""
        ...

    async def nak(self, delay_seconds: float = 0.0) -> None:
        """Deliver it again, not before the delay."""
        ...

    async def term(self) -> None:
        """Never deliver it again."""
        ...


class Publisher(Protocol):
    """Who sends."""

    async def publish(
        self, subject: str, data: bytes, *, message_id: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        """Return once the bus keeps it."""
        ...


class Consumer(Protocol):
    """Who takes."""

    async def pull(self, limit: int, timeout_seconds: float) -> list[Delivery]:
        """At most `limit` messages as soon as there is one; an empty list after the timeout."""
        ...


class DeadLetters(Protocol):
    """The kept dead letters."""

    async def dead_letters(self, limit: int, after_sequence: int = 0) -> list[DeadLetter]:
        """The oldest ones after a sequence."""
        ...

    async def remove_dead_letter(self, sequence: int) -> None:
        """Forget one; no error where it is gone already."""
        ...


class Bus(Publisher, Consumer, DeadLetters, Protocol):
    """All of it."""

    async def close(self) -> None:
        """Let go. What was pulled and not settled is delivered again."""
        ...
