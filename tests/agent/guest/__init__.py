"""A virtual machine with this machine's files and a kernel of its own: for what this kernel does not have.

    ended = guest.run("uname -r", folder)

Here it gives a system whose only cgroups are v2, as most nodes have it by now, where the tests' machine holds the v1
controllers. QEMU interprets the processor (no KVM is needed; some ten times slower). The root is this machine's, read
through 9p and never written: a tmpfs lies over it. The kernel is Debian's, unpacked into `.cache/guest`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import debian
from agent.rig import missing
from agent.simulated import ROOT

CACHE = ROOT / ".cache" / "guest"
PACKAGES = {"qemu-system-x86_64": "qemu-system-x86", "busybox": "busybox-static", "cpio": "cpio"}
# For 9p over virtio and overlayfs; what the kernel has built in is left out.
MODULES = re.compile(r"virtio(_ring|_pci|_pci_modern_dev|_pci_legacy_dev)?|netfs|fscache|9p|9pnet|9pnet_virtio|overlay")


@dataclass(frozen=True)
class Ended:
    """What a command in the guest came to. `exit` is None where the guest ended before it."""

    exit: int | None
    output: str
    console: str


def apt(*arguments: str, folder: Path | None = None) -> str:
    """Debian's package tool; skips the test (fails in CI) where it cannot do that."""
    done = subprocess.run(arguments, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        missing(f"the guest takes `{' '.join(arguments)}`: {done.stderr[-400:]}")
    return done.stdout


def prepare() -> tuple[Path, Path]:
    """Kernel and first file system; installed and made the first time.

    As root; installs QEMU, busybox-static and cpio of Debian where they are missing.
    """
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        missing("a guest takes root on Debian (QEMU and a kernel are installed)")
    lacking = [package for program, package in PACKAGES.items() if shutil.which(program) is None]
    if lacking and (why := debian.install(lacking)):
        missing(f"the guest takes Debian's {', '.join(lacking)}: {why}")
    CACHE.mkdir(parents=True, exist_ok=True)
    kernel = next(iter(sorted((CACHE / "kernel" / "boot").glob("vmlinuz-*"))), None) or _kernel()
    return kernel, _first_files(kernel)


def _kernel() -> Path:
    """Debian's kernel of this release."""
    debian.update()
    depends = apt("apt-cache", "depends", "linux-image-amd64")
    name = next(line.split()[-1] for line in depends.splitlines() if "Depends: linux-image-" in line)
    apt(*debian.APT_GET, "download", name, folder=CACHE)
    archive = next(CACHE.glob("linux-image-*.deb"))
    apt("dpkg-deb", "-x", str(archive), str(CACHE / "kernel"))
    archive.unlink()
    return next((CACHE / "kernel" / "boot").glob("vmlinuz-*"))


def _first_files(kernel: Path) -> Path:
    """The initramfs: busybox, the modules that 9p takes, `init`."""
    tree = CACHE / "initramfs"
    shutil.rmtree(tree, ignore_errors=True)
    (tree / "bin").mkdir(parents=True)
    for folder in ("proc", "sys", "dev", "modules"):
        (tree / folder).mkdir()
    shutil.copy(os.path.realpath(str(shutil.which("busybox"))), tree / "bin" / "busybox")
    shutil.copy(Path(__file__).with_name("init"), tree / "init")
    (tree / "init").chmod(0o755)
    for module in (CACHE / "kernel" / "lib" / "modules").rglob("*.ko"):
        if MODULES.fullmatch(module.stem):
            shutil.copy(module, tree / "modules" / module.name)
    image = CACHE / "initramfs.cpio"
    listed = "\n".join(str(file.relative_to(tree)) for file in sorted(tree.rglob("*")))
    with image.open("wb") as out:
        subprocess.run(["cpio", "-o", "-H", "newc", "--quiet"], cwd=tree, input=listed.encode(), stdout=out, check=True)
    return image


def run(command: str, folder: Path, *, memory_mb: int = 3072, timeout_seconds: float = 900) -> Ended:
    """Run a shell script in the guest; what it leaves in /run/results lies in `folder`."""
    kernel, first_files = prepare()
    (folder / "command").write_text(command)
    shares = [
        "local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap,id=host",
        f"local,path={folder},mount_tag=results,security_model=none,id=results",
    ]
    machine = ["-machine", "q35,accel=tcg", "-cpu", "max", "-smp", "2", "-m", str(memory_mb)]
    devices = ["-nodefaults", "-no-user-config", "-display", "none", "-serial", f"file:{folder}/console", "-no-reboot"]
    boot = [
        "-kernel",
        str(kernel),
        "-initrd",
        str(first_files),
        "-append",
        "console=ttyS0 quiet panic=-1 mitigations=off",
    ]
    files = [part for share in shares for part in ("-virtfs", share)]
    with subprocess.Popen(["qemu-system-x86_64", *machine, *devices, *boot, *files]) as guest:
        try:
            guest.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            guest.kill()
    code = folder / "exit"
    return Ended(
        exit=int(code.read_text()) if code.exists() and code.read_text().strip() else None,
        output=(folder / "output").read_text(errors="replace") if (folder / "output").exists() else "",
        console=(folder / "console").read_text(errors="replace") if (folder / "console").exists() else "",
    )
