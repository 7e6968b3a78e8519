"""Rows to a message, as the agent makes it (`agent/src/wire/encode.rs`): for the scrapers and for tests."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

import pyarrow as pa

from energy_orchestrator.ingest.bus import Publisher, subject_of
from energy_orchestrator.model.wire import MAX_ROWS, Kind, arrow_schema

_OPTIONS = pa.ipc.IpcWriteOptions(compression="zstd")


@dataclass(frozen=True, slots=True)
class EncodedBatch:
    """A message ready to be published."""

    batch_id: str
    subject: str
    data: bytes

    async def publish(self, publisher: Publisher) -> None:
        """Send it, under its batch id."""
        await publisher.publish(self.subject, self.data, message_id=self.batch_id)


def encode(kind: Kind, rows: pa.Table, *, batch_id: str | None = None) -> EncodedBatch:
    """The message of a table with the columns of the kind, all of one tenant and host; ValueError for no rows."""
    if not 0 < rows.num_rows <= MAX_ROWS:
        raise ValueError(f"a message has 1 to {MAX_ROWS} rows, not {rows.num_rows}")
    chosen = batch_id or str(uuid.uuid4())
    subject = subject_of(rows["tenant"][0].as_py(), rows["host"][0].as_py(), kind)
    metadata = {"eo.kind": kind.value, "eo.version": "1", "eo.batch_id": chosen}
    return EncodedBatch(chosen, subject, stream_of(rows.cast(arrow_schema(kind)), metadata))


def stream_of(rows: pa.Table, metadata: dict[str, str]) -> bytes:
    """One Arrow IPC stream of one record batch."""
    schema = rows.schema.with_metadata(metadata)
    (batch,) = rows.combine_chunks().to_batches() or [pa.RecordBatch.from_pylist([], schema=rows.schema)]
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema, options=_OPTIONS) as writer:
        writer.write_batch(pa.RecordBatch.from_arrays(batch.columns, schema=schema))
    return bytes(sink.getvalue().to_pybytes())
