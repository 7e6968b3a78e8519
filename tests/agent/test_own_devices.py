"""A node's own BMC or meter is asked by its agent, without a second process, and `check` says what each answers."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from agent.rig import AGENT, eventually, free_port, needs_agent, printed

pytestmark = pytest.mark.slow
SETTINGS = """
host = "node-a"
interval_seconds = 0.5
profile_hz = 0
sink = "stdout"
container_sockets = []

[[replay]]
name = "lab"
path = "{log}"
loop = true

[[redfish]]
name = "bmc"
url = "http://127.0.0.1:{closed}"
insecure = true
"""


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    """A recorded meter, and a BMC that is away; neither names a host."""
    needs_agent()
    log = tmp_path / "log.csv"
    log.write_text("timestamp,watts\n0,100\n1,101\n2,102\n3,103\n")
    file = tmp_path / "agent.toml"
    file.write_text(SETTINGS.format(log=log, closed=free_port()))
    return file


def test_its_rows_are_the_nodes_beside_all_others(settings: Path, tmp_path: Path) -> None:
    """Figures of the meter that answers, the reason of the one that does not, and samples, all under one host."""
    output = tmp_path / "rows"

    def done() -> bool:
        seen = {row["meter"] for row in printed(output) if row["kind"] == "meters"}
        return {"replay", "redfish", "kernel"} <= seen and any(row["kind"] == "samples" for row in printed(output))

    with output.open("w") as out:
        agent = subprocess.Popen([str(AGENT), "run", "--config", str(settings)], stdout=out)
        try:
            eventually(done, "rows of each meter, and samples", 60)
        finally:
            agent.terminate()
            assert agent.wait(30) == 0
    assert {row["host"] for row in printed(output)} == {"node-a"}
    of = {name: [row for row in printed(output) if row.get("meter") == name] for name in ("replay", "redfish")}
    assert {row["power_watts"] for row in of["replay"]} <= {100, 101, 102, 103}
    assert {row["power_watts"] for row in of["redfish"]} == {None}
    assert all(row["reason"] for row in of["redfish"])


def test_check_asks_each_device_once(settings: Path) -> None:
    """There or not, with the reason, the next step and the cost."""
    command = [str(AGENT), "check", "--config", str(settings), "--output", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    meters = {one["meter"]: one for one in json.loads(done.stdout)["meters"]}
    assert meters["device:lab"]["found"]
    away = meters["device:bmc"]
    assert not away["found"]
    assert "[[redfish]]" in away["next"]
    assert "at the wall" in away["costs"]


def test_a_wrong_device_is_told_at_the_start(tmp_path: Path) -> None:
    """A password in the address, and a file that is not there, before anything runs."""
    file = tmp_path / "agent.toml"
    for table, words in [
        ('[[redfish]]\nname = "a"\nurl = "https://eo:s3cret@bmc"\n', ["redfish", "url", "password_file"]),
        ('[[snmp]]\nname = "a"\naddress = "s3cret@pdu"\ncommunity_file = "x"\n', ["snmp", "address"]),
        ('[[replay]]\nname = "a"\npath = "/nonexistent"\n', ["replay", "/nonexistent"]),
    ]:
        file.write_text(table)
        for command in (["run", "--sink", "stdout"], ["check"]):
            asked = [str(AGENT), *command, "--config", str(file)]
            done = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=60)
            assert done.returncode == 2, done.stdout
            assert all(word in done.stderr for word in words), done.stderr
            assert "s3cret" not in done.stderr
