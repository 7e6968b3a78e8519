"""chDB: one folder a process, errors that say what to do, a broken disk, data that survives."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from energy_orchestrator.errors import ConflictError, UnavailableError
from energy_orchestrator.model.wire import Kind
from energy_orchestrator.store.series.chdb_store import ChdbSeriesStore
from energy_orchestrator.store.series.migrations import Migration, apply
from energy_orchestrator.store.series.rows import fill_lists, stored_schema


def meters(batch_id: str = "b", count: int = 1) -> pa.Table:
    row = {
        "timestamp": datetime.now(UTC), "tenant": "local", "host": "a", "interval_seconds": 1.0, "meter": "rapl",
        "zone": "package-0", "tier": "on_die", "energy_joules": 5.0, "batch_id": batch_id,
    }  # fmt: skip
    return pa.Table.from_pylist([row | {"zone": str(n)} for n in range(count)], schema=stored_schema(Kind.METERS))


def count(store: ChdbSeriesStore) -> int:
    return int(store.query("SELECT count() AS n FROM meter_sample")["n"][0].as_py())


def test_what_was_stored_is_there_after_closing_and_opening(tmp_path: Path) -> None:
    with ChdbSeriesStore(tmp_path / "series") as store:
        assert store.migrate()
        store.insert(Kind.METERS, meters())
    with ChdbSeriesStore(tmp_path / "series") as store:
        assert store.migrate() == []
        assert count(store) == 1
        assert store.known_batches(Kind.METERS, ["b"]) == {"b"}


def test_a_second_folder_in_one_process_is_refused_with_the_way_out(tmp_path: Path) -> None:
    with ChdbSeriesStore(tmp_path / "one"), pytest.raises(ConflictError, match="close that store first"):
        ChdbSeriesStore(tmp_path / "two")


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UnavailableError, match="cannot be opened"):
        ChdbSeriesStore(tmp_path / "file" / "series")


def test_a_closed_store_says_so(tmp_path: Path) -> None:
    store = ChdbSeriesStore(tmp_path / "series")
    store.close()
    store.close()
    with pytest.raises(UnavailableError, match="closed"):
        store.query("SELECT 1")


def test_a_disk_that_is_nearly_full_stores_nothing_and_the_store_goes_on_afterwards(tmp_path: Path) -> None:
    with ChdbSeriesStore(tmp_path / "series") as store:
        store.migrate()
        usual = store.query("SELECT getSetting('min_free_disk_bytes_to_perform_insert') AS n")["n"][0].as_py()
        assert usual == 256 * 2**20
        store.query(f"SET min_free_disk_bytes_to_perform_insert = {2**60}")
        with pytest.raises(UnavailableError, match="disk space"):
            store.insert(Kind.METERS, meters("lost", 1000))
        assert store.known_batches(Kind.METERS, ["lost"]) == set()
        store.query(f"SET min_free_disk_bytes_to_perform_insert = {usual}")
        store.insert(Kind.METERS, meters("kept", 10))
        assert count(store) == 10


def test_memory_settings_are_in_force(tmp_path: Path) -> None:
    with ChdbSeriesStore(tmp_path / "series") as store:
        rows = store.query(
            "SELECT name, value FROM system.server_settings"
            " WHERE name IN ('mark_cache_size', 'max_server_memory_usage')"
            " UNION ALL SELECT name, value FROM system.settings WHERE name IN ('max_threads', 'max_memory_usage')"
        ).to_pylist()
    assert {row["name"]: int(row["value"]) for row in rows} == {
        "mark_cache_size": 32 * 2**20, "max_server_memory_usage": 1100 * 2**20,
        "max_threads": 2, "max_memory_usage": 600 * 2**20,
    }  # fmt: skip


def test_a_migration_is_applied_once_and_may_not_change(tmp_path: Path) -> None:
    first = Migration(
        "0001_a.sql", "-- a table; with a comment\nCREATE TABLE a (x Int64) ENGINE = MergeTree ORDER BY x;"
    )
    second = Migration("0002_b.sql", "ALTER TABLE a ADD COLUMN IF NOT EXISTS y Int64; INSERT INTO a VALUES (1, 2);")
    with ChdbSeriesStore(tmp_path / "series") as store:
        assert apply(store.query, [first]) == ["0001_a.sql"]
        assert apply(store.query, [first, second]) == ["0002_b.sql"]
        assert apply(store.query, [first, second]) == []
        assert store.query("SELECT x, y FROM a").to_pylist() == [{"x": 1, "y": 2}]
        with pytest.raises(ConflictError, match="0001_a"):
            apply(store.query, [Migration("0001_a.sql", "CREATE TABLE other (x Int64) ENGINE = Memory"), second])


@pytest.mark.parametrize("start", [0, 1])
def test_null_lists_become_empty_ones_wherever_their_offsets_point(start: int) -> None:
    tidy = pa.array([["a"], None, ["b", "c"], None])[start:]
    untidy = pa.ListArray.from_arrays(
        pa.array([0, 1, 2, 4], pa.int32()), pa.array(["a", "ghost", "b", "c"]), mask=pa.array([False, True, False])
    )[start:]
    for lists in (tidy, untidy):
        filled = fill_lists(pa.table({"x": lists}))
        assert filled["x"].to_pylist() == [item or [] for item in lists.to_pylist()]
