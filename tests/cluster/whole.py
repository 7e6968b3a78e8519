"""Control plane and node together, with the images that tests ask for."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from cluster import images, programs
from cluster.api import Api, Object
from cluster.control_plane import control_plane
from cluster.node import Node, node
from cluster.processes import until


@dataclass(frozen=True)
class Cluster:
    """One that runs."""

    api: Api
    node: Node
    kubeconfig: Path
    # Digest by name of the images of busybox.
    digests: dict[str, str]

    def pods(
        self, namespace: str, enough: Callable[[list[Object]], bool], what: str, seconds: float = 90
    ) -> list[Object]:
        """The pods of a namespace, once they are as asked for."""

        def look() -> list[Object] | None:
            found = self.api.list("Pod", namespace)
            return found if enough(found) else None

        def why() -> str:
            told = (f"{one['metadata']['name']}: {one['status']}" for one in self.api.list("Pod", namespace))
            return "; ".join(told)[:4000]

        return until(look, what, seconds, why)


def running(pods: list[Object], number: int) -> bool:
    """Whether so many pods run, with all their containers started."""

    def started(pod: Object) -> bool:
        states = pod["status"].get("containerStatuses", [])
        return pod["status"].get("phase") == "Running" and all(one.get("started") for one in states)

    return len(pods) == number and all(map(started, pods))


@contextlib.contextmanager
def cluster(
    folder: Path, busyboxes: Iterable[str] = (), scripts: Mapping[str, str] = MappingProxyType({})
) -> Iterator[Cluster]:
    """With images of busybox and these scripts; `programs.LackingError` where there can be none."""
    built = programs.prepare()
    with (
        control_plane(built, folder / "control") as control,
        node(built, folder / "node", control) as joined,
    ):
        digests = {}
        for name in busyboxes:
            archive = images.busybox(folder / "images" / str(len(digests)), name, scripts)
            digests[name] = joined.runtime.load(archive, name)
        whole = Cluster(control.api, joined, control.kubeconfig, digests)
        try:
            yield whole
        finally:
            _end_pods(whole)


def _end_pods(whole: Cluster) -> None:
    """Let the kubelet take its pods down, so that it leaves no network and no volume; controllers first."""
    with contextlib.suppress(Exception):
        for file in whole.node.static_pods.iterdir():
            file.unlink()
        for api, kind in (("apps/v1", "Deployment"), ("apps/v1", "DaemonSet"), ("apps/v1", "ReplicaSet")):
            for one in whole.api.list(kind, api=api):
                whole.api.delete(kind, one["metadata"]["namespace"], one["metadata"]["name"], api)
        for pod in whole.api.list("Pod"):
            whole.api.delete("Pod", pod["metadata"]["namespace"], pod["metadata"]["name"], at_once=True)
        until(lambda: not whole.node.runtime.ctr("tasks", "ls", "-q").split(), "all containers have ended", 30)
