"""What labels ask to be read, and that they can't ask for anything but the program's own endpoint."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.rig import missing
from energy_orchestrator.errors import InvalidInputError
from energy_orchestrator.ingest.annotations import Asked, asked_for
from energy_orchestrator.ingest.own_endpoints import address_of, listeners, private_addresses

PROC = Path("/proc")
LISTEN = "import socket,sys; s=socket.create_server((sys.argv[1],int(sys.argv[2]))); print(s.getsockname()[1]); input()"
FIB_TRIE = """Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 10.244.1.0/24 2 0 2
        |-- 10.244.1.0
           /24 link UNICAST
        |-- 10.244.1.7
           /32 host LOCAL
     +-- 127.0.0.0/31 1 0 0
        |-- 127.0.0.1
           /32 host LOCAL
     |-- 8.8.8.8
        /32 host LOCAL
     |-- 169.254.1.1
        /32 host LOCAL
"""
TCP = """  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:2382 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0
   1: 0100007F:2382 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 100 0 0 10 0
"""


def started_ms(pid: int) -> int:
    """As the agent tells it."""
    boot = re.search(r"btime (\d+)", (PROC / "stat").read_text())
    assert boot
    ticks = int((PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[19])
    return int(boot[1]) * 1000 + ticks * 1000 // os.sysconf("SC_CLK_TCK")


@pytest.fixture
def other() -> Iterator[subprocess.Popen[str]]:
    """Another process that listens; its first line is the port."""
    command = [sys.executable, "-c", LISTEN, "127.0.0.1", "0"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def port_of(process: subprocess.Popen[str]) -> int:
    assert process.stdout is not None
    return int(process.stdout.readline())


@pytest.mark.parametrize(
    ("labels", "asked"),
    [
        (["prometheus.io/scrape=true", "prometheus.io/port=9090"], Asked(9090, "/metrics", None)),
        (["prometheus.io/scrape=True", "prometheus.io/port=80", "prometheus.io/path=/a/b"], Asked(80, "/a/b", None)),
        (["eo.operations.port=9090", "eo.operations.server=Envoy"], Asked(9090, "/metrics", "Envoy")),
        (["prometheus.io/scrape=true", "prometheus.io/port=1", "eo.operations.port=2"], Asked(2, "/metrics", None)),
        (["prometheus.io/scrape=false", "prometheus.io/port=9090"], None),
        (["prometheus.io/port=9090"], None),
        (["app=shop"], None),
        ([], None),
    ],
)
def test_what_labels_ask_for(labels: list[str], asked: Asked | None) -> None:
    assert asked_for(labels) == asked


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", ""), ("port", "0"), ("port", "70000"), ("port", "80@10.0.0.1"), ("port", "\N{SUPERSCRIPT TWO}"),
        ("path", "/m?delete=all"), ("path", "@host/"), ("path", "metrics"), ("path", "/../admin"), ("path", "/a b"),
        ("path", "/a#b"), ("path", "/a%2e"), ("scheme", "https"),
    ],
)  # fmt: skip
def test_a_label_that_asks_for_more_than_a_page_of_metrics_is_refused(name: str, value: str) -> None:
    labels = {"scrape": "true", "port": "9090", name: value}
    with pytest.raises(InvalidInputError) as refused:
        asked_for([f"prometheus.io/{key}={text}" for key, text in labels.items()])
    assert f"prometheus.io/{name}" in str(refused.value)


@given(st.text(max_size=40), st.text(max_size=40))
def test_whatever_labels_say_only_a_port_and_a_plain_path_come_out(port: str, path: str) -> None:
    try:
        asked = asked_for([f"eo.operations.port={port}", f"eo.operations.path={path}"])
    except InvalidInputError:
        return
    assert asked is not None
    assert 1 <= asked.port <= 65535
    assert re.fullmatch(r"/[A-Za-z0-9/._-]*", asked.path)
    assert ".." not in asked.path


def test_listening_sockets_are_told_from_connections() -> None:
    assert listeners(TCP, 0x2382) == {"4711"}
    assert listeners(TCP, 0x9C40) == set()
    assert listeners("", 80) == set()


def test_of_a_namespace_only_private_addresses_count() -> None:
    assert private_addresses(FIB_TRIE) == ["10.244.1.7"]
    assert private_addresses("") == []


def test_a_program_that_listens_itself_is_read_on_loopback(other: subprocess.Popen[str]) -> None:
    port = port_of(other)
    assert address_of([(other.pid, started_ms(other.pid))], port) == "127.0.0.1"


def test_a_port_of_another_process_is_not_read(other: subprocess.Popen[str]) -> None:
    """The label of one program can't point at what another one serves on loopback."""
    port_of(other)
    with closing(socket.create_server(("127.0.0.1", 0))) as mine, pytest.raises(InvalidInputError, match="no process"):
        address_of([(other.pid, started_ms(other.pid))], mine.getsockname()[1])


def test_a_process_that_ended_and_one_that_took_its_number_are_not_read(other: subprocess.Popen[str]) -> None:
    port = port_of(other)
    with pytest.raises(InvalidInputError, match="have ended"):
        address_of([(other.pid, started_ms(other.pid) - 60_000)], port)
    with pytest.raises(InvalidInputError, match="have ended"):
        address_of([], port)


def test_a_program_in_a_network_of_its_own_is_read_at_its_own_address() -> None:
    """A real network namespace, joined to this one by a pair of links."""
    name, inside, outside = f"eo{os.getpid()}", "10.251.7.2", "10.251.7.1"
    link = f"ip link add {name}a type veth peer name {name}b netns {name}"
    try:
        for line in (
            f"ip netns add {name}", link, f"ip addr add {outside}/30 dev {name}a", f"ip link set {name}a up",
            f"ip -n {name} addr add {inside}/30 dev {name}b", f"ip -n {name} link set {name}b up",
        ):  # fmt: skip
            if _failed(line):
                missing(f"a network namespace can't be made here: {line}")
        command = ["ip", "netns", "exec", name, sys.executable, "-c", LISTEN, "0.0.0.0", "0"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            try:
                port = port_of(process)
                address = address_of([(process.pid, started_ms(process.pid))], port)
                assert address == inside
                socket.create_connection((address, port), timeout=5).close()
            finally:
                process.kill()
    finally:
        _failed(f"ip link del {name}a")
        _failed(f"ip netns del {name}")


def _failed(line: str) -> bool:
    try:
        return subprocess.run(line.split(), capture_output=True, check=False).returncode != 0
    except FileNotFoundError:
        return True
