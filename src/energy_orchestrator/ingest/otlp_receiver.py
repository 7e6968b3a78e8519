"""The receiver of OTLP metrics: HTTP with protobuf on loopback, an ASGI application of one path, `/v1/metrics`.

Answers as the specification asks: 200 with what was refused and why, 400 for what is no request, 413 for too much,
415 for another encoding, 503 with `Retry-After` while the bus is away; the sender then sends the same again and
nothing is counted twice. The body is bounded as it comes and as it unpacks. A browser (`Origin`) is turned away, so
that no page can post here.

https://opentelemetry.io/docs/specs/otlp/#otlphttp
"""

from __future__ import annotations

import asyncio
import logging
import time
import zlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsPartialSuccess,
    ExportMetricsServiceResponse,
)

from energy_orchestrator.errors import EoError, InvalidInputError, UnavailableError
from energy_orchestrator.ingest.bus import Publisher
from energy_orchestrator.ingest.encode import encode
from energy_orchestrator.ingest.operations import operations_table
from energy_orchestrator.ingest.otlp_operations import OtlpOperations
from energy_orchestrator.ingest.otlp_points import decode
from energy_orchestrator.model.wire import Kind

PATH = "/v1/metrics"
PROTOBUF = "application/x-protobuf"
MAX_BODY_BYTES = 4 * 2**20
MAX_UNPACKED_BYTES = 16 * 2**20
RECEIVE_SECONDS = 10.0
GRPC_INVALID_ARGUMENT, GRPC_UNAVAILABLE = 3, 14

log = logging.getLogger(__name__)

Message = Mapping[str, Any]


class _RefusedError(Exception):
    """An answer other than 200."""

    def __init__(self, status: int, text: str, **headers: str) -> None:
        super().__init__(text)
        self.status, self.text, self.headers = status, text, headers


@dataclass
class OtlpReceiver:
    """The application. One export at a time is joined with what came before; decoding runs on a thread."""

    publisher: Publisher
    tenant: str
    host: str
    operations: OtlpOperations
    clock_ns: Callable[[], int] = time.time_ns
    _one: asyncio.Lock = field(default_factory=asyncio.Lock)
    _told: set[str] = field(default_factory=set)

    async def __call__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[dict[str, Any]], Awaitable[None]],
    ) -> None:
        """One request."""
        if scope["type"] != "http":
            return
        try:
            status, body, headers = 200, await self._export(scope, receive), dict[str, str]()
        except _RefusedError as refused:
            status, body, headers = refused.status, _status(refused.status, refused.text), refused.headers
        sent = {"content-type": PROTOBUF, "content-length": str(len(body)), **headers}
        pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in sent.items()]
        await send({"type": "http.response.start", "status": status, "headers": pairs})
        await send({"type": "http.response.body", "body": body})

    async def _export(self, scope: Message, receive: Callable[[], Awaitable[Message]]) -> bytes:
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        encoding = _check(scope["path"], scope["method"], headers)
        try:
            async with asyncio.timeout(RECEIVE_SECONDS):
                body = await _body(receive)
        except TimeoutError as error:
            raise _RefusedError(408, "the request did not come in time") from error
        try:
            senders = await asyncio.to_thread(lambda: decode(_unpacked(body, encoding)))
        except InvalidInputError as error:
            raise _RefusedError(400, str(error)) from error
        async with self._one:
            prepared = await asyncio.to_thread(self.operations.prepare, senders, self.clock_ns())
            try:
                for at in dict.fromkeys(activity.at for _, activity in prepared.done):
                    ended = [one for one in prepared.done if one[1].at == at]
                    if at is not None:
                        rows = operations_table(self.tenant, self.host, at, ended)
                        await encode(Kind.OPERATIONS, rows).publish(self.publisher)
            except UnavailableError as error:
                raise _RefusedError(503, str(error), retry_after="5") from error
            except EoError as error:
                raise _RefusedError(400, str(error)) from error
            self.operations.commit(prepared)
        for message in prepared.messages:
            self._tell(message)
        partial = ExportMetricsPartialSuccess(
            rejected_data_points=prepared.refused, error_message="; ".join(prepared.messages)[:2000]
        )
        done = ExportMetricsServiceResponse(partial_success=partial if prepared.refused or prepared.messages else None)
        return bytes(done.SerializeToString())

    def _tell(self, message: str) -> None:
        """Log each message once; a sender says the same every few seconds."""
        if message not in self._told and len(self._told) < 1000:
            self._told.add(message)
            log.warning("OTLP metrics: %s", message)


def _check(path: str, method: str, headers: Mapping[str, str]) -> str:
    """The encoding of a request that may go on."""
    if "origin" in headers:
        raise _RefusedError(403, "browsers are not served")
    if path != PATH:
        raise _RefusedError(404, f"only {PATH} is served")
    if method != "POST":
        raise _RefusedError(405, "only POST is served", allow="POST")
    if headers.get("content-type", "").partition(";")[0].strip() != PROTOBUF:
        raise _RefusedError(415, f"send {PROTOBUF}: OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf")
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip"):
        raise _RefusedError(415, f"content-encoding {encoding!r} is not known; send gzip or none")
    return encoding


async def _body(receive: Callable[[], Awaitable[Message]]) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise _RefusedError(400, "the request ended early")
        body += message.get("body", b"")
        if len(body) > MAX_BODY_BYTES:
            raise _RefusedError(413, f"more than {MAX_BODY_BYTES} bytes; send smaller batches")
        if not message.get("more_body", False):
            return bytes(body)


def _unpacked(body: bytes, encoding: str) -> bytes:
    if encoding == "identity":
        return body
    unpacker = zlib.decompressobj(wbits=31)
    try:
        plain = unpacker.decompress(body, MAX_UNPACKED_BYTES + 1)
    except zlib.error as error:
        raise InvalidInputError(f"not gzip: {error}", next_step="check the sender's compression") from error
    if len(plain) > MAX_UNPACKED_BYTES:
        raise _RefusedError(413, f"more than {MAX_UNPACKED_BYTES} bytes when unpacked; send smaller batches")
    if not unpacker.eof:
        raise InvalidInputError("the gzip data end early", next_step="check the sender")
    return plain


def _status(status: int, text: str) -> bytes:
    """A google.rpc.Status: its code and message have the same types and numbers on the wire as these two."""
    code = GRPC_UNAVAILABLE if status == 503 else GRPC_INVALID_ARGUMENT
    return bytes(ExportMetricsPartialSuccess(rejected_data_points=code, error_message=text).SerializeToString())
