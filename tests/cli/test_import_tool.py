"""tools/import_benchmark_runs_log_to_db.py as a program of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from api.simulator import Simulator

TOOL = Path(__file__).parents[2] / "tools" / "import_benchmark_runs_log_to_db.py"


def run(url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, TOOL, *arguments, "--url", url], capture_output=True, text=True, timeout=60, check=False
    )


def test_a_second_import_changes_nothing_and_a_dry_run_stores_nothing(
    server: str, plane: Simulator, tmp_path: Path
) -> None:
    log = tmp_path / "runs.jsonl"
    log.write_text('{"run": 1}\n{"run": 2}\n')
    counts = []
    for extra in (["--dry-run"], [], []):
        said = run(server, str(log), "--output", "json", *extra)
        assert said.returncode == 0, said.stderr
        counts.append(json.loads(said.stdout)["imported"])
    assert counts == [0, 2, 0]
    assert len(plane.imported) == 2


def test_a_malformed_line_is_named_and_nothing_is_imported(server: str, plane: Simulator, tmp_path: Path) -> None:
    log = tmp_path / "runs.jsonl"
    log.write_text('{"run": 1}\nnonsense\n')
    said = run(server, str(log))
    assert said.returncode == 2
    assert "line 2" in said.stderr
    assert "Traceback" not in said.stderr
    assert plane.imported == set()


def test_without_a_server_it_says_how_to_start_one(tmp_path: Path) -> None:
    log = tmp_path / "runs.jsonl"
    log.write_text("{}\n")
    said = run("http://127.0.0.1:1", str(log))
    assert said.returncode == 3
    assert "eo up" in said.stderr
