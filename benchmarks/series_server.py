"""chDB offered to other processes of this machine in the words of ClickHouse's HTTP interface.

chDB belongs to one process. Several analyzer workers need one store, which at scale is a ClickHouse server; where none
can be had, this stands in for it: the same engine and SQL, behind the product's own adapter for servers
(`store/series/clickhouse_store.py`). It is no server: one statement at a time, no users, loopback only. For benchmarks
and tests.
"""

from __future__ import annotations

import multiprocessing
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pyarrow as pa

from energy_orchestrator.errors import EoError
from energy_orchestrator.store.series.chdb_store import ChdbSeriesStore
from energy_orchestrator.store.series.port import DERIVED_TABLES, TABLES

_INSERT = re.compile(r"INSERT INTO (\w+) \(")
_KINDS = {table: kind for kind, table in TABLES.items()}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    store: ChdbSeriesStore

    def do_POST(self) -> None:
        """A statement, or rows for the statement in the address."""
        given = dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True))
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        try:
            answer, status = self._done(given, body), 200
        except EoError as error:
            answer, status = str(error).encode(), 500
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def _done(self, given: dict[str, str], body: bytes) -> bytes:
        if "query" not in given:
            texts = {name.removeprefix("param_"): text for name, text in given.items() if name.startswith("param_")}
            return self.store.answer(body.decode(), texts)
        found = _INSERT.match(given["query"])
        table, rows = found.group(1) if found else "", pa.ipc.open_stream(body).read_all()
        if table in DERIVED_TABLES:
            self.store.insert_derived(table, rows)
        else:
            self.store.insert(_KINDS[table], rows)
        return b""

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def _serve(folder: Path, told: Connection) -> None:
    with ChdbSeriesStore(folder) as store:
        store.migrate()
        handler = type("Handler", (_Handler,), {"store": store})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        told.send(server.server_address[1])
        server.serve_forever()


@contextmanager
def serving(folder: Path) -> Iterator[tuple[str, int]]:
    """The address, and the process that serves it."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(folder, there), daemon=True)
    process.start()
    try:
        if not here.poll(60):
            raise RuntimeError(f"no store came up on {folder}")
        yield f"http://127.0.0.1:{here.recv()}", process.pid or 0
    finally:
        process.terminate()
        process.join(30)
