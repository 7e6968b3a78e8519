"""A guest of QEMU, with the arguments that libvirt gives it, is a virtual machine with name and uuid."""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from pathlib import Path

import pytest

import debian
from agent.rig import AGENT, Row, eventually, missing, needs_agent, printed

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
QEMU = "qemu-system-x86_64"


@pytest.fixture(scope="module")
def qemu() -> str:
    """The emulator; installed where this is root on Debian."""
    if not shutil.which(QEMU) and os.geteuid() == 0 and shutil.which("apt-get"):
        debian.install(["qemu-system-x86"])
    return shutil.which(QEMU) or missing(f"{QEMU} is not here (Debian package qemu-system-x86)")


def test_a_guest_has_its_name_and_uuid(tmp_path: Path, qemu: str) -> None:
    """The options of a domain that libvirt starts, as far as they say who it is; its CPUs are stopped."""
    needs_agent()
    identity, output = str(uuid.uuid4()), tmp_path / "rows"
    libvirts = [
        qemu,
        "-name",
        "guest=db-1,debug-threads=on",
        "-S",
        "-machine",
        "none",
        "-no-user-config",
        "-nodefaults",
    ]
    libvirts += ["-uuid", identity, "-display", "none", "-msg", "timestamp=on"]
    command = [str(AGENT), "run", "--sink", "stdout", "--interval-seconds", "0.5", "--profile-hz", "0"]
    with (
        output.open("w") as out,
        subprocess.Popen(libvirts, stderr=subprocess.PIPE) as guest,
        subprocess.Popen(command, stdout=out) as agent,
    ):

        def of_guest(kind: str) -> list[Row]:
            return [row for row in printed(output) if row["kind"] == kind and row["pid"] == guest.pid]

        try:
            eventually(
                lambda: (of_guest("inventory") and of_guest("samples")) or guest.poll() is not None,
                "rows of the guest",
                60,
            )
            assert guest.poll() is None, guest.stderr and guest.stderr.read()
        finally:
            # In this order: a last look at a guest that is gone would find no memory.
            agent.terminate()
            agent.wait(30)
            guest.terminate()
    about, sample = of_guest("inventory")[-1], of_guest("samples")[-1]
    assert (about["workload"], about["workload_kind"], about["vm_uuid"]) == ("vm/db-1", "vm", identity)
    assert (sample["workload"], sample["workload_kind"]) == ("vm/db-1", "vm")
    assert sample["mem_bytes"] > 0
