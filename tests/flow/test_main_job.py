"""The main job on real parts: agent, NATS, chDB, Postgres, real programs; sample in, audit entry out.

The tests of this file share one running system and follow each other like a user's first five minutes.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from flow.system import System

pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]

DECIDED = {"Successful", "Failed", "Error", "Inconclusive"}


def recommendation(system: System, workload: str) -> dict[str, Any] | None:
    return next((it for it in system.get("recommendations") if it["workload"] == f"declared/{workload}"), None)


def finished(system: System, recommendation_id: str, seconds: float = 300) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        of = [it for it in system.get("rollouts") if it["recommendation_id"] == recommendation_id]
        return of[0] if of and of[0]["phase"] in DECIDED else None

    found: dict[str, Any] = system.until(f"the rollout of {recommendation_id} has finished", look, seconds)
    return found


def test_the_node_shows_watts_that_add_up(demo: System) -> None:
    node = demo.until("watts", lambda: next((n for n in demo.get("nodes") if n["node_watts"]), None), 60)
    parts = node["idle_watts"] + node["active_watts"] + node["unattributed_watts"]
    assert parts == pytest.approx(node["node_watts"]["value"], rel=0.01)
    if node["tier"] == "model":
        assert node["node_watts"]["lower"] < node["node_watts"]["value"] < node["node_watts"]["upper"]
        assert any(reason.startswith("meter") or "meter" in reason for reason in node["missing"])


def test_every_window_adds_up(demo: System) -> None:
    host = demo.get("nodes")[0]["host"]
    points = demo.until("five windows", lambda: len(p := demo.get(f"nodes/{host}/power?minutes=5")) >= 5 and p, 60)
    for point in points:
        parts = point["idle_watts"] + point["active_watts"] + point["unattributed_watts"]
        assert parts == pytest.approx(point["node_watts"], rel=0.01)


def test_workloads_have_joules_per_operation_or_a_reason(demo: System) -> None:
    def look() -> dict[str, Any] | None:
        found = {it["workload"]: it for it in demo.get("workloads")}
        inference = found.get("declared/inference", {})
        return found if inference.get("joules_per_operation") else None

    found = demo.until("J/op of inference", look, 60)
    assert found["declared/inference"]["joules_per_operation"]["value"] > 0
    assert found["declared/load"]["joules_per_operation"] is None
    assert found["declared/load"]["joules_per_operation_reason"]


def test_three_of_four_wastes_are_found_unaided(demo: System) -> None:
    wasteful = {"inference", "matrix-batch", "poller", "idle-cache"}
    demo.until(
        "recommendations for three of the four",
        lambda: sum(recommendation(demo, name) is not None for name in wasteful) >= 3,
        120,
    )


def test_a_function_s_energy_is_part_of_its_workload_s(demo: System) -> None:
    def look() -> dict[str, Any] | None:
        tree: dict[str, Any] = demo.get("workloads/flamegraph?workload=declared/poller&minutes=5")
        return tree if tree["children"] else None

    tree = demo.until("stacks of the poller", look, 60)
    assert sum(child["value"] for child in tree["children"]) == pytest.approx(tree["value"], rel=1e-6)


def test_an_approved_saving_is_tried_measured_and_kept(demo: System) -> None:
    found = demo.until("advice on inference", lambda: recommendation(demo, "inference"), 120)
    assert demo.eo("approve", found["id"]).returncode == 0
    rollout = finished(demo, found["id"])
    assert rollout["phase"] == "Successful", (rollout["message"], rollout["metrics"], rollout["events"])
    saved = rollout["verified_savings_j_per_operation"]
    assert saved is not None
    assert saved["lower"] > 0
    again = demo.eo("approve", found["id"])
    assert again.returncode == 6
    assert "successful" in again.stderr


def test_a_change_that_breaks_the_slo_is_reverted(demo: System) -> None:
    before = demo.replicas()
    made = demo.eo("propose", "inference", "--set", "ANSWER_HOLD_MS=2000", "--reason", "test", "--output", "json")
    assert made.returncode == 0, made.stderr
    bad = json.loads(made.stdout)["id"]
    assert demo.eo("approve", bad).returncode == 0
    rollout = finished(demo, bad)
    assert rollout["phase"] == "Failed"
    assert "SLO" in rollout["message"]
    after = demo.replicas()
    assert after["inference-0"] == before["inference-0"]
    assert after["inference-1"] != before["inference-1"]


def test_the_audit_log_tells_it_all_and_verifies(demo: System) -> None:
    actions = {entry["action"] for entry in demo.get("audit?limit=500")}
    assert {"recommendation.found", "decision", "recommendation.approved", "rollout.created", "rollout"} <= actions
    verified = demo.eo("audit", "verify")
    assert verified.returncode == 0, verified.stderr


def test_a_pause_stops_everything_and_says_who_and_why(demo: System) -> None:
    assert demo.eo("pause", "--reason", "maintenance").returncode == 0
    found = demo.until("some advice", lambda: recommendation(demo, "poller") or recommendation(demo, "idle-cache"), 60)
    refused = demo.eo("approve", found["id"])
    assert refused.returncode == 4
    assert "maintenance" in refused.stderr
    assert demo.eo("resume").returncode == 0


def test_metrics_have_energy_counters_with_their_tier(demo: System) -> None:
    text = demo.api.get("/metrics").text
    assert "eo_node_energy_joules_total{" in text
    assert 'part="unattributed"' in text
    assert 'workload="declared/inference"' in text


def test_after_kill_9_the_same_programs_run_on_and_the_data_are_there(demo: System) -> None:
    before = demo.replicas()
    entries = len(demo.get("audit?limit=500"))
    demo.kill()
    demo.start()
    assert demo.replicas() == before
    assert len(demo.get("audit?limit=500")) >= entries
    environment = next(it for it in demo.get("workloads") if it["workload"] == "declared/inference")
    assert environment["replicas"] == 2


def test_ctrl_c_ends_every_process(demo: System) -> None:
    assert demo.stop() == 0
    assert demo.replicas() == {}
