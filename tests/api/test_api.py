"""The API by what it does to the control plane and what it answers."""

from __future__ import annotations

import csv
import io
import json

import httpx
import pytest

from api.serving import serving
from api.simulator import ADVICE, BATCH, POLL, Simulator
from energy_orchestrator.api.app import create_app
from energy_orchestrator.config import Settings

READS = [
    "/api/v1/nodes",
    "/api/v1/nodes/rack1-n07/power?minutes=1",
    "/api/v1/workloads?minutes=5",
    "/api/v1/workloads/flamegraph?workload=declared/inference",
    "/api/v1/alerts",
    "/api/v1/workloads/sci",
    "/api/v1/fleet",
    "/api/v1/workloads/cost?workload=declared/inference&by=both",
    "/api/v1/recommendations",
    f"/api/v1/recommendations/{BATCH}",
    "/api/v1/rollouts",
    "/api/v1/pauses",
    "/api/v1/audit",
    "/api/v1/audit/verify",
    "/openapi.json",
]


def problem(answer: httpx.Response, status: int) -> dict[str, str]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["status"] == status
    assert body["what"]
    assert body["next_step"]
    return dict(body)


@pytest.mark.parametrize("path", READS)
def test_every_read_answers_json(http: httpx.Client, path: str) -> None:
    assert http.get(path).raise_for_status().json() is not None


def test_the_saving_of_a_change_to_nodes_is_asked_for_with_what_was_changed_when(http: httpx.Client) -> None:
    asked = {"changed": ["rack1-n07"], "control": ["rack1-n08"], "at": "2026-11-28T10:00:00Z"}
    saving = http.post("/api/v1/savings/nodes", json=asked).raise_for_status().json()
    assert saving["method"] == "difference_in_differences"
    problem(http.post("/api/v1/savings/nodes", json=asked | {"changed": ["nobody"]}), 404)
    for wrong in ({"changed": []}, {"at": "2026-11-28T10:00:00"}, {"hours": 0}):
        assert http.post("/api/v1/savings/nodes", json=asked | wrong).status_code in (400, 422)


def test_a_person_can_end_a_rollout_once(http: httpx.Client) -> None:
    http.post(f"/api/v1/recommendations/{BATCH}/approve").raise_for_status()
    rollout = http.get("/api/v1/rollouts").json()[0]["id"]
    problem(http.post(f"/api/v1/rollouts/{rollout}/retry"), 409)
    assert http.post(f"/api/v1/rollouts/{rollout}/abort").raise_for_status().json()["phase"] == "Failed"
    problem(http.post(f"/api/v1/rollouts/{rollout}/abort"), 409)


def test_the_parts_of_a_node_add_up_to_its_power(http: httpx.Client) -> None:
    for point in http.get("/api/v1/nodes/rack1-n07/power?minutes=2").json():
        parts = point["idle_watts"] + point["active_watts"] + point["unattributed_watts"]
        assert parts == pytest.approx(point["node_watts"])
        assert point["node_watts_lower"] <= point["node_watts"] <= point["node_watts_upper"]


def test_an_approval_starts_a_rollout_that_ends_in_a_verified_saving(http: httpx.Client, plane: Simulator) -> None:
    row = http.post(f"/api/v1/recommendations/{BATCH}/approve", headers={"Eo-Actor": "maria"}).json()
    assert row["status"] == "executing"
    while plane.advance(row["rollout_id"]).phase == "Running":
        pass
    rollout = http.get(f"/api/v1/rollouts/{row['rollout_id']}").json()
    assert rollout["verified_savings_j_per_operation"]["lower"] > 0
    assert http.get(f"/api/v1/recommendations/{BATCH}").json()["status"] == "successful"
    assert http.get("/api/v1/audit").json()[0]["actor"] == "maria"


def test_a_refusal_keeps_its_reason_and_leaves_the_open_list(http: httpx.Client) -> None:
    http.post(f"/api/v1/recommendations/{POLL}/refuse", json={"reason": "release week"}).raise_for_status()
    assert POLL not in [row["id"] for row in http.get("/api/v1/recommendations").json()]
    assert POLL in [row["id"] for row in http.get("/api/v1/recommendations?all=true").json()]
    assert http.get("/api/v1/audit").json()[0]["body"] == {"reason": "release week"}


@pytest.mark.parametrize(("method", "path"), [("POST", "/api/v1/pauses/resume"), ("DELETE", "/api/v1/pauses")])
def test_a_pause_denies_approvals_until_it_is_lifted(http: httpx.Client, method: str, path: str) -> None:
    assert http.post("/api/v1/pauses", json={"reason": "incident 7"}).status_code == 201
    assert problem(http.post(f"/api/v1/recommendations/{BATCH}/approve"), 403)["what"] == "everything is paused"
    assert len(http.request(method, path).raise_for_status().json()) == 1
    assert http.post(f"/api/v1/recommendations/{BATCH}/approve").status_code == 200


def test_a_proposal_becomes_an_open_recommendation(http: httpx.Client) -> None:
    body = {"workload": "declared/inference", "environment": {"BATCH_MAX": "16"}, "reason": "try it"}
    made = http.post("/api/v1/recommendations", json=body)
    assert made.status_code == 201
    assert made.json()["patch"] == {"environment": {"BATCH_MAX": "16"}}
    assert made.json()["source"] == "operator"


def test_wrong_knob_value_names_the_knob_and_what_is_allowed(http: httpx.Client) -> None:
    body = {"workload": "declared/inference", "environment": {"BATCH_MAX": "7"}}
    answer = problem(http.post("/api/v1/recommendations", json=body), 422)
    assert answer["where"] == "environment.BATCH_MAX"
    assert "1, 4, 8, 16" in answer["next_step"]


def test_wrong_input_is_answered_by_its_class(http: httpx.Client, plane: Simulator) -> None:
    problem(http.get("/api/v1/recommendations/nope"), 404)
    problem(http.get("/api/v1/nothing-here"), 404)
    problem(http.get("/api/v1/workloads?minutes=-1"), 422)
    problem(http.post("/api/v1/pauses", json={"reason": "   "}), 422)
    problem(http.post("/api/v1/pauses", json={"reason": "x", "until": "noon"}), 422)
    problem(http.post("/api/v1/pauses", content=b"{", headers={"Content-Type": "application/json"}), 422)
    problem(http.put("/api/v1/pauses", json={}), 405)
    problem(http.post(f"/api/v1/recommendations/{ADVICE}/approve"), 403)
    plane.expire(BATCH)
    problem(http.post(f"/api/v1/recommendations/{BATCH}/approve"), 409)
    assert plane.log == []


def test_a_fault_of_ours_tells_no_internals(plane: Simulator, http: httpx.Client) -> None:
    plane.nodes = lambda tenant: 1 / 0  # type: ignore[assignment,method-assign]
    body = problem(http.get("/api/v1/nodes"), 500)
    assert "division" not in json.dumps(body)


def test_a_tenant_must_be_configured(http: httpx.Client) -> None:
    assert http.get("/api/v1/nodes", headers={"Eo-Tenant": "acme"}).status_code == 200
    problem(http.get("/api/v1/nodes", headers={"Eo-Tenant": "other"}), 403)


def test_importing_twice_changes_nothing_and_a_dry_run_stores_nothing(http: httpx.Client) -> None:
    body = {"name": "runs.jsonl", "text": '{"run": 1}\n{"run": 2}\n'}
    assert http.post("/api/v1/runs", json=body | {"dry_run": True}).json()["imported"] == 0
    assert http.post("/api/v1/runs", json=body).json()["imported"] == 2
    assert http.post("/api/v1/runs", json=body).json() | {"imported": 0} == http.post("/api/v1/runs", json=body).json()


def test_csv_leaves_unknown_empty_and_defuses_formulas(http: httpx.Client, plane: Simulator) -> None:
    known = plane.workloads("local", 5, 10)
    known[0].image = "=HYPERLINK(1)"
    plane.workloads = lambda *_: known  # type: ignore[assignment,method-assign]
    rows = list(csv.DictReader(io.StringIO(http.get("/api/v1/workloads.csv").text)))
    assert rows[0]["image"] == "'=HYPERLINK(1)"
    assert float(rows[0]["joules_per_operation"]) == 0.0345
    assert rows[2]["joules_per_operation"] == ""
    assert rows[2]["joules_per_operation_reason"]


def test_readiness_is_503_until_every_part_works(plane: Simulator, http: httpx.Client) -> None:
    plane.ready = False
    assert http.get("/readyz").status_code == 503
    assert http.get("/readyz").json()["parts"]["records"] == "starting"
    plane.ready = True
    assert http.get("/readyz").status_code == 200
    assert http.get("/healthz").text == "ok\n"
    assert "eo_node_watts 61.4" in http.get("/metrics").text


def test_openapi_describes_every_operation_and_every_field(http: httpx.Client) -> None:
    document = http.get("/openapi.json").json()
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert operation.get("description"), path
    for name, schema in document["components"]["schemas"].items():
        if name.startswith(("HTTPValidation", "Validation")):
            continue  # the framework's own
        assert schema.get("description"), name
        for field, shape in schema["properties"].items():
            assert shape.get("description"), f"{name}.{field}: add it to api/described.py"


def test_empty_states_say_what_to_wait_for() -> None:
    with serving(create_app(Simulator(empty=True), Settings())) as url:
        page = httpx.get(url, trust_env=False).text
    for sentence in (
        "No node has reported yet",
        "No lasting shift of energy per operation",
        "No recommendations yet",
        "No rollout yet",
        "No workload has been seen",
    ):
        assert sentence in page


def test_the_page_is_whole_without_a_script(http: httpx.Client) -> None:
    page = http.get("/").text
    for part in ("rack1-n07", "declared/inference", "BATCH_MAX", "412 kJ/day", "unknown: no source of operations"):
        assert part in page
    assert "Advice only" in page


def test_the_page_escapes_what_a_workload_calls_itself(http: httpx.Client, plane: Simulator) -> None:
    known = plane.workloads("local", 5, 1)
    known[0].workload = "<script>alert(1)</script>"
    plane.workloads = lambda *_: known  # type: ignore[assignment,method-assign]
    assert "<script>alert" not in http.get("/ui/workloads").text


def test_cost_by_version_names_what_may_be_told_apart_and_what_is_not_known(http: httpx.Client) -> None:
    answer = http.get("/api/v1/workloads/cost?workload=declared/inference").raise_for_status().json()
    assert answer["by"] == "version"
    assert [row["version"] for row in answer["rows"]] == ["sha256:old", "sha256:new", None]
    assert answer["comparisons"][0]["ratio"] == {"value": 1.12, "lower": 1.08, "upper": 1.16}
    problem(http.get("/api/v1/workloads/cost?workload=declared/inference&by=colour"), 422)
    problem(http.get("/api/v1/workloads/cost?workload=declared/nobody"), 404)


def test_the_page_shows_cost_by_version_in_a_dialog(http: httpx.Client) -> None:
    path = "/ui/workloads/cost?workload=declared/inference"
    assert path in http.get("/ui/workloads").text
    text = http.get(path).raise_for_status().text
    assert "sha256:new costs 12 % (8 to 16) more than sha256:old" in text
    assert "unknown: more than one ran in the same window" in text
    assert "38.6 mJ/request" in text


def test_a_deploy_that_costs_energy_is_on_the_page_with_its_cause(http: httpx.Client) -> None:
    for path in ("/", "/ui/alerts"):
        text = http.get(path).raise_for_status().text
        assert "J/op rose by 12.0% (8.0% to 16.0%): executable with checksum" in text
        assert "34.5 mJ/op" in text


def test_the_workload_filter_finds_labels_and_counts(http: httpx.Client) -> None:
    found = http.get("/ui/workloads", params={"q": "team=search python"}).text
    assert "declared/inference" in found
    assert "declared/poller" not in found
    assert "None of 5 workloads matches" in http.get("/ui/workloads", params={"q": "zzz"}).text


def test_expired_advice_has_no_button(http: httpx.Client, plane: Simulator) -> None:
    plane.expire(BATCH)
    page = http.get("/ui/recommendations").text
    assert f"approve-{BATCH}" not in page
    assert f"approve-{POLL}" in page
