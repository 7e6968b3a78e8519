"""Python 3.9 to 3.14 without restart or flags: its own functions, root to leaf, in at least 98 % of samples."""

from __future__ import annotations

import subprocess

import pytest

from .interpreters import PYTHONS, Carried, Debian, command
from .profiling import folded, needs_agent_and_root, profile, wait_until_busy

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

GOAL = 0.98
MIN_SAMPLES = 150
CHAIN = ["<module>", "main", "outer", "inner"]
PROGRAM = """
def inner(x):
    for i in range(1000):
        x = (x * 31 + i) % 1000003
    return x

def outer(x):
    return inner(x) + 1

def main():
    x = 1
    while True:
        x = outer(x)

main()
"""


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
    with subprocess.Popen([*start, "-c", PROGRAM]) as process:
        try:
            wait_until_busy(process.pid, 0.3)
            found = profile("--seconds", "6", "--pid", str(process.pid))
        finally:
            process.kill()
    stacks = folded(found.stdout)
    assert stacks.total() >= MIN_SAMPLES, found.stderr.decode()[-500:]
    whole = 0
    for stack, count in stacks.items():
        functions = [frame.split(" (")[0] for frame in stack if "<string>" in frame]
        whole += count if functions and functions == CHAIN[: len(functions)] else 0
    print(f"Python {version.split()[1]}: {whole} of {stacks.total()} whole ({whole / stacks.total():.1%})")
    assert whole / stacks.total() >= GOAL, stacks.most_common(5)
