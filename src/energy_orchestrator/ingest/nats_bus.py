"""The bus on NATS JetStream. The only module that imports nats.

Two streams. `EO` is a work queue: a message leaves when it is acknowledged, and when the stream is full the server
refuses new ones, so a store that is down fills the bus, then the agents' spools, and nothing unseen is dropped in
between. `EO_DEAD` keeps dead letters, oldest out first. Collectors share the durable pull consumer `collector`.

The library reconnects by itself, without end. While it does, pulls come back empty and publishing raises
UnavailableError. Replies go to an inbox prefix of our own: an agent that may listen to `_INBOX.>` sees none of them.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import nats
import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, DiscardPolicy, RetentionPolicy, StorageType, StreamConfig

from energy_orchestrator.errors import InvalidInputError, UnavailableError
from energy_orchestrator.ingest.bus import (
    ACK_WAIT_SECONDS,
    DEAD_PREFIX,
    DUPLICATE_WINDOW_SECONDS,
    SUBJECT_PREFIX,
    DeadLetter,
    Delivery,
)
from energy_orchestrator.ingest.secret_file import read_secret

STREAM = "EO"
DEAD_STREAM = "EO_DEAD"
DURABLE = "collector"
INBOX_PREFIX = "_EO_INBOX"
MAX_UNSETTLED = 20_000
MAX_CLIENT_BYTES = 64 * 2**20
_TWO_DAYS, _TWO_WEEKS = 48 * 3600.0, 14 * 86_400.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class NatsLogin:
    """How to log in; each secret is the path of a file. All None: no login."""

    user: str | None = None
    password_file: Path | None = None
    token_file: Path | None = None
    credentials_file: Path | None = None

    def options(self) -> dict[str, Any]:
        """Arguments of `nats.connect`."""
        options: dict[str, Any] = {}
        if self.user is not None:
            options["user"] = self.user
        if self.password_file is not None:
            options["password"] = read_secret(self.password_file)
        if self.token_file is not None:
            options["token"] = read_secret(self.token_file)
        if self.credentials_file is not None:
            read_secret(self.credentials_file)
            options["user_credentials"] = str(self.credentials_file)
        return options


class NatsDelivery:
    """See Delivery."""

    def __init__(self, message: Msg) -> None:
        self._message = message
        self.subject = message.subject
        self.data = message.data
        self.attempts = int(message.metadata.num_delivered or 1)

    async def ack(self) -> None:
        """See Delivery."""
        with _readable("acknowledging"):
            await self._message.ack()

    async def nak(self, delay_seconds: float = 0.0) -> None:
        """See Delivery."""
        with _readable("giving back"):
            await self._message.nak(delay=delay_seconds or None)

    async def term(self) -> None:
        """See Delivery."""
        with _readable("terminating"):
            await self._message.term()


class NatsBus:
    """See Bus. Made by `connect`."""

    def __init__(self, client: Client, url: str) -> None:
        self._client = client
        self._url = url
        self._jetstream = client.jetstream(timeout=5)
        self._subscription: Any = None

    @classmethod
    async def connect(
        cls,
        url: str,
        login: NatsLogin | None = None,
        *,
        max_bytes: int = 2 * 2**30,
        max_dead_bytes: int = 256 * 2**20,
        ack_wait_seconds: float = ACK_WAIT_SECONDS,
        name: str = "energy-orchestrator",
    ) -> Self:
        """Log in, and create or update the streams and the consumer."""
        options = (login or NatsLogin()).options()
        with _readable("connecting", url):
            client = await nats.connect(
                url,
                name=name,
                inbox_prefix=INBOX_PREFIX,
                max_reconnect_attempts=1,
                reconnect_time_wait=1,
                connect_timeout=5,
                allow_reconnect=False,
                error_cb=_note_error,
                **options,
            )
        # A wrong address or password is told at once; a bus that was there once is sought without end.
        client.options |= {"allow_reconnect": True, "max_reconnect_attempts": -1}
        bus = cls(client, url)
        try:
            with _readable("creating the streams", url):
                await bus._prepare(max_bytes, max_dead_bytes, ack_wait_seconds)
        except BaseException:
            await client.close()
            raise
        return bus

    async def publish(
        self, subject: str, data: bytes, *, message_id: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        """See Publisher."""
        if not subject.startswith((SUBJECT_PREFIX, DEAD_PREFIX)):
            raise InvalidInputError("no stream takes this subject", where=subject, next_step=f"use {SUBJECT_PREFIX}…")
        if not self._client.is_connected:
            raise UnavailableError("not connected to the bus", where=self._url, next_step="try again shortly")
        sent = dict(headers or {})
        if message_id is not None:
            sent["Nats-Msg-Id"] = message_id
        with _readable(f"publishing to {subject}", self._url):
            await self._jetstream.publish(subject, data, headers=sent or None)

    async def pull(self, limit: int, timeout_seconds: float) -> list[Delivery]:
        """See Consumer."""
        try:
            with _readable("pulling", self._url):
                messages = await self._subscription.fetch(limit, timeout=max(timeout_seconds, 0.01))
        except TimeoutError:
            return []
        return [NatsDelivery(message) for message in messages]

    async def dead_letters(self, limit: int, after_sequence: int = 0) -> list[DeadLetter]:
        """See DeadLetters."""
        letters: list[DeadLetter] = []
        sequence = after_sequence + 1
        with _readable("reading dead letters", self._url):
            while len(letters) < limit:
                try:
                    kept = await self._jetstream.get_msg(
                        DEAD_STREAM, seq=sequence, next=True, subject=f"{DEAD_PREFIX}>"
                    )
                except nats.js.errors.NotFoundError:
                    break
                found = int(kept.seq or 0)
                letters.append(DeadLetter(found, str(kept.subject), kept.data or b"", dict(kept.headers or {})))
                sequence = found + 1
        return letters

    async def remove_dead_letter(self, sequence: int) -> None:
        """See DeadLetters."""
        with _readable("removing a dead letter", self._url), contextlib.suppress(nats.js.errors.APIError):
            await self._jetstream.delete_msg(DEAD_STREAM, sequence)

    async def close(self) -> None:
        """See Bus."""
        with contextlib.suppress(nats.errors.Error, TimeoutError):
            await self._client.close()

    async def _prepare(self, max_bytes: int, max_dead_bytes: int, ack_wait_seconds: float) -> None:
        await self._ensure_stream(
            StreamConfig(
                name=STREAM,
                subjects=[f"{SUBJECT_PREFIX}>"],
                retention=RetentionPolicy.WORK_QUEUE,
                discard=DiscardPolicy.NEW,
                storage=StorageType.FILE,
                max_bytes=max_bytes,
                max_age=_TWO_DAYS,
                duplicate_window=DUPLICATE_WINDOW_SECONDS,
            )
        )
        await self._ensure_stream(
            StreamConfig(
                name=DEAD_STREAM,
                subjects=[f"{DEAD_PREFIX}>"],
                discard=DiscardPolicy.OLD,
                storage=StorageType.FILE,
                max_bytes=max_dead_bytes,
                max_age=_TWO_WEEKS,
                duplicate_window=DUPLICATE_WINDOW_SECONDS,
            )
        )
        config = ConsumerConfig(
            durable_name=DURABLE,
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=ack_wait_seconds,
            max_ack_pending=MAX_UNSETTLED,
            max_deliver=-1,
        )
        await self._jetstream.add_consumer(STREAM, config=config)
        self._subscription = await self._jetstream.pull_subscribe_bind(
            DURABLE, STREAM, pending_bytes_limit=MAX_CLIENT_BYTES
        )

    async def _ensure_stream(self, config: StreamConfig) -> None:
        """Ask first: creating a stream that exists reserves its space a second time, which may not be there."""
        try:
            await self._jetstream.stream_info(str(config.name))
        except nats.js.errors.NotFoundError:
            await self._jetstream.add_stream(config)
        else:
            await self._jetstream.update_stream(config)


async def _note_error(error: Exception) -> None:
    log.warning("bus: %s", error)


@contextlib.contextmanager
def _readable(doing: str, url: str | None = None) -> Iterator[None]:
    """The library's errors as ours; only a timeout of a pull is let through, as TimeoutError."""
    try:
        yield
    except (nats.errors.TimeoutError, TimeoutError) as error:
        if doing == "pulling":
            raise TimeoutError from error
        raise _unavailable(doing, "no answer in time", url) from error
    except (nats.errors.Error, OSError) as error:
        raise _unavailable(doing, str(error) or type(error).__name__, url) from error


def _unavailable(doing: str, why: str, url: str | None) -> UnavailableError:
    return UnavailableError(
        f"{doing}: {why}", where=url or "bus", next_step="check that NATS runs there and that the login is right"
    )
