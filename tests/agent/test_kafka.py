"""The agent's way to Kafka on a real broker: what arrives, TLS, logins, a broker that goes and comes back."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from agent.authority import EC, Authority
from agent.kafka_broker import PASSWORD, USER, KafkaBroker, running_broker
from agent.rig import AGENT, free_port, needs_agent
from agent.test_delivery import agent, until
from energy_orchestrator.ingest.validation import ValidBatch, validate
from energy_orchestrator.model.wire import Kind

pytestmark = pytest.mark.slow

KINDS = ("samples", "meters", "inventory", "profiles", "counters", "gpu_processes")
PARTITIONS = 3


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[KafkaBroker, Authority]]:
    """A running broker without a topic, and its authority."""
    needs_agent()
    with running_broker(tmp_path_factory.mktemp("kafka")) as both:
        yield both


@pytest.fixture
def broker(pair: tuple[KafkaBroker, Authority]) -> KafkaBroker:
    """The broker."""
    return pair[0]


@pytest.fixture
def authority(pair: tuple[KafkaBroker, Authority]) -> Authority:
    """Who signed the broker's certificate and the agent's."""
    return pair[1]


@dataclass(frozen=True)
class Arrived:
    """A record as the collector would see it."""

    key: str
    topic: str
    partition: int
    headers: dict[str, str]
    batch: ValidBatch


def make_topics(broker: KafkaBroker, tenant: str, *kinds: str, partitions: int = PARTITIONS) -> None:
    """A tenant's topics, ready for use."""
    admin = AdminClient({"bootstrap.servers": broker.address("PLAINTEXT")})
    wanted = [NewTopic(f"eo.v1.{tenant}.{kind}", partitions, 1) for kind in kinds or KINDS]
    for made in admin.create_topics(wanted).values():
        made.result(30)

    def led() -> bool:
        """Partitions are made first and led a moment later."""
        with contextlib.suppress(KafkaException):
            arrived(broker, tenant)
            return True
        return False

    until(led, "leaders of all partitions")


def arrived(broker: KafkaBroker, tenant: str) -> list[Arrived]:
    """All records of a tenant, read by another client library and decoded as the collector decodes."""
    consumer = Consumer(
        {"bootstrap.servers": broker.address("PLAINTEXT"), "group.id": "test", "enable.auto.commit": False}
    )
    try:
        topics = [topic for topic in consumer.list_topics(timeout=30).topics if topic.startswith(f"eo.v1.{tenant}.")]
        places = [TopicPartition(topic, part, OFFSET_BEGINNING) for topic in topics for part in range(PARTITIONS)]
        ends = [consumer.get_watermark_offsets(place, timeout=30) for place in places]
        count = sum(end - start for start, end in ends)
        consumer.assign(places)
        found: list[Arrived] = []
        while len(found) < count:
            for message in consumer.consume(count - len(found), timeout=30):
                assert message.error() is None
                headers = {name: value.decode() for name, value in message.headers() or []}
                batch = validate(headers["Eo-Subject"], message.value() or b"", now=datetime.now(UTC))
                key = (message.key() or b"").decode()
                place = (message.topic() or "", message.partition() or 0)
                found.append(Arrived(key, *place, headers, batch))
        return found
    finally:
        consumer.close()


def options(broker: KafkaBroker, tenant: str, listener: str = "PLAINTEXT") -> tuple[str, ...]:
    """Arguments of an agent that sends there."""
    return (
        "--tenant",
        tenant,
        "--host",
        "node-a.example",
        "--profile-hz",
        "0",
        "--kafka-brokers",
        broker.address(listener),
    )


def check(*arguments: str) -> dict[str, object]:
    """What `check` says of the bus."""
    done = subprocess.run(
        [str(AGENT), "check", "--output", "json", *arguments], capture_output=True, timeout=60, check=True
    )
    bus: dict[str, object] = json.loads(done.stdout)["bus"]
    return {name: bus[name] for name in ("bus", "reachable", "finding")}


def test_what_arrives_is_what_the_collector_reads(tmp_path: Path, broker: KafkaBroker) -> None:
    """Topic per kind, one key and partition per node, batch id and subject beside the bytes."""
    make_topics(broker, "reads")
    assert check(*options(broker, "reads")) == {
        "bus": "kafka",
        "reachable": True,
        "finding": f"reachable at {broker.address('PLAINTEXT')}",
    }
    with agent(tmp_path, *options(broker, "reads")):
        until(lambda: len(arrived(broker, "reads")) > 6, "delivery")
    found = arrived(broker, "reads")
    assert {one.batch.kind for one in found} == {Kind.SAMPLES, Kind.METERS, Kind.INVENTORY}
    for one in found:
        assert one.key == "reads.node-a_example"
        assert one.topic == f"eo.v1.reads.{one.batch.kind.value}"
        assert one.headers == {
            "Eo-Subject": f"eo.v1.reads.node-a_example.{one.batch.kind.value}",
            "Eo-Batch-Id": one.batch.batch_id,
        }
    assert len({one.partition for one in found}) == 1
    samples = [one.batch.first for one in found if one.batch.kind is Kind.SAMPLES]
    assert samples == sorted(samples)
    assert len({one.batch.batch_id for one in found}) == len(found)


def rows_in(found: list[Arrived]) -> dict[str, float]:
    """Rows by kind; a batch that came twice counts once, as in the store."""
    batches = {one.batch.batch_id: one.batch for one in found}
    counts: dict[str, float] = {}
    for batch in batches.values():
        counts[batch.kind.value] = counts.get(batch.kind.value, 0) + batch.rows.num_rows
    return counts


def own_metrics(port: int) -> dict[str, float]:
    """What the agent counts, by name and label; empty until it serves them."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            families = list(text_string_to_metric_families(answer.read().decode()))
    except urllib.error.URLError:
        return {}
    samples = [one for family in families for one in family.samples]
    return {".".join((one.name, *one.labels.values())): one.value for one in samples}


def rows_made(port: int) -> dict[str, float]:
    """Rows by kind, by the agent's own count."""
    prefix = "eo_agent_rows_total."
    counts = {name.removeprefix(prefix): n for name, n in own_metrics(port).items() if name.startswith(prefix)}
    return {kind: count for kind, count in counts.items() if count}


def test_a_broker_that_goes_and_comes_back_costs_nothing(tmp_path: Path, broker: KafkaBroker) -> None:
    """One agent all along: every row that it counts is there in the end, in order. It says that the bus is away."""
    make_topics(broker, "away")
    metrics, log = free_port(), tmp_path / "log"

    def spooled() -> float:
        return own_metrics(metrics)["eo_agent_spool_bytes"]

    def all_there() -> bool:
        """Nothing is made while we count what is there; a look in between makes this false, and it is asked again."""
        made = rows_made(metrics)
        process.send_signal(signal.SIGSTOP)
        try:
            return made == rows_in(arrived(broker, "away"))
        finally:
            process.send_signal(signal.SIGCONT)

    with agent(tmp_path, *options(broker, "away"), "--metrics-listen", f"127.0.0.1:{metrics}") as process:
        until(lambda: len(arrived(broker, "away")) > 3, "delivery")
        broker.stop()
        before = own_metrics(metrics)["eo_agent_scans_total"]
        until(lambda: "bus is away" in log.read_text(), "word of the absence")
        until(lambda: own_metrics(metrics)["eo_agent_scans_total"] > before + 8 and spooled() > 10_000, "spooling")
        broker.start()
        until(lambda: "bus is back" in log.read_text(), "word of the return", seconds=90)
        until(lambda: spooled() == 0, "an empty spool")
        until(all_there, "the arrival of every row", seconds=60)
        assert not [name for name, n in own_metrics(metrics).items() if "dropped" in name and n]
    found = arrived(broker, "away")
    for kind in (Kind.SAMPLES, Kind.METERS):
        moments = [one.batch.first for one in found if one.batch.kind is kind]
        assert moments == sorted(moments), "no batch overtook another"


def test_tls_with_the_right_authority_delivers(tmp_path: Path, broker: KafkaBroker, authority: Authority) -> None:
    """The CA file alone turns TLS on."""
    make_topics(broker, "tls")
    with agent(tmp_path, *options(broker, "tls", "TLS"), "--kafka-ca-file", str(authority.file)):
        until(lambda: len(arrived(broker, "tls")) > 3, "delivery")


def test_another_authority_is_refused_with_a_clear_word(tmp_path: Path, broker: KafkaBroker) -> None:
    """Nothing is sent; log and check say what to look at."""
    make_topics(broker, "impostor")
    impostor = Authority(tmp_path, "impostor", EC)
    given = (*options(broker, "impostor", "TLS"), "--kafka-ca-file", str(impostor.file))
    finding = check(*given)
    assert finding["reachable"] is False
    for word in ("UnknownIssuer", "kafka.ca_file", broker.address("TLS")):
        assert word in str(finding["finding"])
    with agent(tmp_path, *given):
        until(lambda: "UnknownIssuer" in (tmp_path / "log").read_text(), "a word about the certificate")
        assert any((tmp_path / "spool").glob("*.spool"))
    assert arrived(broker, "impostor") == []
    assert len((tmp_path / "log").read_text().splitlines()) < 20, "the library's own lines are kept away"


def test_mutual_tls_delivers_and_a_stranger_is_refused(
    tmp_path: Path, broker: KafkaBroker, authority: Authority
) -> None:
    """With a certificate batches arrive; without one the broker hangs up."""
    make_topics(broker, "mutual")
    certificate, key = authority.issue("agent")
    trusting = (*options(broker, "mutual", "MTLS"), "--kafka-ca-file", str(authority.file))
    finding = check(*trusting)
    assert finding["reachable"] is False
    assert "kafka.cert_file" in str(finding["finding"])
    with agent(tmp_path, *trusting, "--kafka-cert-file", str(certificate), "--kafka-key-file", str(key)):
        until(lambda: len(arrived(broker, "mutual")) > 3, "delivery")


@pytest.mark.parametrize("mechanism", ["scram-sha-512", "plain"])
def test_a_login_delivers_and_a_wrong_password_does_not(
    tmp_path: Path, broker: KafkaBroker, authority: Authority, mechanism: str
) -> None:
    """The settings come from a file's table; the password from its own file, and into no log."""
    tenant = f"login-{mechanism}"
    make_topics(broker, tenant)
    password = tmp_path / "password"
    settings = tmp_path / "agent.toml"
    settings.write_text(
        f'tenant = "{tenant}"\nprofile_hz = 0\n[kafka]\nbrokers = ["{broker.address("LOGIN")}"]\nuser = "{USER}"\n'
        f'password_file = "{password}"\nsasl_mechanism = "{mechanism}"\nca_file = "{authority.file}"\n'
    )
    password.write_text("another-one\n")
    finding = check("--config", str(settings))
    assert finding["reachable"] is False
    assert "kafka.password_file" in str(finding["finding"])
    assert "another-one" not in str(finding["finding"])
    password.write_text(f"{PASSWORD}\n")
    with agent(tmp_path, "--config", str(settings), "--log-level", "debug"):
        until(lambda: len(arrived(broker, tenant)) > 3, "delivery")
    assert PASSWORD not in (tmp_path / "log").read_text()


def test_a_topic_that_is_not_there_is_named_and_waited_for(tmp_path: Path, broker: KafkaBroker) -> None:
    """The agent makes no topics; once somebody did, what waited in the spool arrives."""
    assert "eo.v1.later.profiles" in str(check(*options(broker, "later"))["finding"])
    with agent(tmp_path, *options(broker, "later")):
        until(lambda: "there is no topic eo.v1.later." in (tmp_path / "log").read_text(), "the name of the topic")
        make_topics(broker, "later")
        until(lambda: len(arrived(broker, "later")) > 3, "delivery", seconds=60)


def test_a_broker_that_takes_connections_and_says_nothing_is_given_up(tmp_path: Path) -> None:
    """A limit of time, the batches wait on disk, and a stop doesn't wait for the broker."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with agent(tmp_path, "--kafka-brokers", address, "--profile-hz", "0"):
            until(lambda: "no answer from a broker within" in (tmp_path / "log").read_text(), "giving up", seconds=60)
            assert any((tmp_path / "spool").glob("*.spool"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--kafka-brokers", "here"], ["kafka.brokers", "HOST:PORT"]),
        (["--kafka-brokers", "a:1", "--nats-url", "nats://a"], ["kafka.brokers", "nats_url", "one bus"]),
        (["--kafka-brokers", "a:1", "--kafka-ca-file", "{folder}/absent"], ["kafka.ca_file", "absent"]),
        (["--kafka-brokers", "a:1", "--kafka-ca-file", "{folder}/wrong"], ["kafka.ca_file", "no certificate"]),
        (["--kafka-brokers", "a:1", "--kafka-user", "eo"], ["kafka.user", "kafka.password_file"]),
        (["--kafka-brokers", "a:1", "--kafka-user", "eo", "--kafka-password-file", "{folder}/absent"], ["absent"]),
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
