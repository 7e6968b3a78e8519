"""Which bus the settings name: a NATS of our own as a child process, another NATS, or Kafka; and the agent's flags.

`eo up` asks here once. `connect` is called again after each failure.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from energy_orchestrator.config import Settings
from energy_orchestrator.ingest.bus import Bus
from energy_orchestrator.ingest.nats_bus import NatsBus, NatsLogin
from energy_orchestrator.services.nats_server import NatsServer


@dataclass(frozen=True, slots=True)
class BusChoice:
    """`name` as people are told it, `server` where it is our own child; its address is known once it runs."""

    name: str
    connect: Callable[[], Awaitable[Bus]]
    agent_arguments: Callable[[], list[str]]
    server: NatsServer | None = None


def choose(settings: Settings) -> BusChoice:
    """Starts nothing."""
    if settings.kafka_brokers:
        return _kafka(settings)
    if settings.nats_url is not None:
        url, login = settings.nats_url, NatsLogin(credentials_file=settings.nats_credentials_file)
        return BusChoice("NATS", lambda: NatsBus.connect(url, login), lambda: ["--nats-url", url])
    server = NatsServer(settings.data_dir)

    def own() -> Awaitable[Bus]:
        return NatsBus.connect(server.url, NatsLogin(user=server.login_user, password_file=server.login_password_file))

    def flags() -> list[str]:
        return [
            *("--nats-url", server.url),
            *("--nats-user", server.agent_user),
            *("--nats-password-file", str(server.agent_password_file)),
            *("--nats-inbox-prefix", server.agent_inbox_prefix),
        ]

    return BusChoice("NATS JetStream", own, flags, server)


def _kafka(settings: Settings) -> BusChoice:
    from energy_orchestrator.ingest.kafka_bus import KafkaBus, KafkaLogin  # 16 MB that others need not load

    login = KafkaLogin(
        brokers=settings.kafka_brokers,
        tls=settings.kafka_tls,
        ca_file=settings.kafka_ca_file,
        cert_file=settings.kafka_cert_file,
        key_file=settings.kafka_key_file,
        user=settings.kafka_user,
        password_file=settings.kafka_password_file,
        sasl_mechanism=settings.kafka_sasl_mechanism,
    )
    flags: dict[str, object] = {
        "--kafka-brokers": ",".join(settings.kafka_brokers),
        "--kafka-tls": True if settings.kafka_tls else None,
        "--kafka-ca-file": settings.kafka_ca_file,
        "--kafka-cert-file": settings.kafka_cert_file,
        "--kafka-key-file": settings.kafka_key_file,
        "--kafka-user": settings.kafka_user,
        "--kafka-password-file": settings.kafka_password_file,
        "--kafka-sasl-mechanism": settings.kafka_sasl_mechanism if settings.kafka_user else None,
    }
    arguments = [
        part
        for flag, value in flags.items()
        if value is not None
        for part in ([flag] if value is True else [flag, str(value)])
    ]
    return BusChoice("Kafka", lambda: KafkaBus.connect(login), lambda: arguments)
