"""What the agent costs when it does all of its work: processes, a meter, sending to a real bus, and being scraped.

    python -m benchmarks.agent_sending [--seconds 20] [--processes 200 2000] [--hz 0 19 99]

`benchmarks.agent` leaves the bus and meters out. Here a real NATS server with JetStream takes what is sent (synced
writes, as `eo up` has it), a made RAPL zone counts, and `/metrics` is asked every 5 s, which is how Kepler 0.11.4 was
measured for this project (a fake meter at 5 s, scraped every 5 s, on 2 cores, without profiles: 0.35 % of a core and
70 MB at 200 processes, 3.2 % and 87 MB at 2,000). CPU and memory are the agent's own, as in `benchmarks.agent`; what
the server takes is told beside it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from tests.agent.rig import counting_rapl, free_port, repeated

from benchmarks.agent import WARM_UP_SECONDS
from benchmarks.company import AGENT, busy_programs, company, observe
from benchmarks.machine import cpu_seconds, describe
from energy_orchestrator.config import Settings
from energy_orchestrator.services.bus_choice import BusChoice, choose

INTERVAL_SECONDS = 5
MOST_BATCHES = 10_000


def command(folder: Path, sysfs: Path, bus: BusChoice, port: int, hz: int) -> list[str]:
    """The agent as `eo up` starts it, with the made meter and its own metrics on a port."""
    return [
        str(AGENT), "run", "--sysfs", str(sysfs), "--spool-dir", str(folder / "spool"), "--tenant", "local",
        "--host", "node-a", "--interval-seconds", str(INTERVAL_SECONDS), "--profile-hz", str(hz),
        "--metrics-listen", f"127.0.0.1:{port}", "--log-level", "error", *bus.agent_arguments(),
    ]  # fmt: skip


@contextmanager
def scraped(port: int) -> Iterator[Callable[[], dict[str, Any]]]:
    """The agent's metrics, asked every interval until the last answer is wanted."""
    answers: list[str] = []

    def ask() -> None:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            answers.append(answer.read().decode())

    with repeated(ask, INTERVAL_SECONDS) as end:

        def last() -> dict[str, Any]:
            end()
            return {**told(answers[-1]), "scrapes": len(answers)}

        yield last


async def arrived(bus: BusChoice) -> int:
    """Batches that the server holds. Makes its streams where it has none."""
    connected = await bus.connect()
    try:
        return len(await connected.pull(MOST_BATCHES, timeout_seconds=1.0))
    finally:
        await connected.close()


def told(answer: str) -> dict[str, float]:
    """Rows and what was dropped, by the agent's own metrics."""
    totals: dict[str, float] = Counter()  # a cause that never came has no line
    for family in text_string_to_metric_families(answer):
        for sample in family.samples:
            totals[sample.name] += sample.value
    return {name: totals[f"eo_agent_{name}_total"] for name in ("rows", "dropped_batches")}


def scene(folder: Path, processes: int, hz: int, seconds: float) -> dict[str, Any]:
    """One scenario, with a server of its own."""
    bus, port = choose(Settings(data_dir=folder)), free_port()
    assert bus.server is not None
    bus.server.start()
    try:
        asyncio.run(arrived(bus))
        server = psutil.Process(bus.server.pid)
        busy = busy_programs(folder) if hz else ()
        agent_log = folder / "log"
        with counting_rapl(folder / "sys") as sysfs, company(busy, processes), scraped(port) as end:
            agent = command(folder, sysfs, bus, port, hz)
            figures = observe(agent, seconds, WARM_UP_SECONDS, agent_log, at_end=end)
            server_cost = {"server_cpu_seconds_whole_run": round(cpu_seconds(server), 2)}
        batches = asyncio.run(arrived(bus))
        if not batches:
            raise SystemExit(f"nothing was sent: {agent_log.read_text(errors='replace')[-400:]}")
        return {"processes": processes, "hz": hz, **figures, "batches_on_bus": batches, **server_cost}
    finally:
        bus.server.stop()


def main() -> None:
    """Print one JSON line for each scenario."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--processes", type=int, nargs="+", default=[200, 2000])
    parser.add_argument("--hz", type=int, nargs="+", default=[0, 19, 99])
    given = parser.parse_args()
    for processes in given.processes:
        for hz in given.hz:
            with tempfile.TemporaryDirectory(prefix="eo-sending-") as name:
                figures = scene(Path(name), processes, hz, given.seconds)
            print(json.dumps({"benchmark": "agent_sending", **figures, "machine": describe()}), flush=True)


if __name__ == "__main__":
    main()
