"""A whole system under test: `eo up` as a user starts it, on free ports and a fresh data folder."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil
import yaml

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "examples" / "demo"
AGENT = ROOT / "agent" / "target" / "release" / "eo-agent"

Found = TypeVar("Found")


_next_port = itertools.count(20_000 + os.getpid() % 200 * 50, 50)


def free_ports(count: int) -> int:
    """First of so many neighbouring free ports (at most 50), below the ephemeral range; never the same twice."""
    for first in itertools.islice(_next_port, 200):
        with contextlib.ExitStack() as held:
            try:
                for port in range(first, first + count):
                    taken = held.enter_context(socket.socket())
                    taken.bind(("127.0.0.1", port))
            except OSError:
                continue
            return first
    raise RuntimeError("no free ports")


def demo_on_free_ports(folder: Path, names: set[str]) -> Path:
    """The demo's workload file with other ports, and only the named workloads."""
    content = yaml.safe_load((DEMO / "eo.workloads.yaml").read_text(encoding="utf-8"))
    first = free_ports(40)
    ports = {18100: first, 18101: first + 1, 18110: first + 10, 18120: first + 20, 18130: first + 30}
    kept = [workload for workload in content["workloads"] if workload["name"] in names]
    for workload in kept:
        workload["working_directory"] = str(DEMO)
        if "base_port" in workload:
            workload["base_port"] = ports[workload["base_port"]]
        workload["command"] = [_shifted(part, ports) for part in workload["command"]]
    file = folder / "eo.workloads.yaml"
    file.write_text(yaml.safe_dump(content | {"workloads": kept}), encoding="utf-8")
    return file


def _shifted(part: str, ports: dict[int, int]) -> str:
    for before, after in ports.items():
        part = part.replace(str(before), str(after))
    return part


class System:
    """`eo up` as a child; `eo` and the API beside it."""

    def __init__(self, folder: Path, workloads: Path | None, **settings: str) -> None:
        self.folder = folder
        self.data_dir = folder / "data"
        self.port = free_ports(1)
        self.api = httpx.Client(
            base_url=f"http://127.0.0.1:{self.port}", timeout=20, headers={"Eo-Request": "1", "Eo-Actor": "tester"}
        )
        self._workloads = workloads
        self._environment = os.environ | {"EO_DATA_DIR": str(self.data_dir), "EO_PORT": str(self.port), **settings}
        self.child: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start and wait until every part is ready."""
        command = [sys.executable, "-m", "energy_orchestrator.cli", "up"]
        if self._workloads:
            command += ["--workloads", str(self._workloads)]
        with (self.folder / "up.log").open("a", encoding="utf-8") as log:
            self.child = subprocess.Popen(
                command, cwd=ROOT, env=self._environment, stdout=log, stderr=subprocess.STDOUT, text=True
            )
        self.until("the system is ready", self._ready, 60)

    def _ready(self) -> bool:
        assert self.child is not None
        assert self.child.poll() is None, (self.folder / "up.log").read_text(encoding="utf-8")
        return self.api.get("/readyz").status_code == 200

    def stop(self) -> int:
        """Ctrl-C; the exit status."""
        assert self.child is not None
        self.child.send_signal(signal.SIGINT)
        return self.child.wait(timeout=60)

    def kill(self) -> None:
        """kill -9 of `eo up` alone."""
        assert self.child is not None
        self.child.kill()
        self.child.wait()

    def eo(self, *arguments: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run the command line against it."""
        return subprocess.run(
            [sys.executable, "-m", "energy_orchestrator.cli", *arguments],
            cwd=ROOT,
            env=self._environment | {"EO_URL": str(self.api.base_url)},
            capture_output=True,
            text=True,
            input=text,
            check=False,
            timeout=120,
        )

    def get(self, path: str) -> Any:
        """JSON of a GET below /api/v1."""
        answer = self.api.get(f"/api/v1/{path}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    def replicas(self) -> dict[str, int]:
        """Pid of each replica's process, by name."""
        instance = (self.data_dir / "instance").read_text(encoding="ascii")
        found = {}
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                environment = process.environ()
                if environment.get("EO_INSTANCE") == instance:
                    found[environment["EO_REPLICA"]] = process.pid
        return found

    @staticmethod
    def until(what: str, check: Callable[[], Found], seconds: float) -> Found:
        """Ask again until it is truthy; fails with what was waited for."""
        deadline = time.monotonic() + seconds
        last: object = None
        while time.monotonic() < deadline:
            try:
                if found := check():
                    return found
            except httpx.TransportError as error:
                last = error
            time.sleep(0.25)
        raise AssertionError(f"not within {seconds:g} s: {what} ({last})")


@contextlib.contextmanager
def running(system: System) -> Iterator[System]:
    """Start it, and end it whatever happens."""
    try:
        system.start()
        yield system
    finally:
        if system.child is not None and system.child.poll() is None:
            try:
                system.stop()
            except subprocess.TimeoutExpired:
                system.kill()
        system.api.close()
