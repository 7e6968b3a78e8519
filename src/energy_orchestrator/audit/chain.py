"""Find what was changed in the chain that `model/audit_record.py` makes.

- An entry's `previous_hash` is the `hash` of the one before; the first one's is GENESIS.
- Sequences run from 1 without a gap.
- The head (last sequence and hash) is kept apart, so that a cut-off tail is seen too: the database's own copy must
  be the end of the log, an older copy (`head_file.py`) must name an entry that is still in it.

Whoever can rewrite every row *and* every copy of the head can still forge the log: signed checkpoints held by
someone else close that later (docs/critiques.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from energy_orchestrator.model.audit_record import AuditRecord, Head


@dataclass(frozen=True, slots=True)
class Verification:
    """Result of walking the log."""

    ok: bool
    entries: int
    head: str
    first_bad_sequence: int | None
    message: str


def verify(
    entries: Iterable[AuditRecord], heads: Mapping[str, Head], older_heads: Mapping[str, Head] | None = None
) -> Verification:
    """Walk the entries in order and compare with every known copy of the head.

    Args:
        entries: by sequence.
        heads: name of the copy (e.g. `database`) to what it says; the log must end there.
        older_heads: the same for copies that may be older than the log (e.g. `head file`).
    """
    older = {name: head for name, head in (older_heads or {}).items() if head.sequence > 0}
    last = Head()
    for entry in entries:
        fault = _fault(entry, last) or _contradiction(entry, older)
        if fault:
            return Verification(False, last.sequence, last.hash, entry.sequence, fault)
        last = Head(entry.sequence, entry.hash)
    heads = {**heads, **{name: head for name, head in older.items() if head.sequence > last.sequence}}
    for name, head in heads.items():
        if head != last:
            wrong = min(head.sequence, last.sequence) + (0 if head.sequence == last.sequence else 1)
            message = f"the log ends at entry {last.sequence}, but the {name} says {head.sequence}"
            if head.sequence == last.sequence:
                message = f"entry {last.sequence} is not the one the {name} knows"
            return Verification(False, last.sequence, last.hash, wrong, message)
    return Verification(True, last.sequence, last.hash, None, f"{last.sequence} entries, unbroken")


def _contradiction(entry: AuditRecord, older: Mapping[str, Head]) -> str | None:
    for name, head in older.items():
        if head.sequence == entry.sequence and head.hash != entry.hash:
            return f"entry {entry.sequence} is not the one the {name} knows"
    return None


def _fault(entry: AuditRecord, last: Head) -> str | None:
    if entry.sequence != last.sequence + 1:
        return f"entry {last.sequence + 1} is missing (found {entry.sequence})"
    if entry.previous_hash != last.hash:
        return f"entry {entry.sequence} does not continue entry {last.sequence}"
    if entry.expected_hash() != entry.hash:
        return f"entry {entry.sequence} was changed after it was written"
    return None
