"""tools/orchestrator_power_scheduler.py as a program of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from api.simulator import ADVICE, BATCH, POLL, Simulator

TOOL = Path(__file__).parents[2] / "tools" / "orchestrator_power_scheduler.py"


def run(url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, TOOL, "--url", url, *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def test_a_dry_run_is_the_default_and_changes_nothing(server: str, plane: Simulator) -> None:
    said = run(server)
    assert said.returncode == 0, said.stderr
    assert f"would carry out {BATCH}" in said.stdout
    assert plane.log == []


def test_execute_carries_out_the_best_once_and_waits_for_its_outcome(server: str, plane: Simulator) -> None:
    approve = plane.approve

    def and_go_on(tenant: str, key: str, actor: str) -> object:
        row = approve(tenant, key, actor)
        threading.Timer(0.1, finish, (plane, str(row.rollout_id))).start()
        return row

    plane.approve = and_go_on  # type: ignore[assignment,method-assign]
    said = run(server, "--execute", "--output", "json")
    assert said.returncode == 0, said.stderr
    body = json.loads(said.stdout)
    assert (body["picked"], body["phase"]) == (BATCH, "Successful")
    assert [entry.subject for entry in plane.log] == [BATCH]


def finish(plane: Simulator, rollout: str) -> None:
    while plane.advance(rollout).phase == "Running":
        pass


def test_a_chosen_one_is_shown_by_the_start_of_its_id(server: str) -> None:
    assert json.loads(run(server, "--id", "0190a1c3", "--output", "json").stdout)["picked"] == POLL


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["--execute", "--id", ADVICE], 4), (["--id", "zzz"], 5), (["--execute", "--id", "0190"], 2)],
)
def test_what_cannot_be_executed_leaves_with_its_code(
    server: str, plane: Simulator, arguments: list[str], code: int
) -> None:
    said = run(server, *arguments)
    assert said.returncode == code, said.stderr
    assert "Next:" in said.stderr
    assert "Traceback" not in said.stderr
    assert plane.running == {}


def test_nothing_to_execute_is_a_negative_answer(server: str, plane: Simulator) -> None:
    for key in (BATCH, POLL):
        plane.refuse("local", key, "test", "no")
    assert run(server).returncode == 0
    assert run(server, "--execute").returncode == 1
