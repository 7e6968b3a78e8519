"""What the busy programs of the benchmarks are doing, and how any profiler's stacks are held against it.

Every profiler is judged by the same rule, not by its own word: a sample of a busy program is whole if the program's own
functions in it are calls that its source allows, from the first one on, with no frame of the program left unnamed
between or below them. A sample with none of its functions (the runtime's own work, a torn stack) is not whole.
How many samples there should be is known, too: the programs' CPU time by the kernel, times the frequency.
"""

from __future__ import annotations

import bisect
import itertools
import subprocess
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Frame:
    """One frame: a function, if the profiler named it, in a file; else where in the file's own address space it is."""

    name: str | None
    module: str = ""
    address: int | None = None


@dataclass(frozen=True)
class Truth:
    """The calls of one program from its first own function to its innermost, and the name of its file."""

    language: str
    module: str
    chains: tuple[tuple[str, ...], ...]
    # Begins the names of a runtime that is linked into the file: what the program's functions may call.
    runtime: str = "\0"

    def holds(self, stack: Sequence[Frame]) -> bool:
        """Whether a stack, root first, is one that the program can be in."""
        own = {name for chain in self.chains for name in chain}
        names = [frame.name for frame in stack if frame.module == self.module]
        calls = tuple(itertools.dropwhile(lambda name: name not in own, names))
        # Below its first call all frames of the file are the program's calls, one that nobody could name is not.
        calls = tuple(itertools.takewhile(lambda name: name is None or not name.startswith(self.runtime), calls))
        return bool(calls) and any(calls == chain[: len(calls)] for chain in self.chains)


C = Truth("c", "chain", (("main", "alpha", "beta", "gamma_", "delta", "epsilon"),))
GO_CALLS = ("main.worker", "main.alpha", "main.beta", "main.gamma", "main.step")
GO = Truth("go", "go", (("main.main", *GO_CALLS), GO_CALLS), runtime="runtime.")
PYTHON = Truth("python", "<string>", (("<module>", "main", "outer", "inner"),))


@dataclass
class Tally:
    """Samples of one profiler. `truths`: the busy programs by pid; `functions`: by file, of programs whose frames a
    profiler leaves to be named by a server; for the chain they are named here, as named they do not count."""

    truths: Mapping[int, Truth]
    functions: Mapping[str, Functions] = field(default_factory=dict)
    samples: int = 0
    frames: int = 0
    named_frames: int = 0
    named_leaves: int = 0
    by_language: dict[str, list[int]] = field(default_factory=lambda: defaultdict(lambda: [0, 0]))

    def add(self, pid: int, stack: Sequence[Frame], count: int = 1) -> None:
        """Take in a stack, root first."""
        self.samples += count
        self.frames += count * len(stack)
        self.named_frames += count * sum(frame.name is not None for frame in stack)
        self.named_leaves += count if stack and stack[-1].name is not None else 0
        if pid in self.truths:
            truth = self.truths[pid]
            seen = self.by_language[truth.language]
            seen[0] += count
            seen[1] += count if truth.holds([self._as_by_a_server(frame) for frame in stack]) else 0

    def _as_by_a_server(self, frame: Frame) -> Frame:
        known = self.functions.get(frame.module)
        if frame.name is not None or frame.address is None or known is None:
            return frame
        return Frame(known.at(frame.address), frame.module)

    def figures(self, expected: float) -> dict[str, Any]:
        """Counts and shares in percent; `expected`: samples that the busy programs' CPU time stands for."""
        known = sum(seen for seen, _ in self.by_language.values())
        whole = {f"whole_pct_{name}": share(right, seen) for name, (seen, right) in sorted(self.by_language.items())}
        return {
            "samples": self.samples,
            "busy_samples": known,
            "busy_samples_expected": round(expected),
            "whole_pct": share(sum(right for _, right in self.by_language.values()), known),
            **whole,
            "named_frames_pct": share(self.named_frames, self.frames),
            "named_leaves_pct": share(self.named_leaves, self.samples),
        }


def share(part: int, of: int) -> float | None:
    """In percent; None of nothing."""
    return round(100 * part / of, 1) if of else None


def functions(program: Path) -> Functions:
    """Of a program with symbols."""
    text = subprocess.run(["nm", "--defined-only", program], capture_output=True, text=True, check=True).stdout
    lines = (line.split(None, 2) for line in text.splitlines())
    return Functions(sorted((int(at, 16), name) for at, kind, name in lines if kind in "tT"))


class Functions:
    """Names by address in the file's own address space: what a server does for a profiler that sends addresses only."""

    def __init__(self, table: list[tuple[int, str]]) -> None:
        """`table`: sorted by address."""
        self._starts, self._names = [at for at, _ in table], [name for _, name in table]

    def at(self, address: int) -> str | None:
        """The function that an address lies in or behind."""
        index = bisect.bisect_right(self._starts, address) - 1
        return self._names[index] if index >= 0 else None


def of_agent(text: str) -> Frame:
    """A frame of our rows: `main (chain)`, `[build id+0x10] (libc.so.6)`, `[truncated: ...]`."""
    name, _, module = text.rpartition(" (")
    return Frame(None if text.startswith("[") else name or text, module.removesuffix(")"))


def of_perf(lines: Iterator[str]) -> Iterator[tuple[int, tuple[Frame, ...]]]:
    """Pid and stack of each sample of `perf script -F pid,tid,ip,sym,dso`."""
    pid, stack = 0, list[Frame]()
    for line in lines:
        words = line.split()
        if line[:1].isspace() and len(words) > 1 and "(" in line:
            name, _, module = line.strip().partition(" ")[2].rpartition(" (")
            module = module.removesuffix(")").rpartition("/")[2]
            stack.append(Frame(None if name == "[unknown]" else name, module))
        elif words and "/" in words[0]:
            pid = int(words[0].partition("/")[0])
        elif not words:
            if pid:
                yield pid, tuple(reversed(stack))
            pid, stack = 0, []
    if pid:
        yield pid, tuple(reversed(stack))


def of_py_spy(line: str) -> tuple[tuple[Frame, ...], int]:
    """Stack and count of a line of its raw format: `<module> (<string>:16);main (<string>:14) 7`."""
    text, _, count = line.rpartition(" ")
    frames = (frame.rpartition(" (") for frame in text.split(";"))
    stack = tuple(Frame(name or module, module.removesuffix(")").partition(":")[0]) for name, _, module in frames)
    return stack, int(count)
