"""A real Kafka broker on loopback, in KRaft mode: its own controller, no ZooKeeper.

The jars come from Maven Central once and stay in `.cache/kafka`. Four listeners: without TLS, TLS, TLS that asks for a
client certificate, TLS with a login. Ports stay the same over stop and start.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from agent.authority import EC, Authority
from agent.rig import free_ports, missing

POM = Path(__file__).with_name("kafka.pom.xml")
CACHE = Path(__file__).parents[2] / ".cache" / "kafka"
USER, PASSWORD = "eo-agent", "s3cret-of-the-test"
LISTENERS = {"PLAINTEXT": "PLAINTEXT", "TLS": "SSL", "MTLS": "SSL", "LOGIN": "SASL_SSL", "CONTROLLER": "PLAINTEXT"}


def jars() -> Path:
    """The folder of the broker's jars; copied from Maven Central if need be."""
    for program in ("java", "mvn"):
        if shutil.which(program) is None:
            missing(f"a Kafka broker takes {program} (Debian: openjdk-17-jre-headless, maven)")
    folder = CACHE / hashlib.sha256(POM.read_bytes()).hexdigest()[:16]
    if folder.is_dir():
        return folder
    partial = CACHE / f"{folder.name}.{os.getpid()}"
    command = ["mvn", "-q", "-B", "-f", str(POM), "dependency:copy-dependencies", f"-DoutputDirectory={partial}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        shutil.rmtree(partial, ignore_errors=True)
        missing(f"Kafka can't be had from Maven Central: {done.stdout[-300:]}")
    try:
        partial.rename(folder)
    except OSError:  # another run was faster
        shutil.rmtree(partial, ignore_errors=True)
    return folder


@contextlib.contextmanager
def running_broker(folder: Path) -> Iterator[tuple[KafkaBroker, Authority]]:
    """A broker without a topic, and who signed its certificate."""
    authority = Authority(folder, "authority", EC)
    broker = KafkaBroker(folder, *authority.issue("broker"), authority.file)
    broker.start()
    try:
        yield broker, authority
    finally:
        broker.stop()


class KafkaBroker:
    """One broker. `certificate`, `key` and `authority` are PEM files."""

    def __init__(self, folder: Path, certificate: Path, key: Path, authority: Path) -> None:
        """Write its settings and format its disk."""
        self._folder = folder
        self._class_path = f"{jars()}/*"
        self._process: subprocess.Popen[bytes] | None = None
        self._ports = dict(zip(LISTENERS, free_ports(len(LISTENERS)), strict=True))
        own = folder / "broker.pem"
        own.write_text(key.read_text() + certificate.read_text())
        self._settings = folder / "server.properties"
        self._settings.write_text(self._properties(own, authority))
        scram = f"SCRAM-SHA-512=[name={USER},password={PASSWORD}]"
        self._java(
            "kafka.tools.StorageTool", "format", "-t", "MkU3OEVBNTcwNTJENDM2Qg", "-c", self._settings, "-S", scram
        )

    def address(self, listener: str) -> str:
        """HOST:PORT of a listener."""
        return f"127.0.0.1:{self._ports[listener]}"

    def start(self, timeout: float = 90) -> None:
        """Return once it takes connections."""
        log = (self._folder / "broker.log").open("ab")
        command = ["java", *self._options(), "kafka.Kafka", str(self._settings)]
        self._process = subprocess.Popen(command, stdout=log, stderr=log)
        log.close()
        deadline = time.monotonic() + timeout
        while any(socket.socket().connect_ex(("127.0.0.1", port)) for port in self._ports.values()):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"Kafka did not start: {self.log()[-2000:]}")
            time.sleep(0.2)

    def stop(self) -> None:
        """Return once it has gone."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(60)
            self._process = None

    def log(self) -> str:
        """All it said."""
        return (self._folder / "broker.log").read_text(errors="replace")

    def _options(self) -> list[str]:
        return ["-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", self._class_path]

    def _java(self, program: str, *arguments: str | Path) -> None:
        command = ["java", *self._options(), program, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{program}: {done.stdout[-1000:]}{done.stderr[-1000:]}")

    def _properties(self, own: Path, authority: Path) -> str:
        security = "org.apache.kafka.common.security"
        at = {name: f"{name}://127.0.0.1:{port}" for name, port in self._ports.items()}
        settings = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@127.0.0.1:{self._ports['CONTROLLER']}",
            "listeners": ",".join(at.values()),
            "advertised.listeners": ",".join(url for name, url in at.items() if name != "CONTROLLER"),
            "listener.security.protocol.map": ",".join(f"{name}:{kind}" for name, kind in LISTENERS.items()),
            "inter.broker.listener.name": "PLAINTEXT",
            "controller.listener.names": "CONTROLLER",
            "log.dirs": str(self._folder / "data"),
            "auto.create.topics.enable": "false",
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "1",
            "group.initial.rebalance.delay.ms": "0",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(own),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(authority),
            "listener.name.mtls.ssl.client.auth": "required",
            "listener.name.login.sasl.enabled.mechanisms": "SCRAM-SHA-512,PLAIN",
            "listener.name.login.scram-sha-512.sasl.jaas.config": f"{security}.scram.ScramLoginModule required;",
            "listener.name.login.plain.sasl.jaas.config": (
                f'{security}.plain.PlainLoginModule required user_{USER}="{PASSWORD}";'
            ),
        }
        return "".join(f"{name}={value}\n" for name, value in settings.items())
