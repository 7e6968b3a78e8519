"""The two statements that both stores send. Names of tables and columns come from our own lists, never from data."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from energy_orchestrator.model.wire import Kind
from energy_orchestrator.store.series.port import TABLES, Parameter, TimeRange


def insert_from(source: str, table: str, columns: Sequence[str]) -> str:
    """INSERT ... SELECT with the columns named, so that their order in the table does not matter."""
    names = ", ".join(f"`{name}`" for name in columns)
    return f"INSERT INTO {table} ({names}) SELECT {names} FROM {source}"  # noqa: S608 (names are our own)


def known_batches_query(kind: Kind, ids: Collection[str], within: TimeRange | None) -> tuple[str, dict[str, Parameter]]:
    """Stored ids among `ids`. A time range makes ClickHouse skip every part outside it."""
    sql = f"SELECT DISTINCT batch_id FROM {TABLES[kind]} WHERE batch_id IN {{ids:Array(String)}}"  # noqa: S608
    parameters: dict[str, Parameter] = {"ids": list(ids)}
    if within is not None:
        sql += " AND timestamp BETWEEN {first:DateTime64(3, 'UTC')} AND {last:DateTime64(3, 'UTC')}"
        parameters |= {"first": within.first, "last": within.last}
    return sql, parameters
