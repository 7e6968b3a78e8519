"""One window of a group of replicas, as the judge sees it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class MeasuredWindow:
    """Sums over the replicas asked for. None is unknown: no operations were counted, or no latency reported."""

    window_start: datetime
    window_end: datetime
    active_joules: float | None
    operations: float | None
    joules_per_operation: float | None
    latency_p95_seconds: float | None
    error_ratio: float | None
    cpu_seconds: float = 0.0
