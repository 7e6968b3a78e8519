"""What failed validation is kept with its reason, can be listed, and can be sent again once the cause is gone.

The dead letter goes to `eo.dead.v1.…` with the bytes as they came and the headers `Eo-Reason` and `Eo-Subject`.
Replaying publishes to the first subject under a new message id (the old one may still be in the duplicate window;
the batch id inside still keeps rows from being stored twice) and only then forgets the dead letter.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Protocol

from energy_orchestrator.ingest.bus import DEAD_PREFIX, SUBJECT_PREFIX, DeadLetter, DeadLetters, Publisher

REASON_HEADER = "Eo-Reason"
SUBJECT_HEADER = "Eo-Subject"
MAX_REASON = 1000
_PAGE = 100


class ReplayBus(Publisher, DeadLetters, Protocol):
    """What replaying needs."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A dead letter in words."""

    sequence: int
    subject: str
    reason: str
    size_bytes: int


async def bury(publisher: Publisher, subject: str, data: bytes, reason: str) -> None:
    """Keep a refused message. A second delivery of the same bytes within the duplicate window adds nothing."""
    token = hashlib.sha256(subject.encode() + b"\0" + data).hexdigest()
    headers = {REASON_HEADER: _header_text(reason), SUBJECT_HEADER: subject}
    await publisher.publish(_dead_subject(subject), data, message_id=f"dead-{token}", headers=headers)


async def list_refused(bus: DeadLetters, limit: int = _PAGE, after_sequence: int = 0) -> list[Refused]:
    """The oldest dead letters after a sequence."""
    return [
        Refused(letter.sequence, _first_subject(letter), letter.headers.get(REASON_HEADER, "unknown"), len(letter.data))
        for letter in await bus.dead_letters(limit, after_sequence)
    ]


async def replay(bus: ReplayBus, sequences: set[int] | None = None) -> list[int]:
    """Send dead letters (all that are there now, or the named ones) again; returns the sequences sent."""
    sent: list[int] = []
    page = await bus.dead_letters(_PAGE)
    newest = await _newest(bus)
    while page:
        for letter in page:
            if letter.sequence <= newest and (sequences is None or letter.sequence in sequences):
                subject = _first_subject(letter)
                token = hashlib.sha256(letter.data).hexdigest()
                await bus.publish(subject, letter.data, message_id=f"replay-{letter.sequence}-{token}")
                await bus.remove_dead_letter(letter.sequence)
                sent.append(letter.sequence)
        page = await bus.dead_letters(_PAGE, page[-1].sequence) if page[-1].sequence < newest else []
    return sent


async def _newest(bus: DeadLetters) -> int:
    """Letters that arrive while replaying (the same batch, refused again) are left for the next time."""
    newest, page = 0, await bus.dead_letters(_PAGE)
    while page:
        newest = page[-1].sequence
        page = await bus.dead_letters(_PAGE, newest)
    return newest


def _dead_subject(subject: str) -> str:
    return DEAD_PREFIX + subject.removeprefix(SUBJECT_PREFIX)


def _first_subject(letter: DeadLetter) -> str:
    return letter.headers.get(SUBJECT_HEADER) or SUBJECT_PREFIX + letter.subject.removeprefix(DEAD_PREFIX)


def _header_text(text: str) -> str:
    """One line of printable ASCII: a header has no other form."""
    return "".join(letter if " " <= letter <= "~" else " " for letter in text)[:MAX_REASON].strip() or "unknown"
