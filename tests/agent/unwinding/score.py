"""Runs the programs below the agent and counts the samples whose whole chain is the true one."""

from __future__ import annotations

import argparse
import bisect
import contextlib
import itertools
import json
import re
import signal
import subprocess
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from agent.unwinding.cases import Case, build

AGENT = Path(__file__).parents[3] / "agent" / "target" / "release" / "eo-agent"
# Programs that run at a time: each gets its share of the samples.
AT_A_TIME = 6
UNNAMED = re.compile(r"^\[(?:[0-9a-f]+|[^+\]]+)\+0x([0-9a-f]+)\] \(")


@dataclass
class Score:
    """Samples of one program: all, and those with the true chain."""

    case: Case
    samples: int
    whole: int
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
    with subprocess.Popen(["nice", *command], env=environment, stderr=subprocess.PIPE) as process:
        try:
            if case.placement == "deleted":
                _wait_for_exec(process.pid, case.program)
                case.program.unlink()
            yield
            if process.poll() is not None:
                raise RuntimeError(f"{case.name} ended: {process.stderr.read().decode() if process.stderr else ''}")
        finally:
            process.kill()


def _wait_for_exec(pid: int, program: Path) -> None:
    deadline = time.monotonic() + 20
    while Path(f"/proc/{pid}/exe").resolve() != program.resolve():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{program} did not start")
        time.sleep(0.01)


def _profile(agent: Path, hz: int, seconds: float) -> dict[str, Counter[tuple[str, ...]]]:
    """Stacks and their samples, by workload."""
    command = [str(agent), "run", "--sink", "stdout", "--profile-hz", str(hz), "--log-level", "error"]
    with tempfile.TemporaryFile() as output, subprocess.Popen(command, stdout=output) as process:
        time.sleep(seconds)
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
    whole, wrong = 0, Counter[str]()
    for stack, count in stacks.items():
        if stack[0].endswith("(kernel)"):
            # Caught in the kernel before it had a user stack (exec, exit).
            continue
        plain = [function(frame, names, case.program.name) for frame in stack]
        own = tuple(name for name in plain if name in case.own)
        if case.is_true(own) and not stack[0].startswith("[truncated"):
            whole += count
        else:
            wrong[";".join(stack)] += count
    return Score(case, whole + wrong.total(), whole, [(n, stack) for stack, n in wrong.most_common(3)])


def function(frame: str, names: Names | None, program: str) -> str:
    """`gamma_` of `gamma_(std::vector<...>&) (program)`; of a stripped program by its twin."""
    name, _, module = frame.rpartition(" (")
    unnamed = UNNAMED.match(frame)
    if unnamed and names and module.startswith(("program", program)):
        name = names.at(int(unnamed[1], 16))
    return re.sub(r"(?<=\w)\(.*$", "", re.sub(r"::h[0-9a-f]{16}$", "", name))


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
    lines = ["| programs | built | samples | whole |", "|---|---|---|---|"]
    for group, members in {**groups, "all": scores}.items():
        samples, whole = sum(one.samples for one in members), sum(one.whole for one in members)
        share = f"{100 * whole / samples:.1f} %" if samples else "no samples"
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
        scores = list(score(cases, given.agent, given.hz, given.seconds))
    for one in scores:
        for count, stack in one.wrong:
            print(f"wrong {count} of {one.samples} {one.case.name}: {stack[:600]}")
    print(table(scores))


if __name__ == "__main__":
    main()
