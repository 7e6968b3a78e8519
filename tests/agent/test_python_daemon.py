"""Python below the running agent, whose looks at interpreters are bounded: several programs, several threads each.

`eo-agent profile` spends what it takes (test_python_versions.py); the agent of a node may spend 0.15 % of a core on all
Python programs together, and looks at eight at a time. Still at least 98 % of their samples have the program's own
functions from root to leaf. They run in a pid namespace with their agent: it must not spend its time on other programs.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest

from .profiling import PYTHON_CALLS, needs_agent_and_root, whole_calls
from .rig import AGENT, eventually, missing

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

GOAL = 0.98
MIN_SAMPLES = 60
# PYTHON_CALLS in so many threads at once, the first one among them.
THREADED_CALLS = PYTHON_CALLS.replace(
    "\nmain()\n",
    "\nimport threading\nfor _ in range({threads} - 1): threading.Thread(target=main, daemon=True).start()\nmain()\n",
)
# In another thread than the first one there is no `<module>`; the library's own frames are of another file.
THREAD_ROOT = "main"


def profiles(folder: Path) -> dict[str, Counter[tuple[str, ...]]]:
    """Stacks and samples by workload, of the Arrow files of a run."""
    found: dict[str, Counter[tuple[str, ...]]] = {}
    for file in folder.glob("profiles-*.arrows"):
        with pa.ipc.open_stream(file) as reader:
            for row in reader.read_all().select(["workload", "stack", "sample_count"]).to_pylist():
                name = row["workload"].removeprefix("declared/")
                found.setdefault(name, Counter())[tuple(row["stack"])] += row["sample_count"]
    return found


def whole(stacks: Counter[tuple[str, ...]], file: str) -> int:
    """Samples whose frames of the file are its calls, from `<module>` or, in a further thread, from `main`."""
    rooted: Counter[tuple[str, ...]] = Counter()
    for stack, count in stacks.items():
        own = [frame for frame in stack if file in frame]
        further = bool(own) and own[0].startswith(f"{THREAD_ROOT} (") and "_bootstrap (" in stack[0]
        rooted[(f"<module> ({file})", *own) if further or not own else tuple(own)] += count
        if not own:
            del rooted[(f"<module> ({file})",)]
    return whole_calls(rooted, file)


# The first process of the namespace: starts the programs, waits until they work, and becomes the agent's parent.
NAMESPACE = """
for n in $(seq 0 $(($1 - 1))); do EO_WORKLOAD=busy$n "$2" "$3/busy$n.py" "$3/started$n" & done
for n in $(seq 0 $(($1 - 1))); do while [ ! -e "$3/started$n" ]; do sleep 0.1; done; done
"$4" run --sink file --path "$3/rows" --interval-seconds 5 --profile-hz 19 --log-level error
"""


@pytest.mark.parametrize(("programs", "threads"), [(1, 1), (1, 4), (5, 1), (3, 4)])
def test_the_agent_of_a_node_sees_python_programs_by_their_own_functions(
    tmp_path: Path, programs: int, threads: int
) -> None:
    """At the default 19 Hz, in each program."""
    needs_agent_and_root()
    if shutil.which("unshare") is None:
        missing("unshare (util-linux) is needed")
    for number in range(programs):
        text = THREADED_CALLS.replace("{threads}", str(threads))
        (tmp_path / f"busy{number}.py").write_text(f"import sys\nopen(sys.argv[1], 'w').close()\n{text}")
    inside = ["sh", "-c", NAMESPACE, "sh", str(programs), sys.executable, str(tmp_path), str(AGENT)]
    with subprocess.Popen(["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", *inside]) as namespace:
        try:
            eventually(lambda: enough(tmp_path / "rows", programs), "samples to judge by", 150)
        finally:
            namespace.kill()
    shares = {}
    for name, stacks in sorted(profiles(tmp_path / "rows").items()):
        if name.startswith("busy"):
            right = whole(stacks, f"{name}.py")
            shares[name] = right / stacks.total()
            print(f"{name}, {threads} threads: {right} of {stacks.total()} whole ({shares[name]:.1%})")
            print([one for one in stacks.most_common(8) if not whole(Counter(dict([one])), f"{name}.py")])
    assert len(shares) == programs
    assert min(shares.values()) >= GOAL, shares


def enough(rows: Path, programs: int) -> bool:
    """Samples to judge by, of each program."""
    found = [stacks.total() for name, stacks in profiles(rows).items() if name.startswith("busy")]
    return len(found) == programs and min(found) >= MIN_SAMPLES
