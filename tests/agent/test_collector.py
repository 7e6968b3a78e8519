"""The OpenTelemetry Collector, of the official parts (tests/agent/collector, built here from Go modules), takes the
agent's energy and profiles and sees what was sent."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from .rig import busy_shell, counting_rapl, eventually, free_port, missing
from .simulated import ROOT, agent_program

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SOURCE = Path(__file__).parent / "collector"
BUILT = ROOT / ".cache" / "collector" / "otelcol"
BUILD_SECONDS = 800

CONFIG = """
receivers: {{otlp: {{protocols: {{http: {{endpoint: "127.0.0.1:{port}"}}}}}}}}
exporters: {{debug: {{verbosity: detailed, sampling_initial: 100000}}}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    metrics: {{receivers: [otlp], exporters: [debug]}}
    profiles: {{receivers: [otlp], exporters: [debug]}}
"""


@pytest.fixture(scope="module")
def collector() -> Path:
    """The program; built the first time (a minute or two), and again when its source or locked modules change."""
    if shutil.which("go") is None:
        missing("go is needed to build the Collector")
    newest = max(file.stat().st_mtime for file in SOURCE.iterdir())
    if not BUILT.exists() or BUILT.stat().st_mtime < newest:
        BUILT.parent.mkdir(parents=True, exist_ok=True)
        build = ["go", "build", "-trimpath", "-o", str(BUILT), "."]
        done = subprocess.run(build, cwd=SOURCE, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False)
        if done.returncode:
            missing(f"the Collector does not build: {done.stderr[-800:]}")
    return BUILT


@contextlib.contextmanager
def running(collector: Path, folder: Path) -> Iterator[tuple[str, Path]]:
    """Address and log of a Collector that is ready."""
    port = free_port()
    config, log = folder / "collector.yaml", folder / "collector.log"
    config.write_text(CONFIG.format(port=port))
    command = [str(collector), "--config", str(config), "--feature-gates=service.profilesSupport"]
    with log.open("wb") as out, subprocess.Popen(command, stdout=out, stderr=out) as process:
        try:
            eventually(lambda: "Everything is ready" in log.read_text() or process.poll() is not None, "a Collector")
            assert process.poll() is None, log.read_text()[-2000:]
            yield f"http://127.0.0.1:{port}", log
        finally:
            process.terminate()


def test_the_collector_reads_energy_and_profiles(collector: Path, tmp_path: Path) -> None:
    """Energy with its unit, stacks with process and workload, function names in the dictionary."""
    if os.geteuid() != 0:
        missing("sampling other processes' stacks takes root (or CAP_PERFMON and CAP_SYS_PTRACE)")
    with (
        running(collector, tmp_path) as (url, log),
        counting_rapl(tmp_path / "sys") as sysfs,
        busy_shell() as busy,
        contextlib.ExitStack() as started,
    ):
        options = ["--sink", "file", "--path", str(tmp_path / "rows"), "--sysfs", str(sysfs), "--profile-hz", "99"]
        agent_log = started.enter_context((tmp_path / "agent.log").open("wb"))
        command = [str(agent_program()), "run", "--host", "node-a", *options, "--otlp-endpoint", url]
        agent = started.enter_context(subprocess.Popen(command, stderr=agent_log))
        started.callback(agent.kill)
        process = f"-> process.pid: Int({busy.pid})"
        wanted = ("Name: hw.energy", "ScopeProfiles #0", process, "Unit: J", "-> host.name: Str(node-a)")
        eventually(
            lambda: all(words in log.read_text() for words in wanted),
            f"{wanted} in the Collector's log",
            seconds=60,
        )
        seen = log.read_text()
    attributes = seen[seen.index(process) :].splitlines()[1:3]
    assert "process.executable.name: Str(sh)" in attributes[0]
    assert re.search(r"eo\.workload: Str\(process/\w+\)", attributes[1]), attributes
    assert re.search(r"Value: [1-9]", seen[seen.index("Name: hw.energy") :]), "energy is more than nothing"
    assert "did not take" not in (tmp_path / "agent.log").read_text()


def test_the_collector_refuses_what_is_no_profile(collector: Path, tmp_path: Path) -> None:
    """So that the test above can fail."""
    with running(collector, tmp_path) as (url, _):
        wrong = urllib.request.Request(
            f"{url}/v1development/profiles", b"\xff\xff\xff", {"Content-Type": "application/x-protobuf"}
        )
        with pytest.raises(urllib.error.HTTPError, match="400"):
            urllib.request.urlopen(wrong, timeout=10)
