"""The embedded bus: private, restartable, gone when we are; and the collector on the real parts."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import nats
import psutil
import pytest

from energy_orchestrator.errors import ConflictError, UnavailableError
from energy_orchestrator.ingest.nats_bus import NatsBus, NatsLogin
from energy_orchestrator.model.wire import Kind
from energy_orchestrator.services.collector import Collector, Limits
from energy_orchestrator.services.nats_server import NatsServer
from energy_orchestrator.store.series.chdb_store import ChdbSeriesStore

from .rows import message


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    server = NatsServer(tmp_path)
    server.start()
    yield server
    server.stop()


def login(server: NatsServer) -> NatsLogin:
    return NatsLogin(server.login_user, server.login_password_file)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_it_listens_on_loopback_only_and_keeps_its_secrets(server: NatsServer, tmp_path: Path) -> None:
    process = psutil.Process(server.pid)
    assert {c.laddr.ip for c in process.net_connections() if c.status == psutil.CONN_LISTEN} == {"127.0.0.1"}
    passwords = [file.read_text() for file in (server.login_password_file, server.agent_password_file)]
    assert all(len(password) >= 32 for password in passwords)
    assert passwords[0] != passwords[1]
    assert not any(password in word for password in passwords for word in process.cmdline())
    for file in (tmp_path / "nats").iterdir():
        if any(password in file.read_text(errors="replace") for password in passwords if file.is_file()):
            assert file.stat().st_mode & 0o077 == 0, file
    assert (tmp_path / "nats").stat().st_mode & 0o077 == 0


async def test_messages_survive_a_restart_and_the_password_stays(server: NatsServer) -> None:
    bus = await NatsBus.connect(server.url, login(server))
    await message(Kind.SAMPLES).publish(bus)
    await bus.close()
    password = server.login_password_file.read_text()
    os.kill(server.pid or 0, signal.SIGKILL)
    server.stop()
    server.start()
    assert server.login_password_file.read_text() == password
    bus = await NatsBus.connect(server.url, login(server))
    assert len(await bus.pull(10, 5)) == 1
    await bus.close()


async def test_while_the_server_is_away_publishing_fails_and_afterwards_it_works_again(server: NatsServer) -> None:
    bus = await NatsBus.connect(server.url, login(server))
    server.stop()
    with pytest.raises(UnavailableError):
        await message(Kind.SAMPLES).publish(bus)
    assert await bus.pull(1, 0.1) == []
    server.start()
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            await message(Kind.SAMPLES).publish(bus)
            break
        except UnavailableError:
            await asyncio.sleep(0.1)
    assert len(await bus.pull(1, 10)) == 1
    await bus.close()


async def test_the_agents_user_may_publish_samples_and_nothing_else(server: NatsServer) -> None:
    refused: list[str] = []

    async def note(error: Exception) -> None:
        refused.append(str(error))

    bus = await NatsBus.connect(server.url, login(server))
    agent = await nats.connect(
        server.url,
        user=server.agent_user,
        password=server.agent_password_file.read_text(),
        inbox_prefix=server.agent_inbox_prefix,
        error_cb=note,
    )
    sent = message(Kind.SAMPLES)
    acknowledged = await agent.jetstream().publish(sent.subject, sent.data)
    assert acknowledged.stream == "EO"
    await agent.publish("eo.dead.v1.local.a.samples", b"x")
    await agent.publish("$JS.API.STREAM.DELETE.EO", b"")
    await agent.subscribe("eo.v1.>")
    await agent.subscribe("_EO_INBOX.>")
    await agent.flush()
    deadline = time.monotonic() + 10
    while len(refused) < 4 and time.monotonic() < deadline:
        await asyncio.sleep(0.02)
    assert len(refused) == 4
    assert len(await bus.pull(10, 5)) == 1
    assert await bus.dead_letters(10) == []
    await agent.close()
    await bus.close()


def test_a_port_in_use_is_told_with_the_way_out(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConflictError, match="choose another port"):
            NatsServer(tmp_path, port=port).start()


def test_a_port_that_is_given_is_taken_and_starting_twice_is_fine(tmp_path: Path) -> None:
    port = free_port()
    server = NatsServer(tmp_path, port=port)
    try:
        server.start()
        pid = server.pid
        server.start()
        assert (server.url, server.pid) == (f"nats://127.0.0.1:{port}", pid)
    finally:
        server.stop()
    assert not server.alive()
    server.stop()


def test_a_folder_it_cannot_use_is_told_with_the_servers_own_words(tmp_path: Path) -> None:
    (tmp_path / "nats").mkdir()
    (tmp_path / "nats" / "streams").write_text("a file in the way")
    with pytest.raises(UnavailableError, match="correct what the log says"):
        NatsServer(tmp_path).start()


def test_it_dies_with_us_also_when_we_are_killed(tmp_path: Path) -> None:
    script = (
        "import pathlib, sys, time; from energy_orchestrator.services.nats_server import NatsServer\n"
        "s = NatsServer(pathlib.Path(sys.argv[1])); s.start(); print(s.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
        parent.wait()
    child.wait(10)


async def test_from_the_real_bus_into_the_real_store(server: NatsServer, tmp_path: Path) -> None:
    bus = await NatsBus.connect(server.url, login(server))
    with ChdbSeriesStore(tmp_path / "series") as store:
        store.migrate()
        for number in range(40):
            await message(Kind.SAMPLES, 10, host=f"n{number}").publish(bus)
        await bus.publish("eo.v1.local.liar.samples", b"no Arrow at all")
        collector, stop = Collector(bus, store, limits=Limits(linger_seconds=0.1)), asyncio.Event()
        running = asyncio.create_task(collector.run(stop))
        deadline = time.monotonic() + 30
        while (collector.counts.rows < 400 or not collector.counts.dead_letters) and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
        stop.set()
        await running
        assert store.query("SELECT count() AS n FROM telemetry_sample").to_pylist() == [{"n": 400}]
    assert collector.counts.dead_letters == {"not_arrow": 1}
    (letter,) = await bus.dead_letters(10)
    assert letter.headers["Eo-Subject"] == "eo.v1.local.liar.samples"
    assert await bus.pull(10, 0.2) == []
    await bus.close()
