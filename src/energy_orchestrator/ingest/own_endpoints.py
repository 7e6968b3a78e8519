"""Where a program of this machine listens, from its own process in /proc: so that a label can't point anywhere else.

In: process ids with their start, and a port. Out: an address at which that very program answers. In the machine's own
network the socket must be open in one of the processes, and the address is loopback. In a network namespace of its own
(a pod, a container) whatever listens there is the workload's; the address is the first of the namespace that is
private and not loopback. A process that started at another time than was told is another one.

What is left: a container that may set addresses (NET_ADMIN) could give itself one that this machine routes elsewhere.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Sequence
from pathlib import Path

from energy_orchestrator.errors import InvalidInputError

START_TOLERANCE_MS = 1500
"""The kernel tells the boot in whole seconds."""
LISTENING = "0A"
LOOPBACK = "127.0.0.1"
_LOCAL = re.compile(r"\|-- (\S+)\s+/32 host LOCAL")

Process = tuple[int, int]
"""Process id, and when it started in milliseconds since 1970."""


def listeners(tcp: str, port: int) -> set[str]:
    """Inodes of the sockets that listen on a port, from /proc/PID/net/tcp or tcp6."""
    found = set()
    for line in tcp.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 9 and fields[3] == LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
            found.add(fields[9])
    return found


def private_addresses(fib_trie: str) -> list[str]:
    """Own IPv4 addresses of a network namespace that are private, without loopback."""
    found = [ipaddress.ip_address(it) for it in dict.fromkeys(_LOCAL.findall(fib_trie))]
    return [str(it) for it in found if not it.is_loopback and not it.is_link_local and not it.is_global]


def address_of(processes: Sequence[Process], port: int, proc: Path = Path("/proc")) -> str:
    """The address at which one of the processes answers on the port.

    Raises:
        InvalidInputError: where none does, or it can't be told, with what to do.
    """
    living = [pid for pid, started_ms in processes if _is_alive(proc, pid, started_ms)]
    if not living:
        raise _cannot("its processes have ended", "wait for the next inventory")
    ours = _link(proc / "self" / "ns" / "net")
    for pid in living:
        sockets = _listening(proc, pid, port)
        if not sockets:
            continue
        if _link(proc / str(pid) / "ns" / "net") == ours:
            if sockets & _open_sockets(proc, pid):
                return LOOPBACK
            continue
        addresses = private_addresses(_text(proc / str(pid) / "net" / "fib_trie"))
        if addresses:
            return addresses[0]
    raise _cannot(
        f"no process of it that may be looked into listens on port {port}",
        "correct the port of the label, or run `eo up` as a user who may look into the program",
    )


def _is_alive(proc: Path, pid: int, started_ms: int) -> bool:
    stat, boot = _text(proc / str(pid) / "stat"), re.search(r"^btime (\d+)", _text(proc / "stat"), re.MULTILINE)
    if not stat or boot is None:
        return False
    ticks = int(stat.rpartition(")")[2].split()[19])
    begun = int(boot[1]) * 1000 + ticks * 1000 / os.sysconf("SC_CLK_TCK")
    return abs(begun - started_ms) <= START_TOLERANCE_MS


def _listening(proc: Path, pid: int, port: int) -> set[str]:
    net = proc / str(pid) / "net"
    return listeners(_text(net / "tcp"), port) | listeners(_text(net / "tcp6"), port)


def _open_sockets(proc: Path, pid: int) -> set[str]:
    """Inodes of sockets that a process has open; none where it may not be looked into."""
    try:
        links = [_link(it) for it in (proc / str(pid) / "fd").iterdir()]
    except OSError:
        return set()
    return {it.removeprefix("socket:[").removesuffix("]") for it in links if it and it.startswith("socket:[")}


def _link(path: Path) -> str | None:
    try:
        return os.readlink(path)
    except OSError:
        return None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _cannot(what: str, next_step: str) -> InvalidInputError:
    return InvalidInputError(what, where="endpoint that a label names", next_step=next_step)
