"""`eo recommendations plan` knows what was done before: from the fleet file's `changes`, and from the records."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from energy_orchestrator.cli import main
from energy_orchestrator.model.fleet import PastChange
from energy_orchestrator.model.recommendation import SuggestionType
from energy_orchestrator.model.units import Bounded
from energy_orchestrator.services.past import Past, recorded, told
from energy_orchestrator.store.records import outcomes, recommendations, rollouts
from energy_orchestrator.store.records.database import Database
from records.examples import advice, rollout_of
from records.shared import new_url

EXAMPLE = Path(__file__).parents[2] / "examples/fleet/fleet.json"
NOW = datetime.now(UTC)


def plan(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], *arguments: str, **change: Any
) -> tuple[int, dict[str, Any], str]:
    file = tmp_path / "fleet.json"
    file.write_text(json.dumps(json.loads(EXAMPLE.read_text()) | change))
    with pytest.raises(SystemExit) as stopped:
        main(["recommendations", "plan", "--fleet", str(file), "-o", "json", "--seconds", "1", *arguments])
    said = capsys.readouterr()
    return int(stopped.value.code or 0), json.loads(said.out or "{}"), said.err


def of(found: dict[str, Any], kind: str) -> dict[str, Any]:
    both = [*found["recommendations"], *found["withheld"]]
    return next(it for it in both if it["suggestion_type"] == kind)


def ago(hours: float) -> str:
    return (NOW - timedelta(hours=hours)).isoformat()


def test_what_was_changed_within_the_cool_down_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = [{"at": ago(2), "what": ["inference"]}]
    _, found, _ = plan(tmp_path, capsys, "--cool-down-hours", "3", changes=changes)
    assert "inference was changed at" in of(found, "batching")["reason"]
    _, found, _ = plan(tmp_path, capsys, changes=changes)
    assert "reason" not in of(found, "batching")


def test_moves_of_the_last_day_count_against_those_of_today(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, free, _ = plan(tmp_path, capsys)
    moves = len(of(free, "placement")["change"]["patch"]["moves"])
    assert moves
    changes = [{"at": ago(hours), "what": ["other"], "moves": 10} for hours in (5, 30)]
    limit = ("--moves-per-day", str(10 + moves - 1))
    _, found, _ = plan(tmp_path, capsys, *limit, changes=changes)
    assert f"{moves - 1} of {10 + moves - 1} a day are left" in of(found, "placement")["reason"]
    _, found, _ = plan(tmp_path, capsys, *limit, changes=changes[1:])
    assert "reason" not in of(found, "placement")


def test_results_of_past_changes_correct_the_saving_and_the_confidence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, before, _ = plan(tmp_path, capsys)
    tries = [{"at": ago(40), "what": ["x"], "suggestion_type": "power_cap", "reverted": True}] * 4
    _, after, _ = plan(tmp_path, capsys, changes=tries)
    one, other = of(before, "power_cap"), of(after, "power_cap")
    assert other["confidence"] < one["confidence"] / 2
    assert other["expected_savings_j"]["lower"] == 0
    assert "0 of 4 such changes saved energy here" in other["confidence_reason"]
    for name in ("confidence", "expected_savings_j", "rank_score"):
        assert of(before, "batching")[name] == of(after, "batching")[name]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"at": "2026-11-01T00:00:00Z", "what": []}, "changes.0.what"),
        ({"at": "2026-11-01T00:00:00", "what": ["a"]}, "changes.0.at"),
        ({"at": "2026-11-01T00:00:00Z", "what": ["a"], "saved_share": 0.1}, "suggestion_type"),
        (
            {"at": "2026-11-01T00:00:00Z", "what": ["a"], "suggestion_type": "image", "saved_share": 0.1,
             "reverted": True},
            "saved_share",
        ),
    ],
)  # fmt: skip
def test_a_wrong_change_is_an_error_that_names_the_field(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any], said: str
) -> None:
    code, found, error = plan(tmp_path, capsys, changes=[change])
    assert (code, found) == (2, {})
    assert said in error


@pytest.fixture
def url_file(tmp_path: Path) -> Path:
    """Records of one changed workload, `inference`, whose change held, and the file with their address."""
    file = tmp_path / "records.url"
    file.write_text(new_url())
    database = Database(file.read_text(), pool_size=1)
    database.open()
    one = advice(workload="inference", at=NOW)
    rollout = rollout_of(one, NOW - timedelta(minutes=10))
    with database.transaction() as connection:
        recommendations.upsert_found(connection, one, NOW)
        rollouts.insert(connection, rollout)
        outcomes.add(connection, one, "successful", Bounded(0.4, 0.3, 0.5), NOW)
    past = recorded(database, ["local"], NOW)
    assert past.changed_at == {"inference": NOW}
    assert [it.saved_share for it in past.playbook("local", "batching")] == [0.4]
    assert recorded(database, ["other"], NOW).changed_at == {}
    database.close()
    return file


def test_the_records_are_read_where_they_are_named(
    tmp_path: Path, url_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, found, _ = plan(tmp_path, capsys, "--records", str(url_file))
    told_of = of(found, "batching")
    assert "inference was changed at" in told_of["reason"]
    assert "1 of 1 such changes saved energy here" in told_of["confidence_reason"]
    assert "such changes" not in of(found, "power_cap")["confidence_reason"]


@pytest.mark.parametrize(("text", "said"), [(None, "cannot be read"), ("", "no URL"), ("http://x", "no URL")])
def test_records_that_are_not_there_are_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | None, said: str
) -> None:
    file = tmp_path / "url"
    if text is not None:
        file.write_text(text)
    code, _, error = plan(tmp_path, capsys, "--records", str(file))
    assert code == 2
    assert said in error
    assert str(file) in error
    assert "Next:" in error


def test_a_file_adds_to_what_the_records_know() -> None:
    known = told([PastChange(at=NOW, what=("a", "b"), moves=2)], "local", NOW, Past())
    later = NOW + timedelta(hours=1)
    kind = SuggestionType.IMAGE
    more = PastChange(at=later, what=("a",), moves=3, suggestion_type=kind, saved_share=0.2, claimed_confidence=0.9)
    both = told([more], "local", later, known)
    assert both.changed_at == {"a": later, "b": NOW}
    assert both.moved_today == 5
    assert [it.saved_share for it in both.playbook("local", "image")] == [0.2]
    assert both.record("local", "image") == [(0.9, True)]
    assert both.playbook("local", "batching") == both.playbook("other", "image") == ()
