"""CPython 3.9 to 3.14, each as a fleet has it: Debian's own builds, in a root of their own, and the relocatable builds
(python-build-standalone, those that uv installs) that a Go module carries. Kept in `.cache/python/` of the checkout."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .rig import missing

CACHE = Path(__file__).parents[2] / ".cache" / "python"
DONE = ".complete"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


@dataclass(frozen=True)
class Carried:
    """A version of the Go module go-embed-python: its zip is checked against `checksum` (as in a go.sum)."""

    version: str
    module_version: str
    checksum: str


@dataclass(frozen=True)
class Debian:
    """Packages of a Debian release; apt checks the archive's signature."""

    version: str
    suite: str


PYTHONS: tuple[Carried | Debian, ...] = (
    Debian("3.9", "bullseye"),
    Carried("3.10", "v0.0.0-3.10.16-20241219-1", "h1:bfJRrtWlbdrPtwXXXZzA95yj2Pr9AvSbxDEm8YvbaP0="),
    Carried("3.11", "v0.0.0-3.11.11-20241219-1", "h1:yVXFTxa6cvhLC6TwkDEHmNaiWlDyaFEGiXd1DQdoeOU="),
    Carried("3.12", "v0.0.0-3.12.3-20240415-1", "h1:IX2O3LJUL0AjYsROGZ4aNENTEb3c/Ll/0b9Yb/8P61Q="),
    Debian("3.13", "trixie"),
    Carried("3.14", "v0.0.0-3.14.6-20260610-1", "h1:oGUS7++Wm3LgxUfD6AmJgKbKQD2wdQFO9PzyJv6T+E4="),
)


def command(python: Carried | Debian) -> list[str]:
    """What starts this interpreter; fetched the first time. Skips, or fails in CI, where it can't be had."""
    home = CACHE / python.version
    if not (home / DONE).exists():
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        if isinstance(python, Carried):
            carried(python, home)
        else:
            packaged(python, home)
        (home / DONE).touch()
    if isinstance(python, Carried):
        return [str(home / "bin" / f"python{python.version}")]
    return ["chroot", str(home), f"/usr/bin/python{python.version}"]


def carried(python: Carried, home: Path) -> None:
    """Unpack the build for this machine from the module."""
    if shutil.which("go") is None:
        missing("go is needed to fetch the interpreters")
    name = f"github.com/kluctl/go-embed-python@{python.module_version}"
    done = subprocess.run(["go", "mod", "download", "-json", name], capture_output=True, text=True, check=False)
    if done.returncode:
        missing(f"{name} can't be had: {done.stdout[-300:]} {done.stderr[-300:]}")
    told = json.loads(done.stdout)
    assert told["Sum"] == python.checksum, f"{name} has another checksum: {told['Sum']}"
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
    source = Path(told["Dir"]) / "python" / "internal" / "data" / f"linux-{architecture}"
    for file in source.rglob("*"):
        to = home / file.relative_to(source)
        if file.is_symlink():
            to.parent.mkdir(parents=True, exist_ok=True)
            to.symlink_to(file.readlink())
        elif file.is_file():
            to.parent.mkdir(parents=True, exist_ok=True)
            packed = file.suffix == ".gz"
            to = to.with_suffix("") if packed else to
            to.write_bytes(gzip.decompress(file.read_bytes()) if packed else file.read_bytes())
            to.chmod(0o755)


def packaged(python: Debian, home: Path) -> None:
    """Unpack the interpreter and the libraries that it needs from a Debian release, beside this machine's own."""
    if os.geteuid() != 0 or shutil.which("apt-get") is None or not Path(KEYRING).exists():
        missing("Debian's other releases take root, apt-get and debian-archive-keyring")
    state = home / "apt"
    (state / "lists" / "partial").mkdir(parents=True)
    (state / "archives" / "partial").mkdir(parents=True)
    sources = state / "sources.list"
    sources.write_text(f"deb [signed-by={KEYRING}] {mirror()} {python.suite} main\n")
    options = {
        "Dir::State": state,
        "Dir::State::lists": state / "lists",
        "Dir::Cache": state,
        "Dir::Etc::SourceList": sources,
        "Dir::Etc::SourceParts": "-",
        "Dir::State::status": "/dev/null",
        "APT::Sandbox::User": "root",
    }
    apt = ["apt-get", "-qq", *(word for key, value in options.items() for word in ("-o", f"{key}={value}"))]
    version = python.version
    packages = [f"python{version}-minimal", f"libpython{version}-minimal", f"libpython{version}-stdlib"]
    for words in (["update"], ["download", *packages, "libc6", "zlib1g", "libexpat1"]):
        done = subprocess.run([*apt, *words], cwd=state, capture_output=True, text=True, check=False)
        if done.returncode:
            missing(f"Python {version} of Debian {python.suite} can't be had: {done.stderr[-400:]}")
    for package in state.glob("*.deb"):
        subprocess.run(["dpkg", "-x", str(package), str(home)], check=True)
    for name in ("lib", "lib64"):
        # Newer releases have these as links, which are no package's of the above.
        if not (home / name).exists() and (home / "usr" / name).exists():
            (home / name).symlink_to(f"usr/{name}")
    shutil.rmtree(state)


def mirror() -> str:
    """Where this machine gets its Debian packages."""
    asked = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    found = [line for line in asked.stdout.split() if "security" not in line]
    if not found:
        missing("apt knows no mirror: run apt-get update")
    return found[0]
