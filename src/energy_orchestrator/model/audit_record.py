"""One entry of the audit log, and the bytes its hash covers.

The hash is that of an RFC 6962 leaf: SHA-256 over 0x00 and the entry's canonical JSON (keys sorted, no spaces,
UTF-8), which contains the hash of the entry before it. A Merkle tree over the same leaves can be built later
without touching a row.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

GENESIS = "0" * 64
"""Previous hash of the first entry."""


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """Who did what to which subject. `at` is ISO 8601 text in UTC, kept as it was hashed."""

    sequence: int
    at: str
    tenant: str
    actor: str
    action: str
    subject: str
    body: Mapping[str, Any]
    previous_hash: str
    hash: str = ""

    def leaf(self) -> bytes:
        """Canonical bytes of everything but the hash itself."""
        content = {
            "sequence": self.sequence,
            "at": self.at,
            "tenant": self.tenant,
            "actor": self.actor,
            "action": self.action,
            "subject": self.subject,
            "body": self.body,
            "previous_hash": self.previous_hash,
        }
        return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()

    def expected_hash(self) -> str:
        """Hash the entry must carry."""
        return hashlib.sha256(b"\x00" + self.leaf()).hexdigest()


@dataclass(frozen=True, slots=True)
class Head:
    """Where the log ends."""

    sequence: int = 0
    hash: str = GENESIS


def next_record(
    head: Head, now: datetime, *, tenant: str, actor: str, action: str, subject: str, body: Mapping[str, Any]
) -> AuditRecord:
    """The entry that follows `head`."""
    record = AuditRecord(
        sequence=head.sequence + 1,
        at=now.astimezone(UTC).isoformat(timespec="milliseconds"),
        tenant=tenant,
        actor=actor,
        action=action,
        subject=subject,
        body=body,
        previous_hash=head.hash,
    )
    return replace(record, hash=record.expected_hash())
