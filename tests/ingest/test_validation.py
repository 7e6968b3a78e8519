"""Every way in which a batch can break the contract has its reason, and nothing else comes out."""

from __future__ import annotations

import struct
from datetime import timedelta

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from energy_orchestrator.ingest.validation import InvalidBatch, Reason, ValidBatch, validate
from energy_orchestrator.model.wire import MAX_MESSAGE_BYTES, MAX_ROWS, Kind, arrow_schema

from .rows import NOW, message, raw, table

SUBJECT = "eo.v1.local.node_a.samples"


def reason_of(data: bytes, subject: str = SUBJECT) -> Reason:
    with pytest.raises(InvalidBatch) as refused:
        validate(subject, data, now=NOW)
    assert refused.value.what
    assert refused.value.next_step
    return refused.value.reason


def replaced(name: str, column: pa.Array, *, nullable: bool = True) -> bytes:
    rows = table(Kind.SAMPLES)
    index = rows.schema.get_field_index(name)
    return raw(rows.set_column(index, pa.field(name, column.type, nullable), column))


@pytest.mark.parametrize("kind", Kind)
def test_a_batch_of_the_contract_comes_out_as_it_went_in(kind: Kind) -> None:
    sent = message(kind, 5)
    batch = validate(sent.subject, sent.data, now=NOW)
    assert (batch.kind, batch.batch_id, batch.tenant, batch.host) == (kind, sent.batch_id, "local", "node.a")
    assert batch.rows.schema.equals(arrow_schema(kind))
    assert pa.Table.from_batches([batch.rows]).equals(table(kind, 5))
    assert (batch.first, batch.last, batch.dropped_columns) == (NOW, NOW, ())


def test_nullable_columns_may_be_null() -> None:
    schema = arrow_schema(Kind.SAMPLES)
    empty = {field.name: None for field in schema if field.nullable}
    sent = message(Kind.SAMPLES, **empty)
    assert validate(sent.subject, sent.data, now=NOW).rows.column("tier").null_count == 3


@pytest.mark.parametrize("subject", ["", "eo.v1.local.a", "eo.v2.local.a.samples", "eo.v1.a.b.c.samples", "x" * 900])
def test_a_subject_that_is_none_of_ours(subject: str) -> None:
    assert reason_of(message(Kind.SAMPLES).data, subject) is Reason.SUBJECT


@pytest.mark.parametrize(
    ("data", "subject", "reason"),
    [
        (message(Kind.METERS).data, SUBJECT, Reason.KIND),
        (message(Kind.SAMPLES).data, "eo.v1.local.node_a.recipes", Reason.KIND),
        (raw(table(Kind.SAMPLES), version="2"), SUBJECT, Reason.VERSION),
        (raw(table(Kind.SAMPLES), batch_id="seven"), SUBJECT, Reason.BATCH_ID),
        (b"", SUBJECT, Reason.NOT_ARROW),
        (b"hello, world, this is no Arrow", SUBJECT, Reason.NOT_ARROW),
        (message(Kind.SAMPLES).data[:-200], SUBJECT, Reason.NOT_ARROW),
        (message(Kind.SAMPLES).data, "eo.v1.acme.node_a.samples", Reason.TENANT),
        (message(Kind.SAMPLES).data, "eo.v1.local.node_b.samples", Reason.HOST),
        (raw(table(Kind.SAMPLES, 0)), SUBJECT, Reason.EMPTY),
        (b"\0" * (MAX_MESSAGE_BYTES + 1), SUBJECT, Reason.TOO_LARGE),
    ],
)
def test_envelope_faults(data: bytes, subject: str, reason: Reason) -> None:
    assert reason_of(data, subject) is reason


def test_a_stream_of_two_batches_is_refused() -> None:
    rows = table(Kind.SAMPLES)
    sink = pa.BufferOutputStream()
    schema = rows.schema.with_metadata({"eo.kind": "samples", "eo.version": "1", "eo.batch_id": "0" * 32})
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_table(rows)
        writer.write_table(rows)
    assert reason_of(sink.getvalue().to_pybytes()) is Reason.NOT_ARROW


def test_two_tenants_in_one_batch_are_refused() -> None:
    mixed = pa.concat_tables([table(Kind.SAMPLES), table(Kind.SAMPLES, tenant="acme")])
    assert reason_of(raw(mixed)) is Reason.TENANT


def test_a_tenant_that_a_subject_would_alter_cannot_pass_for_another() -> None:
    data = raw(table(Kind.SAMPLES, tenant="a.b"))
    assert reason_of(data, "eo.v1.a_b.node_a.samples") is Reason.TENANT


def test_column_faults() -> None:
    rows = table(Kind.SAMPLES)
    assert reason_of(raw(rows.drop_columns(["threads"]))) is Reason.COLUMNS
    assert reason_of(raw(rows.select(rows.schema.names[::-1]))) is Reason.COLUMNS
    wrong_type = replaced("threads", pa.array([1.0, 2.0, 3.0]))
    assert reason_of(wrong_type) is Reason.TYPE
    dictionary = replaced("command", pa.array(["a", "b", "a"]).dictionary_encode())
    assert reason_of(dictionary) is Reason.TYPE
    required = rows.append_column(pa.field("extra", pa.int64(), nullable=False), pa.array([1, 2, 3]))
    assert reason_of(raw(required)) is Reason.COLUMNS
    exotic = rows.append_column("extra", pa.array([{"a": 1}] * 3))
    assert reason_of(raw(exotic)) is Reason.TYPE


def test_a_newer_agents_columns_are_dropped_and_named() -> None:
    rows = table(Kind.SAMPLES).append_column("swap_bytes", pa.array([1, None, 3]))
    batch = validate(SUBJECT, raw(rows), now=NOW)
    assert batch.dropped_columns == ("swap_bytes",)
    assert batch.rows.schema.equals(arrow_schema(Kind.SAMPLES))


@pytest.mark.parametrize("name", [field.name for field in arrow_schema(Kind.SAMPLES) if not field.nullable])
def test_null_in_a_required_column(name: str) -> None:
    rows = table(Kind.SAMPLES)
    column = pa.array([rows[name][0].as_py(), None, rows[name][2].as_py()], rows[name].type)
    assert reason_of(replaced(name, column)) is Reason.NULL


def test_null_inside_a_list() -> None:
    assert reason_of(replaced("hotspot_functions", pa.array([["a", None], [], None]))) is Reason.NULL


@pytest.mark.parametrize(
    ("age", "accepted"),
    [
        (timedelta(0), True),
        (timedelta(minutes=-5), True),
        (timedelta(minutes=-5, milliseconds=-1), False),
        (timedelta(hours=48), True),
        (timedelta(hours=48, milliseconds=1), False),
        (timedelta(days=-20_000), False),
        (timedelta(days=20_000), False),
    ],
)
def test_timestamps_have_to_be_of_the_last_two_days(age: timedelta, accepted: bool) -> None:
    sent = message(Kind.METERS, at=NOW - age)
    if accepted:
        assert validate(sent.subject, sent.data, now=NOW).first == NOW - age
    else:
        assert reason_of(sent.data, sent.subject) is Reason.TIME


@pytest.mark.parametrize("extreme", [2**63 - 1, -(2**63)])
def test_a_timestamp_that_no_calendar_has(extreme: int) -> None:
    column = pa.array([extreme] * 3).cast(pa.timestamp("ms", "UTC"))
    assert reason_of(replaced("timestamp", column, nullable=False)) is Reason.TIME


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), -0.001])
@pytest.mark.parametrize("column", ["cpu_seconds", "interval_seconds", "node_power_watts"])
def test_values_that_cannot_be(column: str, value: float) -> None:
    sent = message(Kind.SAMPLES, **{column: value})
    assert reason_of(sent.data, sent.subject) is Reason.VALUE


def test_great_values_and_frost_are_no_fault() -> None:
    sent = message(Kind.SAMPLES, cpu_seconds=1.7e308, temp_c=-20.0)
    assert validate(sent.subject, sent.data, now=NOW).rows.num_rows == 3


def test_an_invented_tier() -> None:
    sent = message(Kind.SAMPLES, tier="guess")
    assert reason_of(sent.data, sent.subject) is Reason.VALUE


def test_too_many_rows() -> None:
    one = table(Kind.OPERATIONS, 1)
    many = one.take(pa.array([0] * (MAX_ROWS + 1)))
    assert reason_of(raw(many, Kind.OPERATIONS), "eo.v1.local.node_a.operations") is Reason.TOO_LARGE


def test_a_small_message_that_unpacks_to_much_is_refused() -> None:
    bomb = raw(table(Kind.SAMPLES, 3, command="a" * 8_000_000))
    assert len(bomb) < 100_000
    assert reason_of(bomb) is Reason.TOO_LARGE


def test_a_buffer_that_claims_terabytes_is_refused_before_memory_is_taken() -> None:
    data = bytearray(message(Kind.SAMPLES, 2000).data)
    claim = struct.pack("<q", 2000 * 8)
    at = data.find(claim, 4096)
    assert at > 0
    data[at : at + 8] = struct.pack("<q", 2**45)
    assert reason_of(bytes(data)) is Reason.TOO_LARGE


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=400), st.text(max_size=40))
def test_arbitrary_bytes_and_subjects_are_refused_and_never_break_it(data: bytes, subject: str) -> None:
    for where in (SUBJECT, subject):
        with pytest.raises(InvalidBatch):
            validate(where, data, now=NOW)


WHOLE = {kind: message(kind, 20) for kind in Kind}


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from(Kind),
    st.lists(st.tuples(st.integers(0, 2**20), st.integers(0, 255)), min_size=1, max_size=6),
    st.integers(0, 200),
)
def test_a_damaged_message_is_refused_or_still_keeps_the_contract(
    kind: Kind, damage: list[tuple[int, int]], cut: int
) -> None:
    data = bytearray(WHOLE[kind].data)
    for at, value in damage:
        data[at % len(data)] = value
    if cut < 40:
        del data[len(data) - cut :]
    try:
        batch = validate(WHOLE[kind].subject, bytes(data), now=NOW)
    except InvalidBatch:
        return
    assert isinstance(batch, ValidBatch)
    assert batch.rows.schema.equals(arrow_schema(kind))
    batch.rows.validate(full=True)
