"""The programs of a cluster: Kubernetes and etcd from their Go modules, the rest from Debian.

Built once into `.cache/cluster/bin` (ignored by git), which takes about ten minutes on two cores and 2 GB of Go's own
cache; later calls see by the modules' checksum that nothing changed. `python -m cluster.programs` builds only.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import debian

SOURCES = Path(__file__).parent / "go"
CACHE = Path(__file__).parents[2] / ".cache" / "cluster"
VERSION = "v1.34.4"
_STAMP = "k8s.io/component-base/version"
_MAJOR, _MINOR, _ = VERSION.removeprefix("v").split(".")
FLAGS = f"-s -w -X {_STAMP}.gitVersion={VERSION} -X {_STAMP}.gitMajor={_MAJOR} -X {_STAMP}.gitMinor={_MINOR}"
# Folder below `go/` and the programs that come of it.
BUILDS = {
    "etcd": ("etcd",),
    "kubernetes/apiserver": ("apiserver",),
    "kubernetes/controllers": ("controllers",),
    "kubernetes/kubelet": ("kubelet",),
}
# Go's own newest release is asked for by this one; see etcd's go.mod.
OLDEST_GO = (1, 26)
DEBIAN = {
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "buildah": "buildah",
    "busybox": "busybox-static",
}
CNI = Path("/usr/lib/cni")


class LackingError(Exception):
    """Why there can be no cluster on this machine, and what to do."""


def prepare() -> Path:
    """The folder with everything built, Debian's packages installed; says what it does on stderr."""
    if os.geteuid() != 0:
        raise LackingError("a node with real containers takes root")
    _install()
    return build()


def build() -> Path:
    """The folder with Kubernetes and etcd."""
    out = CACHE / "bin"
    out.mkdir(parents=True, exist_ok=True)
    for number, (source, names) in enumerate(BUILDS.items(), 1):
        stamp = out / f".{names[0]}"
        wanted = _checksum(SOURCES / source)
        if stamp.exists() and stamp.read_text() == wanted and all((out / name).exists() for name in names):
            continue
        _require_go()
        _say(f"building {source} ({number} of {len(BUILDS)}; minutes the first time) ...")
        began = time.monotonic()
        command = ["nice", "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", FLAGS, "-o", f"{out}/", "."]
        done = subprocess.run(command, cwd=SOURCES / source, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            raise LackingError(f"go build of {source} failed: {done.stderr[-2000:]}")
        stamp.write_text(wanted)
        _say(f"built {source} in {time.monotonic() - began:.0f} s")
    scheduler = out / "kube-scheduler"
    if not scheduler.exists():
        # The same file: it looks at the name that it was called by.
        scheduler.symlink_to("controllers")
    return out


def _install() -> None:
    lacking = {package for program, package in DEBIAN.items() if not shutil.which(program)}
    if not (CNI / "ptp").exists():
        lacking.add("containernetworking-plugins")
    if not lacking:
        return
    names = sorted(lacking)
    if not shutil.which("apt-get"):
        raise LackingError(f"Debian's packages are needed: {', '.join(names)}")
    _say(f"installing {', '.join(names)} ...")
    if why := debian.install(names):
        raise LackingError(f"Debian's packages are needed: {', '.join(names)}; apt-get says: {why}")


def _require_go() -> None:
    go = shutil.which("go")
    version = subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True, check=True).stdout if go else ""
    numbers = tuple(int(part) for part in version.strip().removeprefix("go").split(".")[:2] if part.isdigit())
    if numbers < OLDEST_GO:
        wanted = ".".join(map(str, OLDEST_GO))
        raise LackingError(f"Go {wanted} or newer is needed to build Kubernetes, found {version.strip() or 'none'}")


def _checksum(source: Path) -> str:
    """Of the program's own files, its module's versions and the flags."""
    module = source if (source / "go.mod").exists() else source.parent
    digest = hashlib.sha256(FLAGS.encode())
    for file in (*sorted(source.glob("*.go")), module / "go.mod", module / "go.sum"):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _say(text: str) -> None:
    print(f"cluster: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    print(prepare())
