"""Bytes from the bus to a batch that may be stored, or one stated reason why not.

Nothing here trusts the sender: the size is known before memory is taken (`ipc_bounds.py`), Arrow checks every offset
and character (`validate(full=True)`), and tenant and host must be those of the subject, which the bus has
authorised. Checks run on columns; no sample is looked at in Python. A batch is taken or refused whole.

- A column more at the end, nullable, is a newer agent's: it is dropped and named in `dropped_columns`.
- Any other difference from the contract is a reason to refuse.
- A tenant whose name would be altered in a subject is refused: two such tenants could share one subject.
- Values: no NaN or infinity (unknown is NULL), nothing negative but temperatures, time within
  [now - 48 h, now + 5 min].

`services/collector.py` stores what is returned; `dead_letter.py` keeps what is refused.
"""

from __future__ import annotations

import math
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

import pyarrow as pa
import pyarrow.compute as pc

from energy_orchestrator.errors import InvalidInputError
from energy_orchestrator.ingest.bus import subject_token
from energy_orchestrator.ingest.ipc_bounds import BrokenStreamError, batch_bounds
from energy_orchestrator.model.units import Tier
from energy_orchestrator.model.wire import MAX_DECOMPRESSED_BYTES, MAX_MESSAGE_BYTES, MAX_ROWS, Kind, arrow_schema

MAX_AHEAD = timedelta(minutes=5)
MAX_AGE = timedelta(hours=48)
MAY_BE_NEGATIVE = frozenset({"temp_c"})


class Reason(StrEnum):
    """Why a batch was refused; a label of the dead-letter counter."""

    SUBJECT = "subject"
    NOT_ARROW = "not_arrow"
    KIND = "kind"
    VERSION = "version"
    BATCH_ID = "batch_id"
    COLUMNS = "columns"
    TYPE = "type"
    NULL = "null"
    TENANT = "tenant"
    HOST = "host"
    EMPTY = "empty"
    TOO_LARGE = "too_large"
    TIME = "time"
    VALUE = "value"


class InvalidBatch(InvalidInputError):  # noqa: N818 (the word of the contract)
    """The batch is refused; `reason` for counters, the text for people."""

    def __init__(self, reason: Reason, what: str, *, where: str | None = None) -> None:
        self.reason = reason
        super().__init__(what, where=where, next_step="correct the sender, then replay the dead letter")


@dataclass(frozen=True, slots=True)
class ValidBatch:
    """A batch that keeps the contract. `first` and `last` are its earliest and latest timestamp."""

    kind: Kind
    batch_id: str
    tenant: str
    host: str
    rows: pa.RecordBatch
    first: datetime
    last: datetime
    dropped_columns: tuple[str, ...] = ()


def validate(subject: str, data: bytes, *, now: datetime) -> ValidBatch:
    """The batch in a message. Raises InvalidBatch and nothing else."""
    tenant, host, kind = _subject(subject)
    if len(data) > MAX_MESSAGE_BYTES:
        raise InvalidBatch(Reason.TOO_LARGE, f"{len(data)} bytes; at most {MAX_MESSAGE_BYTES}")
    try:
        schema, rows = _read(data, kind)
    except (pa.ArrowException, BrokenStreamError, ValueError, OSError, EOFError) as error:
        raise InvalidBatch(Reason.NOT_ARROW, f"no readable Arrow stream: {_first_line(error)}") from error
    rows, dropped = _to_contract(rows, kind)
    _check_nulls(rows)
    _check_sender(rows, tenant, host)
    first, last = _check_time(rows, now)
    _check_values(rows)
    real_host = str(rows.column("host")[0].as_py())
    return ValidBatch(kind, _batch_id(schema), tenant, real_host, rows, first, last, dropped)


def _subject(subject: str) -> tuple[str, str, Kind]:
    parts = subject.split(".")
    if len(parts) != 5 or parts[:2] != ["eo", "v1"]:
        raise InvalidBatch(Reason.SUBJECT, "not eo.v1.<tenant>.<host>.<kind>", where=subject[:200])
    try:
        return parts[2], parts[3], Kind(parts[4])
    except ValueError:
        raise InvalidBatch(Reason.KIND, f"no such kind: {parts[4][:60]!r}", where=subject[:200]) from None


def _read(data: bytes, kind: Kind) -> tuple[pa.Schema, pa.RecordBatch]:
    """The schema and the one batch, read only after types and sizes are known to be harmless."""
    messages = pa.ipc.MessageReader.open_stream(pa.BufferReader(data))
    first = _next(messages)
    if first is None or first.type != "schema":
        raise InvalidBatch(Reason.NOT_ARROW, "does not start with a schema")
    schema = pa.ipc.read_schema(first)
    _check_metadata(schema, kind)
    _check_columns(schema, kind)
    message = _next(messages)
    if message is None:
        raise InvalidBatch(Reason.EMPTY, "a stream without rows")
    if message.type != "record batch":
        raise InvalidBatch(Reason.NOT_ARROW, f"a {message.type} where the record batch should be")
    bounds = batch_bounds(message)
    if bounds.rows > MAX_ROWS:
        raise InvalidBatch(Reason.TOO_LARGE, f"{bounds.rows} rows; at most {MAX_ROWS}")
    if bounds.decompressed_bytes > MAX_DECOMPRESSED_BYTES:
        what = f"{bounds.decompressed_bytes} bytes unpacked; at most {MAX_DECOMPRESSED_BYTES}"
        raise InvalidBatch(Reason.TOO_LARGE, what)
    if _next(messages) is not None:
        raise InvalidBatch(Reason.NOT_ARROW, "more than one record batch in a message")
    rows = pa.ipc.read_record_batch(message, schema)
    rows.validate(full=True)
    if not rows.num_rows:
        raise InvalidBatch(Reason.EMPTY, "a batch without rows")
    return schema, rows


def _next(messages: pa.ipc.MessageReader) -> pa.ipc.Message | None:
    try:
        return messages.read_next_message()
    except StopIteration:
        return None


def _check_metadata(schema: pa.Schema, kind: Kind) -> None:
    metadata = schema.metadata or {}
    stated = metadata.get(b"eo.kind", b"").decode(errors="replace")
    if stated != kind.value:
        raise InvalidBatch(Reason.KIND, f"says {stated[:60]!r}, was sent as {kind.value!r}", where="eo.kind")
    version = metadata.get(b"eo.version", b"").decode(errors="replace")
    if version != "1":
        raise InvalidBatch(Reason.VERSION, f"{version[:20]!r} is not known here; 1 is", where="eo.version")
    _batch_id(schema)


def _batch_id(schema: pa.Schema) -> str:
    text = (schema.metadata or {}).get(b"eo.batch_id", b"").decode(errors="replace")
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise InvalidBatch(Reason.BATCH_ID, f"not a UUID: {text[:60]!r}", where="eo.batch_id") from None


def _check_columns(schema: pa.Schema, kind: Kind) -> None:
    wanted = arrow_schema(kind)
    if schema.equals(wanted):
        return
    count = len(wanted)
    missing = [name for name in wanted.names if name not in schema.names]
    if missing:
        raise InvalidBatch(Reason.COLUMNS, f"missing: {', '.join(missing)}", where=kind.value)
    if schema.names[:count] != wanted.names:
        extra = [name for name in schema.names if name not in wanted.names]
        what = f"not the contract's columns in their order (not known here: {', '.join(extra)[:200] or 'none'})"
        raise InvalidBatch(Reason.COLUMNS, what, where=kind.value)
    for sent, field in zip(list(schema)[:count], wanted, strict=True):
        if not _same_type(sent.type, field.type):
            raise InvalidBatch(Reason.TYPE, f"is {sent.type}, not {field.type}", where=f"{kind.value}.{field.name}")
    for sent in list(schema)[count:]:
        if not sent.nullable or sent.name in wanted.names:
            raise InvalidBatch(Reason.COLUMNS, "an extra column that is not nullable or comes twice", where=sent.name)
        if not _is_of_the_contract(sent.type):
            raise InvalidBatch(Reason.TYPE, f"an extra column of type {str(sent.type)[:80]}", where=sent.name)


def _same_type(sent: pa.DataType, wanted: pa.DataType) -> bool:
    """Equal, where the name of a list's item and its nullability do not matter (NULL items are checked as values)."""
    if pa.types.is_list(sent) and pa.types.is_list(wanted):
        return bool(sent.value_type == wanted.value_type)
    return bool(sent == wanted)


def _is_of_the_contract(sent: pa.DataType) -> bool:
    return any(_same_type(sent, field.type) for kind in Kind for field in arrow_schema(kind))


def _to_contract(rows: pa.RecordBatch, kind: Kind) -> tuple[pa.RecordBatch, tuple[str, ...]]:
    wanted = arrow_schema(kind)
    if rows.schema.equals(wanted):
        return rows.replace_schema_metadata(None), ()
    columns = [
        column if column.type == field.type else column.cast(field.type)
        for column, field in zip(rows.columns, wanted, strict=False)
    ]
    dropped = tuple(rows.schema.names[len(wanted) :])
    return pa.RecordBatch.from_arrays(columns, schema=wanted), dropped


def _check_nulls(rows: pa.RecordBatch) -> None:
    for field, column in zip(rows.schema, rows.columns, strict=True):
        if not field.nullable and column.null_count:
            raise InvalidBatch(Reason.NULL, f"{column.null_count} NULL values", where=field.name)
        if pa.types.is_list(field.type) and column.flatten().null_count:
            raise InvalidBatch(Reason.NULL, "NULL inside a list", where=field.name)


def _check_sender(rows: pa.RecordBatch, tenant: str, host: str) -> None:
    tenants = pc.unique(rows.column("tenant"))
    if len(tenants) != 1 or tenants[0].as_py() != tenant:
        raise InvalidBatch(Reason.TENANT, f"rows of {_some(tenants)} under the subject of {tenant!r}", where="tenant")
    hosts = pc.unique(rows.column("host"))
    if len(hosts) != 1 or subject_token(hosts[0].as_py()) != host:
        raise InvalidBatch(Reason.HOST, f"rows of {_some(hosts)} under the subject of {host!r}", where="host")


def _check_time(rows: pa.RecordBatch, now: datetime) -> tuple[datetime, datetime]:
    """Compared as integers: a timestamp far out of range has no datetime."""
    found = pc.min_max(rows.column("timestamp").cast(pa.int64()))
    first, last = found["min"].as_py(), found["max"].as_py()
    if last > _milliseconds(now + MAX_AHEAD):
        raise InvalidBatch(Reason.TIME, f"{(last - _milliseconds(now)) / 1000:.0f} s in the future", where="timestamp")
    if first < _milliseconds(now - MAX_AGE):
        raise InvalidBatch(Reason.TIME, f"{(_milliseconds(now) - first) / 3.6e6:.1f} h old", where="timestamp")
    return _instant(first), _instant(last)


def _check_values(rows: pa.RecordBatch) -> None:
    for field, column in zip(rows.schema, rows.columns, strict=True):
        if pa.types.is_floating(field.type) and not _all_finite(column):
            raise InvalidBatch(Reason.VALUE, "NaN or infinity; unknown is NULL", where=field.name)
        numeric = pa.types.is_floating(field.type) or pa.types.is_integer(field.type)
        if numeric and field.name not in MAY_BE_NEGATIVE:
            least = pc.min(column).as_py()
            if least is not None and least < 0:
                raise InvalidBatch(Reason.VALUE, f"negative: {least}", where=field.name)
    if "tier" in rows.schema.names:
        tiers = pc.unique(rows.column("tier").drop_null())
        unknown = [tier for tier in tiers.to_pylist()[:5] if tier not in set(Tier)]
        if unknown:
            raise InvalidBatch(Reason.VALUE, f"no such tier: {unknown[0][:60]!r}", where="tier")


def _all_finite(column: pa.Array) -> bool:
    """A sum is finite if its terms are, unless it overflows: one pass, and a second one only then."""
    total = pc.sum(column).as_py()
    return total is None or math.isfinite(total) or pc.all(pc.is_finite(column)).as_py() is not False


def _some(values: pa.Array) -> str:
    return ", ".join(repr(str(value)[:60]) for value in values[:3].to_pylist()) + ("…" if len(values) > 3 else "")


def _milliseconds(at: datetime) -> int:
    return round(at.timestamp() * 1000)


def _instant(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds // 1000, UTC) + timedelta(milliseconds=milliseconds % 1000)


def _first_line(error: BaseException) -> str:
    text = str(error)
    return text.splitlines()[0][:300] if text else type(error).__name__
