"""What no foreign page, and no flood of bytes, gets past."""

from __future__ import annotations

import json

import httpx
import pytest

from api.simulator import BATCH, Simulator

APPROVE = f"/api/v1/recommendations/{BATCH}/approve"
PAUSE = "/api/v1/pauses"


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "localhost.evil.example:80", "[::1"])
def test_a_foreign_host_name_is_refused_for_reads_too(http: httpx.Client, host: str) -> None:
    assert http.get("/api/v1/nodes", headers={"Host": host}).status_code in {400, 403}
    assert http.get("/healthz", headers={"Host": "10.0.0.7"}).status_code == 200


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8321", "127.0.0.1:1", "[::1]:8321"])
def test_our_own_names_pass(http: httpx.Client, host: str) -> None:
    assert http.get("/api/v1/nodes", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1", "http://localhost"])
def test_a_foreign_origin_changes_nothing(http: httpx.Client, plane: Simulator, origin: str) -> None:
    assert http.post(APPROVE, headers={"Origin": origin}).status_code == 403
    assert plane.log == []


def test_the_own_origin_passes(http: httpx.Client) -> None:
    assert http.post(APPROVE, headers={"Origin": str(http.base_url).rstrip("/")}).status_code == 200


@pytest.mark.parametrize("media_type", ["application/x-www-form-urlencoded", "text/plain", "multipart/form-data"])
def test_a_plain_form_changes_nothing(http: httpx.Client, plane: Simulator, media_type: str) -> None:
    del http.headers["Eo-Request"]
    answer = http.post(PAUSE, content=b'{"reason": "x"}', headers={"Content-Type": media_type})
    assert answer.status_code == 403
    assert "Eo-Request" in answer.json()["next_step"]
    assert plane.stops == []
    assert http.delete(PAUSE).status_code == 403


def test_json_alone_is_intent_enough(http: httpx.Client) -> None:
    del http.headers["Eo-Request"]
    assert http.post(PAUSE, json={"reason": "x"}).status_code == 201


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_is_bounded_before_it_is_parsed(http: httpx.Client, plane: Simulator, chunked: bool) -> None:
    body = b'{"reason": "' + b"x" * 2**20 + b'"}'
    content = iter([body[: 2**19], body[2**19 :]]) if chunked else body
    answer = http.post(PAUSE, content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == 413
    assert plane.stops == []


def test_an_import_may_be_larger(http: httpx.Client) -> None:
    text = "\n".join(json.dumps({"run": n, "pad": "x" * 1000}) for n in range(2000))
    assert http.post("/api/v1/runs", json={"name": "big", "text": text}).json()["imported"] == 2000


@pytest.mark.parametrize("path", ["/", "/api/v1/nodes", "/static/live.js", "/nothing"])
def test_every_answer_is_locked_to_this_host(http: httpx.Client, path: str) -> None:
    headers = http.get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert headers["x-content-type-options"] == "nosniff"


def test_an_actor_cannot_smuggle_lines_into_the_log(http: httpx.Client, plane: Simulator) -> None:
    assert http.post(APPROVE, headers={"Eo-Actor": "x" * 500}).status_code == 422
    assert plane.log == []
