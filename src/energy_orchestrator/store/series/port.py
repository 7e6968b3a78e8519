"""The port behind which series rest: Arrow goes in as it came off the bus, Arrow comes out of SQL.

The SQL is ClickHouse's in both places, so a query written for one machine is the query of a cluster. Calls block;
a caller in an event loop puts them on a thread. Storing a batch twice is prevented by the caller, who first asks
`known_batches` (the batch id is a column of every row, so the record of what is stored cannot disagree with what is
stored), and, where two collectors race, by the sorting keys of the tables.

The collector (`services/collector.py`) writes; the analyzer and the API read.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import pyarrow as pa

from energy_orchestrator.model.wire import Kind

TABLES: dict[Kind, str] = {
    Kind.SAMPLES: "telemetry_sample",
    Kind.PROFILES: "profile_sample",
    Kind.INVENTORY: "inventory",
    Kind.METERS: "meter_sample",
    Kind.OPERATIONS: "operation_sample",
    Kind.COUNTERS: "counter_sample",
    Kind.GPU_PROCESSES: "gpu_process_sample",
}
DERIVED_TABLES = frozenset({"node_energy", "workload_energy"})

Parameter = str | int | float | bool | datetime | None | Collection[str] | Collection[int] | Collection[float]
Parameters = Mapping[str, Parameter]


@dataclass(frozen=True, slots=True)
class TimeRange:
    """Both ends belong to it."""

    first: datetime
    last: datetime


class SeriesStore(Protocol):
    """Raises UnavailableError when the store cannot do it now, InvalidInputError when the call is wrong."""

    def migrate(self) -> list[str]:
        """Create or bring up to date the tables; returns the names of the migrations applied now."""
        ...

    def insert(self, kind: Kind, table: pa.Table) -> None:
        """Store rows of one kind: the wire columns and `batch_id`. All rows or an error."""
        ...

    def insert_derived(self, table_name: str, table: pa.Table) -> None:
        """Store rows that the analyzer made, in one of `DERIVED_TABLES`."""
        ...

    def known_batches(self, kind: Kind, ids: Collection[str], within: TimeRange | None = None) -> set[str]:
        """Which of these batches are stored already.

        `within` is the span of their timestamps: with it only the parts of that span are read.
        """
        ...

    def query(self, sql: str, parameters: Parameters | None = None) -> pa.Table:
        """Run one statement; `{name:Type}` in it is filled from `parameters`, never by formatting text."""
        ...

    def close(self) -> None:
        """Release files and connections. Calling it twice is fine."""
        ...
