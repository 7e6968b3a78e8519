"""One imported benchmark run: what was done, and what energy was measured for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Run:
    """`energy_joules` is None with a reason where the log does not tell."""

    run_id: str
    workload: str
    started_at: datetime | None
    finished_at: datetime | None
    operations: float | None
    energy_joules: float | None
    energy_reason: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
