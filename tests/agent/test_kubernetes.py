"""Processes of real pods are told by pod, owner, labels and image: a cluster of this machine's own, no fakes.

As root; the first run builds Kubernetes (about ten minutes, see `cluster.programs`) and installs Debian's packages.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent import kubernetes_objects as objects
from agent.kubernetes_truth import Place, Pod, cpu_seconds, pod_of, processes
from agent.profiling import needs_agent_and_root
from agent.rig import AGENT, missing, printed
from cluster import programs
from cluster.processes import until
from cluster.whole import Cluster, cluster, running

# The first run builds Kubernetes.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
Row = dict[str, Any]
PAUSE = ("pause", None)
FACTS = ("pod_id", "pod_name", "namespace", "owner", "labels", "workload", "container_id")
OF_CONTAINER = ("container_name", "image", "image_digest")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    needs_agent_and_root()
    with contextlib.ExitStack() as stack:
        try:
            made = stack.enter_context(
                cluster(tmp_path_factory.mktemp("cluster"), [objects.WEB, objects.ETL], objects.SCRIPTS)
            )
        except programs.LackingError as reason:
            missing(str(reason))
        yield made


@pytest.fixture(scope="module")
def pods(whole: Cluster) -> dict[str, Pod]:
    """The landscape, running; by uid as cgroups have it."""
    whole.api.apply(objects.landscape())
    (whole.node.static_pods / "probe.json").write_text(json.dumps(objects.static_pod()))
    found = whole.pods("shop", lambda some: running(some, 2), "two pods of a Deployment run")
    found += whole.pods("kube-system", lambda some: running(some, 1), "the static pod runs")
    found += whole.pods("data", lambda some: sum(map(_works, some)) == 3, "pods with and without owner run")
    return {pod.uid: pod for pod in map(pod_of, found)}


def _works(pod: Row) -> bool:
    """Runs, or is being set up by a container that runs."""
    states = (*pod["status"].get("containerStatuses", ()), *pod["status"].get("initContainerStatuses", ()))
    return any("running" in one["state"] for one in states)


class Watching:
    """`eo-agent run` with rows on stdout."""

    def __init__(self, folder: Path, child: subprocess.Popen[bytes]) -> None:
        self.folder, self.child = folder, child

    def rows(self, kind: str) -> list[Row]:
        return [row for row in printed(self.folder / "rows") if row["kind"] == kind]

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()


@contextlib.contextmanager
def watching(folder: Path, *arguments: str) -> Iterator[Watching]:
    """The agent at one look a second; it must end as asked."""
    command = [str(AGENT), "run", "--sink", "stdout", "--interval-seconds", "1", "--profile-hz", "0", *arguments]
    with (folder / "rows").open("wb") as rows, (folder / "log").open("wb") as log:
        child = subprocess.Popen(command, stdout=rows, stderr=log)
    agent = Watching(folder, child)
    try:
        yield agent
    finally:
        child.terminate()
        assert child.wait(20) == 0, agent.log


@pytest.fixture(params=["cri", "kubelet"])
def source(request: pytest.FixtureRequest, whole: Cluster, tmp_path: Path) -> list[str]:
    """Where the agent gets names from."""
    if request.param == "cri":
        return ["--container-sockets", f"cri:{whole.node.runtime.socket}"]
    whole.api.apply(objects.reader_of_pods())
    token = tmp_path / "token"
    token.touch(mode=0o600)
    token.write_text(whole.api.token_of("default", "eo-agent-test"))
    arguments = ["--kubelet-url", whole.node.kubelet_url, "--kubelet-token-file", str(token)]
    return [*arguments, "--kubelet-ca-file", str(whole.node.authority)]


def expected(place: Place, pod: Pod, digests: dict[str, str], *, runtime: bool) -> Row:
    """What the inventory must say of a process there."""
    row: Row = {
        "pod_id": pod.uid,
        "pod_name": pod.name,
        "namespace": pod.namespace,
        "owner": pod.owner,
        "labels": list(pod.labels),
        "workload": pod.workload,
        "container_id": place.container_id,
    }
    # Only the runtime knows the pause container, and nobody its image; the shim is in no container.
    outside = PAUSE if runtime and place.container_id else (None, None)
    name, image = pod.containers.get(place.container_id or "", outside)
    return row | {"container_name": name, "image": image, "image_digest": digests.get(image or "")}


def test_every_process_of_every_pod_is_attributed(
    whole: Cluster, pods: dict[str, Pod], source: list[str], tmp_path: Path
) -> None:
    """By the runtime's socket, and by the kubelet alone: the same facts, for all processes that live for a while."""
    runtime = source[0] == "--container-sockets"

    def told(agent: Watching) -> dict[int, Row]:
        rows = {row["pid"]: row for row in agent.rows("inventory") if row["pid"] is not None}
        return {pid: {key: row[key] for key in (*FACTS, *OF_CONTAINER)} for pid, row in rows.items()}

    with watching(tmp_path, *source) as agent:
        before = processes()
        complete = lambda: set(before) & set(processes()) <= set(told(agent))  # noqa: E731
        until(complete, "rows of all processes", why=lambda: agent.log)
        used = lambda: {row["pod_id"] for row in agent.rows("samples") if row["cpu_seconds"] > 0}  # noqa: E731
        until(lambda: used() >= set(pods), "samples of all pods", why=lambda: agent.log)
        after = processes()
        found = told(agent)
    stable = {pid: place for pid, place in before.items() if after.get(pid) == place}
    assert {place.uid for place in stable.values()} == set(pods)
    # Each pod: its shim, its pause container and its own ones.
    assert len(stable) >= 2 * len(pods) + 7
    wanted = {pid: expected(place, pods[place.uid], whole.digests, runtime=runtime) for pid, place in stable.items()}
    assert {pid: found[pid] for pid in stable} == wanted

    samples = agent.rows("samples")
    in_pods = [row for row in samples if row["pod_id"] is not None]
    assert {row["workload"] for row in in_pods} == {pod.workload for pod in pods.values()}
    assert all(row["workload"] == pods[row["pod_id"]].workload for row in in_pods)
    named = {pods[row["pod_id"]].name: row["replica"] for row in in_pods if pods[row["pod_id"]].owner}
    assert named
    assert all(replica == name for name, replica in named.items())
    strangers = [row for row in samples if row["command"] == "busypod" and row["pod_id"] is None]
    assert not strangers


def test_the_time_of_containers_that_end_while_they_are_read_stays_in_their_pod(whole: Cluster, tmp_path: Path) -> None:
    """A container dies again and again under a look a second; what the kernel counted for the pod is in its rows."""
    with watching(tmp_path, "--container-sockets", f"cri:{whole.node.runtime.socket}") as agent:
        until(lambda: agent.rows("samples"), "the first looks")
        whole.api.apply([objects.namespace("churn"), objects.mortal()])
        (pod,) = map(pod_of, whole.pods("churn", _in_last_life, "the container has had all its lives", 180))
        used = cpu_seconds(pod.uid)
        seen = len(agent.rows("meters"))
        until(lambda: len(agent.rows("meters")) >= seen + 4, "looks after the last life")
    rows = [row for row in agent.rows("samples") if row["pod_id"] == pod.uid]
    # Until its name is known, within two looks, a pod has its uid; never another one's.
    assert {row["workload"] for row in rows} <= {pod.workload, f"pod/{pod.uid}"}
    containers: dict[str | None, float] = defaultdict(float)
    for row in rows:
        containers[row["container_id"]] += row["cpu_seconds"]
    told = sum(containers.values())
    # Most of its lives begin and end between two looks. Ticks are hundredths of a second.
    assert told >= 0.95 * used, (told, used, containers)
    # Beside the cgroup: shim and runc, which start and end each container.
    assert told <= used + 0.2 * (objects.LIVES + 2), (told, used, containers)
    strangers = [row for row in agent.rows("samples") if row["pod_id"] is None and row["command"] == "mortal"]
    assert not strangers
    assert "panicked" not in agent.log


def _in_last_life(found: list[Row]) -> bool:
    states = [one for pod in found for one in pod["status"].get("containerStatuses", ())]
    return any(one["restartCount"] >= objects.LIVES and "running" in one["state"] for one in states)


def test_pods_that_are_killed_and_made_again_are_never_anothers(whole: Cluster, tmp_path: Path) -> None:
    """A Deployment whose pod is deleted over and over: each row is of the Deployment, or of the uid that it had."""
    spec = objects.pod_spec(objects.container("only", objects.WEB, objects.BUSY))
    uids: dict[str, str] = {}
    with watching(tmp_path, "--container-sockets", f"cri:{whole.node.runtime.socket}") as agent:
        whole.api.apply([objects.namespace("churn"), objects.deployment("churn", "fleeting", 1, spec, {})])
        for _ in range(6):
            fresh = lambda some: any(_is_fresh(pod, uids) for pod in some)  # noqa: E731
            found = whole.pods("churn", fresh, "another pod runs")
            (pod,) = (one for one in found if _is_fresh(one, uids))
            uids[pod["metadata"]["uid"]] = pod["metadata"]["name"]
            whole.api.delete("Pod", "churn", pod["metadata"]["name"], at_once=True)
        seen = len(agent.rows("meters"))
        until(lambda: len(agent.rows("meters")) >= seen + 3, "looks after the last one")
    rows = [row for row in agent.rows("samples") if row["pod_id"] in uids]
    assert len({row["pod_id"] for row in rows}) >= 3
    wrong = [row for row in rows if row["workload"] not in {"pod/churn.fleeting", f"pod/{row['pod_id']}"}]
    assert not wrong
    assert any(row["workload"] == "pod/churn.fleeting" for row in rows)
    assert all(row["replica"] in {None, uids[row["pod_id"]]} for row in rows)
    assert not [row for row in agent.rows("samples") if row["command"] == "busypod" and row["pod_id"] is None]


def _is_fresh(pod: Row, known: dict[str, str]) -> bool:
    metadata = pod["metadata"]
    mine = metadata["uid"] not in known and metadata["labels"].get("app") == "fleeting"
    return mine and "deletionTimestamp" not in metadata and _works(pod)
