"""Debian's packages, installed by tests that run as root: one way to ask, again when a mirror fails."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable

APT_GET = ("apt-get", "-o", "Acquire::Retries=3", "-qq")


def update() -> None:
    """Renew the lists; old ones may do, so a failure is left to what comes after."""
    subprocess.run([*APT_GET, "update"], check=False, capture_output=True)


def install(packages: Iterable[str]) -> str | None:
    """Why they could not be installed, by the end of what apt-get said; None once they are there."""
    update()
    command = [*APT_GET, "install", "-y", "--no-install-recommends", *packages]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stderr[-500:] or f"exit {done.returncode}") if done.returncode else None
