"""The bus on Kafka. The only module that imports confluent_kafka.

Topics `eo.v1.<tenant>.<kind>`, one for each tenant and kind, the key `<tenant>.<host>` (`agent/README.md`); whoever
runs the brokers makes them. Collectors share the group `eo-collector` and so the partitions. What differs from NATS:

- Kafka knows one offset for each partition, the port settles messages one by one. What was pulled is held here until
  it is settled, and given out again when it was given back or its time is over (`unsettled.py`); the offset that is
  committed is that of the oldest one held (`offsets.py`). A crash costs second deliveries, which the store takes once
  by batch id.
- The tenant of a message is that of its topic, since that is what a broker authorises. A header or key that says
  otherwise is not believed.
- A message id is taken once by one consumer that remembers it (`DUPLICATE_WINDOW_SECONDS`), not by the broker.
- A topic that is full drops its oldest records: retention is the site's, and no agent is held back.
- Dead letters lie in the compacted topic `eo.dead.v1`, which is made if it is missing; removing one writes a
  tombstone. A sequence is an offset plus one.

The library reconnects by itself; while no broker answers, pulls come back empty and publishing raises.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeAlias

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from energy_orchestrator.errors import InvalidInputError, UnavailableError
from energy_orchestrator.ingest.bus import (
    ACK_WAIT_SECONDS,
    DEAD_PREFIX,
    SUBJECT_PREFIX,
    DeadLetter,
    Delivery,
)
from energy_orchestrator.ingest.secret_file import read_secret
from energy_orchestrator.ingest.unsettled import Held, Key, Unsettled
from energy_orchestrator.model.wire import Kind

GROUP = "eo-collector"
DEAD_TOPIC = "eo.dead.v1"
SUBJECT_HEADER, ID_HEADER, DEAD_SUBJECT_HEADER = "Eo-Subject", "Eo-Batch-Id", "Eo-Dead-Subject"
MAX_UNSETTLED, MAX_UNSETTLED_BYTES = 20_000, 128 * 2**20
MAX_PREFETCH_KIB = 32 * 1024
ANSWER_SECONDS = 10.0
SESSION_SECONDS = 15
"""How long the partitions of a collector that was killed wait for another."""
_TWO_WEEKS_MS = 14 * 86_400_000
_TOPIC = re.compile(r"eo\.v1\.([A-Za-z0-9_-]+)\.(" + "|".join(kind.value for kind in Kind) + ")")
_TOKEN = re.compile(r"[A-Za-z0-9_-]+")

Record: TypeAlias = "Message[bytes, bytes]"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class KafkaLogin:
    """How to reach the brokers; each secret is the path of a file. The same keys as the agent's table `[kafka]`."""

    brokers: tuple[str, ...]
    tls: bool = False
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    user: str | None = None
    password_file: Path | None = None
    sasl_mechanism: str = "scram-sha-512"

    def options(self) -> dict[str, Any]:
        """Settings of librdkafka."""
        tls = self.tls or self.ca_file is not None or self.cert_file is not None
        options: dict[str, Any] = {
            "bootstrap.servers": ",".join(self.brokers),
            "client.id": "energy-orchestrator",
            "security.protocol": f"{'SASL_' if self.user else ''}{'SSL' if tls else 'PLAINTEXT'}",
            "log_level": 2,
        }
        files = {
            "ssl.ca.location": self.ca_file,
            "ssl.certificate.location": self.cert_file,
            "ssl.key.location": self.key_file,
        }
        for name, file in files.items():
            if file is not None:
                read_secret(file)
                options[name] = str(file)
        if self.user is not None:
            options["sasl.mechanism"] = self.sasl_mechanism.upper()
            options["sasl.username"] = self.user
            options["sasl.password"] = read_secret(self.password_file) if self.password_file else ""
        return options


class KafkaDelivery:
    """See Delivery. Settling is remembered at once and committed with the next pull."""

    def __init__(self, key: Key, held: Held, unsettled: Unsettled) -> None:
        self.subject, self.data, self.attempts = held.subject, held.data, held.attempts
        self._key, self._unsettled = key, unsettled

    async def ack(self) -> None:
        """See Delivery."""
        self._unsettled.settle(self._key)

    async def nak(self, delay_seconds: float = 0.0) -> None:
        """See Delivery."""
        self._unsettled.give_back(self._key, self.attempts, delay_seconds)

    async def term(self) -> None:
        """See Delivery."""
        self._unsettled.settle(self._key)


class KafkaBus:
    """See Bus. Made by `connect`."""

    def __init__(self, login: KafkaLogin, options: dict[str, Any], ack_wait_seconds: float, group: str) -> None:
        self._where = ", ".join(login.brokers)
        self._options = options | {"error_cb": self._note}
        self._last_error: str | None = None
        self._unsettled = Unsettled(ack_wait_seconds, MAX_UNSETTLED, MAX_UNSETTLED_BYTES, time.monotonic)
        self._paused = False
        self._pulling = asyncio.Lock()
        self._admin = AdminClient(self._options)
        self._producer = Producer(
            self._options
            | {
                "acks": "all",
                "enable.idempotence": True,
                "partitioner": "consistent",
                "message.timeout.ms": int(ANSWER_SECONDS * 1000),
                "linger.ms": 0,
            }
        )
        self._consumer = Consumer(
            self._options
            | {
                "group.id": group,
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "partition.assignment.strategy": "cooperative-sticky",
                "session.timeout.ms": SESSION_SECONDS * 1000,
                "queued.max.messages.kbytes": MAX_PREFETCH_KIB,
                "topic.metadata.refresh.interval.ms": 30_000,
                "allow.auto.create.topics": False,
            }
        )

    @classmethod
    async def connect(
        cls, login: KafkaLogin, *, ack_wait_seconds: float = ACK_WAIT_SECONDS, group: str = GROUP
    ) -> Self:
        """Ask the brokers for their topics, make the one of dead letters if need be, join the group.

        Raises:
            UnavailableError: no broker answers, or not to this login; or the topic of dead letters cannot be made.
            InvalidInputError: a file cannot be read, or a setting is impossible.
        """
        try:
            bus = cls(login, login.options(), ack_wait_seconds, group)
        except KafkaException as error:
            raise InvalidInputError(
                str(error.args[0]), where="kafka_*", next_step="correct the address or the files"
            ) from error
        try:
            await asyncio.to_thread(bus._prepare)
        except BaseException:
            await bus.close()
            raise
        return bus

    async def publish(
        self, subject: str, data: bytes, *, message_id: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        """See Publisher."""
        topic, key, sent = _address(subject, message_id)
        if message_id is not None:
            sent[ID_HEADER] = message_id
        outcome: list[KafkaError | None] = []
        with self._readable(f"publishing to {topic}"):
            self._producer.produce(
                topic,
                value=data,
                key=key,
                headers=[(name, text.encode()) for name, text in (sent | dict(headers or {})).items()],
                on_delivery=lambda error, _: outcome.append(error),
            )
            await asyncio.to_thread(self._producer.flush, ANSWER_SECONDS + 1)
            if not outcome:
                raise self._unavailable(f"publishing to {topic}", "no acknowledgement in time")
            if outcome[0] is not None:
                raise KafkaException(outcome[0])

    async def pull(self, limit: int, timeout_seconds: float) -> list[Delivery]:
        """See Consumer."""
        async with self._pulling:
            with self._readable("pulling"):
                found = await asyncio.to_thread(self._pull, limit, timeout_seconds)
        return [KafkaDelivery(key, held, self._unsettled) for key, held in found]

    async def dead_letters(self, limit: int, after_sequence: int = 0) -> list[DeadLetter]:
        """See DeadLetters."""
        with self._readable("reading dead letters"):
            return await asyncio.to_thread(self._dead_letters, limit, after_sequence)

    async def remove_dead_letter(self, sequence: int) -> None:
        """See DeadLetters."""
        with self._readable("removing a dead letter"):
            key = await asyncio.to_thread(self._key_of_dead, sequence - 1)
            if key is not None:
                self._producer.produce(DEAD_TOPIC, key=key, value=None, partition=0)
                if await asyncio.to_thread(self._producer.flush, ANSWER_SECONDS + 1):
                    raise self._unavailable("removing a dead letter", "no acknowledgement in time")

    async def close(self) -> None:
        """See Bus."""
        with contextlib.suppress(KafkaException, RuntimeError):
            await asyncio.to_thread(self._commit, asynchronous=False)
        with contextlib.suppress(KafkaException, RuntimeError):
            await asyncio.to_thread(self._consumer.close)

    # -- on a thread ----------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        with self._readable("connecting"):
            topics = self._consumer.list_topics(timeout=ANSWER_SECONDS).topics
            if DEAD_TOPIC not in topics:
                config = {"cleanup.policy": "compact,delete", "retention.ms": str(_TWO_WEEKS_MS)}
                made = self._admin.create_topics([NewTopic(DEAD_TOPIC, 1, config=config)])[DEAD_TOPIC]
                try:
                    made.result(ANSWER_SECONDS)
                except KafkaException as error:
                    if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                        raise
        if not any(_TOPIC.fullmatch(name) for name in topics):
            log.warning("kafka: no topic eo.v1.<tenant>.<kind> is there yet, or this user may not see it")
        self._consumer.subscribe(["^" + _TOPIC.pattern + "$"], on_revoke=self._lost, on_lost=self._lost)

    def _pull(self, limit: int, timeout_seconds: float) -> list[tuple[Key, Held]]:
        self._commit(asynchronous=True)
        found = self._unsettled.due(limit)
        if len(found) < limit:
            wait = 0.0 if found else min(timeout_seconds, self._unsettled.wait_seconds())
            self._take(limit - len(found), wait)
            found += self._unsettled.due(limit - len(found))
        return found

    def _take(self, limit: int, timeout_seconds: float) -> None:
        """Wait for the first message, then take what has arrived besides."""
        if self._unsettled.full or self._paused:
            self._hold_back(self._unsettled.full)
        first = self._consumer.poll(timeout_seconds)
        rest = self._consumer.consume(limit - 1, 0) if first is not None and limit > 1 else []
        for message in [*([first] if first is not None else []), *rest]:
            if (error := message.error()) is None:
                place = (str(message.topic()), int(message.partition() or 0), int(message.offset() or 0))
                self._unsettled.take(place, _subject(message), message.value() or b"", _headers(message).get(ID_HEADER))
            elif not error.retriable():
                self._note(error)

    def _hold_back(self, wanted: bool) -> None:
        """Pause or resume all partitions; one that joins meanwhile runs until the next call."""
        if partitions := self._consumer.assignment():
            (self._consumer.pause if wanted else self._consumer.resume)(partitions)
        self._paused = wanted

    def _commit(self, *, asynchronous: bool) -> None:
        moved = self._unsettled.to_commit()
        offsets = [TopicPartition(topic, number, at) for (topic, number), at in moved.items()]
        if offsets and asynchronous:
            self._consumer.commit(offsets=offsets, asynchronous=True)
        elif offsets:
            self._consumer.commit(offsets=offsets, asynchronous=False)

    def _lost(self, _: Consumer, partitions: Sequence[TopicPartition]) -> None:
        with contextlib.suppress(KafkaException):
            self._commit(asynchronous=False)
        for it in partitions:
            self._unsettled.forget((str(it.topic), int(it.partition)))

    def _dead_letters(self, limit: int, after_sequence: int) -> list[DeadLetter]:
        found: OrderedDict[bytes, DeadLetter] = OrderedDict()
        seen: set[bytes] = set()
        for message in self._read_dead(0):
            key, at = (message.key() or b""), int(message.offset() or 0)
            if message.value() is None:
                found.pop(key, None)
                seen.discard(key)
            elif key not in seen and at >= after_sequence:
                seen.add(key)
                if len(found) < limit:
                    headers = _headers(message)
                    subject = headers.pop(DEAD_SUBJECT_HEADER, DEAD_PREFIX)
                    found[key] = DeadLetter(at + 1, subject, message.value() or b"", headers)
            elif at < after_sequence:
                seen.add(key)
        return list(found.values())

    def _key_of_dead(self, offset: int) -> bytes | None:
        for message in self._read_dead(offset, stop_after=1):
            if message.offset() == offset and message.value() is not None:
                return message.key() or b""
        return None

    def _read_dead(self, first: int, stop_after: int | None = None) -> Iterator[Record]:
        """Records of the topic from an offset on, up to its present end."""
        reader = Consumer(
            self._options | {"group.id": f"{GROUP}-dead", "enable.auto.commit": False, "enable.partition.eof": True}
        )
        try:
            low, high = reader.get_watermark_offsets(TopicPartition(DEAD_TOPIC, 0), ANSWER_SECONDS)
            at, read = max(low, first), 0
            if at >= high:
                return
            reader.assign([TopicPartition(DEAD_TOPIC, 0, at)])
            while at < high and (stop_after is None or read < stop_after):
                message = reader.poll(ANSWER_SECONDS)
                if message is None:
                    raise self._unavailable("reading dead letters", "no answer in time")
                if (error := message.error()) is not None:
                    if error.code() == KafkaError._PARTITION_EOF:
                        return
                    raise KafkaException(error)
                at, read = int(message.offset() or 0) + 1, read + 1
                yield message
        finally:
            reader.close()

    # -- errors ---------------------------------------------------------------------------------------------

    def _note(self, error: KafkaError) -> None:
        text = error.str()
        if text != self._last_error:
            log.warning("kafka: %s", text)
        self._last_error = text

    @contextlib.contextmanager
    def _readable(self, doing: str) -> Iterator[None]:
        try:
            yield
        except KafkaException as error:
            cause = error.args[0]
            if cause.code() in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC):
                raise UnavailableError(
                    f"{doing}: there is no such topic, or this user may not see it",
                    where=self._where,
                    next_step="create it: kafka-topics.sh --create --topic …",
                ) from error
            raise self._unavailable(doing, cause.str()) from error
        except BufferError as error:
            raise self._unavailable(doing, "too much waits to be sent") from error
        except RuntimeError as error:  # the library's word for a closed client
            raise self._unavailable(doing, str(error)) from error

    def _unavailable(self, doing: str, why: str) -> UnavailableError:
        told = f"{why} ({self._last_error})" if self._last_error and self._last_error not in why else why
        return UnavailableError(
            f"{doing}: {told}",
            where=self._where,
            next_step="check kafka_brokers, whether they ask for TLS (kafka_ca_file), the login, and what it may do",
        )


def _address(subject: str, message_id: str | None) -> tuple[str, bytes, dict[str, str]]:
    """Topic, key and headers of a subject."""
    if subject.startswith(DEAD_PREFIX):
        key = message_id or f"{subject}-{time.time_ns()}"
        return DEAD_TOPIC, key.encode(), {DEAD_SUBJECT_HEADER: subject}
    tokens = subject.removeprefix(SUBJECT_PREFIX).split(".") if subject.startswith(SUBJECT_PREFIX) else []
    if len(tokens) != 3:
        raise InvalidInputError("no stream takes this subject", where=subject, next_step=f"use {SUBJECT_PREFIX}…")
    tenant, host, kind = tokens
    return f"{SUBJECT_PREFIX}{tenant}.{kind}", f"{tenant}.{host}".encode(), {SUBJECT_HEADER: subject}


def _subject(message: Record) -> str:
    """The subject: tenant and kind of the topic, whatever the message says; the host of its key."""
    name = _TOPIC.fullmatch(str(message.topic()))
    tenant, kind = name.groups() if name else ("_", "_")
    key = _text(message.key())
    host = key.removeprefix(f"{tenant}.") if key.startswith(f"{tenant}.") else "_"
    host = host if _TOKEN.fullmatch(host) else "_"
    return f"{SUBJECT_PREFIX}{tenant}.{host}.{kind}"


def _headers(message: Record) -> dict[str, str]:
    found: Any = message.headers()
    return {name: _text(value) for name, value in found or []}


def _text(value: str | bytes | None) -> str:
    return value if isinstance(value, str) else (value or b"").decode("utf-8", errors="replace")
