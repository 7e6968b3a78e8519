"""The whole embedded stack as a newcomer meets it: from `eo up` to the first recommendation.

    python -m benchmarks.stack [--seconds 60]

Starts the demo in a fresh data folder on a free port and measures, in one run: seconds until ready, seconds from
ready to the first node power, workload and recommendation; the age of the newest power point on the API (sample to
page); the memory of the stack without the workloads (PSS: shared pages once); its CPU.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psutil

from benchmarks.machine import cpu_seconds, describe, proportional_bytes

ROOT = Path(__file__).parents[1]
WORKLOADS = ROOT / "examples" / "demo" / "eo.workloads.yaml"


@contextlib.contextmanager
def running(data_dir: Path, port: int) -> Iterator[subprocess.Popen[str]]:
    """`eo up` with the demo workloads; Ctrl-C at the end."""
    command = [sys.executable, "-m", "energy_orchestrator.cli", "up", "--port", str(port)]
    command += ["--data-dir", str(data_dir), "--workloads", str(WORKLOADS)]
    with open(data_dir / "up.log", "w", encoding="utf-8") as log:
        child = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, text=True)
        try:
            yield child
        finally:
            child.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(timeout=60)
            if child.poll() is None:
                child.kill()


def wait_for(what: str, check: Callable[[], Any], timeout: float) -> float:
    """Seconds until `check` is truthy; ends the benchmark with what was missing."""
    started = time.monotonic()
    while time.monotonic() - started < timeout:
        with contextlib.suppress(httpx.HTTPError):
            if check():
                return time.monotonic() - started
        time.sleep(0.2)
    raise SystemExit(f"{what}: not within {timeout:.0f} s")


def stack_processes(root: int) -> list[psutil.Process]:
    """The stack: `eo up` and its children, without declared workloads (EO_WORKLOAD in their environment)."""
    parent = psutil.Process(root)
    found = [parent]
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            ancestors = {ancestor.pid for ancestor in process.parents()}
            ours = root in ancestors or process.name() == "postgres"
            if ours and "EO_WORKLOAD" not in process.environ():
                found.append(process)
    return found


def measure(seconds: float, port: int) -> dict[str, Any]:
    """One cold start and `seconds` of steady state."""
    with tempfile.TemporaryDirectory() as folder, httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as api:
        os.chmod(folder, 0o755)  # noqa: S103 - embedded Postgres may run as another user
        begun = time.monotonic()
        with running(Path(folder), port) as child:

            def listed(path: str) -> list[dict[str, Any]]:
                found = api.get(f"/api/v1/{path}").json()
                return found if isinstance(found, list) else list(found.get("items", []))

            ready = wait_for("ready", lambda: api.get("/readyz").status_code == 200, 120)
            power = wait_for("power", lambda: any(node["node_watts"] for node in listed("nodes")), 60)
            first = wait_for("a recommendation", lambda: listed("recommendations"), 180)
            to_first = time.monotonic() - begun
            host = listed("nodes")[0]["host"]
            processes = stack_processes(child.pid)
            start_cpu, started = sum(map(cpu_seconds, processes)), time.monotonic()
            ages, memory = [], 0
            while time.monotonic() - started < seconds:
                newest = listed(f"nodes/{host}/power?minutes=5")[-1]["timestamp"]
                ages.append((datetime.now(UTC) - datetime.fromisoformat(newest)).total_seconds())
                memory = max(memory, proportional_bytes(processes))
                time.sleep(1)
            cpu = (sum(map(cpu_seconds, processes)) - start_cpu) / (time.monotonic() - started)
    return {
        "ready_seconds": round(ready, 1),
        "power_after_ready_seconds": round(power, 1),
        "first_recommendation_after_ready_seconds": round(power + first, 1),
        "cold_start_to_first_recommendation_seconds": round(to_first, 1),
        "sample_to_api_seconds_median": round(sorted(ages)[len(ages) // 2], 2),
        "sample_to_api_seconds_worst": round(max(ages), 2),
        "stack_memory_mb_peak_pss": round(memory / 1e6),
        "stack_cpu_cores": round(cpu, 3),
    }


def main() -> None:
    """Print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--port", type=int, default=18321)
    given = parser.parse_args()
    print(json.dumps({"benchmark": "stack", **measure(given.seconds, given.port), "machine": describe()}))


if __name__ == "__main__":
    main()
