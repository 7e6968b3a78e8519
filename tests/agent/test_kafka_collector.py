"""From agents through a real Kafka broker into the store: nothing lost, nothing twice, nobody else's rows."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from agent.authority import EC, Authority
from agent.kafka_broker import PASSWORD, USER, KafkaBroker, running_broker
from agent.rig import needs_agent
from agent.test_delivery import agent, until
from agent.test_kafka import arrived, make_topics, options
from energy_orchestrator.errors import InvalidInputError, UnavailableError
from energy_orchestrator.ingest.bus import Delivery
from energy_orchestrator.ingest.kafka_bus import GROUP, KafkaBus, KafkaLogin
from energy_orchestrator.model.wire import Kind
from flow.system import System, running

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

PROGRAM = Path(__file__).with_name("kafka_collector_program.py")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[KafkaBroker, Authority]]:
    with running_broker(tmp_path_factory.mktemp("kafka")) as both:
        yield both


@pytest.fixture
def broker(pair: tuple[KafkaBroker, Authority]) -> KafkaBroker:
    return pair[0]


def login(broker: KafkaBroker) -> KafkaLogin:
    return KafkaLogin((broker.address("PLAINTEXT"),))


@contextlib.asynccontextmanager
async def joined(to: KafkaLogin, group: str | None = None) -> AsyncIterator[KafkaBus]:
    """A bus that is closed whatever the test comes to.

    One that is dropped open hangs the process: librdkafka's destructor, under the garbage collector, waits with the
    interpreter's lock held for a thread that calls back into Python.
    """
    bus = await KafkaBus.connect(to, group=group or uuid.uuid4().hex)
    try:
        yield bus
    finally:
        await bus.close()


def _holds(bus: KafkaBus, tenant: str) -> bool:
    return any(it.topic.startswith(f"eo.v1.{tenant}.") for it in bus._consumer.assignment())


async def pulled(bus: KafkaBus, tenant: str, count: int, seconds: float = 30) -> list[Delivery]:
    """Messages of a tenant until there are so many, or for so long."""
    found: list[Delivery] = []
    end = asyncio.get_running_loop().time() + seconds
    while len(found) < count and asyncio.get_running_loop().time() < end:
        found += [it for it in await bus.pull(100, 0.3) if it.subject.startswith(f"eo.v1.{tenant}.")]
    return found


def collecting(broker: KafkaBroker, folder: Path, *die: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(PROGRAM), broker.address("PLAINTEXT"), str(folder), *die]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def uncommitted(broker: KafkaBroker, tenant: str) -> int:
    """Messages of a tenant that the collectors' group has not committed."""
    watcher = Consumer({"bootstrap.servers": broker.address("PLAINTEXT"), "group.id": GROUP})
    topics = watcher.list_topics(timeout=10).topics
    names = [name for name in topics if name.startswith(f"eo.v1.{tenant}.")]
    places = [TopicPartition(name, part) for name in names for part in topics[name].partitions]
    ends = [watcher.get_watermark_offsets(place, timeout=10)[1] for place in places]
    left = sum(end - max(at.offset, 0) for at, end in zip(watcher.committed(places, timeout=10), ends, strict=True))
    watcher.close()
    return left


def test_a_collector_killed_between_store_and_commit_loses_nothing_and_stores_nothing_twice(
    broker: KafkaBroker, tmp_path: Path
) -> None:
    """The agent sends; one collector dies right after an insert; its successor ends with what the broker holds."""
    needs_agent()
    make_topics(broker, "killed")
    with agent(tmp_path, *options(broker, "killed")):
        until(lambda: any(it.batch.kind is Kind.SAMPLES for it in arrived(broker, "killed")), "the first samples")
        first = collecting(broker, tmp_path / "chdb", "die")
        output, _ = first.communicate(timeout=60)
        assert (first.returncode, "stored and killed" in output) == (-9, True), output
    samples = [it.batch for it in arrived(broker, "killed") if it.batch.kind is Kind.SAMPLES]
    second = collecting(broker, tmp_path / "chdb")
    until(lambda: uncommitted(broker, "killed") == 0, "the group to commit all")
    second.terminate()
    output, _ = second.communicate(timeout=60)
    assert json.loads(output.splitlines()[-1]) == {
        "rows": sum(batch.rows.num_rows for batch in samples),
        "batches": len({batch.batch_id for batch in samples}),
    }


def test_eo_up_works_with_kafka_in_place_of_nats(broker: KafkaBroker, tmp_path: Path) -> None:
    """The whole system as a user starts it: the agent writes to the broker, watts come out."""
    needs_agent()
    make_topics(broker, "upkafka", *(kind.value for kind in Kind))
    brokers = json.dumps([broker.address("PLAINTEXT")])
    with running(System(tmp_path, None, EO_KAFKA_BROKERS=brokers, EO_TENANT="upkafka")) as system:
        system.until("watts", lambda: [node for node in system.get("nodes") if node["node_watts"]], 90)
        doctor = system.eo("doctor").stdout
        assert "Kafka (bus)" in doctor


async def test_two_collectors_share_the_partitions_and_what_one_leaves_the_other_takes(broker: KafkaBroker) -> None:
    # Partitions are shared evenly over all topics: with more than the other topics hold, each collector has some.
    make_topics(broker, "shared", "samples", partitions=24)
    group = uuid.uuid4().hex
    async with joined(login(broker), group) as two:
        async with joined(login(broker), group) as one:
            while not (_holds(one, "shared") and _holds(two, "shared")):
                await one.pull(1, 0.2)
                await two.pull(1, 0.2)
            for number in range(60):
                await one.publish(f"eo.v1.shared.node-{number}.samples", b"%d" % number)
            mine: dict[bytes, Delivery] = {}
            theirs: dict[bytes, Delivery] = {}
            for _ in range(60):
                for bus, found in ((one, mine), (two, theirs)):
                    pulled_now = await bus.pull(10, 0.2)
                    found.update({it.data: it for it in pulled_now if it.subject.startswith("eo.v1.shared.")})
                if len(mine.keys() | theirs.keys()) == 60:
                    break
            assert len(mine.keys() | theirs.keys()) == 60
            assert mine.keys() - theirs.keys()
            assert theirs.keys() - mine.keys()
            for delivery in theirs.values():
                await delivery.ack()
            left = mine.keys() - theirs.keys()
            await two.pull(1, 0.2)  # the first one leaves now, with nothing settled
        again = {it.data for it in await pulled(two, "shared", len(left))}
    assert again >= left
    assert not again & (theirs.keys() - mine.keys())


async def test_the_tenant_is_that_of_the_topic_whatever_key_and_header_say(broker: KafkaBroker) -> None:
    make_topics(broker, "honest", "samples")
    producer = Producer({"bootstrap.servers": broker.address("PLAINTEXT")})
    for key in (b"honest.node-a", b"other.node-a", b"", b"honest.a.b"):
        headers = {"Eo-Subject": "eo.v1.other.node-a.samples"}
        producer.produce("eo.v1.honest.samples", key=key, value=key or b"none", headers=headers, partition=0)
    producer.flush(30)
    async with joined(login(broker)) as bus:
        found = {it.data: it.subject for it in await pulled(bus, "honest", 4)}
    assert found == {
        b"honest.node-a": "eo.v1.honest.node-a.samples",
        b"other.node-a": "eo.v1.honest._.samples",
        b"none": "eo.v1.honest._.samples",
        b"honest.a.b": "eo.v1.honest._.samples",
    }


async def test_a_broker_that_goes_and_comes_back_costs_nothing(broker: KafkaBroker) -> None:
    make_topics(broker, "away", "samples")
    async with joined(login(broker)) as bus:
        await bus.publish("eo.v1.away.a.samples", b"before")
        broker.stop()
        try:
            with pytest.raises(UnavailableError, match=r"publishing to eo\.v1\.away\.samples"):
                await bus.publish("eo.v1.away.a.samples", b"lost, and said so")
        finally:
            broker.start()
        await bus.publish("eo.v1.away.a.samples", b"after")
        data = [it.data for it in await pulled(bus, "away", 2)]
    assert data == [b"before", b"after"]


async def test_logins_and_certificates(pair: tuple[KafkaBroker, Authority], tmp_path: Path) -> None:
    """Each way in works, and each wrong one is told at once, without the password."""
    broker, authority = pair
    password, wrong = tmp_path / "password", tmp_path / "wrong"
    password.write_text(PASSWORD + "\n")
    wrong.write_text("wr0ng-secret")
    certificate, key = authority.issue("collector")
    stranger = Authority(tmp_path, "stranger", EC)
    tls, mtls, sasl = ((broker.address(name),) for name in ("TLS", "MTLS", "LOGIN"))
    for good in (
        KafkaLogin(tls, ca_file=authority.file),
        KafkaLogin(mtls, ca_file=authority.file, cert_file=certificate, key_file=key),
        KafkaLogin(sasl, ca_file=authority.file, user=USER, password_file=password),
        KafkaLogin(sasl, ca_file=authority.file, user=USER, password_file=password, sasl_mechanism="plain"),
    ):
        async with joined(good, GROUP):
            pass
    for bad in (
        KafkaLogin(tls, ca_file=stranger.file),
        KafkaLogin(mtls, ca_file=authority.file),
        KafkaLogin(sasl, ca_file=authority.file, user=USER, password_file=wrong),
        KafkaLogin(("127.0.0.1:9",)),
    ):
        with pytest.raises(UnavailableError, match="check kafka_brokers") as told:
            await KafkaBus.connect(bad)
        assert "wr0ng-secret" not in told.value.describe()
    with pytest.raises(InvalidInputError, match="cannot be read"):
        await KafkaBus.connect(KafkaLogin(tls, ca_file=tmp_path / "none"))
