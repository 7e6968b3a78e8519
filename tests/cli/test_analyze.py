"""`eo analyze` on simulated telemetry: figures for people and for programs; a store that can't be is an error."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from benchmarks.simulated_telemetry import last_hour

from energy_orchestrator.cli import main

NODES = 40
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("given", [[], ["--series-folder", "x", "--series-url", "http://127.0.0.1:1"]])
def test_one_store_must_be_named(given: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["analyze", *given])
    assert left.value.code == 2
    assert "either --series-url or --series-folder" in capsys.readouterr().err


def test_a_server_that_is_not_there_is_an_error_that_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["analyze", "--series-url", "http://127.0.0.1:1"])
    assert left.value.code == 3
    assert "does not answer" in capsys.readouterr().err


@pytest.mark.slow
def test_an_hour_of_a_small_fleet(tmp_path: Path) -> None:
    """In processes of their own: chDB belongs to one."""
    start, folder = last_hour(), str(tmp_path / "series")
    simulate = ["-m", "benchmarks.simulated_telemetry", folder, "--nodes", str(NODES), "--start", start.isoformat()]
    subprocess.run([sys.executable, *simulate], check=True, capture_output=True, cwd=ROOT)
    end = (start + timedelta(minutes=30)).replace(tzinfo=None).isoformat()
    command = [sys.executable, "-m", "energy_orchestrator.cli", "analyze", "--series-folder", folder, "--end", end]
    command += ["--hours", "0.5"]
    table = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert f"{NODES * 30:,} node-windows" in table
    found = json.loads(subprocess.run([*command, "-o", "json"], check=True, capture_output=True, text=True).stdout)
    assert found["node_windows"] == NODES * 30
    assert found["costs"]
    assert all(it["joules_per_operation"] > 0 for it in found["costs"])
    assert {it["suggestion_type"] for it in found["recommendations"]} >= {"runtime_flags"}
