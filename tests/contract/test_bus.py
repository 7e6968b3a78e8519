"""What the port to the bus promises, on the bus in memory, on the real NATS server and on a real Kafka broker."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from confluent_kafka import OFFSET_END, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from agent.kafka_broker import KafkaBroker, running_broker
from energy_orchestrator.errors import InvalidInputError, UnavailableError
from energy_orchestrator.ingest.bus import Bus, Delivery
from energy_orchestrator.ingest.kafka_bus import DEAD_TOPIC, KafkaBus, KafkaLogin
from energy_orchestrator.ingest.memory_bus import MemoryBus
from energy_orchestrator.ingest.nats_bus import NatsBus, NatsLogin
from energy_orchestrator.services.nats_server import NatsServer

SUBJECT = "eo.v1.local.a.samples"
ACK_WAIT = 0.5
DEADLINE = 10.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    server = NatsServer(tmp_path_factory.mktemp("bus"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaBroker]:
    with running_broker(tmp_path_factory.mktemp("kafka")) as (broker, _):
        admin = AdminClient({"bootstrap.servers": broker.address("PLAINTEXT")})
        admin.create_topics([NewTopic("eo.v1.local.samples", 1)])["eo.v1.local.samples"].result(30)
        yield broker


@contextlib.asynccontextmanager
async def opened(name: str, request: pytest.FixtureRequest) -> AsyncIterator[Bus]:
    """An empty bus."""
    if name == "memory":
        yield MemoryBus(ack_wait_seconds=ACK_WAIT, max_bytes=1_000_000)
        return
    if name == "kafka":
        login = KafkaLogin((request.getfixturevalue("broker").address("PLAINTEXT"),))
        bus = await KafkaBus.connect(login, ack_wait_seconds=ACK_WAIT, group=uuid.uuid4().hex)
        try:
            yield bus
        finally:
            await bus.close()
            emptied(login.brokers[0])
        return
    server: NatsServer = request.getfixturevalue("server")
    access = NatsLogin(user=server.login_user, password_file=server.login_password_file)
    nats = await NatsBus.connect(server.url, access, ack_wait_seconds=ACK_WAIT, max_bytes=1_000_000)
    yield nats
    await nats._jetstream.delete_stream("EO")
    await nats._jetstream.delete_stream("EO_DEAD")
    await nats.close()


def emptied(address: str) -> None:
    """Forget all records."""
    admin = AdminClient({"bootstrap.servers": address})
    ends = [TopicPartition(topic, 0, OFFSET_END) for topic in ("eo.v1.local.samples", DEAD_TOPIC)]
    for done in admin.delete_records(ends).values():
        done.result(30)


@pytest.fixture(params=["memory", "nats", pytest.param("kafka", marks=pytest.mark.slow)])
async def bus(request: pytest.FixtureRequest) -> AsyncIterator[Bus]:
    async with opened(request.param, request) as bus:
        yield bus


@pytest.fixture(params=["memory", "nats"])
async def bounded(request: pytest.FixtureRequest) -> AsyncIterator[Bus]:
    """Of 1 MB. Kafka has no such bound: a topic drops its oldest records."""
    async with opened(request.param, request) as bus:
        yield bus


async def pull_until(bus: Bus, count: int) -> list[Delivery]:
    got: list[Delivery] = []
    end = asyncio.get_running_loop().time() + DEADLINE
    while len(got) < count and asyncio.get_running_loop().time() < end:
        got += await bus.pull(count - len(got), 0.3)
    assert len(got) == count
    return got


async def test_messages_come_in_order_with_their_subject_and_bytes(bus: Bus) -> None:
    for number in range(5):
        await bus.publish(SUBJECT, b"%d" % number)
    got = await pull_until(bus, 5)
    assert [delivery.data for delivery in got] == [b"0", b"1", b"2", b"3", b"4"]
    assert {delivery.subject for delivery in got} == {SUBJECT}
    assert {delivery.attempts for delivery in got} == {1}


async def test_an_acknowledged_message_never_comes_again(bus: Bus) -> None:
    await bus.publish(SUBJECT, b"x")
    (delivery,) = await pull_until(bus, 1)
    await delivery.ack()
    assert await bus.pull(1, 3 * ACK_WAIT) == []


async def test_a_message_left_unsettled_comes_again_and_says_so(bus: Bus) -> None:
    await bus.publish(SUBJECT, b"x")
    await pull_until(bus, 1)
    (again,) = await pull_until(bus, 1)
    assert (again.data, again.attempts) == (b"x", 2)


async def test_a_message_given_back_comes_again(bus: Bus) -> None:
    await bus.publish(SUBJECT, b"x")
    (delivery,) = await pull_until(bus, 1)
    await delivery.nak(0.1)
    (again,) = await pull_until(bus, 1)
    assert again.attempts == 2


async def test_a_terminated_message_never_comes_again(bus: Bus) -> None:
    await bus.publish(SUBJECT, b"x")
    (delivery,) = await pull_until(bus, 1)
    await delivery.term()
    assert await bus.pull(1, 3 * ACK_WAIT) == []


async def test_a_message_id_is_taken_once(bus: Bus) -> None:
    for data in (b"first", b"second"):
        await bus.publish(SUBJECT, data, message_id="same")
    await bus.publish(SUBJECT, b"other", message_id="another")
    got = await pull_until(bus, 2)
    assert [delivery.data for delivery in got] == [b"first", b"other"]


async def test_an_empty_bus_gives_an_empty_list(bus: Bus) -> None:
    assert await bus.pull(10, 0.05) == []


async def test_dead_letters_are_kept_with_headers_in_order_until_removed(bus: Bus) -> None:
    for reason in ("one", "two", "three"):
        await bus.publish("eo.dead.v1.local.a.samples", reason.encode(), headers={"Eo-Reason": reason})
    first, second, _ = await bus.dead_letters(10)
    assert (first.data, first.headers["Eo-Reason"], first.subject) == (b"one", "one", "eo.dead.v1.local.a.samples")
    assert [letter.data for letter in await bus.dead_letters(1, first.sequence)] == [b"two"]
    await bus.remove_dead_letter(second.sequence)
    await bus.remove_dead_letter(second.sequence)
    assert [letter.data for letter in await bus.dead_letters(10)] == [b"one", b"three"]
    assert await bus.pull(1, 0.05) == []


async def test_a_full_bus_refuses_and_drops_nothing(bounded: Bus) -> None:
    bus = bounded
    block = b"x" * 300_000
    for _ in range(3):
        await bus.publish(SUBJECT, block)
    with pytest.raises(UnavailableError):
        await bus.publish(SUBJECT, block)
    kept = await pull_until(bus, 3)
    for delivery in kept:
        await delivery.ack()
    for _ in range(50):  # the real server makes room shortly after the acknowledgement
        try:
            await bus.publish(SUBJECT, block)
            break
        except UnavailableError:
            await asyncio.sleep(0.1)
    await pull_until(bus, 1)


async def test_a_subject_of_no_stream_is_a_mistake(bus: Bus) -> None:
    with pytest.raises(InvalidInputError, match="no stream"):
        await bus.publish("elsewhere", b"x")


async def test_a_wrong_login_and_an_address_without_a_server_are_told_at_once(
    server: NatsServer, tmp_path: Path
) -> None:
    wrong = tmp_path / "password"
    wrong.write_text("wrong")
    with pytest.raises(UnavailableError, match="login is right"):
        await NatsBus.connect(server.url, NatsLogin(user="eo", password_file=wrong))
    with pytest.raises(UnavailableError, match="check that NATS runs there"):
        await NatsBus.connect("nats://127.0.0.1:9")
    with pytest.raises(InvalidInputError, match="cannot be read"):
        await NatsBus.connect(server.url, NatsLogin(user="eo", password_file=tmp_path / "none"))
