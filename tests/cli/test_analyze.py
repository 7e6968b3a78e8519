"""`eo analyze` on simulated telemetry: figures for people and for programs; a store that can't be is an error."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from benchmarks.series_server import serving
from benchmarks.simulated_telemetry import Fleet, last_hour, write

from energy_orchestrator.cli import main
from energy_orchestrator.services.fleet_analysis import Place
from energy_orchestrator.store.records.database import Database
from records.shared import new_url

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


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--worker", "2"], "is not K/N"),
        (["--worker", "2/2"], "worker 2 of 2"),
        (["--worker", "0/2", "--workers", "3"], "one process that asks a server"),
    ],
)
def test_a_wrong_worker_is_an_error_that_says_what_to_write(
    given: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main(["analyze", "--series-url", "http://127.0.0.1:1", *given])
    assert left.value.code == 2
    error = capsys.readouterr().err
    assert said in error
    assert "Next:" in error


@pytest.mark.slow
def test_two_workers_that_know_nothing_of_each_other_keep_what_they_advise(tmp_path: Path) -> None:
    """Two commands at once, as on two machines, and one more look at their records."""
    start, url_file = last_hour(), tmp_path / "records.url"
    url_file.write_text(new_url())
    end = (start + timedelta(minutes=6)).replace(tzinfo=None).isoformat()
    with serving(tmp_path / "series") as (url, _):
        with Place(url=url).open() as store:
            write(store, Fleet(nodes=12, start=start, containers=30, minutes=6))
        command = [sys.executable, "-m", "energy_orchestrator.cli", "analyze", "--series-url", url, "--end", end]
        command += ["--hours", "0.1", "-o", "json"]
        team = [
            subprocess.Popen(
                [*command, "--worker", f"{number}/2", "--records", str(url_file)], stdout=subprocess.PIPE, text=True
            )
            for number in range(2)
        ]
        parts = [json.loads(worker.communicate(timeout=300)[0]) for worker in team]
        whole = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert [worker.returncode for worker in team] == [0, 0]
    assert sum(it["node_windows"] for it in parts) == whole["node_windows"] == 12 * 6
    assert sum(len(it["costs"]) for it in parts) == len(whole["costs"])
    assert sum(it["kept"] for it in parts) >= len(whole["recommendations"]) > 0
    assert whole["kept"] is None
    database = Database(url_file.read_text(), pool_size=1)
    database.open()
    with database.transaction() as connection:
        kept = connection.execute("SELECT target FROM recommendation WHERE expires_at > now()").fetchall()
    database.close()
    assert sorted(it["target"] for it in kept) == sorted(it["target"]["workload"] for it in whole["recommendations"])


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
