"""`eo` against a real server over the simulator: what it prints, and with which exit code it leaves."""

from __future__ import annotations

import io
import socket
from pathlib import Path

import pytest

from api.simulator import ADVICE, BATCH, POLL, Simulator
from cli.conftest import Run

TABLES = [
    (["nodes"], "61.4 W"),
    (["workloads", "top"], "34.5 mJ/request"),
    (["workloads", "top"], "unknown: no source of operations is declared"),
    (["workloads", "cost", "declared/inference"], "sha256:new costs 12 % (8 to 16) more than sha256:old"),
    (["workloads", "cost", "declared/inference", "--by", "both"], "38.6 mJ/request (34.0 to 43.2)"),
    (["workloads", "cost", "declared/inference"], "unknown: nothing told operations in its windows"),
    (["workloads", "alerts"], "J/op rose by 12.0% (8.0% to 16.0%)"),
    (["recommendations", "list"], "412 kJ/day (268 to 556)"),
    (["recommendations", "show", "0190a1b2"], "82 %: 9 of 11"),
    (["rollouts", "list"], "No rollout yet"),
    (["audit", "list"], "The log is empty"),
    (["audit", "verify"], "Intact: 0 entries"),
]
JSONS = [["nodes"], ["workloads", "top"], ["recommendations", "list"], ["rollouts", "list"], ["audit", "list"]]


@pytest.mark.parametrize(("arguments", "text"), TABLES)
def test_tables_are_written_for_people(served: Run, arguments: list[str], text: str) -> None:
    said = served(*arguments)
    assert said.code == 0, said.err
    assert text in " ".join(said.out.split())


@pytest.mark.parametrize("arguments", JSONS)
def test_json_is_what_the_api_gave(served: Run, arguments: list[str]) -> None:
    said = served(*arguments, "--output", "json")
    assert said.code == 0
    assert isinstance(said.json(), list)


def test_the_cost_of_a_workload_as_json_is_one_document(served: Run) -> None:
    said = served("workloads", "cost", "declared/inference", "--by", "node_type", "--output", "json")
    assert said.code == 0
    assert said.json()["by"] == "node_type"
    assert served("workloads", "cost", "declared/nobody").code == 5


def test_an_approval_can_be_watched_to_its_end(served: Run, plane: Simulator) -> None:
    assert served("approve", "0190a1b2").code == 0
    rollout = plane.saved[BATCH].rollout_id
    assert rollout
    while plane.advance(rollout).phase == "Running":
        pass
    said = served("rollouts", "watch", rollout[:8])
    assert said.code == 0
    assert "Verified saving: 12.1 mJ per operation" in said.out


def test_watching_a_rollout_that_failed_is_a_negative_answer(served: Run, plane: Simulator) -> None:
    served("approve", BATCH)
    rollout = plane.running[f"ro-{BATCH}"]
    rollout.phase, rollout.message = "Failed", "latency p95 was above 100 ms; reverted"
    said = served("rollouts", "watch")
    assert said.code == 1
    assert "reverted" in said.out


def test_a_refusal_and_a_pause_reach_the_log_with_the_users_name(served: Run, plane: Simulator) -> None:
    assert served("refuse", POLL, "--reason", "release week").code == 0
    assert served("pause", "--reason", "incident 7").code == 0
    assert served("resume").out.strip() == "Resumed: 1 lifted."
    assert [entry.action for entry in plane.log] == ["refuse", "pause", "resume"]
    assert plane.log[0].body == {"reason": "release week"}


def test_a_proposal_says_how_to_approve_it(served: Run, plane: Simulator) -> None:
    said = served("propose", "inference", "--set", "BATCH_MAX=16", "--reason", "try")
    assert said.code == 0
    assert "BATCH_MAX 1 → 16" in said.out
    assert any(row.source == "operator" for row in plane.saved.values())


def test_a_broken_log_is_a_negative_answer(served: Run, plane: Simulator) -> None:
    served("pause", "--reason", "a")
    served("resume")
    plane.log[0].body["reason"] = "something else"
    said = served("audit", "verify")
    assert said.code == 1
    assert "BROKEN" in said.out
    assert served("audit", "verify", "--output", "json").json()["first_bad_sequence"] == 1


def test_importing_runs(served: Run, plane: Simulator, tmp_path: Path) -> None:
    (tmp_path / "runs.jsonl").write_text('{"run": 1}\n')
    assert "imported: 0" in served("import-runs", "runs.jsonl", "--dry-run").out
    assert plane.imported == set()
    assert "imported: 1" in served("import-runs", "runs.jsonl").out
    assert "imported: 0" in served("import-runs", "runs.jsonl").out


WRONG = [
    (["approve", "zzz"], 5, "eo recommendations list"),
    (["approve", "0190a1"], 2, BATCH),
    (["approve", ADVICE], 4, "by hand"),
    (["rollouts", "watch"], 5, "approve a recommendation"),
    (["propose", "inference", "--set", "BATCH_MAX=7"], 2, "1, 4, 8, 16"),
    (["propose", "inference", "--set", "BATCHMAX=8"], 2, "BATCH_MAX"),
    (["propose", "inference", "--set", "BATCH_MAX"], 2, "NAME=VALUE"),
    (["propose", "nobody", "--set", "A=1"], 5, "workloads file"),
    (["pause", "--reason", " "], 2, "reason"),
    (["import-runs", "missing.log"], 2, "missing.log"),
    (["nodes", "--tenant", "other"], 4, "tenant"),
    (["nodes", "--url", "http://127.0.0.1:1"], 3, "start it with `eo up`"),
    (["nodes", "--url", "127.0.0.1"], 2, "--url"),
    (["nodes", "--output", "xml"], 2, "xml"),
    (["nodess"], 2, "nodes"),
    (["workloads", "top", "--minutes", "-3"], 2, "minutes"),
    (["--config", "nowhere.toml", "nodes"], 2, "nowhere.toml"),
]


@pytest.mark.parametrize(("arguments", "code", "text"), WRONG, ids=[" ".join(row[0]) for row in WRONG])
def test_wrong_input_leaves_with_its_code_and_says_what_to_do(
    served: Run, arguments: list[str], code: int, text: str
) -> None:
    said = served(*arguments)
    assert said.code == code, said.err
    assert text in said.err
    assert said.out == ""


def test_an_expired_approval_is_a_conflict(served: Run, plane: Simulator) -> None:
    plane.expire(BATCH)
    said = served("approve", BATCH)
    assert said.code == 6
    assert "it has expired" in said.err
    assert plane.running == {}


def test_a_malformed_run_names_its_line(served: Run, plane: Simulator, tmp_path: Path) -> None:
    (tmp_path / "runs.jsonl").write_text('{"run": 1}\nnonsense\n')
    said = served("import-runs", "runs.jsonl")
    assert said.code == 2
    assert "line 2" in said.err
    assert plane.imported == set()


def test_up_refuses_a_port_in_use_before_it_starts_anything(eo: Run, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        said = eo("up", "--port", str(taken.getsockname()[1]), "--data-dir", str(tmp_path / "data"))
    assert said.code == 6
    assert "--port" in said.err
    assert not (tmp_path / "data").exists()


def test_doctor_says_what_is_missing_and_how_to_get_it(eo: Run, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        said = eo("doctor", "--port", str(taken.getsockname()[1]), "--output", "json")
    checks = {check["name"]: check for check in said.json()}
    assert said.code == 3
    assert checks["Port"]["verdict"] == "missing"
    assert "EO_PORT" in checks["Port"]["remedy"]
    assert checks["Data directory"]["verdict"] == "ok"
    assert all(check["remedy"] for check in checks.values() if check["verdict"] != "ok")
    assert list(tmp_path.iterdir()) == []


def test_doctor_knows_its_own_server(eo: Run, server: str) -> None:
    said = eo("doctor", "--port", server.rpartition(":")[2], "--output", "json")
    assert {check["name"]: check["verdict"] for check in said.json()}["Port"] == "ok"


def test_judge_reads_columns_from_a_file_and_from_standard_input(
    eo: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [(10 + n % 5 / 10, 8 + n % 7 / 10) for n in range(12)]
    better = "baseline,canary\n" + "\n".join(f"{a},{b}" for a, b in rows)
    (tmp_path / "better.csv").write_text(better)
    said = eo("judge", "better.csv", "--output", "json")
    assert said.code == 0
    assert said.json()["upper"] < 0
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(f"{b},{a}" for a, b in rows)))
    worse = eo("judge", "-")
    assert worse.code == 1
    assert "Failed" in worse.out
    assert "Hodges-Lehmann" in worse.out


def test_help_documents_every_exit_code(eo: Run) -> None:
    text = " ".join(eo("--help").out.split())
    for word in ("0 ok", "1 a negative answer", "2 wrong input", "4 denied", "5 not found", "6 conflict"):
        assert word in text


def test_fingerprints_show_groups_and_why_others_are_alike(served: Run) -> None:
    shown = served("fingerprints", "list")
    assert shown.code == 0
    assert "declared/inference" in shown.out
    assert "json decoding" in shown.out
    near = served("fingerprints", "neighbours", "declared/inference", "-o", "json")
    assert near.json()[0]["reason"].startswith("same hot path: json decoding")
    assert served("fingerprints", "neighbours", "declared/nothing").code == 5
    one_group = served("fingerprints", "list", "--group", "1")
    assert "declared/inference" in one_group.out
    assert "declared/poller" not in one_group.out
    assert "no workload is in group 7" in served("fingerprints", "list", "--group", "7").out.lower()
    assert "1 more" in served("fingerprints", "list", "--limit", "1").out


def test_groups_say_what_their_members_do(served: Run) -> None:
    shown = served("fingerprints", "groups").out
    assert "json decoding" in shown
    assert "1 groups; 1 workloads are in none" in shown
    assert served("fingerprints", "groups", "-o", "json").json() == [
        {"group": 1, "does": ["json decoding"], "workloads": ["declared/inference"]}
    ]
