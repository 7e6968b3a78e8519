"""Each pair of authentication and privacy that the gateway offers for SNMP version 3, against a real agent."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from .rig import eventually
from .simulated import AUTH_PASSWORD, OWN, PRIV_PASSWORD, free_udp_port, gateway, promises, secret, snmpsim

pytestmark = pytest.mark.slow
WALK = "own-raritan-px"
# As the gateway's file names them, and as snmpsim does.
AUTH = {"md5": "MD5", "sha1": "SHA", "sha256": "SHA256", "sha512": "SHA512"}
PRIVACY = {"": "NONE", "des": "DES", "aes128": "AES128", "aes256": "AES256", "aes256-blumenthal": "AES256BLMT"}
PAIRS = list(itertools.product(AUTH, PRIVACY))


@pytest.fixture(scope="module")
def addresses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[tuple[str, str], str]]:
    """An engine with one user for each pair."""
    folder = tmp_path_factory.mktemp("snmpsim")
    walks = folder / "walks"
    walks.mkdir()
    shutil.copy(OWN / f"{WALK}.snmprec", walks)
    found = {pair: f"127.0.0.1:{free_udp_port()}" for pair in PAIRS}
    command = [snmpsim(), "--cache-dir", str(folder / "cache")]
    for (auth, privacy), address in found.items():
        command += ["--v3-engine-id", "auto", "--data-dir", str(walks), "--agent-udpv4-endpoint", address]
        command += ["--v3-user", "eo", "--v3-auth-key", AUTH_PASSWORD, "--v3-auth-proto", AUTH[auth]]
        if privacy:
            command += ["--v3-priv-key", PRIV_PASSWORD, "--v3-priv-proto", PRIVACY[privacy]]
    log = folder / "log"
    environment = os.environ | {"SNMPSIM_ALLOW_ROOT": "true"}
    with log.open("w") as out, subprocess.Popen(command, stdout=out, stderr=out, env=environment) as child:
        try:
            listening = f"Listening at UDP/IPv4 endpoint {list(found.values())[-1]}"
            eventually(lambda: listening in log.read_text() or child.poll() is not None, "snmpsim starts", 120)
            assert child.poll() is None, log.read_text()[-2000:]
            yield found
        finally:
            child.terminate()


def device(folder: Path, name: str, address: str, auth: str, privacy: str, priv_password: str = PRIV_PASSWORD) -> str:
    """One PDU of the gateway's file."""
    text = f"""
[[snmp]]
name = "{name}"
address = "{address}"
version = "3"
user = "eo"
context = "{WALK}"
auth_protocol = "{auth}"
auth_password_file = "{secret(folder, AUTH_PASSWORD)}"
timeout_seconds = 10
"""
    if privacy:
        text += f'priv_protocol = "{privacy}"\npriv_password_file = "{secret(folder, priv_password)}"\n'
    return text


def test_each_pair_reads_the_same_figures(tmp_path: Path, addresses: dict[tuple[str, str], str]) -> None:
    """Two outlets of one walk, whatever protects them; a wrong password of the same pair reads nothing."""
    file = 'host = "gateway-1"\ninterval_seconds = 0.5\n'
    for (auth, privacy), address in addresses.items():
        file += device(tmp_path, f"{auth}-{privacy or 'plain'}", address, auth, privacy)
        if privacy:
            file += device(tmp_path, f"{auth}-{privacy}-wrong", address, auth, privacy, "another-s3cret")
    with gateway(tmp_path, file) as running:
        for auth, privacy in addresses:
            name = f"{auth}-{privacy or 'plain'}"
            assert running.row(zone=f"{name}/outlet-1")["power_watts"] == 120.0, name
            assert running.row(zone=f"{name}/outlet-2")["power_watts"] == 75.0, name
            if privacy:
                wrong = running.row(zone=f"{name}-wrong/device")
                assert (wrong["power_watts"], bool(wrong["reason"])) == (None, True)
        promises([row for row in running.rows(meter="snmp") if "wrong" not in row["zone"]])
        assert "s3cret" not in running.log
