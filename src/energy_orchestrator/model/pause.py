"""The kill switch: one object that stops every executor of a tenant and says who and why."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Pause:
    """In force until `lifted_at`."""

    id: str
    tenant: str
    by: str
    reason: str
    created_at: datetime
    lifted_at: datetime | None = None
    lifted_by: str | None = None
