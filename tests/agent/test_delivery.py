"""The agent's ways out on real parts: NATS with TLS, mutual TLS and nkeys; /metrics; OTLP and pprof receivers."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gzip
import http.server
import itertools
import os
import queue
import socket
import ssl
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nats
import nkeys
import pyarrow.ipc
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.profiles.v1development.profiles_service_pb2 import ExportProfilesServiceRequest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from agent.authority import Authority
from agent.rig import AGENT, busy_shell, counting_rapl, eventually, free_port, missing, needs_agent
from energy_orchestrator.services.nats_server import nats_binary

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True, scope="module")
def built() -> None:
    """The agent is there."""
    needs_agent()


until = functools.partial(eventually, seconds=30)


@contextlib.contextmanager
def agent(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A running agent with its own spool; its log is folder/log."""
    command = [str(AGENT), "run", "--spool-dir", str(folder / "spool"), "--interval-seconds", "0.5", *arguments]
    with (folder / "log").open("w") as log, subprocess.Popen(command, stderr=log, text=True) as process:
        try:
            yield process
        finally:
            process.terminate()
            process.wait(10)


@contextlib.contextmanager
def nats_server(folder: Path, more: str, port: int = 0) -> Iterator[int]:
    """A real server on loopback with JetStream; port 0: any free one."""
    port = port or free_port()
    config = folder / "nats.conf"
    config.write_text(f'listen: "127.0.0.1:{port}"\njetstream {{ store_dir: "{folder / "js"}" }}\n{more}\n')
    with subprocess.Popen([nats_binary(), "-c", str(config)], stderr=subprocess.DEVNULL) as process:
        try:
            until(lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0, "the start of NATS")
            yield port
        finally:
            process.terminate()
            process.wait(10)


def stored(url: str, **options: Any) -> int:
    """Messages in the stream, which is made if need be."""

    async def ask() -> int:
        client = await nats.connect(url, **options)
        try:
            stream = client.jetstream()
            with contextlib.suppress(nats.js.errors.BadRequestError):
                await stream.add_stream(name="EO", subjects=["eo.v1.>"])
            return int((await stream.stream_info("EO")).state.messages)
        finally:
            await client.close()

    return asyncio.run(ask())


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The authority of the server and its clients."""
    return Authority(tmp_path_factory.mktemp("tls"), "authority")


def test_mutual_tls_delivers_and_a_stranger_is_refused(tmp_path: Path, authority: Authority) -> None:
    """With the right certificates batches arrive; without a client certificate none does."""
    certificate, key = authority.issue("server")
    mine, my_key = authority.issue("agent")
    tls = f'tls {{ cert_file: "{certificate}", key_file: "{key}", ca_file: "{authority.file}", verify: true }}'
    with nats_server(tmp_path, tls) as port:
        context = ssl.create_default_context(cafile=str(authority.file))
        context.load_cert_chain(str(mine), str(my_key))
        url = f"tls://127.0.0.1:{port}"
        assert stored(url, tls=context) == 0
        trusting = ("--nats-url", url, "--nats-ca-file", str(authority.file), "--profile-hz", "0")
        (tmp_path / "stranger").mkdir()
        with agent(tmp_path / "stranger", *trusting, "--log-level", "info"):
            until(lambda: any((tmp_path / "stranger" / "spool").glob("*.spool")), "spooling")
        assert stored(url, tls=context) == 0
        with agent(tmp_path, *trusting, "--nats-cert-file", str(mine), "--nats-key-file", str(my_key)):
            until(lambda: stored(url, tls=context) > 3, "delivery")


def test_a_server_of_another_authority_is_not_trusted(tmp_path: Path, authority: Authority) -> None:
    """Nothing is sent to a server whose certificate an unknown authority signed; the log says why."""
    certificate, key = Authority(tmp_path, "impostor").issue("impostor-server")
    with nats_server(tmp_path, f'tls {{ cert_file: "{certificate}", key_file: "{key}" }}') as port:
        options = ("--nats-url", f"tls://127.0.0.1:{port}", "--nats-ca-file", str(authority.file))
        with agent(tmp_path, *options, "--profile-hz", "0", "--log-level", "info"):
            log = tmp_path / "log"
            until(lambda: "certificate" in log.read_text().lower(), "a word about the certificate")


@pytest.mark.parametrize("wrong", [{"expired": True}, {"address": "127.0.0.9"}], ids=["expired", "elsewhere"])
def test_a_bad_certificate_is_told_and_nothing_is_lost_until_it_is_renewed(
    tmp_path: Path, authority: Authority, wrong: dict[str, Any]
) -> None:
    """Expired, or another host's: batches wait in the spool of the same running agent, which delivers them to the
    renewed server in their order."""
    name = f"server-{next(iter(wrong))}"
    files = authority.issue(name, **wrong)
    tls = 'tls {{ cert_file: "{}", key_file: "{}" }}'
    port = free_port()
    spool = tmp_path / "spool"
    url = f"tls://127.0.0.1:{port}"
    options = ("--nats-url", url, "--nats-ca-file", str(authority.file), "--profile-hz", "0", "--log-level", "info")
    with agent(tmp_path, *options) as running:
        with nats_server(tmp_path, tls.format(*files), port):
            log = tmp_path / "log"
            # The client library keeps the cause to itself: the log says what to check.
            until(lambda: "is for the host of nats_url and has not expired" in log.read_text(), "a word in the log")
            until(lambda: len(list(spool.glob("*.spool"))) > 0, "spooling")
        renewed = authority.issue(f"{name}-renewed")
        with nats_server(tmp_path, tls.format(*renewed), port):
            context = ssl.create_default_context(cafile=str(authority.file))
            # The stream has to be there before the agent, whose turn comes with its back-off.
            stored(url, tls=context)
            until(lambda: stored(url, tls=context) > 3, "delivery after the renewal", seconds=90)
            assert running.poll() is None
            until(lambda: not any(file.stat().st_size for file in spool.glob("*.spool")), "an empty spool", seconds=60)
            stamps = asyncio.run(sample_stamps(url, context))
    assert stamps == sorted(stamps)
    steps = [later - earlier for earlier, later in itertools.pairwise(sorted(set(stamps)))]
    assert max(steps) < 5_000, f"a gap of {max(steps)} ms between looks of 500 ms"


async def sample_stamps(url: str, context: ssl.SSLContext) -> list[int]:
    """Timestamps (ms) of the batches of samples, in the order of the stream."""
    client = await nats.connect(url, tls=context)
    try:
        stream = client.jetstream()
        count = (await stream.stream_info("EO")).state.messages
        reader = await stream.pull_subscribe("eo.v1.>", durable="stamps")
        found: list[int] = []
        for _ in range(count):
            (message,) = await reader.fetch(1, timeout=10)
            if message.subject.endswith(".samples"):
                table = pyarrow.ipc.open_stream(message.data).read_all()
                found.append(int(table["timestamp"][0].value))
        return found
    finally:
        await client.close()


def test_an_nkey_opens_the_door_and_another_does_not(tmp_path: Path) -> None:
    """The server knows the public half; the seed comes from a file."""
    seed = nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER)
    public = nkeys.from_seed(bytearray(seed)).public_key.decode()
    file = tmp_path / "agent.nk"
    file.write_bytes(bytes(seed) + b"\n")
    users = f'authorization {{ users: [ {{ nkey: "{public}" }}, {{ user: "test", password: "test" }} ] }}'
    with nats_server(tmp_path, users) as port:
        own = f"nats://test:test@127.0.0.1:{port}"
        assert stored(own) == 0
        options = ("--nats-url", f"nats://127.0.0.1:{port}", "--profile-hz", "0")
        stranger = tmp_path / "stranger"
        stranger.mkdir()
        (stranger / "agent.nk").write_bytes(nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER))
        with agent(stranger, *options, "--nats-nkey-file", str(stranger / "agent.nk")):
            until(lambda: any((stranger / "spool").glob("*.spool")), "spooling")
        assert stored(own) == 0
        with agent(tmp_path, *options, "--nats-nkey-file", str(file)):
            until(lambda: stored(own) > 3, "delivery")
    assert bytes(seed).decode() not in (tmp_path / "log").read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--nats-nkey-file", "{folder}/absent"], ["nats_nkey_file", "absent"]),
        (["--nats-nkey-file", "{folder}/wrong"], ["nats_nkey_file", "seed"]),
        (["--nats-ca-file", "{folder}/absent"], ["nats_ca_file", "absent"]),
        (["--nats-cert-file", "{folder}/wrong"], ["nats_cert_file", "both"]),
        (["--metrics-listen", "0.0.0.0:9"], ["metrics_listen", "loopback"]),
        (["--otlp-endpoint", "collector:4318"], ["otlp_endpoint", "http://"]),
    ],
)
def test_a_wrong_setting_is_named_at_the_start(tmp_path: Path, arguments: list[str], words: list[str]) -> None:
    """Exit code 2 at once, and the setting; never what a secret file holds."""
    (tmp_path / "wrong").write_text("hush-hush")
    given = [argument.format(folder=tmp_path) for argument in arguments]
    command = [str(AGENT), "run", "--spool-dir", str(tmp_path / "spool"), *given]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 2, done.stderr
    for word in words:
        assert word in done.stderr
    assert "hush-hush" not in done.stderr


def test_own_metrics_are_read_by_the_official_parser(tmp_path: Path) -> None:
    """CPU, memory, rows, drops; on loopback, and nothing else is served."""
    port = free_port()
    options = ("--sink", "file", "--path", str(tmp_path / "out"), "--metrics-listen", f"127.0.0.1:{port}")
    with agent(tmp_path, *options, "--profile-hz", "19"):

        def scrape() -> dict[str, Any]:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
                    assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
                    text = answer.read().decode()
            except urllib.error.URLError:
                return {}
            samples = [one for family in text_string_to_metric_families(text) for one in family.samples]
            found = {(one.name, *sorted(one.labels.values())): one.value for one in samples}
            return found if found.get(("eo_agent_rows_total", "samples"), 0) > 0 else {}

        found = until(scrape, "rows")
        assert found["process_resident_memory_bytes",] > 1e6
        assert found["process_cpu_seconds",] >= 0
        assert found["eo_agent_scans_total",] >= 1
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5)


class Receiver(http.server.BaseHTTPRequestHandler):
    """Keeps what it is sent."""

    got: queue.Queue[tuple[str, dict[str, str], bytes]]

    def do_POST(self) -> None:
        """Take a body."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.got.put((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextlib.contextmanager
def receiver() -> Iterator[tuple[str, queue.Queue[tuple[str, dict[str, str], bytes]]]]:
    """An HTTP server on loopback and what it got."""
    got: queue.Queue[tuple[str, dict[str, str], bytes]] = queue.Queue()
    handler = type("Handler", (Receiver,), {"got": got})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", got
        finally:
            server.shutdown()
            thread.join()


def test_energy_and_profiles_reach_an_otlp_receiver(tmp_path: Path) -> None:
    """The official messages read both; the key from the file comes along. RAPL is a made tree that counts up."""
    headers = tmp_path / "headers"
    headers.write_text("X-Key: s3cret\n")
    with counting_rapl(tmp_path / "sys") as sysfs, busy_shell(), receiver() as (url, got):
        options = ["--sink", "file", "--path", str(tmp_path / "out"), "--sysfs", str(sysfs)]
        options += ["--otlp-endpoint", url, "--otlp-headers-file", str(headers)]
        options += ["--pprof-push-url", f"{url}/ingest", "--profile-hz", "19"]
        with agent(tmp_path, *options):
            seen: dict[str, tuple[dict[str, str], bytes]] = {}

            def three() -> bool:
                with contextlib.suppress(queue.Empty):
                    while True:
                        path, head, body = got.get_nowait()
                        seen[path.partition("?")[0]] = (head, body)
                return {"/v1/metrics", "/v1development/profiles", "/ingest"} <= set(seen) or (
                    os.geteuid() != 0 and "/v1/metrics" in seen
                )

            until(three, "energy, OTLP profile and pprof profile")
    head, body = seen["/v1/metrics"]
    assert head["x-key"] == "s3cret"
    metrics = ExportMetricsServiceRequest.FromString(body).resource_metrics[0].scope_metrics[0].metrics
    energy = next(metric for metric in metrics if metric.name == "hw.energy")
    assert energy.unit == "J"
    assert energy.sum.is_monotonic
    assert energy.sum.data_points[0].as_double > 0
    if os.geteuid() == 0:
        profiles = ExportProfilesServiceRequest.FromString(seen["/v1development/profiles"][1])
        assert len(profiles.dictionary.stack_table) > 1
        assert gzip.decompress(seen["/ingest"][1])[:1] == b"\x0a"
    assert "s3cret" not in (tmp_path / "log").read_text()


def batches(url: str) -> list[bytes]:
    """All messages of the stream."""

    async def read() -> list[bytes]:
        client = await nats.connect(url)
        try:
            stream = client.jetstream()
            count = (await stream.stream_info("EO")).state.messages
            reader = await stream.pull_subscribe("eo.v1.>", durable="reader")
            found: list[bytes] = []
            while len(found) < count:
                found += [message.data for message in await reader.fetch(min(100, count - len(found)), timeout=10)]
            return found
        finally:
            await client.close()

    return asyncio.run(read())


def test_a_spool_that_was_killed_in_mid_write_gives_whole_batches(tmp_path: Path) -> None:
    """SIGKILL while the bus is away, six times; then all that was spooled arrives, each batch readable."""
    port = free_port()
    options = ("--nats-url", f"nats://127.0.0.1:{port}", "--profile-hz", "0")

    def spooled() -> int:
        return sum(file.stat().st_size for file in (tmp_path / "spool").glob("*.spool"))

    for _ in range(6):
        before = spooled()
        with agent(tmp_path, *options) as process:
            until(lambda before=before: spooled() > before + 10_000, "spooling")  # type: ignore[misc]
            process.kill()
    with nats_server(tmp_path, "", port) as port:
        url = f"nats://127.0.0.1:{port}"
        assert stored(url) == 0
        with agent(tmp_path, *options):
            until(lambda: spooled() == 0, "an empty spool", seconds=60)
        found = batches(url)
    assert len(found) >= 6, "each round spooled at least one batch"
    for one in found:
        assert pyarrow.ipc.open_stream(one).read_all().num_rows > 0


def test_a_full_disk_costs_batches_and_not_the_agent(tmp_path: Path) -> None:
    """The loss is counted and said; the agent goes on."""
    if os.geteuid() != 0:
        missing("mounting a small file system takes root")
    metrics, spool = free_port(), tmp_path / "spool"
    spool.mkdir()
    options = ["--nats-url", f"nats://127.0.0.1:{free_port()}", "--spool-dir", str(spool), "--profile-hz", "0"]
    options += ["--interval-seconds", "0.5", "--metrics-listen", f"127.0.0.1:{metrics}"]
    mount = f'mount -t tmpfs -o size=128k none "{spool}" && exec "$0" "$@"'
    command = ["unshare", "--mount", "sh", "-c", mount, str(AGENT), "run", *options]
    with (tmp_path / "log").open("w") as log, subprocess.Popen(command, stderr=log) as process:
        try:

            def lost() -> float:
                with contextlib.suppress(urllib.error.URLError):
                    text = urllib.request.urlopen(f"http://127.0.0.1:{metrics}/metrics", timeout=5).read().decode()
                    for family in text_string_to_metric_families(text):
                        for one in family.samples:
                            if one.labels.get("cause") == "spool_error":
                                return float(one.value)
                return 0

            assert until(lost, "a lost batch", seconds=60) > 0
            assert process.poll() is None
        finally:
            process.terminate()
            process.wait(10)
    assert "free disk space" in (tmp_path / "log").read_text()
