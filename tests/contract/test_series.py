"""What the port to the series promises. On chDB always, in the process and, through the adapter for servers, behind
ClickHouse's interface (benchmarks/series_server.py); on a real server where EO_TEST_CLICKHOUSE_URL names an empty one.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from benchmarks.series_server import serving

from energy_orchestrator.errors import InvalidInputError
from energy_orchestrator.model.wire import Kind, arrow_schema
from energy_orchestrator.store.series.chdb_store import ChdbSeriesStore
from energy_orchestrator.store.series.clickhouse_store import ClickHouseSeriesStore
from energy_orchestrator.store.series.migrations import known_migrations
from energy_orchestrator.store.series.port import DERIVED_TABLES, TABLES, SeriesStore, TimeRange
from energy_orchestrator.store.series.rows import stored_schema

URL = os.environ.get("EO_TEST_CLICKHOUSE_URL")
NOW = datetime.now(UTC).replace(microsecond=0)
SERVER = pytest.mark.skipif(URL is None, reason="EO_TEST_CLICKHOUSE_URL names no ClickHouse server")


@pytest.fixture(scope="module", params=["chdb", "served", pytest.param("clickhouse", marks=SERVER)])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeriesStore]:
    made: SeriesStore
    with ExitStack() as stack:
        if request.param == "chdb":
            made = ChdbSeriesStore(tmp_path_factory.mktemp("series"))
        elif request.param == "served":
            url, _ = stack.enter_context(serving(tmp_path_factory.mktemp("served")))
            made = ClickHouseSeriesStore(url)
        else:
            made = ClickHouseSeriesStore(str(URL))
        made.migrate()
        yield made
        made.close()


@pytest.fixture(autouse=True)
def empty(store: SeriesStore) -> None:
    for table in (*TABLES.values(), *DERIVED_TABLES):
        store.query(f"TRUNCATE TABLE {table}")


def rows(kind: Kind, count: int = 4, *, batch_id: str = "b", at: datetime = NOW) -> pa.Table:
    schema = stored_schema(kind)
    made = []
    for number in range(count):
        row: dict[str, object] = {}
        for field in schema:
            row[field.name] = None if field.nullable and number % 2 else _value(field, number)
        made.append(row | {"timestamp": at + timedelta(seconds=number), "batch_id": batch_id})
    return pa.Table.from_pylist(made, schema=schema)


def _value(field: pa.Field, number: int) -> object:
    if pa.types.is_list(field.type):
        return ["main", f"it's\\{number}"]
    if pa.types.is_string(field.type):
        return f"{field.name}'\\\n{number}"
    if pa.types.is_boolean(field.type):
        return True
    return number


@pytest.mark.parametrize("kind", Kind)
def test_what_is_inserted_can_be_queried(store: SeriesStore, kind: Kind) -> None:
    sent = rows(kind)
    store.insert(kind, sent)
    got = store.query(f"SELECT * FROM {TABLES[kind]} ORDER BY timestamp").to_pylist()
    wanted = sent.to_pylist()
    for row in wanted:
        row |= {name: row[name] or [] for name in row if pa.types.is_list(sent.schema.field(name).type)}
    assert got == wanted


@pytest.mark.parametrize("kind", Kind)
def test_tables_carry_the_columns_of_the_wire(store: SeriesStore, kind: Kind) -> None:
    described = store.query(f"DESCRIBE TABLE {TABLES[kind]}").to_pylist()
    columns = {row["name"]: row["type"] for row in described}
    assert [*columns] == [*arrow_schema(kind).names, "batch_id"]
    for field in stored_schema(kind):
        if pa.types.is_list(field.type):
            assert columns[field.name].startswith("Array("), "a list is never Nullable in ClickHouse"
        else:
            assert ("Nullable(" in columns[field.name]) == field.nullable, field.name


@pytest.mark.parametrize("kind", Kind)
def test_types_of_the_tables_are_those_of_the_wire(store: SeriesStore, kind: Kind) -> None:
    got = store.query(f"SELECT * FROM {TABLES[kind]} LIMIT 0").schema
    for field in stored_schema(kind):
        found = got.field(field.name).type
        if pa.types.is_list(field.type):
            assert found.value_type == field.type.value_type
        else:
            assert found == field.type, field.name


def test_migrating_twice_applies_nothing(store: SeriesStore) -> None:
    assert store.migrate() == []
    applied = store.query("SELECT name FROM applied_migration FINAL ORDER BY name")["name"].to_pylist()
    assert applied == [migration.name for migration in known_migrations()]


def test_known_batches_are_those_stored_and_within_the_span(store: SeriesStore) -> None:
    ids = [str(uuid.uuid4()) for _ in range(3)]
    for number, batch_id in enumerate(ids[:2]):
        store.insert(Kind.METERS, rows(Kind.METERS, 1, batch_id=batch_id, at=NOW - timedelta(hours=number)))
    assert store.known_batches(Kind.METERS, ids) == set(ids[:2])
    assert store.known_batches(Kind.METERS, ids, TimeRange(NOW, NOW)) == {ids[0]}
    assert store.known_batches(Kind.SAMPLES, ids) == set()
    assert store.known_batches(Kind.METERS, []) == set()


@pytest.mark.parametrize(
    "text", ["plain", "it's", "back\\slash", "line\nbreak", "tab\t", "\\N", "é☃", "{x:String}", "'; DROP"]
)
def test_a_parameter_is_a_value_whatever_is_in_it(store: SeriesStore, text: str) -> None:
    answer = store.query("SELECT {a:String} AS one, {b:Array(String)} AS many", {"a": text, "b": [text, "x"]})
    assert answer.to_pylist() == [{"one": text, "many": [text, "x"]}]


def test_parameters_of_every_type(store: SeriesStore) -> None:
    answer = store.query(
        "SELECT {i:Int64} AS i, {f:Float64} AS f, {b:Bool} AS b, {n:Nullable(String)} AS n,"
        " {t:DateTime64(3, 'UTC')} AS t, {l:Array(Int64)} AS l",
        {"i": -5, "f": 1e-9, "b": True, "n": None, "t": NOW, "l": [1, 2]},
    )
    assert answer.to_pylist() == [{"i": -5, "f": 1e-9, "b": True, "n": None, "t": NOW, "l": [1, 2]}]


def test_a_parameter_without_a_zone_is_a_mistake(store: SeriesStore) -> None:
    with pytest.raises(InvalidInputError, match="zone"):
        store.query("SELECT {t:DateTime64(3)}", {"t": datetime(2026, 1, 1)})


def test_derived_rows_go_into_derived_tables_only(store: SeriesStore) -> None:
    row = {
        "timestamp": NOW, "tenant": "local", "host": "a", "window_seconds": 5.0, "tier": "model", "node_joules": 100.0,
        "node_joules_lower": 90.0, "node_joules_upper": 110.0, "idle_joules": 60.0, "active_joules": 30.0,
        "unattributed_joules": 10.0, "busy_cpu_seconds": 2.0, "power_source": "estimator",
    }  # fmt: skip
    store.insert_derived("node_energy", pa.Table.from_pylist([row]))
    assert store.query("SELECT * FROM node_energy").to_pylist() == [row]
    with pytest.raises(InvalidInputError, match="derived"):
        store.insert_derived("telemetry_sample", pa.Table.from_pylist([row]))


def test_a_table_of_other_columns_or_with_null_where_none_may_be_is_refused(store: SeriesStore) -> None:
    with pytest.raises(InvalidInputError, match="not those"):
        store.insert(Kind.METERS, rows(Kind.METERS).drop_columns(["zone"]))
    broken = rows(Kind.METERS)
    zone = broken.schema.get_field_index("zone")
    broken = broken.set_column(zone, "zone", pa.array(["a", None, "b", "c"]))
    with pytest.raises(InvalidInputError, match="NULL"):
        store.insert(Kind.METERS, broken)
    assert store.query("SELECT count() AS n FROM meter_sample").to_pylist() == [{"n": 0}]


def test_a_wrong_statement_is_told_with_the_statement(store: SeriesStore) -> None:
    with pytest.raises(InvalidInputError, match="SELECT nothing FROM nowhere"):
        store.query("SELECT nothing FROM nowhere")


def test_a_statement_without_rows_gives_an_empty_table_with_columns(store: SeriesStore) -> None:
    answer = store.query("SELECT host, timestamp FROM meter_sample WHERE host = {h:String}", {"h": "none"})
    assert (answer.num_rows, answer.schema.names) == (0, ["host", "timestamp"])


def test_the_same_rows_twice_are_merged_by_their_key(store: SeriesStore) -> None:
    for _ in range(2):
        store.insert(Kind.SAMPLES, rows(Kind.SAMPLES))
    assert store.query("SELECT count() AS n FROM telemetry_sample FINAL").to_pylist() == [{"n": 4}]


def test_migrations_ship_with_the_package() -> None:
    names = [migration.name for migration in known_migrations()]
    assert names == sorted(names)
    assert "0001_series.sql" in names
