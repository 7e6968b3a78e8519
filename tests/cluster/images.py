"""Images without a registry: built by buildah from scratch, brought into containerd's store as files."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

BUILDAH = ["buildah", "--storage-driver", "vfs"]
PAUSE = "localhost/pause:1"
# One busybox is all programs of a test: it sleeps as the pause container and is the shell of busy pods.
CONTAINERFILE = """FROM scratch
COPY busybox /bin/busybox
COPY scripts /bin
RUN ["/bin/busybox", "--install", "-s", "/bin"]
LABEL name={label}
CMD ["/bin/sleep", "infinity"]
"""


def busybox(folder: Path, name: str, scripts: Mapping[str, str] = MappingProxyType({})) -> Path:
    """An archive with an image of this name; the name stands in the image too, so each has a digest of its own."""
    context = folder / name.replace("/", "_").replace(":", "_")
    context.mkdir(parents=True)
    shutil.copy(str(shutil.which("busybox")), context / "busybox")
    (context / "scripts").mkdir()
    for script, text in scripts.items():
        (context / "scripts" / script).write_text(text)
        (context / "scripts" / script).chmod(0o755)
    (context / "Containerfile").write_text(CONTAINERFILE.format(label=name))
    storage = ["--root", str(folder / "storage"), "--runroot", str(folder / "run")]
    archive = context / "image.tar"
    _run([*BUILDAH, *storage, "bud", "--isolation", "chroot", "--tag", name, str(context)])
    _run([*BUILDAH, *storage, "push", name, f"docker-archive:{archive}:{name}"])
    return archive


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr[-2000:]}")
