"""What is true of the pods on a node, read without the agent: from the API server, /proc and cgroups."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from cluster.api import Object

POD = re.compile(r"/pod([0-9a-f-]{32,36})/([0-9a-f]{64})")
CGROUPS = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Pod:
    """One pod, as its author and the API server know it."""

    uid: str
    name: str
    namespace: str
    owner: str | None
    labels: tuple[str, ...]
    # Name of its container and image of that, by the id that the runtime gave.
    containers: dict[str, tuple[str, str]]

    @property
    def workload(self) -> str:
        """By what its rows are told apart."""
        maker = self.owner.partition("/")[2] if self.owner else self.name
        return f"pod/{self.namespace}.{maker}"


@dataclass(frozen=True)
class Place:
    """Where a process is; without a container for the shim, which stands outside."""

    uid: str
    container_id: str | None


def pod_of(pod: Object) -> Pod:
    """From the API server's object; a Deployment stands for its ReplicaSet."""
    metadata, status = pod["metadata"], pod["status"]
    labels: dict[str, str] = metadata.get("labels", {})
    owner = None
    for one in metadata.get("ownerReferences", ()):
        if one["kind"] == "ReplicaSet":
            owner = f"Deployment/{one['name'].removesuffix('-' + labels['pod-template-hash'])}"
        elif one["kind"] != "Node":
            owner = f"{one['kind']}/{one['name']}"
    spec = pod["spec"]
    images = {one["name"]: one["image"] for one in (*spec["containers"], *spec.get("initContainers", ()))}
    states = (*status.get("containerStatuses", ()), *status.get("initContainerStatuses", ()))
    ids = {one["containerID"].rpartition("/")[2]: one["name"] for one in states if one.get("containerID")}
    # A static pod is known to the API server by a mirror with a uid of its own.
    uid = metadata.get("annotations", {}).get("kubernetes.io/config.mirror", metadata["uid"])
    return Pod(
        uid=uid,
        name=metadata["name"],
        namespace=metadata["namespace"],
        owner=owner,
        labels=tuple(sorted(f"{key}={value}" for key, value in labels.items())),
        containers={id_: (name, images[name]) for id_, name in ids.items()},
    )


def processes() -> dict[int, Place]:
    """Every process in a pod's cgroup, and the shims above them."""
    found: dict[int, Place] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            membership = POD.search((folder / "cgroup").read_text())
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            above = (folder.parent / str(parent) / "comm").read_text()
        except OSError:
            continue
        if membership:
            found[int(folder.name)] = Place(membership[1], membership[2])
            if above.startswith("containerd-shim"):
                found[parent] = Place(membership[1], None)
    return found


def cpu_seconds(uid: str) -> float:
    """What the kernel counted for a pod's cgroup since it was made."""
    for file in CGROUPS.glob(f"cpuacct/kubepods/**/pod{uid}/cpuacct.usage"):
        return int(file.read_text()) / 1e9
    for file in CGROUPS.glob(f"kubepods/**/pod{uid}/cpu.stat"):
        return int(file.read_text().split()[1]) / 1e6
    raise FileNotFoundError(f"no CPU account of pod {uid} below {CGROUPS}")
