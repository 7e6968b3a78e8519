"""How much memory an Arrow stream would take, read from its headers before any of it is unpacked.

A compressed buffer says its unpacked length in its first eight bytes, so a message of 8 MB can ask Arrow for
terabytes. The headers are FlatBuffers (https://arrow.apache.org/docs/format/Columnar.html, Message.fbs); the few
fields needed are read by hand with every offset checked, since pyarrow shows none of them without unpacking.
Arrow itself fails a buffer whose content is longer than the length stated.

`validation.py` asks this first, then lets Arrow read.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import pyarrow as pa

_MESSAGE_HEADER, _BATCH_LENGTH, _BATCH_BUFFERS, _BATCH_COMPRESSION = 2, 0, 2, 3
_NOT_COMPRESSED = -1


class BrokenStreamError(ValueError):
    """The headers do not add up."""


@dataclass(frozen=True, slots=True)
class BatchBounds:
    """What a record batch says of itself."""

    rows: int
    decompressed_bytes: int


def batch_bounds(message: pa.ipc.Message) -> BatchBounds:
    """Rows and unpacked size of a record batch message; BrokenStreamError where it contradicts itself."""
    metadata, body = message.metadata, message.body
    view = memoryview(metadata).cast("B")
    content = memoryview(body).cast("B") if body is not None else memoryview(b"")
    try:
        return _read(view, content)
    except struct.error as error:
        raise BrokenStreamError("an offset points outside the message") from error


def _read(view: memoryview, body: memoryview) -> BatchBounds:
    batch = _child(view, _indirect(view, 0), _MESSAGE_HEADER)
    if batch is None:
        raise BrokenStreamError("a message without a header")
    length_at = _field(view, batch, _BATCH_LENGTH)
    rows = struct.unpack_from("<q", view, length_at)[0] if length_at is not None else 0
    compressed = _field(view, batch, _BATCH_COMPRESSION) is not None
    vector = _child(view, batch, _BATCH_BUFFERS)
    count = struct.unpack_from("<I", view, vector)[0] if vector is not None else 0
    if vector is None or 16 * count > len(view):
        raise BrokenStreamError("more buffers than the header has room for")
    total = 0
    for index in range(count):
        offset, length = struct.unpack_from("<qq", view, vector + 4 + 16 * index)
        total += _unpacked(body, offset, length, compressed)
    if rows < 0:
        raise BrokenStreamError("a negative number of rows")
    return BatchBounds(rows, total)


def _unpacked(body: memoryview, offset: int, length: int, compressed: bool) -> int:
    if offset < 0 or length < 0 or offset + length > len(body):
        raise BrokenStreamError("a buffer lies outside the body")
    if not compressed or length == 0:
        return length
    stated: int = struct.unpack_from("<q", body, offset)[0]
    if stated == _NOT_COMPRESSED:
        return length
    if stated < 0:
        raise BrokenStreamError("a buffer states a negative length")
    return stated


def _indirect(view: memoryview, at: int) -> int:
    target: int = at + struct.unpack_from("<I", view, at)[0]
    return target


def _field(view: memoryview, table: int, index: int) -> int | None:
    """Place of a field of a FlatBuffers table; None where it has its default."""
    vtable = table - struct.unpack_from("<i", view, table)[0]
    if vtable < 0:
        raise BrokenStreamError("a table of fields lies before the message")
    slot = 4 + 2 * index
    if slot >= struct.unpack_from("<H", view, vtable)[0]:
        return None
    offset = struct.unpack_from("<H", view, vtable + slot)[0]
    return table + offset if offset else None


def _child(view: memoryview, table: int, index: int) -> int | None:
    at = _field(view, table, index)
    return None if at is None else _indirect(view, at)
