"""A thousand forks a second: the agent stays up and cheap, and what it never saw is accounted: CPU time and stacks."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
import urllib.request
from collections import Counter
from pathlib import Path

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from .cpu_time import counted, inside, own_cgroup, told, used
from .profiling import needs_agent_and_root
from .rig import AGENT, eventually, free_port, missing, needs_agent, printed

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SECONDS = 12
GOAL_PER_SECOND = 1000
# vfork and exit: the child does nothing, so that the rate is the kernel's and not a program's.
STORM = """
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
static double now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec + t.tv_nsec / 1e9; }
int main(int argc, char **argv) {
  double end = now() + atof(argv[1]);
  if (argc > 3) signal(SIGCHLD, SIG_IGN);
  long forks = 0;
  double next = now();
  while (now() < end) {
    pid_t child = fork();
    if (child == 0) _exit(0);
    if (child > 0) { waitpid(child, 0, 0); forks++; }
    next += 1.0 / atof(argv[2]);
    double wait = next - now();
    if (wait > 0) usleep((useconds_t)(wait * 1e6));
  }
  printf("%ld\\n", forks);
  fflush(stdout);
  pause();
}
"""


def own_metrics(port: int) -> dict[tuple[str, str], float]:
    """The agent's own figures by name and cause."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        families = text_string_to_metric_families(answer.read().decode())
    samples = (sample for family in families for sample in family.samples)
    return {(sample.name, sample.labels.get("cause", "")): sample.value for sample in samples}


def stacks(output: Path) -> Counter[tuple[str, str]]:
    """Samples by workload and root frame."""
    found: Counter[tuple[str, str]] = Counter()
    for row in printed(output):
        if row["kind"] == "profiles":
            found[row["workload"], row["stack"][0]] += row["sample_count"]
    return found


def storm_program(folder: Path) -> Path:
    """The built storm. Skips, or fails in CI, without a compiler."""
    if shutil.which("cc") is None:
        missing("a C compiler is needed")
    source, program = folder / "storm.c", folder / "storm"
    source.write_text(STORM)
    subprocess.run(["cc", "-O1", "-o", str(program), str(source)], check=True)
    return program


@pytest.mark.parametrize("waits", [True, False], ids=["waited for", "ignored"])
def test_a_thousand_forks_a_second_are_accounted(tmp_path: Path, waits: bool) -> None:
    """The workload's CPU seconds by the agent are the kernel's, within a tenth and two ticks.

    Of children that nobody waits for only the counter of their cgroup knows.
    """
    needs_agent()
    program, output = storm_program(tmp_path), tmp_path / "rows"
    options = ["--sink", "stdout", "--interval-seconds", "0.5", "--profile-hz", "19", "--log-level", "warn"]
    environment = {**os.environ, "EO_WORKLOAD": "storm"}
    with (
        own_cgroup("storm") if not waits else contextlib.nullcontext() as cgroup,
        output.open("wb") as out,
        subprocess.Popen([str(AGENT), "run", *options], stdout=out) as agent,
    ):
        try:
            watch = psutil.Process(agent.pid)
            # The first look has to be over: what was there before counts from then on only.
            eventually(lambda: output.stat().st_size > 0, "the first look", 60)
            before = sum(watch.cpu_times()[:2])
            arguments = [str(program), str(SECONDS), str(1.15 * GOAL_PER_SECOND)]
            if cgroup is not None:
                arguments = inside(cgroup, *arguments, "ignored")
            with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=environment) as storm:
                assert storm.stdout
                forks = int(storm.stdout.readline())
                cost = (sum(watch.cpu_times()[:2]) - before) / SECONDS
                kernels = used(storm.pid) if cgroup is None else counted(cgroup)
                deadline = time.monotonic() + 30
                while told(output, "storm") < kernels * 0.9 and time.monotonic() < deadline:
                    time.sleep(0.2)
                accounted = told(output, "storm")
                storm.kill()
            resident = watch.memory_info().rss / 1e6
            assert agent.poll() is None, "the agent went down"
        finally:
            agent.terminate()
    rate = forks / SECONDS
    print(
        f"{rate:.0f} forks a second; the agent took {cost:.2%} of a core, {resident:.0f} MB; "
        f"{accounted:.2f} of {kernels:.2f} CPU seconds accounted"
    )
    if rate < GOAL_PER_SECOND:
        missing(f"this machine made {rate:.0f} forks a second, the test needs {GOAL_PER_SECOND}")
    assert abs(accounted - kernels) <= 0.1 * kernels + 0.02


def test_samples_of_processes_that_no_look_saw_stay_as_rows_that_say_so(tmp_path: Path) -> None:
    """Each sample that was taken is in one row; those of the storm's children belong to nobody, and are counted so."""
    needs_agent_and_root()
    program, output, port = storm_program(tmp_path), tmp_path / "rows", free_port()
    options = ["--sink", "stdout", "--interval-seconds", "5", "--profile-hz", "99", "--log-level", "warn"]
    options += ["--metrics-listen", f"127.0.0.1:{port}"]
    taken, lost = ("eo_agent_stack_samples_total", ""), ("eo_agent_stack_samples_lost_total", "")
    unattributed = "eo_agent_stack_samples_unattributed_total"
    with output.open("wb") as out, subprocess.Popen([str(AGENT), "run", *options], stdout=out) as agent:
        try:
            eventually(lambda: output.stat().st_size > 0, "the first look", 60)
            with subprocess.Popen([str(program), str(SECONDS), "2000"], stdout=subprocess.PIPE) as storm:
                assert storm.stdout
                storm.stdout.readline()
                storm.kill()
            # The window that holds the end of the storm is ten seconds at most.
            past = own_metrics(port)[taken]
            eventually(lambda: own_metrics(port)[taken] > past, "another window", 60)
            # Rows are written a moment after they are counted.
            eventually(lambda: own_metrics(port)[taken] == stacks(output).total(), "each sample in a row", 60)
            told, rows = own_metrics(port), stacks(output)
        finally:
            agent.terminate()
    nobodys = {root: count for (workload, root), count in rows.items() if workload == "unattributed/unseen"}
    print(f"{told[taken]:.0f} samples taken, {told[lost]:.0f} lost; of nobody: {nobodys}")
    assert rows.total() == told[taken]
    assert nobodys == {
        frame: told[unattributed, cause]
        for frame, cause in (
            ("[exited before it was seen]", "not_seen"),
            ("[exiting: its pid was gone]", "exiting"),
            ("[outside the agent's pid namespace]", "other_namespace"),
        )
        if told[unattributed, cause]
    }
    assert nobodys["[exited before it was seen]"] > 0
