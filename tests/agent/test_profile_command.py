"""`eo-agent profile`: what ran, in the formats that others read."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.proto.collector.profiles.v1development.profiles_service_pb2 import ExportProfilesServiceRequest

from agent.profiling import (
    PROGRAMS,
    PYTHON_CALLS,
    busy_python,
    folded,
    needs_agent_and_root,
    profile,
    wait_until_busy,
    whole_calls,
)
from agent.rig import missing

pytestmark = pytest.mark.slow
CHAIN = ["main", "alpha", "beta", "gamma_", "delta"]


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The pid of a C program without frame pointers whose calls are known."""
    needs_agent_and_root()
    if not shutil.which("gcc"):
        missing("gcc is needed")
    program = tmp_path_factory.mktemp("chain") / "chain"
    options = ["-O2", "-fomit-frame-pointer", "-fno-inline"]
    subprocess.run(["gcc", *options, "-o", str(program), str(PROGRAMS / "chain.c")], check=True)
    with subprocess.Popen(["nice", str(program)]) as process:
        wait_until_busy(process.pid, 0.1)
        yield process.pid
        process.kill()


def test_folded_stacks_go_to_the_terminal(chain: int) -> None:
    """One line per stack; progress and the sum go to standard error."""
    done = profile("--seconds", "3", "--pid", str(chain))
    stacks = folded(done.stdout)
    own = {tuple(name.split(" (")[0] for name in stack if name.endswith("(chain)")) for stack in stacks}
    assert ("_start", *CHAIN) in own
    assert re.search(rb"\d+ samples .* whole stack", done.stderr), done.stderr


def test_pprof_is_read_by_go_tool_pprof(chain: int, tmp_path: Path) -> None:
    """The reader that the format is from lists our functions."""
    if not shutil.which("go"):
        missing("go is needed")
    out = tmp_path / "cpu.pb.gz"
    profile("--seconds", "2", "--pid", str(chain), "--format", "pprof", "--out", str(out))
    command = ["go", "tool", "pprof", "-top", "-sample_index=cpu", str(out)]
    top = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "Type: cpu" in top
    assert re.search(r"\sdelta$", top, re.MULTILINE), top


def test_otlp_is_read_by_the_official_messages(chain: int, tmp_path: Path) -> None:
    """opentelemetry-proto's own classes find stack, process and host."""
    out = tmp_path / "profile.otlp"
    profile("--seconds", "2", "--pid", str(chain), "--format", "otlp", "--out", str(out))
    request = ExportProfilesServiceRequest.FromString(out.read_bytes())
    tables = request.dictionary
    sampled = request.resource_profiles[0].scope_profiles[0].profiles[0]
    deepest = max(sampled.samples, key=lambda sample: len(tables.stack_table[sample.stack_index].location_indices))
    places = tables.stack_table[deepest.stack_index].location_indices
    functions = [tables.location_table[place].lines[0].function_index for place in places]
    names = [tables.string_table[tables.function_table[function].name_strindex] for function in functions]
    assert [name for name in reversed(names) if name in CHAIN] == CHAIN
    assert {attribute.key for attribute in request.resource_profiles[0].resource.attributes} == {"host.name"}


def test_python_programs_are_seen_by_their_own_functions(tmp_path: Path) -> None:
    """At least 98 % of a Python program's samples have its whole chain."""
    needs_agent_and_root()
    with busy_python(PYTHON_CALLS, tmp_path, sys.executable) as process:
        wait_until_busy(process.pid, 0.3)
        stacks = folded(profile("--seconds", "6", "--pid", str(process.pid)).stdout)
        process.kill()
    assert whole_calls(stacks, "busy.py") / stacks.total() >= 0.98, stacks.most_common(5)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--pid", "2000000000"], ["--pid", "no process"]),
        (["--seconds", "0"], ["--seconds", "3600"]),
        (["--hz", "5000"], ["--hz", "999"]),
        (["--stack-bytes", "70000"], ["--stack-bytes", "61440"]),
    ],
)
def test_a_wrong_option_is_named(arguments: list[str], words: list[str]) -> None:
    """Exit code 2, the option, and what to do."""
    needs_agent_and_root()
    done = profile(*arguments)
    assert done.returncode == 2
    for word in words:
        assert word in done.stderr.decode()
