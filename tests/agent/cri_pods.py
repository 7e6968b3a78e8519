"""A real containerd with pods in it, for tests: started in a folder, spoken to by curl over the CRI.

Only what a pod needs is written here: three messages of `runtime.v1` (k8s.io/cri-api), and an image of one busybox.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import debian
from agent.rig import missing

IMAGE = "localhost/pause:1"
PROGRAMS = {
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "curl": "curl",
    "busybox": "busybox-static",
}


def lacking() -> list[str]:
    """Debian packages that are not there; installed by whoever runs this as root."""
    return sorted({package for program, package in PROGRAMS.items() if not shutil.which(program)})


def install_lacking() -> None:
    """Have what it takes; skips the test (fails in CI) where Debian's packages cannot be had."""
    if (packages := lacking()) and (why := debian.install(packages)):
        missing(f"a real container runtime takes Debian's {', '.join(packages)}: {why}")


def field(tag: int, value: int | str | bytes) -> bytes:
    """One field of a protobuf message."""
    if isinstance(value, int):
        return _varint(tag << 3) + _varint(value)
    data = value.encode() if isinstance(value, str) else value
    return _varint(tag << 3 | 2) + _varint(len(data)) + data


def labels(tag: int, pairs: dict[str, str]) -> bytes:
    """A `map<string, string>`."""
    return b"".join(field(tag, field(1, key) + field(2, value)) for key, value in pairs.items())


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes(out) + bytes([number])


@dataclass(frozen=True)
class Containerd:
    """A running daemon."""

    socket: Path

    def ctr(self, *arguments: str) -> str:
        """Its own client, in the namespace of Kubernetes."""
        command = ["ctr", "-a", str(self.socket), "-n", "k8s.io", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout

    def call(self, method: str, message: bytes) -> bytes:
        """One unary call of the RuntimeService; its answer."""
        body = b"\0" + len(message).to_bytes(4, "big") + message
        command = ["curl", "-sS", "--http2-prior-knowledge", "--unix-socket", str(self.socket), "-D", "/dev/stderr"]
        command += ["-H", "content-type: application/grpc", "-H", "te: trailers", "--data-binary", "@-"]
        command.append(f"http://localhost/runtime.v1.RuntimeService/{method}")
        done = subprocess.run(command, input=body, check=True, capture_output=True, timeout=60)
        if b"grpc-status: 0" not in done.stderr:
            raise RuntimeError(f"{method}: {done.stderr.decode(errors='replace')}")
        return done.stdout[5:]

    def run_pod(self, name: str, namespace: str, uid: str, marks: dict[str, str], script: str) -> None:
        """A pod with one container `app` that runs a shell script, in the host's namespaces."""
        metadata = field(1, name) + field(2, uid) + field(3, namespace)
        host = field(1, 2) + field(2, 1) + field(3, 2)  # network of the node, a process namespace, IPC of the node
        linux = field(1, f"/kubepods/burstable/pod{uid}") + field(2, field(1, host))
        sandbox = field(1, metadata) + field(3, str(self.socket.parent / "logs")) + labels(6, marks) + field(8, linux)
        sandbox_id = self.call("RunPodSandbox", field(1, sandbox))[2:].decode()
        command = field(3, "/bin/sh") + field(4, "-c") + field(4, script)
        container = field(1, field(1, "app")) + field(2, field(1, IMAGE)) + command
        container += field(15, field(2, field(3, host)))
        made = self.call("CreateContainer", field(1, sandbox_id) + field(2, container) + field(3, sandbox))
        self.call("StartContainer", field(1, made[2:].decode()))


@contextlib.contextmanager
def containerd(folder: Path) -> Iterator[Containerd]:
    """A daemon with root, state and socket in a folder, and the image in its store; all of it ends with the block."""
    socket = folder / "containerd.sock"
    config = folder / "config.toml"
    config.write_text(
        f'version = 2\nroot = "{folder}/root"\nstate = "{folder}/state"\n[grpc]\n  address = "{socket}"\n'
        '[plugins."io.containerd.grpc.v1.cri"]\n'
        # Without CAP_SYS_RESOURCE no sandbox starts otherwise.
        f'  restrict_oom_score_adj = true\n  sandbox_image = "{IMAGE}"\n'
    )
    image = folder / "image.tar"
    _write_image(image)
    with (folder / "log").open("wb") as log:
        daemon = subprocess.Popen(["containerd", "-c", str(config)], stderr=log)
    running = Containerd(socket)
    try:
        _wait_for(running)
        running.ctr("images", "import", str(image))
        yield running
    finally:
        for task in running.ctr("tasks", "ls", "-q").split():
            subprocess.run(["ctr", "-a", str(socket), "-n", "k8s.io", "tasks", "rm", "-f", task], check=False)
        for container in running.ctr("containers", "ls", "-q").split():
            running.ctr("containers", "rm", container)
        daemon.terminate()
        daemon.wait(30)


def _wait_for(running: Containerd) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            running.ctr("version")
            running.call("Version", b"")
        except (subprocess.CalledProcessError, RuntimeError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


def _write_image(path: Path) -> None:
    """A `docker save` archive of one layer: busybox, and the names that the tests call it by."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        busybox = os.path.realpath(str(shutil.which("busybox")))
        tar.add(busybox, "bin/busybox")
        for name in ("sh", "sleep"):
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
    config = {
        "architecture": "amd64" if os.uname().machine == "x86_64" else "arm64",
        "os": "linux",
        "config": {"Cmd": ["/bin/sleep", "3600"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer.getvalue()).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [IMAGE], "Layers": ["layer.tar"]}]
    files = {
        "config.json": json.dumps(config).encode(),
        "manifest.json": json.dumps(manifest).encode(),
        "layer.tar": layer.getvalue(),
    }
    with tarfile.open(path, "w") as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
