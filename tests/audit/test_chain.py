"""Every kind of tampering is found, whatever the entry."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energy_orchestrator.audit.chain import verify
from energy_orchestrator.model.audit_record import GENESIS, AuditRecord, Head, next_record

NOW = datetime(2026, 11, 23, tzinfo=UTC)
BODY = st.dictionaries(
    st.text(max_size=5),
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
)


def log_of(bodies: list[dict[str, object]]) -> list[AuditRecord]:
    head, made = Head(), []
    for body in bodies:
        made.append(next_record(head, NOW, tenant="local", actor="ada", action="pause", subject="pause/1", body=body))
        head = Head(made[-1].sequence, made[-1].hash)
    return made


def head_of(log: list[AuditRecord]) -> dict[str, Head]:
    return {"database": Head(log[-1].sequence, log[-1].hash) if log else Head()}


LOG = log_of([{"n": n} for n in range(6)])


@given(st.lists(BODY, max_size=6))
def test_an_untouched_log_is_unbroken(bodies: list[dict[str, object]]) -> None:
    log = log_of(bodies)
    found = verify(log, head_of(log))
    assert (found.ok, found.entries, found.first_bad_sequence) == (True, len(log), None)


def test_an_empty_log_is_unbroken() -> None:
    assert verify([], {"database": Head()}).head == GENESIS


CHANGES = {
    "sequence": 99,
    "at": "2020-01-01T00:00:00.000+00:00",
    "tenant": "other",
    "actor": "mallory",
    "action": "resume",
    "subject": "pause/2",
    "body": {"n": -1},
    "previous_hash": "f" * 64,
    "hash": "f" * 64,
}


@pytest.mark.parametrize("position", range(6))
@pytest.mark.parametrize("name", [field for field in AuditRecord.__dataclass_fields__])
def test_a_changed_field_is_found_and_named(name: str, position: int) -> None:
    log = list(LOG)
    log[position] = replace(log[position], **{name: CHANGES[name]})
    found = verify(log, head_of(LOG))
    assert not found.ok
    assert found.first_bad_sequence == (99 if name == "sequence" else position + 1)


@pytest.mark.parametrize("position", range(6))
def test_a_changed_entry_with_a_mended_hash_is_found(position: int) -> None:
    log = list(LOG)
    changed = replace(log[position], body={"n": -1})
    log[position] = replace(changed, hash=changed.expected_hash())
    assert not verify(log, head_of(LOG)).ok


@pytest.mark.parametrize("position", range(6))
def test_a_missing_entry_is_found(position: int) -> None:
    found = verify(LOG[:position] + LOG[position + 1 :], head_of(LOG))
    assert not found.ok
    assert f"{position + 1}" in found.message or position == 5


@pytest.mark.parametrize("position", range(5))
def test_swapped_entries_are_found(position: int) -> None:
    log = list(LOG)
    log[position], log[position + 1] = log[position + 1], log[position]
    assert not verify(log, head_of(LOG)).ok


@pytest.mark.parametrize("left", range(6))
def test_a_cut_tail_is_found_by_the_head_even_if_the_database_agrees(left: int) -> None:
    cut = LOG[:left]
    assert not verify(cut, head_of(LOG)).ok
    assert not verify(cut, head_of(cut), {"head file": Head(6, LOG[-1].hash)}).ok


def test_a_rewritten_log_is_found_by_an_older_head() -> None:
    forged = log_of([{"n": -n} for n in range(8)])
    assert verify(forged, head_of(forged)).ok  # nobody else knows better
    found = verify(forged, head_of(forged), {"head file": Head(4, LOG[3].hash)})
    assert (found.ok, found.first_bad_sequence) == (False, 4)


def test_an_older_head_of_the_same_log_is_no_fault() -> None:
    assert verify(LOG, head_of(LOG), {"head file": Head(2, LOG[1].hash), "new": Head()}).ok


def test_the_hash_is_that_of_an_rfc_6962_leaf_over_canonical_json() -> None:
    """So that others can check it without this code."""
    entry = LOG[0]
    content = {
        "action": "pause",
        "actor": "ada",
        "at": "2026-11-23T00:00:00.000+00:00",
        "body": {"n": 0},
        "previous_hash": GENESIS,
        "sequence": 1,
        "subject": "pause/1",
        "tenant": "local",
    }
    assert entry.hash == hashlib.sha256(b"\0" + json.dumps(content, separators=(",", ":")).encode()).hexdigest()


def test_numbers_that_json_does_not_have_are_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        log_of([{"watts": float("nan")}])
