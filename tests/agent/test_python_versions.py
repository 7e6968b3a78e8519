"""Python 3.9 to 3.14 without restart or flags: its own functions, root to leaf, in at least 98 % of samples."""

from __future__ import annotations

import subprocess

import pytest

from .interpreters import PYTHONS, Carried, Debian, command
from .profiling import PYTHON_CALLS, folded, needs_agent_and_root, profile, wait_until_busy, whole_calls

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

GOAL = 0.98
MIN_SAMPLES = 150


def named(python: Carried | Debian) -> str:
    """For the test's name."""
    return f"{python.version}-{'debian' if isinstance(python, Debian) else 'standalone'}"


@pytest.mark.parametrize("python", PYTHONS, ids=named)
def test_a_python_program_is_seen_by_its_own_functions(python: Carried | Debian) -> None:
    """One thread, busy all the time; a stack that stops above `inner` is one of a sample between two calls."""
    needs_agent_and_root()
    start = command(python)
    version = subprocess.run([*start, "--version"], capture_output=True, text=True, check=True).stdout
    assert version.startswith(f"Python {python.version}."), version
    with subprocess.Popen([*start, "-c", PYTHON_CALLS]) as process:
        try:
            wait_until_busy(process.pid, 0.3)
            found = profile("--seconds", "6", "--pid", str(process.pid))
        finally:
            process.kill()
    stacks = folded(found.stdout)
    assert stacks.total() >= MIN_SAMPLES, found.stderr.decode()[-500:]
    whole = whole_calls(stacks, "<string>")
    print(f"Python {version.split()[1]}: {whole} of {stacks.total()} whole ({whole / stacks.total():.1%})")
    assert whole / stacks.total() >= GOAL, stacks.most_common(5)
