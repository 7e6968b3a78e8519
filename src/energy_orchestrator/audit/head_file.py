"""The head of the audit log outside the database: a file that only ever moves forward.

Whoever can rewrite the database can shorten the log and its head together; the file then still knows the longer one.
That only helps if keeping it up to date never takes it back: `advance` refuses a head that is shorter, or another
one of the same length, or one whose log no longer holds the entry that the file names. `chain.verify` gets its
content as one more copy of the head; a signed checkpoint held by someone else takes its place later.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from energy_orchestrator.errors import ConflictError
from energy_orchestrator.model.audit_record import Head


def read(path: Path) -> Head | None:
    """What the file says; None when there is none.

    Raises:
        ConflictError: it can't be read as a head: somebody wrote to it.
    """
    try:
        sequence, digest = path.read_text(encoding="ascii").split()
        return Head(int(sequence), digest)
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ConflictError(
            "this is not the head of an audit log",
            where=str(path),
            next_step="find out who wrote to it; restore it from a backup",
        ) from error


def advance(path: Path, head: Head, hash_of: Callable[[int], str | None]) -> None:
    """Replace the file by a later head of the same log.

    Args:
        hash_of: hash of the entry with a sequence, as the log has it now.

    Raises:
        ConflictError: the log does not continue what the file knows. The file stays.
    """
    known = read(path)
    if known == head:
        return
    if known is not None and not _continues(known, head, hash_of):
        raise ConflictError(
            f"the audit log was rewritten: it should hold entry {known.sequence} as {path.name} knows it",
            where=str(path),
            next_step="run `eo audit verify`, and compare with a backup of the database",
        )
    temporary = path.with_suffix(".new")
    with temporary.open("w", encoding="ascii") as file:
        file.write(f"{head.sequence} {head.hash}\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _continues(known: Head, head: Head, hash_of: Callable[[int], str | None]) -> bool:
    if known.sequence == 0:
        return True
    return head.sequence > known.sequence and hash_of(known.sequence) == known.hash
