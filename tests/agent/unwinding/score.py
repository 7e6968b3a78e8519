"""Runs the programs below the agent and counts the samples whose whole chain is the true one.

All samples of a program count, from when it is past its start until the agent stops: those caught in the kernel with
no user stack too. Frames of the kernel at the leaf are left out of the comparison: how it was entered (an interrupt, a
page fault) is no call of the program.
"""

from __future__ import annotations

import argparse
import bisect
import contextlib
import functools
import itertools
import json
import os
import re
import signal
import subprocess
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from agent.profiling import wait_until_busy
from agent.rig import AGENT
from agent.unwinding.cases import RESTORE, Case, build

# Programs that run at a time: each gets its share of the samples.
AT_A_TIME = 12
WINDOW_WITHIN_SECONDS = 60.0
SIGRETURN = b"\x48\xc7\xc0\x0f\0\0\0\x0f\x05"
UNNAMED = re.compile(r"^\[(?:[0-9a-f]+|[^+\]]+)\+0x([0-9a-f]+)\] \(")


@dataclass
class Score:
    """Samples of one program: all, those with the true chain, and of these those that stop above where it works."""

    case: Case
    samples: int
    whole: int
    short: int
    # The most frequent wrong stacks, for a person.
    wrong: list[tuple[int, str]]

    @property
    def share(self) -> float:
        """NaN without samples."""
        return self.whole / self.samples if self.samples else float("nan")


def score(cases: Iterable[Case], agent: Path, hz: int, seconds: float) -> Iterator[Score]:
    """Score in batches; each program is named to the agent by EO_WORKLOAD."""
    for batch in itertools.batched(cases, AT_A_TIME) if hasattr(itertools, "batched") else _batches(cases):
        with contextlib.ExitStack() as stack:
            for case in batch:
                stack.enter_context(_running(case))
            rows = _profile(agent, hz, seconds)
        for case in batch:
            yield _judge(case, rows[case.name])


def _batches(cases: Iterable[Case]) -> Iterator[tuple[Case, ...]]:
    rest = iter(cases)
    while batch := tuple(itertools.islice(rest, AT_A_TIME)):
        yield batch


@contextlib.contextmanager
def _running(case: Case) -> Iterator[None]:
    command = [str(case.program), *case.arguments]
    if case.placement == "namespace":
        # A tmpfs that only this program sees holds its file.
        inside = 'mount -t tmpfs none /mnt && cp "$0" /mnt/program && exec /mnt/program'
        command = ["unshare", "--mount", "sh", "-c", inside, str(case.program)]
    environment = {"EO_WORKLOAD": case.name, "PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "GOMAXPROCS": "2"}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) as process:
        try:
            _wait_for_start(process.pid, "program" if case.placement == "namespace" else case.program.name)
            if case.placement == "deleted":
                case.program.unlink()
            yield
            if process.poll() is not None:
                raise RuntimeError(f"{case.name} ended: {process.stderr.read().decode() if process.stderr else ''}")
        finally:
            process.kill()


def _wait_for_start(pid: int, name: str) -> None:
    """Until it runs (and not what starts it) and is past its loader: no sample has to be excused for that."""
    deadline = time.monotonic() + 30
    while Path(os.readlink(f"/proc/{pid}/exe")).name != name:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{name} did not start")
        time.sleep(0.01)
    wait_until_busy(pid, 0.05)


def _profile(agent: Path, hz: int, seconds: float) -> dict[str, Counter[tuple[str, ...]]]:
    """Stacks and their samples, by workload: for so long, and until the agent's first window (10 s) is there. What it
    could not name in time when it is told to stop it leaves out."""
    command = [str(agent), "run", "--sink", "stdout", "--profile-hz", str(hz), "--log-level", "error"]
    with tempfile.NamedTemporaryFile() as output, subprocess.Popen(command, stdout=output) as process:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline or b'"kind":"profiles"' not in Path(output.name).read_bytes():
            if time.monotonic() > deadline + WINDOW_WITHIN_SECONDS:
                break
            time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        process.wait(20)
        output.seek(0)
        found: dict[str, Counter[tuple[str, ...]]] = defaultdict(Counter)
        for line in output:
            row = json.loads(line)
            if row["kind"] == "profiles":
                found[row["workload"].removeprefix("declared/")][tuple(row["stack"])] += row["sample_count"]
    return found


def _judge(case: Case, stacks: Counter[tuple[str, ...]]) -> Score:
    names = Names(case.twin) if case.twin else None
    whole, short, wrong = 0, 0, Counter[str]()
    for stack, count in stacks.items():
        user = list(itertools.dropwhile(in_kernel, reversed(stack)))[::-1]
        calls = [call(frame, names, case.program.name) for frame in user]
        if case.is_true(calls):
            whole += count
            short += count if case.is_short(calls) else 0
        else:
            wrong[";".join(stack)] += count
    return Score(case, whole + wrong.total(), whole, short, [(n, stack) for stack, n in wrong.most_common(3)])


def in_kernel(frame: str) -> bool:
    """Named or not."""
    return frame == "[kernel]" or frame.endswith(" (kernel)")


def call(frame: str, names: Names | None, program: str) -> tuple[str, str]:
    """Function and whole text of a frame: `gamma_` of `gamma_(std::vector<...>&) (program)`; of a stripped program by
    its twin, libc's return from a signal by its code, a note of the agent (`[truncated: ...]`) as it is."""
    name, _, module = frame.rpartition(" (")
    unnamed = UNNAMED.match(frame)
    if unnamed and names and module.startswith(("program", program)):
        name = names.at(int(unnamed[1], 16))
    elif name == "__restore_rt" or (unnamed and module == "libc.so.6)" and returns_from_signal(int(unnamed[1], 16))):
        name = RESTORE
    text = f"{name} ({module}" if name else frame
    return re.sub(r"(?<=\w)\(.*$", "", re.sub(r"::h[0-9a-f]{16}$", "", name or frame)), text


def returns_from_signal(offset: int) -> bool:
    """Whether these bytes of libc are `mov $15,%rax; syscall`: rt_sigreturn on x86-64."""
    with libc().open("rb") as file:
        file.seek(offset)
        return file.read(len(SIGRETURN)) == SIGRETURN


@functools.cache
def libc() -> Path:
    """The file that this interpreter, and each program that is linked to libc here, runs on."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    return Path(next(line.split()[-1] for line in lines if line.endswith("/libc.so.6")))


class Names:
    """Functions of an unstripped program by file offset, from binutils."""

    def __init__(self, program: Path) -> None:
        """Read the symbols."""
        symbols = subprocess.run(["nm", "-C", str(program)], capture_output=True, text=True, check=True).stdout
        headers = subprocess.run(["readelf", "-lW", str(program)], capture_output=True, text=True, check=True).stdout
        loads = [line.split() for line in headers.splitlines() if line.split()[:1] == ["LOAD"]]
        code = next(load for load in loads if "E" in "".join(load[6:-1]))
        self._moved = int(code[2], 16) - int(code[1], 16)
        lines = (line.split(None, 2) for line in symbols.splitlines())
        found = sorted((int(line[0], 16), line[2]) for line in lines if len(line) == 3 and line[1] in "tTwWiu")
        self._starts, self._names = [start for start, _ in found], [name for _, name in found]

    def at(self, offset: int) -> str:
        """The function before an offset of the file."""
        index = bisect.bisect_right(self._starts, offset + self._moved) - 1
        return self._names[index] if index >= 0 else "?"


def table(scores: list[Score]) -> str:
    """By group, as Markdown."""
    groups: dict[str, list[Score]] = defaultdict(list)
    for one in scores:
        groups[one.case.group].append(one)
    lines = ["| programs | built | samples | right | of these above the work |", "|---|---|---|---|---|"]
    whole = [one for one in scores if not one.case.truncated]
    for group, members in {**groups, "all but the truncated": whole}.items():
        samples, right = sum(one.samples for one in members), sum(one.whole for one in members)
        short = sum(one.short for one in members)
        share = f"{100 * right / samples:.1f} % | {100 * short / samples:.1f} %" if samples else "no samples |"
        lines.append(f"| {group} | {len(members)} | {samples} | {share} |")
    return "\n".join(lines)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--agent", type=Path, default=AGENT)
    parser.add_argument("--hz", type=int, default=99)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--only", default="", help="programs whose name has this in it")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="eo-unwinding-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        cases = [case for case in build(folder) if given.only in case.name]
        scores = []
        for one in score(cases, given.agent, given.hz, given.seconds):
            scores.append(one)
            for count, stack in one.wrong:
                print(f"wrong {count} of {one.samples} {one.case.name}: {stack[:600]}", flush=True)
    print(table(scores))


if __name__ == "__main__":
    main()
