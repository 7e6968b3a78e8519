"""BMCs over Redfish through the gateway: a real HTTPS server with a certificate of its own serves DMTF's mockup of a
rack server, and what real BMCs get wrong. Prometheus endpoints and recorded logs go the same way."""

from __future__ import annotations

import base64
import contextlib
import gzip
import http.server
import json
import shutil
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .rig import eventually, missing
from .simulated import ROOT, gateway, promises, secret

pytestmark = pytest.mark.slow

DATA = ROOT.parent / "shared" / "data"
MOCKUP = DATA / "dmtf-redfish" / "public-rackmount1"
SUSHY = DATA / "sushy-redfish"
POWER_LOG = (
    DATA
    / "mlperf-inference-v4.1-power/closed/NVIDIA/results/H200-SXM-141GBx8_TRT_MaxQ"
    / "bert-99/Server/performance/run_1/spl.txt.gz"
)
HEAD = 'host = "gateway-1"\ntenant = "acme"\ninterval_seconds = 0.5\n'
LOGIN = "Basic " + base64.b64encode(b"monitor:right").decode()
CHASSIS = "/redfish/v1/Chassis/1U"
SESSIONS = "/redfish/v1/SessionService/Sessions"

Answer = Callable[[str], tuple[int, bytes]]


@pytest.fixture(scope="module")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two self-made certificates: of the server, and of somebody else."""
    if shutil.which("openssl") is None:
        missing("openssl is not installed: apt-get install openssl")
    folder = tmp_path_factory.mktemp("tls")
    for name in ("bmc", "other"):
        arguments = (
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -addext basicConstraints=CA:FALSE"
        )
        names = ["-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"]
        files = ["-keyout", str(folder / f"{name}.key"), "-out", str(folder / f"{name}.pem")]
        subprocess.run(
            ["openssl", *arguments.split(), *names, *files],
            check=True,
            capture_output=True,
        )
    return folder


@contextlib.contextmanager
def server(
    answer: Answer,
    login: str | None = None,
    tls: Path | None = None,
    handler: type[http.server.BaseHTTPRequestHandler] | None = None,
) -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(405)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_GET(self) -> None:
            status, body = answer(self.path)
            if login is not None and self.headers.get("Authorization") != login:
                status, body = 401, b""
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            if status == 302:
                self.send_header("Location", "http://127.0.0.1:9/")
            self.end_headers()
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler or Handler) as running:
        running.daemon_threads = True
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tls / "bmc.pem", tls / "bmc.key")
            running.socket = context.wrap_socket(running.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"{'https' if tls else 'http'}://127.0.0.1:{running.server_port}"
        running.shutdown()


class SessionService:
    """A BMC that takes a session's token only (DSP0266): log-ins, requests by token and log-outs are counted."""

    def __init__(self, answer: Answer) -> None:
        self.answer, self.log_ins, self.log_outs, self.by_password = answer, 0, 0, 0
        self.tokens: set[str] = set()

    def handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        service = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def reply(self, status: int, body: bytes = b"", **headers: str) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name.replace("_", "-"), value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self) -> None:
                given = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if self.path != SESSIONS or given != {"UserName": "monitor", "Password": "right"}:
                    return self.reply(401)
                service.log_ins += 1
                token = f"t0ken-{service.log_ins}"
                service.tokens.add(token)
                location = f"https://bmc{SESSIONS}/{service.log_ins}"
                return self.reply(201, b"{}", X_Auth_Token=token, Location=location)

            def do_GET(self) -> None:
                service.by_password += "Authorization" in self.headers
                if self.headers.get("X-Auth-Token") not in service.tokens:
                    return self.reply(401)
                return self.reply(*service.answer(self.path))

            def do_DELETE(self) -> None:
                token = self.headers.get("X-Auth-Token", "")
                if token not in service.tokens or self.path != f"{SESSIONS}/{token.removeprefix('t0ken-')}":
                    return self.reply(401)
                service.tokens.remove(token)
                service.log_outs += 1
                return self.reply(204)

            def log_message(self, format: str, *args: object) -> None:
                pass

        return Handler


def mockup(changed: dict[str, Any] | None = None) -> Answer:
    """The mockup's documents; `changed` replaces some, None is 404."""
    if not MOCKUP.exists():
        missing(f"{MOCKUP} is missing")

    def answer(path: str) -> tuple[int, bytes]:
        if changed is not None and path in changed:
            document = changed[path]
            if document is None:
                return 404, b""
            if isinstance(document, bytes):
                return 200, document
            return 200, json.dumps(document() if callable(document) else document).encode()
        file = MOCKUP / path.removeprefix("/redfish/v1/") / "index.json"
        return (200, file.read_bytes()) if file.exists() else (404, b"")

    return answer


def bmc(folder: Path, url: str, password: str = "right", more: str = "") -> str:
    return f"""{HEAD}
[[redfish]]
name = "bmc-a"
host = "node-a"
url = "{url}"
user = "monitor"
password_file = "{secret(folder, password)}"
{more}
"""


def with_ca(authorities: Path, name: str = "bmc") -> str:
    return f'ca_file = "{authorities / f"{name}.pem"}"'


def test_the_power_of_a_chassis_is_filed_under_its_node(tmp_path: Path, authorities: Path) -> None:
    with (
        server(mockup(), LOGIN, authorities) as url,
        gateway(tmp_path, bmc(tmp_path, url, more=with_ca(authorities))) as running,
    ):
        row = running.row(meter="redfish")
        assert (row["host"], row["zone"], row["tier"]) == ("node-a", "bmc-a", "bmc")
        assert (row["power_watts"], row["energy_joules"], row["temp_c"]) == (374, None, 39)
        assert "not energy" in row["reason"]
        promises(running.rows(meter="redfish"))
        assert running.stop() == 0


def test_a_counter_of_joules_is_preferred_where_it_moves(tmp_path: Path, authorities: Path) -> None:
    counter = iter(range(1_000, 10_000_000, 100))
    metrics = {f"{CHASSIS}/EnvironmentMetrics": lambda: {"EnergyJoules": {"Reading": next(counter)}}}
    with (
        server(mockup(metrics), LOGIN, authorities) as url,
        gateway(tmp_path, bmc(tmp_path, url, more=with_ca(authorities))) as running,
    ):
        row = running.row(energy_joules=100)
        assert row["power_watts"] == pytest.approx(100 / row["interval_seconds"])
        assert row["reason"] is None
        promises(running.rows(meter="redfish"))


SUPPLIES = f"{CHASSIS}/PowerSubsystem/PowerSupplies"


def of_supply(bay: int) -> Any:
    """What the mockup's supply measures, or None where it says nothing."""
    file = MOCKUP / "Chassis/1U/PowerSubsystem/PowerSupplies" / f"Bay{bay}" / "Metrics/index.json"
    return json.loads(file.read_text())["InputPowerWatts"]["Reading"] if file.exists() else None


def test_without_environment_metrics_the_supplies_are_summed(tmp_path: Path, authorities: Path) -> None:
    """DMTF's mockup less its EnvironmentMetrics: of the two bays of its PowerSubsystem one is empty."""
    present = [watts for watts in (of_supply(1), of_supply(2)) if watts is not None]
    with (
        server(mockup({f"{CHASSIS}/EnvironmentMetrics": None, f"{CHASSIS}/Power": None}), LOGIN, authorities) as url,
        gateway(tmp_path, bmc(tmp_path, url, more=with_ca(authorities))) as running,
    ):
        row = running.row(meter="redfish")
        assert present
        assert row["power_watts"] == pytest.approx(sum(present))
        assert row["tier"] == "bmc"
        promises(running.rows(meter="redfish"))


@pytest.mark.parametrize(
    ("second", "watts"),
    [
        ({"InputPowerWatts": {"Reading": 62.6}}, 1000.0),
        ({}, None),
        ({"InputPowerWatts": {"Reading": None}}, None),
        ("absent", 937.4),
    ],
    ids=["two", "silent", "null", "empty bay"],
)
def test_one_silent_supply_makes_the_sum_unknown_and_an_empty_bay_does_not(
    tmp_path: Path, authorities: Path, second: Any, watts: float | None
) -> None:
    """The second bay of the mockup, changed; nothing else reports power."""
    changed: dict[str, Any] = {f"{CHASSIS}/EnvironmentMetrics": None, f"{CHASSIS}/Power": None}
    bay = {"@odata.id": f"{SUPPLIES}/Bay2", "Metrics": {"@odata.id": f"{SUPPLIES}/Bay2/Metrics"}}
    changed[f"{SUPPLIES}/Bay2"] = bay | ({"Status": {"State": "Absent"}} if second == "absent" else {})
    changed[f"{SUPPLIES}/Bay2/Metrics"] = {} if second == "absent" else second
    with (
        server(mockup(changed), LOGIN, authorities) as url,
        gateway(tmp_path, bmc(tmp_path, url, more=with_ca(authorities))) as running,
    ):
        row = running.row(meter="redfish")
        assert row["power_watts"] == (watts if watts is None else pytest.approx(watts))
        assert watts is not None or "InputPowerWatts" in row["reason"]


BLADE_POWER = "/redfish/v1/Chassis/Blade1/Power"


def older(changed: dict[str, Any] | None = None) -> Answer:
    """Sushy's samples of an older enclosure: five chassis in one collection, Power behind one of them.

    That Power tells the supplies' output only; PowerControl is added.
    """
    if not SUSHY.exists():
        missing(f"{SUSHY} is missing")

    def sample(name: str) -> dict[str, Any]:
        document: dict[str, Any] = json.loads((SUSHY / name).read_text())
        return document

    blade = sample("chassis.json")
    silent = {"Id": "other"}
    documents: dict[str, Any] = {"/redfish/v1/Chassis": sample("chassis_collection.json")}
    for member in documents["/redfish/v1/Chassis"]["Members"]:
        documents[member["@odata.id"]] = silent
    # The sample's chassis has no link to it, as the Redfish of its day (1.0) wants.
    blade["Power"] = {"@odata.id": BLADE_POWER}
    documents["/redfish/v1/Chassis/Blade1"] = blade
    documents[BLADE_POWER] = sample("power.json") | {"PowerControl": [{"PowerConsumedWatts": 344}]}
    documents[blade["Thermal"]["@odata.id"]] = sample("thermal.json")
    documents |= changed or {}

    def answer(path: str) -> tuple[int, bytes]:
        found = documents.get(path)
        return (404, b"") if found is None else (200, json.dumps(found).encode())

    return answer


def test_an_older_enclosure_is_read_by_its_power(tmp_path: Path, authorities: Path) -> None:
    """The one chassis of five that has Power; its temperature is the hottest CPU of Thermal, where one says."""
    with (
        server(older(), LOGIN, authorities) as url,
        gateway(tmp_path, bmc(tmp_path, url, more=with_ca(authorities))) as running,
    ):
        row = running.row(meter="redfish")
        cpus = [
            sensor["ReadingCelsius"]
            for sensor in json.loads((SUSHY / "thermal.json").read_text())["Temperatures"]
            if sensor["PhysicalContext"] == "CPU" and sensor["Status"]["State"] != "Absent"
        ]
        assert (row["power_watts"], row["temp_c"]) == (344, max(cpus, default=None))
        promises(running.rows(meter="redfish"))


def test_the_output_of_supplies_is_not_the_power_of_a_chassis(tmp_path: Path, authorities: Path) -> None:
    """The sample's Power as it is: what supplies give is less than what they take, so the figure is unknown."""
    power = json.loads((SUSHY / "power.json").read_text()) if SUSHY.exists() else {}
    with (
        server(older({BLADE_POWER: power}), LOGIN, authorities) as url,
        gateway(tmp_path, bmc(tmp_path, url, more=with_ca(authorities))) as running,
    ):
        row = running.row(meter="redfish")
        assert row["power_watts"] is None
        assert "no PowerConsumedWatts" in row["reason"]


def test_two_chassis_with_power_have_to_be_told_apart(tmp_path: Path, authorities: Path) -> None:
    """Adding them up would count a blade and its enclosure twice; named, one of them is read."""
    both = {"/redfish/v1/Chassis/Blade2": {"Power": {"@odata.id": "/redfish/v1/Chassis/Blade2/Power"}}}
    both |= {"/redfish/v1/Chassis/Blade2/Power": {"PowerControl": [{"PowerConsumedWatts": 50}]}}
    for more, watts in [("", None), ('chassis = "Blade2"', 50)]:
        folder = tmp_path / (more[:7] or "none")
        folder.mkdir()
        with (
            server(older(both), LOGIN, authorities) as url,
            gateway(folder, bmc(folder, url, more=with_ca(authorities) + "\n" + more)) as running,
        ):
            row = running.row(meter="redfish")
            assert row["power_watts"] == watts
            assert watts is not None or "Blade1, Blade2" in row["reason"]


def power_only(watts: object) -> dict[str, Any]:
    """An older BMC: Power, and no PowerSubsystem behind its link."""
    chassis = json.loads((MOCKUP / "Chassis/1U/index.json").read_text()) if MOCKUP.exists() else {}
    chassis["Power"] = {"@odata.id": f"{CHASSIS}/Power"}
    return {
        CHASSIS: chassis,
        f"{CHASSIS}/EnvironmentMetrics": None,
        f"{CHASSIS}/PowerSubsystem": None,
        f"{CHASSIS}/Power": {"PowerControl": [{"PowerConsumedWatts": watts}]},
    }


def test_without_a_power_subsystem_the_older_power_is_read(tmp_path: Path, authorities: Path) -> None:
    with (
        server(mockup(power_only(344)), LOGIN, authorities) as url,
        gateway(tmp_path, bmc(tmp_path, url, more=with_ca(authorities))) as running,
    ):
        assert running.row(meter="redfish")["power_watts"] == 344


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (power_only(None), "no PowerConsumedWatts"),
        ({"/redfish/v1/Chassis": b"[" * 9_000_000}, "larger than"),
        ({"/redfish/v1/Chassis": b"<html>"}, "not JSON"),
        ({"/redfish/v1/Chassis": b"[" * 100_000}, "not JSON"),
        ({"/redfish/v1/Chassis": None}, "is this a Redfish service?"),
    ],
    ids=["null", "huge", "html", "deep", "absent"],
)
def test_what_a_bmc_gets_wrong_is_a_reason_not_a_figure(
    tmp_path: Path, authorities: Path, changed: dict[str, Any], words: str
) -> None:
    with (
        server(mockup(changed), LOGIN, authorities) as url,
        gateway(tmp_path, bmc(tmp_path, url, more=with_ca(authorities))) as running,
    ):
        row = running.row(meter="redfish")
        assert (row["power_watts"], row["energy_joules"]) == (None, None)
        assert words in row["reason"]


def test_a_wrong_password_is_told_and_never_shown(tmp_path: Path, authorities: Path) -> None:
    with (
        server(mockup(), LOGIN, authorities) as url,
        gateway(tmp_path, bmc(tmp_path, url, "wr0ng-s3cret", with_ca(authorities))) as running,
    ):
        assert "401; check user and password" in running.row(meter="redfish")["reason"]
        assert "wr0ng-s3cret" not in (tmp_path / "rows").read_text() + running.log.replace(
            str(tmp_path / "secret-wr0ng-s3cret"), ""
        )


def test_a_session_is_opened_once_renewed_when_it_ended_and_closed_at_the_end(
    tmp_path: Path, authorities: Path
) -> None:
    service = SessionService(mockup())
    with (
        server(service.answer, None, authorities, service.handler()) as url,
        gateway(tmp_path, bmc(tmp_path, url, more=with_ca(authorities))) as running,
    ):
        assert running.row(meter="redfish")["power_watts"] == 374
        assert (service.log_ins, service.by_password) == (1, 0)
        service.tokens.clear()
        eventually(lambda: service.log_ins == 2, "a new session after the BMC forgot the first")
        assert all(row["power_watts"] == 374 for row in running.rows() if row["meter"] == "redfish")
        assert running.stop() == 0
        assert (service.log_ins, service.log_outs, service.tokens) == (2, 1, set())
        assert "t0ken" not in running.log


def test_a_wrong_password_is_told_where_sessions_are_made(tmp_path: Path, authorities: Path) -> None:
    service = SessionService(mockup())
    with (
        server(service.answer, None, authorities, service.handler()) as url,
        gateway(tmp_path, bmc(tmp_path, url, "wr0ng", with_ca(authorities))) as running,
    ):
        assert "401; check user and password" in running.row(meter="redfish")["reason"]
        assert service.by_password == 0


def test_a_certificate_of_another_authority_is_refused(tmp_path: Path, authorities: Path) -> None:
    with (
        server(mockup(), LOGIN, authorities) as url,
        gateway(tmp_path, bmc(tmp_path, url, more=with_ca(authorities, "other"))) as running,
    ):
        row = running.row(meter="redfish")
        assert row["power_watts"] is None
        assert "certificate" in row["reason"]
        assert "ca_file" in row["reason"]


def test_insecure_is_explicit_and_warned_about(tmp_path: Path, authorities: Path) -> None:
    with (
        server(mockup(), LOGIN, authorities) as url,
        gateway(tmp_path, bmc(tmp_path, url, more="insecure = true")) as running,
    ):
        assert running.row(meter="redfish")["power_watts"] == 374
        assert "identity is not verified" in running.log


def test_a_password_is_not_sent_in_the_clear(tmp_path: Path) -> None:
    with gateway(tmp_path, bmc(tmp_path, "http://127.0.0.1:9")) as running:
        assert running.child.wait(10) == 2
        assert "in the clear" in running.log


def test_redirects_are_not_followed(tmp_path: Path, authorities: Path) -> None:
    with (
        server(lambda path: (302, b""), None, authorities) as url,
        gateway(tmp_path, bmc(tmp_path, url, more=with_ca(authorities))) as running,
    ):
        assert "redirects are not followed" in running.row(meter="redfish")["reason"]


def test_known_and_configured_metrics_of_an_endpoint_become_rows(tmp_path: Path) -> None:
    counter = iter(range(0, 10_000_000, 50))

    def answer(path: str) -> tuple[int, bytes]:
        assert path == "/metrics"
        text = f"""# TYPE node_rapl_package_joules_total counter
node_rapl_package_joules_total{{index="0",path="/sys/x"}} {next(counter)}
ipmi_dcmi_power_consumption_watts{{id="1"}} 240
lab_outlet_milliwatts{{outlet="7",node="node-b"}} 120500
lab_outlet_milliwatts{{outlet="8",node="node-b"}} NaN
garbage {{{{ 1
"""
        return 200, text.encode()

    with server(answer) as url:
        file = f"""{HEAD}
[[prometheus]]
name = "exporter-a"
host = "node-a"
url = "{url}/metrics"
metrics = [{{ metric = "lab_outlet_milliwatts", unit = "milliwatts", tier = "wall", zone_label = "outlet",
  host_label = "node" }}]
""".replace(",\n  host_label", ", host_label")
        with gateway(tmp_path, file) as running:
            row = running.row(zone="exporter-a/node_rapl_package_joules_total/0", energy_joules=50)
            assert (row["host"], row["tier"]) == ("node-a", "on_die")
            assert running.row(zone="exporter-a/ipmi_dcmi_power_consumption_watts/1")["power_watts"] == 240
            row = running.row(zone="exporter-a/lab_outlet_milliwatts/7")
            assert (row["host"], row["tier"], row["power_watts"]) == ("node-b", "wall", 120.5)
            assert not running.rows(zone="exporter-a/lab_outlet_milliwatts/8")


def test_a_recorded_log_is_played_and_marked(tmp_path: Path) -> None:
    if not POWER_LOG.exists():
        missing(f"{POWER_LOG} is missing")
    log = tmp_path / "spl.txt"
    log.write_bytes(gzip.decompress(POWER_LOG.read_bytes()))
    with gateway(
        tmp_path, f'{HEAD}[[replay]]\nname = "lab"\nhost = "node-a"\npath = "{log}"\nloop = true\n'
    ) as running:
        eventually(lambda: len(running.rows(meter="replay")) >= 3, "three rows")
        rows = running.rows(meter="replay")
        assert [row["power_watts"] for row in rows[:3]] == [2407.7, 2409.4, 2458.3]
        assert all("not measured now" in row["reason"] for row in rows)
