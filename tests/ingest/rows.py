"""Realistic rows of every kind, for tests."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from energy_orchestrator.ingest.encode import EncodedBatch, encode, stream_of
from energy_orchestrator.model.wire import Kind, arrow_schema

# The real time: the store drops what is older than its tables keep.
NOW = datetime.now(UTC).replace(microsecond=0)
TEXTS = {"tenant": "local", "host": "node.a", "tier": "on_die", "workload": "declared/inference"}


def value(field: pa.Field, number: int, at: datetime) -> Any:
    if pa.types.is_timestamp(field.type):
        return at
    if pa.types.is_list(field.type):
        return ["main", f"work_{number}"]
    if pa.types.is_string(field.type):
        return TEXTS.get(field.name, f"{field.name}-{number % 7}")
    if pa.types.is_boolean(field.type):
        return number % 2 == 0
    return number + 1


def table(kind: Kind, count: int = 3, *, at: datetime = NOW, **changed: Any) -> pa.Table:
    schema = arrow_schema(kind)
    rows = [{field.name: value(field, number, at) for field in schema} | changed for number in range(count)]
    return pa.Table.from_pylist(rows, schema=schema)


def message(
    kind: Kind, count: int = 3, *, at: datetime = NOW, batch_id: str | None = None, **changed: Any
) -> EncodedBatch:
    return encode(kind, table(kind, count, at=at, **changed), batch_id=batch_id)


def raw(rows: pa.Table, kind: Kind = Kind.SAMPLES, **metadata: str) -> bytes:
    """A stream of any columns, with metadata that can be spoilt: `kind`, `version`, `batch_id`."""
    stated = {"kind": kind.value, "version": "1", "batch_id": "b7a4e4b0-8f4c-4a62-9f0e-3d1c1f2a0001"} | metadata
    return stream_of(rows, {f"eo.{key}": text for key, text in stated.items()})
