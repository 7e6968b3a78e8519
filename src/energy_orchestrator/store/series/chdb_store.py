"""Series in ClickHouse inside this process (chDB): the embedded default, the same SQL as a server.

A folder belongs to one process, and a process to one folder: opening a second one is refused by the engine. One
lock lets one statement in at a time. On a small machine that costs nothing (a statement may use both CPUs) and it
bounds memory: the limits below hold for a statement, and two at once would need twice as much.

ClickHouse's defaults are for servers with tens of gigabytes (5 GB for marks alone); `_STARTUP` and `_SESSION` bring
them down so that the whole embedded stack stays under 1.5 GB.

chDB 26.9 does not report a write that fails half way (found with RLIMIT_FSIZE: the part is truncated, the insert
returns, the part is set aside when the folder is next opened). So an insert is refused while the disk still has
room for a whole gather and its merges: `min_free_disk_bytes_to_perform_insert`.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Collection, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
from chdb import ChdbError, session

from energy_orchestrator.errors import ConflictError, EoError, InvalidInputError, UnavailableError
from energy_orchestrator.model.wire import Kind
from energy_orchestrator.store.series import migrations
from energy_orchestrator.store.series.parameters import as_text
from energy_orchestrator.store.series.port import TABLES, Parameters, TimeRange
from energy_orchestrator.store.series.rows import derived_ready, ready_to_store
from energy_orchestrator.store.series.statements import insert_from, known_batches_query

_MIB = 2**20
_STARTUP = {
    "max_server_memory_usage": 1100 * _MIB,
    "mark_cache_size": 32 * _MIB,
    "primary_index_cache_size": 32 * _MIB,
    "index_mark_cache_size": 8 * _MIB,
    "query_condition_cache_size": 8 * _MIB,
    "compiled_expression_cache_size": 16 * _MIB,
    "max_thread_pool_size": 128,
    "max_io_thread_pool_size": 16,
    "background_schedule_pool_size": 2,
}
_SESSION = {
    "max_threads": 2,
    # `sum(x) AS x` means the column inside, as in every other SQL.
    "prefer_column_name_to_alias": 1,
    "max_insert_threads": 1,
    "max_memory_usage": 600 * _MIB,
    "max_bytes_before_external_group_by": 200 * _MIB,
    "max_bytes_before_external_sort": 200 * _MIB,
    "min_free_disk_bytes_to_perform_insert": 256 * _MIB,
}
# Error codes of ClickHouse that say "not now" (src/Common/ErrorCodes.cpp): time, memory, disk, files, parts.
_NOT_NOW = frozenset({74, 75, 76, 87, 159, 173, 202, 209, 210, 236, 241, 243, 252, 319, 394, 425, 439, 498, 999, 1001})
_CODE = re.compile(r"Code: (\d+)")


class ChdbSeriesStore:
    """SeriesStore in a folder. Use it from any thread; close it before the folder is opened again."""

    def __init__(self, folder: Path) -> None:
        self._where = str(folder)
        self._lock = threading.Lock()
        self._session: Any = None
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            options = "&".join(f"{name}={value}" for name, value in _STARTUP.items())
            self._session = _open(f"{folder}?{options}")
            self._session.query("SET " + ", ".join(f"{name} = {value}" for name, value in _SESSION.items()))
        except (RuntimeError, ChdbError, OSError) as error:
            self.close()
            raise _cannot_open(folder, error) from error

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
        answer = self.answer(sql, as_text(parameters))
        return pa.ipc.open_stream(answer).read_all() if answer else pa.table({})

    def answer(self, sql: str, texts: Mapping[str, str]) -> bytes:
        """An Arrow stream, as the engine gives it. `texts` are parameters in the form that the engine reads."""
        with self._lock:
            return self._run(sql, dict(texts))

    def close(self) -> None:
        """See SeriesStore."""
        with self._lock:
            if self._session is not None:
                self._session.close()
                self._session = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _insert(self, name: str, incoming: pa.Table) -> None:
        if not incoming.num_rows:
            return
        with self._lock:
            self._run(insert_from("Python(incoming)", name, incoming.schema.names), {}, incoming)

    # chDB finds what `Python(incoming)` means by looking for a variable of that name in the frames above it.
    def _run(self, sql: str, parameters: dict[str, str], incoming: pa.Table | None = None) -> bytes:  # noqa: ARG002
        if self._session is None:
            raise UnavailableError("the series store is closed", where=self._where, next_step="open it again")
        try:
            answer = self._session.query(sql, "ArrowStream", params=parameters or None)
            return bytes(answer.bytes() or b"")
        except (ChdbError, RuntimeError) as error:
            raise _readable(str(error), sql, self._where) from error


def _open(connection: str) -> Any:
    make: Any = session.Session  # published without types
    return make(connection)


def _readable(message: str, sql: str, where: str) -> EoError:
    code = _CODE.search(message)
    first_line = message.splitlines()[0][:400] if message else "no message"
    if code is None or int(code.group(1)) in _NOT_NOW:
        return UnavailableError(
            f"the series store did not do it: {first_line}",
            where=where,
            next_step="check the disk space and its folder",
        )
    return InvalidInputError(f"the series store refused a statement: {first_line}", where=" ".join(sql.split())[:120])


def _cannot_open(folder: Path, error: Exception) -> EoError:
    text = str(error)
    if "already initialized with path" in text:
        return ConflictError(
            "this process has another series folder open",
            where=str(folder),
            next_step="close that store first; chDB serves one folder a process",
        )
    return UnavailableError(
        f"the series store cannot be opened: {text.splitlines()[0][:300] if text else error!r}",
        where=str(folder),
        next_step="check that the folder can be written and that no other process has it open",
    )
