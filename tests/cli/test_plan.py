"""`eo recommendations plan --fleet FILE`: every kind on the example, and clear errors on wrong files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from energy_orchestrator.cli import main
from energy_orchestrator.model.recommendation import SuggestionType
from energy_orchestrator.recommend.catalogue import EXECUTED, FROM_FILES, STRATEGIES

EXAMPLE = Path(__file__).parents[2] / "examples/fleet/fleet.json"


HUGE = {
    "node": "a", "provider": "aws", "instance_type": "m9.huge", "cpu_cores_p95": 1, "mean_cores": 1, "memory_gb_max": 1,
}  # fmt: skip
UPSIDE_DOWN = {"name": "n", "cpu_cores": 4, "memory_gb": 8, "idle_watts": 90, "full_watts": 50}


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stopped:
        main(["recommendations", "plan", *arguments])
    printed = capsys.readouterr()
    return int(stopped.value.code or 0), printed.out, printed.err


def test_every_kind_has_a_strategy_and_the_example_shows_all_that_come_from_files(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert set(SuggestionType) == {kind for _, kind in STRATEGIES.values()} | set(FROM_FILES.values())
    code, out, _ = run(capsys, "--fleet", str(EXAMPLE), "-o", "json", "--seconds", "1")
    assert code == 0
    found = json.loads(out)
    assert {it["suggestion_type"] for it in found["recommendations"]} == {kind.value for kind in FROM_FILES.values()}
    assert all(it["advisory"] for it in found["recommendations"])
    assert {"placement", "power_cap"}.isdisjoint({kind.value for kind in EXECUTED})
    slept = [name for it in found["recommendations"] for name in it["change"]["patch"].get("sleep", [])]
    assert len(slept) == len(set(slept)) >= 2


def test_the_table_says_who_has_to_do_it(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "--fleet", str(EXAMPLE), "--seconds", "1", "--moves-per-day", "0")
    assert code == 0
    assert "a person" in out
    assert "Withheld: placement" in out
    assert "0 of 0 a day are left" in out


def changed(tmp_path: Path, **change: Any) -> str:
    file = tmp_path / "fleet.json"
    file.write_text(json.dumps(json.loads(EXAMPLE.read_text()) | change))
    return str(file)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"nodes": []}, "workloads.web.on: no such node: node-1"),
        ({"forecast": None}, "jobs: they need a `forecast`"),
        ({"cpu_headroom": 1.5}, "cpu_headroom"),
        ({"surprise": 1}, "surprise"),
        ({"instances": [HUGE]}, "m9.huge is not in the catalogue"),
        ({"nodes": [UPSIDE_DOWN]}, "full_watts: less than idle_watts"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_an_error_that_names_the_field(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any], said: str
) -> None:
    code, out, error = run(capsys, "--fleet", changed(tmp_path, **change))
    assert (code, out) == (2, "")
    assert said in error
    assert "Next:" in error


@pytest.mark.parametrize("text", ["{", "[1, 2]", ""])
def test_a_file_that_is_no_fleet_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    file = tmp_path / "f.json"
    file.write_text(text)
    code, _, error = run(capsys, "--fleet", str(file))
    assert code == 2
    assert str(file) in error


def test_a_missing_file_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "--fleet", str(tmp_path / "no.json"))[0] == 2


def test_nodes_that_may_not_sleep_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nodes = [node | {"may_sleep": False} for node in json.loads(EXAMPLE.read_text())["nodes"]]
    _, out, _ = run(capsys, "--fleet", changed(tmp_path, nodes=nodes), "--seconds", "1")
    assert "no node has `may_sleep: true`" in out
