"""A real SNMP agent (snmpsim) that answers from recorded walks, and the gateway that asks it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from .rig import Row, eventually, missing, printed

ROOT = Path(__file__).parents[2]
WALKS = ROOT.parent / "shared" / "data" / "snmpsim-data-ups-pdu"
OWN = Path(__file__).parent / "snmp"
AUTH_PASSWORD, PRIV_PASSWORD = "auth-s3cret-1", "priv-s3cret-1"


def agent_program() -> Path:
    """The newest build of the agent."""
    built = [ROOT / "agent" / "target" / kind / "eo-agent" for kind in ("release", "debug")]
    built = [program for program in built if os.access(program, os.X_OK)]
    if not built:
        missing("the agent is not built: run cargo build in agent/")
    return max(built, key=lambda program: program.stat().st_mtime)


def free_udp_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


class SimulatedPdus:
    """snmpsim: the community (v2c) or the context (v3) is the name of a walk."""

    def __init__(self, folder: Path, port: int) -> None:
        self.walks, self.port = folder / "walks", port

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"


def snmpsim() -> str:
    """The program that answers as a PDU."""
    beside = Path(sys.executable).parent / "snmpsim-command-responder"
    program = str(beside) if beside.exists() else shutil.which("snmpsim-command-responder")
    if program is None:
        missing("snmpsim is not installed: pip install snmpsim pysmi cryptography")
    return program


@contextlib.contextmanager
def simulated_pdus(folder: Path) -> Iterator[SimulatedPdus]:
    program = snmpsim()
    pdus = SimulatedPdus(folder, free_udp_port())
    pdus.walks.mkdir()
    for walk in (*OWN.glob("*.snmprec"), *WALKS.glob("apc-*.snmprec")):
        shutil.copy(walk, pdus.walks)
    # One to be written over by a test; snmpsim learns of new files at its start only.
    shutil.copy(OWN / "own-raritan-px.snmprec", pdus.walks / "own-counting.snmprec")
    log = folder / "snmpsim.log"
    command = [program, "--v3-engine-id", "auto", "--data-dir", str(pdus.walks)]
    command += ["--agent-udpv4-endpoint", pdus.address, "--cache-dir", str(folder / "cache")]
    command += ["--v3-user", "eo", "--v3-auth-key", AUTH_PASSWORD, "--v3-auth-proto", "SHA256"]
    command += ["--v3-priv-key", PRIV_PASSWORD, "--v3-priv-proto", "AES128"]
    with (
        log.open("w") as output,
        subprocess.Popen(
            command, stdout=output, stderr=output, env=os.environ | {"SNMPSIM_ALLOW_ROOT": "true"}
        ) as child,
    ):
        try:
            eventually(lambda: "Listening at" in log.read_text() or child.poll() is not None, "snmpsim starts")
            assert child.poll() is None, log.read_text()[-2000:]
            yield pdus
        finally:
            child.terminate()


class Gateway:
    """`eo-agent meters` with rows on stdout."""

    def __init__(self, folder: Path, child: subprocess.Popen[bytes]) -> None:
        self.folder, self.child = folder, child

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def rows(self, **wanted: object) -> list[Row]:
        rows = printed(self.folder / "rows")
        return [row for row in rows if all(row[key] == value for key, value in wanted.items())]

    def row(self, **wanted: object) -> Row:
        """The newest row like this, once there is one."""
        found: list[Row] = eventually(lambda: self.rows(**wanted), f"a row with {wanted}; log: {self.log[-1500:]}")
        return found[-1]

    def stop(self) -> int:
        self.child.send_signal(signal.SIGTERM)
        return self.child.wait(10)


@contextlib.contextmanager
def gateway(folder: Path, file: str, sink: tuple[str, ...] = ("stdout",), **environment: str) -> Iterator[Gateway]:
    config = folder / "gateway.toml"
    config.write_text(file)
    command = [str(agent_program()), "meters", "--config", str(config), "--sink", *sink]
    with (
        (folder / "rows").open("wb") as rows,
        (folder / "log").open("wb") as log,
        subprocess.Popen(command, stdout=rows, stderr=log, env=os.environ | environment) as child,
    ):
        try:
            yield Gateway(folder, child)
        finally:
            child.kill()


def promises(rows: list[Row]) -> None:
    """What every meter's rows keep to, here on rows with figures (`contract.rs` holds the same in the agent)."""
    assert rows
    for row in rows:
        known = [row[name] for name in ("energy_joules", "power_watts", "temp_c") if row[name] is not None]
        assert known or row["reason"], row
        assert row["tier"] or row["power_watts"] is None, row
        assert row["interval_seconds"] > 0, row
        assert all(row[name] is None or row[name] >= 0 for name in ("energy_joules", "power_watts")), row
    assert len({(row["zone"], row["timestamp"]) for row in rows}) == len(rows), "one row a zone and moment"
    assert any(row["power_watts"] is not None or row["energy_joules"] is not None for row in rows), "figures"


def secret(folder: Path, value: str) -> Path:
    """A file with a secret."""
    file = folder / f"secret-{value}"
    file.write_text(value + "\n")
    file.chmod(0o600)
    return file
