"""Programs that the tests let the local executor run, and a bench to run them on."""

from __future__ import annotations

import socket
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from energy_orchestrator.execute.local.cgroups import CgroupLimiter
from energy_orchestrator.execute.local.desired import DesiredStore, MemoryDesiredStore
from energy_orchestrator.execute.local.processes import ProcessTable
from energy_orchestrator.execute.local.supervisor import LocalExecutor
from energy_orchestrator.model.workload import Declaration

TENANT = "local"
KEY = "declared/echo"

SERVER = """
import os, signal, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

log = open(os.path.join(os.path.dirname(__file__), "starts.log"), "a")
log.write(f"{os.environ['EO_REPLICA']} {os.environ['BATCH_MAX']} {os.getpid()}\\n")
log.close()
if os.environ["BATCH_MAX"] == "crash":
    sys.exit(3)
if os.environ["BATCH_MAX"] == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.environ["BATCH_MAX"] == "helper":
    import subprocess
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])

class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(503 if os.environ["BATCH_MAX"] == "sick" else 200)
        self.end_headers()
        self.wfile.write(os.environ["BATCH_MAX"].encode())
    def log_message(self, *_):
        print("served", flush=True)

class Server(HTTPServer):
    allow_reuse_address = True

Server(("127.0.0.1", int(sys.argv[1])), Answer).serve_forever()
"""


def free_ports(count: int) -> int:
    """First of some neighbouring ports that are free now."""
    for first in range(21_000 + uuid.uuid4().int % 8_000, 60_000, count):
        taken = False
        for port in range(first, first + count):
            with socket.socket() as probe:
                taken = taken or probe.connect_ex(("127.0.0.1", port)) == 0
        if not taken:
            return first
    raise OSError("no free ports")


def declaration(folder: Path, replicas: int = 2, **changes: Any) -> Declaration:
    (folder / "server.py").write_text(SERVER)
    base = {
        "name": "echo",
        "command": ["{python}", str(folder / "server.py"), "{port}"],
        "replicas": replicas,
        "base_port": free_ports(4),
        "environment": {"BATCH_MAX": "1"},
        "knobs": {"BATCH_MAX": {"allowed": ["1", "8", "16", "crash", "deaf", "sick", "helper"]}},
        "smoke": {"http": "http://127.0.0.1:{port}/", "timeout_seconds": 5},
        "labels": {"environment": "demo"},
    }
    return Declaration.model_validate(base | changes)


class Bench:
    """A local executor on a folder. `again` is what a new process after a kill -9 would build."""

    def __init__(
        self, folder: Path, declared: Declaration | None, store: DesiredStore | None = None, **limits: Any
    ) -> None:
        self.folder, self.declared = folder, declared
        self.store = store or MemoryDesiredStore()
        self.instance = folder.name
        self.limits = limits
        self.executor = self.again()

    def again(self, declared: Declaration | None = None) -> LocalExecutor:
        known = declared or self.declared
        self.table = ProcessTable(self.instance, self.folder / "logs", **self.limits)
        self.executor = LocalExecutor(
            TENANT,
            {known.key: known} if known else {},
            self.folder,
            self.store,
            self.table,
            CgroupLimiter(self.instance, self.folder / "cgroup"),
        )
        return self.executor

    def until(self, met: Callable[[], bool], seconds: float = 30) -> None:
        """Reconcile until something is true."""
        deadline = time.monotonic() + seconds
        while not met():
            assert time.monotonic() < deadline, f"not within {seconds} s: {self.executor.observe(TENANT, KEY)}"
            self.executor.reconcile()
            time.sleep(0.05)

    def converge(self) -> None:
        self.until(lambda: self.executor.observe(TENANT, KEY).converged)

    def starts(self) -> list[tuple[str, str]]:
        """Replica and value of each start, oldest first."""
        path = self.folder / "starts.log"
        lines = path.read_text().splitlines() if path.exists() else []
        return [(line.split()[0], line.split()[1]) for line in lines]

    def pids(self) -> Mapping[str, int]:
        return {replica.name: replica.pid for replica in self.table.running()}


@contextmanager
def bench(folder: Path, declared: Declaration | None, **options: Any) -> Iterator[Bench]:
    made = Bench(folder, declared, **options)
    try:
        yield made
    finally:
        made.executor.stop_all(timeout_seconds=3)
