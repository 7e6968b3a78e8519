"""Processes in pods and containers are told by the names that people gave them, from real runtimes.

As root; installs Debian's containerd, runc, curl and busybox-static where they are missing.
"""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.cri_pods import Containerd, containerd, install_lacking
from agent.profiling import needs_agent_and_root
from agent.rig import AGENT, printed

pytestmark = pytest.mark.slow
BUSY = "while :; do :; done"
UID = "0d6d1a2b-1c5e-4f7a-9a70-3c1f2e5d7b9{}"
DEPLOYMENT = {"app": "web", "pod-template-hash": "6d4b75cb6d"}
STRANGER = {"app": "etl"}


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Containerd]:
    needs_agent_and_root()
    install_lacking()
    with containerd(tmp_path_factory.mktemp("containerd")) as running:
        for number in (1, 2):
            name = f"web-6d4b75cb6d-x2x4{number}"
            running.run_pod(name, "shop", UID.format(number), DEPLOYMENT, BUSY)
        running.run_pod("etl-of-an-operator-77", "shop", UID.format(3), STRANGER, BUSY)
        yield running


@pytest.fixture
def kubelet() -> Iterator[str]:
    """The read-only port of a kubelet with the third pod, of which only the API server knows the owner."""
    owner = {"kind": "Workflow", "name": "etl", "controller": True}
    metadata = {"uid": UID.format(3), "name": "etl-of-an-operator-77", "namespace": "shop", "labels": STRANGER}
    pods = {"kind": "PodList", "items": [{"metadata": {**metadata, "ownerReferences": [owner]}}]}

    class Pods(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/pods" else 404)
            self.end_headers()
            self.wfile.write(json.dumps(pods).encode())

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pods)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def rows_until(tmp_path: Path, arguments: list[str], enough: Callable[[list[dict[str, Any]]], bool]) -> Any:
    """What the agent printed when it was enough."""
    output = tmp_path / "rows"
    command = [str(AGENT), "run", "--sink", "stdout", "--interval-seconds", "1", "--profile-hz", "0", *arguments]
    with output.open("wb") as stdout:
        agent = subprocess.Popen(command, stdout=stdout)
    try:
        deadline = time.monotonic() + 60
        while True:
            rows = printed(output)
            if enough(rows) or time.monotonic() > deadline:
                return rows
            time.sleep(0.2)
    finally:
        agent.terminate()
        agent.wait(30)


def of_pods(rows: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [row for row in rows if row["kind"] == kind and row["pod_id"] is not None]


def test_every_process_of_a_pod_is_its_owners(runtime: Containerd, tmp_path: Path, kubelet: str) -> None:
    sockets = ["--container-sockets", f"cri:{runtime.socket}", "--kubelet-url", kubelet]

    def enough(rows: list[dict[str, Any]]) -> bool:
        used = [row for row in of_pods(rows, "samples") if row["cpu_seconds"] > 0]
        return len({row["pod_id"] for row in used}) == 3

    rows = rows_until(tmp_path, sockets, enough)
    assert enough(rows)
    samples = of_pods(rows, "samples")
    assert {row["workload"] for row in samples} == {"pod/shop.web", "pod/shop.etl"}
    replicas = {row["replica"] for row in samples if row["workload"] == "pod/shop.web"}
    assert replicas == {"web-6d4b75cb6d-x2x41", "web-6d4b75cb6d-x2x42"}
    told = {(row["pod_name"], row["container_name"]): row for row in of_pods(rows, "inventory")}
    assert len(told) == 9, "three pods, each with its shim, its pause container and its own"
    web = told["web-6d4b75cb6d-x2x41", "app"]
    assert (web["namespace"], web["owner"], web["image"]) == ("shop", "Deployment/web", "localhost/pause:1")
    assert web["image_digest"].startswith("sha256:")
    assert web["labels"] == ["app=web", "pod-template-hash=6d4b75cb6d"]
    assert told["etl-of-an-operator-77", "app"]["owner"] == "Workflow/etl"


def test_a_pod_that_starts_later_is_named_without_a_restart(runtime: Containerd, tmp_path: Path) -> None:
    uid = UID.format(4)
    started = False

    def enough(rows: list[dict[str, Any]]) -> bool:
        nonlocal started
        if not started and of_pods(rows, "samples"):
            started = True
            runtime.run_pod("db-0", "shop", uid, {"statefulset.kubernetes.io/pod-name": "db-0"}, BUSY)
        return any(row["workload"] == "pod/shop.db" for row in of_pods(rows, "samples"))

    rows = rows_until(tmp_path, ["--container-sockets", f"cri:{runtime.socket}"], enough)
    keys = {row["workload"] for row in rows if row["kind"] == "samples" and row["pod_id"] == uid}
    assert "pod/shop.db" in keys
    assert keys <= {"pod/shop.db", f"pod/{uid}"}


def test_check_says_what_each_source_answers(runtime: Containerd, tmp_path: Path) -> None:
    gone = tmp_path / "docker.sock"
    command = [str(AGENT), "check", "--output", "json", "--profile-hz", "0"]
    command += ["--container-sockets", f"cri:{runtime.socket}", "--container-sockets", str(gone)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=dict(os.environ))
    there, away = json.loads(done.stdout)["container_names"]
    assert there["found"] is True
    assert "pods" in there["finding"]
    assert (away["source"], away["found"]) == (f"docker:{gone}", False)
    assert away["finding"] == "No such file or directory (os error 2)"
    assert away["next"]
    assert "by their ids" in away["costs"]
