"""What services need of the series store, whichever it is, and the edges of windows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import pyarrow as pa

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Row = dict[str, Any]


class Series(Protocol):
    """To ask."""

    def query(self, sql: str, parameters: Any = None) -> pa.Table:
        """Run one statement."""
        ...


class DerivedSeries(Series, Protocol):
    """To ask, and to keep what is made of it."""

    def insert_derived(self, table_name: str, table: pa.Table) -> None:
        """Store rows of a derived table."""
        ...


def rows_of(series: Series, sql: str, parameters: Any = None) -> list[Row]:
    """What a statement gives, row by row."""
    rows: list[Row] = series.query(sql, parameters).to_pylist()
    return rows


def window_edge(moment: datetime, window: timedelta) -> datetime:
    """The last edge of windows of that width up to a moment."""
    return EPOCH + (moment - EPOCH) // window * window
