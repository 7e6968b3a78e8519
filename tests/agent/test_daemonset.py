"""The image and the DaemonSet: the agent as a pod of a real node, with no more rights than `deploy/agent` says.

As root; see `test_kubernetes` for what the cluster takes.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from agent import kubernetes_objects as objects
from agent.profiling import needs_agent_and_root
from agent.rig import AGENT, missing
from cluster import programs
from cluster.processes import until
from cluster.whole import Cluster, cluster, running

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
DEPLOY = Path(__file__).parents[2] / "deploy" / "agent"
SPACE = "eo-system"
Row = dict[str, Any]


def build(out: Path) -> tuple[str, Path]:
    """Digest and archive."""
    command = [str(DEPLOY / "build-image.sh"), str(AGENT), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    digest, archive = done.stdout.split()
    return digest, Path(archive)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    needs_agent_and_root()
    with contextlib.ExitStack() as stack:
        try:
            made = stack.enter_context(cluster(tmp_path_factory.mktemp("cluster"), [objects.WEB], objects.SCRIPTS))
        except programs.LackingError as reason:
            missing(str(reason))
        yield made


def manifest(whole: Cluster) -> list[Row]:
    """As it is shipped, but for the bus and the port and authority of this kubelet."""
    found: list[Row] = list(yaml.safe_load_all((DEPLOY / "daemonset.yaml").read_text()))
    (settings,) = (one for one in found if one["kind"] == "ConfigMap")
    text: str = settings["data"]["agent.toml"]
    kept = [line for line in text.splitlines() if not line.startswith("nats_")]
    kept += ['sink = "stdout"', "interval_seconds = 1"]
    port = httpx.URL(whole.node.kubelet_url).port
    settings["data"]["agent.toml"] = "\n".join(kept).replace("127.0.0.1:10250", f"127.0.0.1:{port}")
    return found


def test_the_same_inputs_give_the_same_image(whole: Cluster, tmp_path: Path) -> None:
    first, _ = build(tmp_path / "first")
    second, _ = build(tmp_path / "second")
    assert first == second
    assert first.startswith("sha256:")


def test_the_daemonset_runs_and_names_the_pods_of_its_node(whole: Cluster, tmp_path: Path) -> None:
    """Running and not restarted; samples, profiles and names of another pod come out of it."""
    (daemon,) = (one for one in manifest(whole) if one["kind"] == "DaemonSet")
    image = daemon["spec"]["template"]["spec"]["containers"][0]["image"]
    digest, archive = build(tmp_path)
    assert whole.node.runtime.load(archive, image, oci=True) == digest
    spec = objects.pod_spec(objects.container("server", objects.WEB, objects.BUSY))
    whole.api.apply([objects.namespace("shop"), objects.deployment("shop", "web", 1, spec, {})])
    whole.pods("shop", lambda some: running(some, 1), "a busy pod runs")
    whole.api.apply(manifest(whole))
    (pod,) = whole.pods(SPACE, lambda some: running(some, 1), "the agent's pod runs")

    def rows(kind: str) -> list[Row]:
        found = []
        for file in whole.node.logs.glob(f"{SPACE}_*/agent/*.log"):
            # Written by the runtime: time, stream, whether the line is whole, line.
            for line in file.read_text().splitlines():
                _, stream, whole_line, text = line.split(" ", 3)
                if stream == "stdout" and whole_line == "F" and text.endswith("}") and '"kind"' in text:
                    with contextlib.suppress(ValueError):
                        found.append(json.loads(text))
        return [row for row in found if row["kind"] == kind]

    def log() -> str:
        return "".join(file.read_text()[:3000] for file in whole.node.logs.glob(f"{SPACE}_*/agent/*.log"))

    def busy() -> list[Row]:
        return [row for row in rows("samples") if row["command"] == "busypod" and row["cpu_seconds"] > 0]

    until(busy, "samples of the busy pod", why=log)
    assert {row["workload"] for row in busy()} == {"pod/shop.web"}
    assert {row["host"] for row in busy()} == {"test-node"}
    own = [row for row in rows("samples") if row["command"] == "eo-agent" and row["pod_id"] == pod["metadata"]["uid"]]
    assert own, "it sees itself as what it is"
    assert {row["workload"] for row in own} == {f"pod/{SPACE}.eo-agent"}
    # Other containers' programs are readable with the few capabilities.
    server = lambda row: row["container_name"] == "server" and row["checksum"]  # noqa: E731
    until(lambda: list(filter(server, rows("inventory"))), "the checksum of the busy pod's program", why=log)
    profiles = until(lambda: [r for r in rows("profiles") if r["workload"] == "pod/shop.web"], "a profile", why=log)
    assert sum(row["sample_count"] for row in profiles) > 0
    (pod,) = whole.api.list("Pod", SPACE)
    (state,) = pod["status"]["containerStatuses"]
    assert (pod["status"]["phase"], state["restartCount"]) == ("Running", 0)
    (daemon,) = whole.api.list("DaemonSet", SPACE, "apps/v1")
    assert daemon["status"]["numberReady"] == 1
