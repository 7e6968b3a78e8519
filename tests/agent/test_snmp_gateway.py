"""PDUs over SNMP through the gateway: a real agent answers from recorded walks of real PDUs (APC, where the data is
there) and from own fixtures after the vendors' OID maps (Raritan, Server Technology)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from energy_orchestrator.ingest.validation import validate

from .rig import eventually, missing
from .simulated import (
    AUTH_PASSWORD,
    PRIV_PASSWORD,
    WALKS,
    SimulatedPdus,
    free_udp_port,
    gateway,
    promises,
    secret,
    simulated_pdus,
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pdus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatedPdus]:
    with simulated_pdus(tmp_path_factory.mktemp("snmpsim")) as running:
        yield running


@pytest.fixture
def recorded() -> None:
    if not WALKS.exists():
        missing(f"{WALKS} is missing")


def v2c(folder: Path, pdus: SimulatedPdus, name: str, walk: str, outlets: str = "") -> str:
    community = secret(folder, walk)
    return f"""
[[snmp]]
name = "{name}"
address = "{pdus.address}"
community_file = "{community}"
timeout_seconds = 5
outlets = {{ {outlets} }}
"""


def v3(folder: Path, pdus: SimulatedPdus, name: str, walk: str, password: str = AUTH_PASSWORD) -> str:
    return f"""
[[snmp]]
name = "{name}"
address = "{pdus.address}"
version = "3"
user = "eo"
context = "{walk}"
auth_password_file = "{secret(folder, password)}"
priv_password_env = "TEST_PRIV_PASSWORD"
timeout_seconds = 5
"""


HEAD = 'host = "gateway-1"\ntenant = "acme"\ninterval_seconds = 0.5\n'


def test_metered_outlets_go_to_their_nodes_and_the_rest_to_the_gateway(
    tmp_path: Path, pdus: SimulatedPdus, recorded: None
) -> None:
    outlets = '"1" = "node-a", "2" = "node-a", "outlet-4" = "node-b"'
    with gateway(tmp_path, HEAD + v2c(tmp_path, pdus, "rack1", "apc-8641", outlets)) as running:
        assert running.row(zone="rack1/outlet-1", power_watts=163.0)["host"] == "node-a"
        of_outlet = {row["zone"]: row for row in running.rows(meter="snmp")}
        assert len(of_outlet) == 24, "24 metered outlets, and not the device that contains them"
        expected = {1: ("node-a", 163.0), 2: ("node-a", 4.0), 3: ("gateway-1", 81.0), 4: ("node-b", 125.0)}
        for outlet, (host, watts) in expected.items():
            row = of_outlet[f"rack1/outlet-{outlet}"]
            assert (row["host"], row["power_watts"], row["tier"]) == (host, watts, "wall")
            assert (row["tenant"], row["kind"]) == ("acme", "meters")
            assert row["energy_joules"] is None, "a step of 0.1 kWh is hours of this outlet"
            assert "energy" in row["reason"]
        promises(running.rows(meter="snmp"))
        assert sum(row["power_watts"] for row in of_outlet.values()) == pytest.approx(1210, abs=100)
        assert running.stop() == 0


def test_a_pdu_that_says_minus_one_is_read_where_it_knows(tmp_path: Path, pdus: SimulatedPdus, recorded: None) -> None:
    file = HEAD + v2c(tmp_path, pdus, "old", "apc-7902b", '"device" = "node-a", "3" = "node-b"')
    with gateway(tmp_path, file) as running:
        row = running.row(zone="old/device")
        assert (row["host"], row["power_watts"]) == ("node-a", 192.0), "rPDUIdentDevicePowerWatts"
        unmetered = running.row(zone="old/outlet-3")
        assert (unmetered["host"], unmetered["power_watts"]) == ("node-b", None)
        assert "does not measure outlets" in unmetered["reason"]


def test_version_3_with_encryption(tmp_path: Path, pdus: SimulatedPdus, recorded: None) -> None:
    file = HEAD + v3(tmp_path, pdus, "rack3", "apc-8932") + v2c(tmp_path, pdus, "plain", "apc-8932")
    with gateway(tmp_path, file, TEST_PRIV_PASSWORD=PRIV_PASSWORD) as running:
        encrypted, plain = running.row(zone="rack3/device"), running.row(zone="plain/device")
        assert encrypted["power_watts"] == plain["power_watts"] == 160.0, "16 hundredths of a kilowatt"


@pytest.mark.parametrize(
    ("walk", "expected"),
    [
        ("own-raritan-pdu2", {"outlet-1": 104.3, "outlet-2": 0.0, "outlet-3": 85.7}),
        ("own-raritan-px", {"outlet-1": 120.0, "outlet-2": 75.0}),
        ("own-servertech-sentry4", {"outlet-1": 210.0, "outlet-2": None, "outlet-1.2.1": 33.0}),
        ("own-servertech-sentry3", {"device": 1100.0, "device-2": 900.0, "device-3": None}),
        (
            "own-garbage",
            {
                "outlet-1": None,
                "outlet-2": None,
                "outlet-3": None,
                "outlet-4": None,
                "outlet-5": 40.0,
                "outlet-6": None,
            },
        ),
    ],
)
def test_other_vendors_and_answers_that_are_no_figures(
    tmp_path: Path, pdus: SimulatedPdus, walk: str, expected: dict[str, float | None]
) -> None:
    with gateway(tmp_path, HEAD + v2c(tmp_path, pdus, "p", walk)) as running:
        running.row(meter="snmp")
        rows = running.rows()
        assert {row["zone"]: row["power_watts"] for row in rows} == {f"p/{zone}": w for zone, w in expected.items()}
        assert all(row["reason"] for row in rows if row["power_watts"] is None)
        promises(rows)


def test_who_can_not_be_asked_says_why_and_the_others_go_on(tmp_path: Path, pdus: SimulatedPdus) -> None:
    stranger = v2c(tmp_path, pdus, "stranger", "no-such-community", '"1" = "node-b", "2" = "node-c"')
    dead = v2c(tmp_path, pdus, "dead", "own-raritan-px", '"1" = "node-d"')
    file = (
        HEAD
        + v2c(tmp_path, pdus, "good", "own-raritan-px", '"1" = "node-a"')
        + stranger.replace("timeout_seconds = 5", "timeout_seconds = 1")
        + v3(tmp_path, pdus, "locked", "own-raritan-px", "wrong-s3cret-9")
        + v2c(tmp_path, pdus, "server", "own-not-a-pdu")
        + dead.replace(pdus.address, f"127.0.0.1:{free_udp_port()}")
    )
    with gateway(tmp_path, file, TEST_PRIV_PASSWORD=PRIV_PASSWORD) as running:
        for zone, host, words in [
            ("stranger/outlet-1", "node-b", "community"),
            ("stranger/outlet-2", "node-c", "no answer within 1s"),
            ("locked/device", "gateway-1", "check user, protocols and passwords"),
            ("server/device", "gateway-1", "Server Technology"),
            ("dead/outlet-1", "node-d", "nothing listens"),
        ]:
            row = running.row(zone=zone)
            assert (row["host"], row["power_watts"], row["energy_joules"]) == (host, None, None)
            assert words in row["reason"], row["reason"]
            assert row["tier"] == "wall"
        before = len(running.rows(zone="good/outlet-1", power_watts=120.0))
        eventually(lambda: len(running.rows(zone="good/outlet-1", power_watts=120.0)) > before, "the good one goes on")
        # While a device is asked less and less often, its rows come all the same.
        count = len(running.rows(zone="dead/outlet-1"))
        eventually(lambda: len(running.rows(zone="dead/outlet-1")) > count + 3, "rows of the dead one")
        running.stop()
        everything = running.log + str(running.rows())
        for hidden in ("no-such-community", "wrong-s3cret-9", PRIV_PASSWORD):
            assert hidden not in everything.replace(str(tmp_path), ""), "a secret is told"


def test_a_counter_that_moves_and_is_reset(tmp_path: Path, pdus: SimulatedPdus) -> None:
    walk = pdus.walks / "own-counting.snmprec"
    counter = "1.3.6.1.4.1.13742.4.1.2.2.1.31.1|66|"
    original = walk.read_text()
    with gateway(tmp_path, HEAD + v2c(tmp_path, pdus, "p", walk.stem)) as running:
        still = running.row(zone="p/outlet-1")
        assert still["energy_joules"] is None, "the counter stands still: anything below one step"
        rewrite(walk, original.replace(f"{counter}4000", f"{counter}4100"))
        moved = running.row(zone="p/outlet-1", energy_joules=100 * 3600.0)
        assert (moved["power_watts"], moved["reason"]) == (120.0, None)
        rewrite(walk, original.replace(f"{counter}4000", f"{counter}7"))
        reset = eventually(
            lambda: [row for row in running.rows(zone="p/outlet-1") if "reset" in (row["reason"] or "")], "the reset"
        )[-1]
        assert (reset["energy_joules"], reset["power_watts"]) == (None, 120.0)


def rewrite(walk: Path, content: str) -> None:
    """snmpsim sees a change by the file's time, in whole seconds."""
    newest = walk.stat().st_mtime + 2
    walk.write_text(content)
    os.utime(walk, (newest, newest))


def test_the_file_sink_writes_what_the_collector_takes(tmp_path: Path, pdus: SimulatedPdus) -> None:
    folder = tmp_path / "arrow"
    file = HEAD + v2c(tmp_path, pdus, "p", "own-raritan-px", '"1" = "node-a"')
    with gateway(tmp_path, file, sink=("file", "--path", str(folder))) as running:
        eventually(lambda: len(list(folder.glob("meters-*.arrows"))) >= 2, "a batch for each host")
        running.stop()
    hosts = set()
    for path in folder.glob("meters-*.arrows"):
        data = path.read_bytes()
        host = pa.ipc.open_stream(data).read_all()["host"][0].as_py()
        batch = validate(f"eo.v1.acme.{host}.meters", data, now=datetime.now(UTC))
        assert (batch.kind, batch.tenant, batch.host) == ("meters", "acme", host)
        hosts.add(host)
    assert hosts == {"node-a", "gateway-1"}


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("", ["names no device"]),
        ('[[snmp]]\nname = "a"\naddress = "127.0.0.1"\n', ['snmp "a"', "community_file"]),
        ('[[snmp]]\nname = "a"\naddress = "x"\ncommunity = "public"\n', ["line 4", "community"]),
        ('[[snmp]]\nname = "a"\naddress = "x"\ncommunity_file = "/none"\n', ["/none", "community_file"]),
        ('[[snmp]]\nname = "a"\naddress = "x"\ncommunity_env = "NOT_THERE"\n', ["NOT_THERE"]),
        ('hots = "x"\n[[ipmi]]\nname = "b"\nhost = "n"\n', ["hots"]),
        ('host = "n"\n[[ipmi]]\nname = "b"\nhost = "n"\n', ["host", "a name of its own"]),
        ('[[ipmi]]\nname = "b"\nhost = "n"\n[[ipmi]]\nname = "b"\nhost = "m"\n', ["two devices"]),
        ('[[ipmi]]\nname = "b"\nhost = "n"\naddress = "192.0.2.1"\n', ["password_file"]),
    ],
)
def test_a_mistake_in_the_file_names_the_key_and_the_next_step(tmp_path: Path, file: str, words: list[str]) -> None:
    with gateway(tmp_path, file) as running:
        assert running.child.wait(20) == 2
        for word in words:
            assert word in running.log
