"""Arrow tables in the form the tables take: the one shape question that both stores share.

ClickHouse has no NULL list: `hotspot_functions` of a process that was not profiled is an empty array there (an
empty list and "not profiled" are told apart by whether there are profile rows). And a NULL in a column that is not
nullable becomes 0 without an error in chDB, so a table that has one is refused here.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from energy_orchestrator.errors import InvalidInputError
from energy_orchestrator.model.wire import Kind, arrow_schema
from energy_orchestrator.store.series.port import DERIVED_TABLES

BATCH_ID = pa.field("batch_id", pa.string(), nullable=False)


def stored_schema(kind: Kind) -> pa.Schema:
    """The wire columns and the batch id."""
    return arrow_schema(kind).append(BATCH_ID)


def ready_to_store(kind: Kind, table: pa.Table) -> pa.Table:
    """The table with lists filled; InvalidInputError unless it has exactly the columns of the kind."""
    wanted = stored_schema(kind)
    if table.schema.names != wanted.names or table.schema.types != wanted.types:
        raise InvalidInputError(
            f"columns {table.schema.names} are not those of a stored batch",
            where=kind.value,
            next_step="pass the wire columns in their order, then batch_id",
        )
    for field in wanted:
        if not field.nullable and table[field.name].null_count:
            raise InvalidInputError("NULL in a column that must have a value", where=f"{kind.value}.{field.name}")
    return fill_lists(table)


def derived_ready(table_name: str, table: pa.Table) -> pa.Table:
    """The analyzer's table with lists filled; InvalidInputError for a table that is not the analyzer's."""
    if table_name not in DERIVED_TABLES:
        raise InvalidInputError(
            "not a table of derived rows",
            where=table_name,
            next_step=f"take one of {', '.join(sorted(DERIVED_TABLES))}",
        )
    return fill_lists(table)


def fill_lists(table: pa.Table) -> pa.Table:
    """NULL lists as empty ones."""
    for index, field in enumerate(table.schema):
        column = table.column(index)
        if pa.types.is_list(field.type) and column.null_count:
            filled = pa.chunked_array([_filled(chunk) for chunk in column.chunks], field.type)
            table = table.set_column(index, field, filled)
    return table


def _filled(lists: pa.ListArray) -> pa.ListArray:
    """Without copying where NULL slots are empty, as every writer we know leaves them."""
    offsets = lists.offsets
    spanned = offsets[len(lists)].as_py() - offsets[0].as_py()
    if spanned == len(lists.flatten()):
        return pa.ListArray.from_arrays(offsets, lists.values, type=lists.type)
    return pc.coalesce(lists, pa.scalar([], lists.type))
