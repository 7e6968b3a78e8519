"""BMCs over IPMI through the gateway: the real ipmitool asks OpenIPMI's simulator over RMCP+.

The simulator knows no DCMI; `ipmi/dcmi.c` teaches it the one command. As root, the fixture installs the Debian packages
openipmi, ipmitool, libopenipmi-dev and gcc where they are missing.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from .rig import eventually, missing
from .simulated import free_udp_port, gateway, secret

pytestmark = pytest.mark.slow

PASSWORD = "bmc-s3cret-1"
MODULE = Path(__file__).parent / "ipmi" / "dcmi.c"
PACKAGES = ("openipmi", "ipmitool", "libopenipmi-dev", "gcc", "libc6-dev")
LAN = """loadlib "{module}" "{reading}"
name "{name}"
set_working_mc 0x20
  startlan 1
    addr 127.0.0.1 {port}
    priv_limit admin
    allowed_auths_callback none md5
    allowed_auths_user none md5
    allowed_auths_operator none md5
    allowed_auths_admin none md5
    guid a123456789abcdefa123456789abcdef
  endlan
  user 2 true "monitor" "{password}" admin 10 none md5
"""
BMC = "mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr\nmc_enable 0x20\n"


def installed() -> bool:
    header = Path("/usr/include/OpenIPMI/mcserv.h")
    return all(shutil.which(program) for program in ("ipmi_sim", "ipmitool", "gcc")) and header.exists()


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The simulator's module, built."""
    if not installed() and os.geteuid() == 0 and shutil.which("apt-get"):
        subprocess.run(["apt-get", "update", "-qq"], check=False, capture_output=True)
        subprocess.run(["apt-get", "install", "-y", "-q", *PACKAGES], check=False, capture_output=True)
    if not installed():
        missing(f"the simulator of a BMC is missing: apt-get install {' '.join(PACKAGES)}")
    built = tmp_path_factory.mktemp("dcmi") / "dcmi.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-Wall", "-o", str(built), str(MODULE)], check=True)
    return built


@contextlib.contextmanager
def simulated_bmc(folder: Path, module: Path, reading: str) -> Iterator[str]:
    """Its address."""
    port = free_udp_port()
    home = folder / f"bmc-{reading}"
    home.mkdir()
    (home / "lan.conf").write_text(
        LAN.format(module=module, reading=reading, name=f"eo{reading}", port=port, password=PASSWORD)
    )
    (home / "bmc.emu").write_text(BMC)
    command = ["ipmi_sim", "-n", "-c", str(home / "lan.conf"), "-f", str(home / "bmc.emu"), "-s", str(home)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as child:
        try:
            yield f"127.0.0.1:{port}"
        finally:
            child.kill()


def bmc(name: str, host: str, address: str, credential: str) -> str:
    return (
        f'[[ipmi]]\nname = "{name}"\nhost = "{host}"\naddress = "{address}"\nuser = "monitor"\n{credential}\n'
        "interval_seconds = 1\n"
    )


def test_bmcs_tell_their_power_or_why_they_do_not(tmp_path: Path, module: Path) -> None:
    password = f'password_file = "{secret(tmp_path, PASSWORD)}"'
    with simulated_bmc(tmp_path, module, "213") as good, simulated_bmc(tmp_path, module, "off") as off:
        file = (
            'host = "gateway-1"\n'
            + bmc("a", "node-a", good, password)
            + bmc("env", "node-e", good, 'password_env = "TEST_BMC_PASSWORD"')
            + bmc("off", "node-b", off, password)
            + bmc("wrong", "node-c", good, f'password_file = "{secret(tmp_path, "wrong-s3cret")}"')
        )
        with gateway(tmp_path, file, TEST_BMC_PASSWORD=PASSWORD) as running:
            for zone, host in (("a", "node-a"), ("env", "node-e")):
                row = running.row(zone=zone)
                assert (row["host"], row["meter"], row["tier"], row["power_watts"]) == (host, "ipmi", "bmc", 213.0)
                assert row["energy_joules"] is None
            row = running.row(zone="off")
            assert (row["host"], row["power_watts"]) == ("node-b", None), "0 W that is not measured is not 0 W"
            assert "not activated" in row["reason"]
            row = running.row(zone="wrong")
            assert (row["host"], row["power_watts"]) == ("node-c", None)
            assert "check address, user and password" in row["reason"]
            count = len(running.rows(zone="a"))
            eventually(lambda: len(running.rows(zone="a")) > count, "the good one goes on")
            running.stop()
            shown = (running.log + str(running.rows())).replace(str(tmp_path), "")
            assert PASSWORD not in shown
            assert "wrong-s3cret" not in shown
