"""A node with real containers: containerd, runc, CNI and the kubelet, in one folder, ended without remains."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import yaml

from cluster import images
from cluster.control_plane import ControlPlane
from cluster.processes import free_port, running
from cluster.programs import CNI

NAME = "test-node"
HIERARCHIES = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Runtime:
    """containerd, by its own client."""

    socket: Path

    def ctr(self, *arguments: str, check: bool = True) -> str:
        """What `ctr` prints, in the namespace of Kubernetes."""
        command = ["ctr", "-a", str(self.socket), "-n", "k8s.io", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        if check and done.returncode:
            raise RuntimeError(f"ctr {' '.join(arguments)}: {done.stderr}")
        return done.stdout

    def load(self, archive: Path, name: str, *, oci: bool = False) -> str:
        """Take an image in; its digest, by which it is known then as if a registry had told it."""
        # An OCI archive holds the tag only.
        base = ["--base-name", name.rpartition(":")[0]] if oci else []
        self.ctr("images", "import", *base, str(archive))
        digest = next(line.split()[2] for line in self.ctr("images", "ls").splitlines() if line.startswith(name))
        by_digest = f"{name.rpartition(':')[0]}@{digest}"
        self.ctr("images", "rm", by_digest, check=False)
        self.ctr("images", "tag", name, by_digest)
        return digest


@dataclass(frozen=True)
class Node:
    """A node that is Ready, and where an agent finds its parts."""

    runtime: Runtime
    kubelet_url: str
    # Certificate authority of the kubelet.
    authority: Path
    # Pods that the kubelet runs without being told by the API server.
    static_pods: Path
    logs: Path


@contextlib.contextmanager
def node(programs: Path, folder: Path, control: ControlPlane) -> Iterator[Node]:
    """Joined to the control plane and Ready; its pods, mounts and cgroups go with the block."""
    folder.mkdir()
    network = folder / "net.d"
    network.mkdir()
    (network / "10-test.conflist").write_text(json.dumps(_network(folder)))
    with contextlib.ExitStack() as stack:
        stack.callback(_remove_cgroups)
        stack.callback(_unmount, folder)
        runtime = stack.enter_context(_containerd(folder, network))
        pause = images.busybox(folder / "images", images.PAUSE)
        runtime.load(pause, images.PAUSE)
        made = Node(
            runtime, f"https://127.0.0.1:{free_port()}", control.authority.file, folder / "static", folder / "logs"
        )
        made.static_pods.mkdir()
        stack.callback(_remove_containers, runtime)
        command = _kubelet(programs, folder, control, made)
        child = stack.enter_context(running("kubelet", command, folder))
        child.until(lambda: _is_ready(control), "the node is Ready", 90)
        yield made


def _is_ready(control: ControlPlane) -> bool:
    conditions = [one for found in control.api.list("Node") for one in found["status"].get("conditions", ())]
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


@contextlib.contextmanager
def _containerd(folder: Path, network: Path) -> Iterator[Runtime]:
    socket = folder / "containerd.sock"
    config = folder / "containerd.toml"
    config.write_text(f"""version = 2
root = "{folder}/containerd"
state = "{folder}/containerd-state"
[grpc]
  address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
  # Without CAP_SYS_RESOURCE no sandbox starts otherwise.
  restrict_oom_score_adj = true
  sandbox_image = "{images.PAUSE}"
  stream_server_address = "127.0.0.1"
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "{CNI}"
  conf_dir = "{network}"
""")
    runtime = Runtime(socket)

    def answers() -> bool:
        return socket.exists() and "Server:" in runtime.ctr("version", check=False)

    with running("containerd", ["containerd", "-c", str(config)], folder) as child:
        child.until(answers, "containerd answers")
        yield runtime


def _network(folder: Path) -> dict[str, object]:
    """Pods get addresses of their own and reach their node; nothing is forwarded further."""
    ipam = {"type": "host-local", "ranges": [[{"subnet": "10.88.77.0/24"}]], "dataDir": str(folder / "addresses")}
    return {"cniVersion": "0.4.0", "name": "test", "plugins": [{"type": "ptp", "ipMasq": False, "ipam": ipam}]}


def _kubelet(programs: Path, folder: Path, control: ControlPlane, made: Node) -> list[str]:
    certificate, private = control.authority.server("kubelet")
    config = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": "127.0.0.1",
        "port": httpx.URL(made.kubelet_url).port,
        "healthzPort": 0,
        "tlsCertFile": str(certificate),
        "tlsPrivateKeyFile": str(private),
        # As a real cluster asks: a token, and what RBAC allows it.
        "authentication": {"anonymous": {"enabled": False}, "webhook": {"enabled": True}},
        "authorization": {"mode": "Webhook"},
        "containerRuntimeEndpoint": f"unix://{made.runtime.socket}",
        "staticPodPath": str(made.static_pods),
        "podLogsDir": str(made.logs),
        "volumePluginDir": str(folder / "volume-plugins"),
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": False,
        "failSwapOn": False,
        "enforceNodeAllocatable": [],
        "makeIPTablesUtilChains": False,
        "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        # Images that no container uses yet must stay: there is no registry to get them again.
        "imageGCHighThresholdPercent": 100,
        "fileCheckFrequency": "1s",
        # Containers that end are started again after a second, not after minutes.
        "featureGates": {"KubeletCrashLoopBackOffMax": True},
        "crashLoopBackOff": {"maxContainerRestartPeriod": "1s"},
    }
    file = folder / "kubelet.yaml"
    file.write_text(yaml.safe_dump(config))
    return [
        str(programs / "kubelet"),
        f"--config={file}",
        f"--kubeconfig={control.kubeconfig}",
        f"--root-dir={folder / 'kubelet'}",
        f"--cert-dir={folder / 'kubelet-certificates'}",
        f"--hostname-override={NAME}",
    ]


def _remove_containers(runtime: Runtime) -> None:
    """Everything that runs in this containerd; networks go with the sandboxes' namespaces."""
    for task in runtime.ctr("tasks", "ls", "-q", check=False).split():
        runtime.ctr("tasks", "rm", "-f", task, check=False)
    for container in runtime.ctr("containers", "ls", "-q", check=False).split():
        namespace = _network_namespace(runtime, container)
        runtime.ctr("containers", "rm", container, check=False)
        if namespace:
            subprocess.run(["umount", "-l", namespace], check=False, capture_output=True)
            Path(namespace).unlink(missing_ok=True)


def _network_namespace(runtime: Runtime, container: str) -> str | None:
    try:
        spec = json.loads(runtime.ctr("containers", "info", container, check=False))["Spec"]
        spaces = spec["linux"]["namespaces"]
    except (ValueError, KeyError, TypeError):
        return None
    paths = (one.get("path", "") for one in spaces if one["type"] == "network")
    return next((path for path in paths if path.startswith("/")), None)


def _unmount(folder: Path) -> None:
    """Volumes and root file systems that were left below the folder, the innermost first."""
    mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for mount in sorted((one for one in mounts if one.startswith(f"{folder}/")), key=len, reverse=True):
        subprocess.run(["umount", "-l", mount], check=False, capture_output=True)
    shutil.rmtree(folder / "kubelet", ignore_errors=True)


def _remove_cgroups() -> None:
    """The kubelet leaves its (empty) groups behind; one that still has processes stays."""
    for root in (*HIERARCHIES.glob("*/kubepods"), HIERARCHIES / "kubepods"):
        groups = sorted((path for path in root.rglob("*") if path.is_dir()), key=lambda path: -len(path.parts))
        for group in (*groups, root):
            with contextlib.suppress(OSError):
                group.rmdir()
