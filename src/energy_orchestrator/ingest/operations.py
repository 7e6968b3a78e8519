"""What a workload did, as rows of kind `operations`: the part that all sources of operations share.

A source (a Prometheus endpoint, a log of runs) is read again and again; the difference between two readings is what
was done in between. `Activity` is that difference. Unknown is None and becomes NULL: a NaN gauge, a histogram
without observations, a source that reports no errors.

`prometheus.py` and `run_log_operations.py` make activities, `known_servers.py` tells what an endpoint counts;
`operations_scraper.py` does the reading and sending.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa

from energy_orchestrator.model.wire import Kind, arrow_schema
from energy_orchestrator.model.workload import OperationSource


@dataclass(frozen=True, slots=True)
class Target:
    """A replica whose operations are counted. `workload` is the key (`declared/inference`)."""

    workload: str
    replica: str | None
    port: int | None
    source: OperationSource
    annotated: bool = False
    """Told by the workload's labels, not by a declaration."""


@dataclass(frozen=True, slots=True)
class Activity:
    """What was done in an interval. `at` is its end, where the source tells it; else it ends now."""

    interval_seconds: float
    operations: float
    errors: float | None = None
    latency_p50_seconds: float | None = None
    latency_p95_seconds: float | None = None
    latency_p99_seconds: float | None = None
    queue_depth: float | None = None
    at: datetime | None = None


def known(value: float | None) -> float | None:
    """None for what is no number."""
    return value if value is not None and math.isfinite(value) else None


def operations_table(tenant: str, host: str, at: datetime, activities: Sequence[tuple[Target, Activity]]) -> pa.Table:
    """Rows of kind `operations`."""
    rows = [
        {
            "timestamp": at,
            "tenant": tenant,
            "host": host,
            "interval_seconds": activity.interval_seconds,
            "workload": target.workload,
            "replica": target.replica,
            "operations": activity.operations,
            "operation": target.source.operation_name,
            "source": "annotation" if target.annotated else target.source.kind,
            "errors": known(activity.errors),
            "latency_p50_seconds": known(activity.latency_p50_seconds),
            "latency_p95_seconds": known(activity.latency_p95_seconds),
            "latency_p99_seconds": known(activity.latency_p99_seconds),
            "queue_depth": known(activity.queue_depth),
        }
        for target, activity in activities
    ]
    return pa.Table.from_pylist(rows, schema=arrow_schema(Kind.OPERATIONS))
