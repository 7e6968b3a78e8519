"""Series on a ClickHouse server or cluster, over its HTTP interface.

The interface takes and gives Arrow streams and the same `{name:Type}` parameters as chDB, so the whole adapter is
one POST; a client library would add a second way to escape values and nothing that is needed. The database must
exist; use an `https` address off this machine. User and password come from a file with one line `user:password`.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa

from energy_orchestrator.errors import InvalidInputError, UnavailableError
from energy_orchestrator.model.wire import Kind
from energy_orchestrator.store.series import migrations
from energy_orchestrator.store.series.parameters import as_text
from energy_orchestrator.store.series.port import TABLES, Parameters, TimeRange
from energy_orchestrator.store.series.rows import derived_ready, ready_to_store
from energy_orchestrator.store.series.statements import known_batches_query

TIMEOUT_SECONDS = 60.0
_CODE = re.compile(r"Code: (\d+)")
# Syntax and unknown names (src/Common/ErrorCodes.cpp): the statement is wrong. All other errors may pass.
_WRONG_STATEMENT = frozenset({26, 36, 43, 46, 47, 53, 60, 62, 81, 115, 386, 456, 457})


class ClickHouseSeriesStore:
    """SeriesStore on a server. Use it from any thread."""

    def __init__(self, url: str, database: str = "default", *, credentials_file: Path | None = None) -> None:
        auth = _read_credentials(credentials_file) if credentials_file else None
        self._url = url.rstrip("/") + "/"
        always = {"database": database, "prefer_column_name_to_alias": "1"}
        self._http = httpx.Client(auth=auth, timeout=TIMEOUT_SECONDS, params=always)

    def migrate(self) -> list[str]:
        """See SeriesStore."""
        return migrations.apply(self.query)

    def insert(self, kind: Kind, table: pa.Table) -> None:
        """See SeriesStore."""
        self._insert(TABLES[kind], ready_to_store(kind, table))

    def insert_derived(self, table_name: str, table: pa.Table) -> None:
        """See SeriesStore."""
        self._insert(table_name, derived_ready(table_name, table))

    def known_batches(self, kind: Kind, ids: Collection[str], within: TimeRange | None = None) -> set[str]:
        """See SeriesStore."""
        if not ids:
            return set()
        sql, parameters = known_batches_query(kind, ids, within)
        return set(self.query(sql, parameters)["batch_id"].to_pylist())

    def query(self, sql: str, parameters: Parameters | None = None) -> pa.Table:
        """See SeriesStore."""
        values = {f"param_{name}": text for name, text in as_text(parameters).items()}
        answer = self._post(sql.encode(), {**values, "default_format": "ArrowStream"}, sql)
        return pa.ipc.open_stream(answer).read_all() if answer else pa.table({})

    def close(self) -> None:
        """See SeriesStore."""
        self._http.close()

    def _insert(self, name: str, table: pa.Table) -> None:
        if not table.num_rows:
            return
        columns = ", ".join(f"`{column}`" for column in table.schema.names)
        sql = f"INSERT INTO {name} ({columns}) FORMAT ArrowStream"
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
            writer.write_table(table)
        # `wait_end_of_query` makes the status line say whether all rows are in.
        self._post(sink.getvalue().to_pybytes(), {"query": sql, "wait_end_of_query": "1"}, sql)

    def _post(self, body: bytes, parameters: dict[str, Any], sql: str) -> bytes:
        try:
            answer = self._http.post(self._url, params=parameters, content=body)
        except (httpx.HTTPError, RuntimeError) as error:
            raise UnavailableError(
                f"ClickHouse does not answer: {error}", where=self._url, next_step="check that the server runs there"
            ) from error
        if answer.is_success:
            return answer.content
        message = answer.text.splitlines()[0][:400] if answer.text else f"HTTP {answer.status_code}"
        code = _CODE.search(message)
        if code is not None and int(code.group(1)) in _WRONG_STATEMENT:
            raise InvalidInputError(f"ClickHouse refused a statement: {message}", where=" ".join(sql.split())[:120])
        raise UnavailableError(f"ClickHouse did not do it: {message}", where=self._url, next_step="see its log")


def _read_credentials(file: Path) -> tuple[str, str]:
    try:
        user, colon, password = file.read_text(encoding="utf-8").strip().partition(":")
    except OSError as error:
        raise InvalidInputError(f"cannot be read: {error.strerror}", where=str(file)) from error
    if not colon:
        raise InvalidInputError("no password", where=str(file), next_step="write one line, user:password")
    return user, password
