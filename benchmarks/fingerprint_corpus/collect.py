"""Profile every program of the corpus with the agent and write `corpus.jsonl.xz`.

    python -m benchmarks.fingerprint_corpus.collect [--out FILE] [--agent FILE] [--only TEXT] [--seconds 3]

Needs root (sampling, CPU quota of cgroup v1) and the compilers. A record has the folded stacks that `eo-agent profile`
gave for the process, without its name (comm), and what /proc showed five times a second in the same span. Per program:
three inputs in the usual build, then input 1 under a CPU quota of a half and a quarter of a core, in the other builds,
and stripped.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import lzma
import os
import random
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from rich.progress import track

from benchmarks.fingerprint_corpus import programs as known
from benchmarks.fingerprint_corpus.programs import INPUTS, STRIPPED, Program

HERE = Path(__file__).parent
CORPUS = HERE / "corpus.jsonl.xz"
AGENT = HERE.parents[1] / "agent" / "target" / "release" / "eo-agent"
CPU_CGROUP = Path("/sys/fs/cgroup/cpu")
QUOTAS = (0.5, 0.25)
MIDDLE_INPUT = 1
TICK_SECONDS = 0.2
WARM_UP_SECONDS = {"java": 2.5, "node": 1.0}
_counter = itertools.count()


@dataclass(frozen=True)
class Setting:
    """How one run of a program differs: its input, its build, and its share of a core (None: no limit)."""

    input: int
    build: str
    quota: float | None = None


def settings(program: Program) -> list[Setting]:
    """All runs of one program."""
    usual = program.builds[0]
    runs = [Setting(number, usual) for number in INPUTS]
    runs += [Setting(MIDDLE_INPUT, usual, quota) for quota in QUOTAS]
    return runs + [Setting(MIDDLE_INPUT, other) for other in program.builds[1:]]


def write_streams(folder: Path) -> list[Path]:
    """Three files for the tools: text, records, and noise."""
    chosen, files = random.Random(7), []
    makers = (
        lambda n: " ".join(chosen.choice((f"node-{n % 99}", "the", "is", "idle", "power", "of")) for _ in range(9)),
        lambda n: json.dumps({"id": n, "node": f"host-{n % 500}", "watts": round(chosen.random() * 400, 3)}),
        lambda n: chosen.randbytes(36).hex() + (" " if n % 3 else "-"),
    )
    for index, make in enumerate(makers):
        path = folder / f"stream-{index}"
        path.write_text("".join(make(n) + "\n" for n in range(120_000)), encoding="utf-8")
        files.append(path)
    return files


@contextlib.contextmanager
def running(program: Program, setting: Setting, folder: Path, streams: list[Path]) -> Iterator[int]:
    """The process id of the program at work, its own session and cgroup around it."""
    feeder, source = None, subprocess.DEVNULL
    if program.language == "tool":
        command, fed = known.tool_command(program.name.split("/")[1], setting.input)
        if command[0] == "bc":
            script = folder / f"script-{setting.input}"
            script.write_text(known.BC_SCRIPTS[setting.input] + "\n", encoding="utf-8")
            command, fed = ("bc", "-l", "-q", str(script)), False
        if command[0] == "sort":
            command += ("-T", str(folder))
        if fed:
            loop = 'while cat "$0"; do :; done'
            feeder = subprocess.Popen(
                ["sh", "-c", loop, str(streams[setting.input])],
                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
            source = feeder.stdout  # type: ignore[assignment]
    else:
        command = (*known.build(program, setting.build, folder), str(setting.input))
    worker = subprocess.Popen(
        command, stdin=source, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    group = CPU_CGROUP / f"eo-corpus-{os.getpid()}-{next(_counter)}"
    try:
        if setting.quota is not None:
            group.mkdir()
            (group / "cpu.cfs_quota_us").write_text(str(int(setting.quota * 100_000)))
            (group / "cgroup.procs").write_text(str(worker.pid))
        yield worker.pid
    finally:
        for process in (worker, feeder):
            if process is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if group.exists():
            time.sleep(0.05)
            with contextlib.suppress(OSError):
                group.rmdir()


def read_counters(pid: int) -> dict[str, float]:
    """Counters of /proc at this moment; resident bytes and threads are levels."""
    after = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    hertz, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
    io = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
    voluntary = involuntary = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            for line in (task / "status").read_text().splitlines():
                voluntary += int(line.split()[1]) if line.startswith("voluntary") else 0
                involuntary += int(line.split()[1]) if line.startswith("nonvoluntary") else 0
    return {
        "user_seconds": int(after[11]) / hertz,
        "system_seconds": int(after[12]) / hertz,
        "faults": float(after[7]),
        "resident_bytes": float(int(after[21]) * page),
        "threads": float(after[17]),
        "voluntary_switches": float(voluntary),
        "involuntary_switches": float(involuntary),
        "read_bytes": float(io["rchar"]),
        "written_bytes": float(io["wchar"]),
        "system_calls": float(io["syscr"]) + float(io["syscw"]),
    }


LEVELS = ("resident_bytes", "threads")


def watch(pid: int, profiler: subprocess.Popen[bytes]) -> dict[str, list[float]]:
    """Rates (a second) and levels, a value a tick, until the profiler is done."""
    series: dict[str, list[float]] = {}
    before, then = read_counters(pid), time.monotonic()
    while profiler.poll() is None:
        time.sleep(TICK_SECONDS)
        now_at = time.monotonic()
        now = read_counters(pid)
        for name, value in now.items():
            per_second = value if name in LEVELS else (value - before[name]) / (now_at - then)
            series.setdefault(name, []).append(round(per_second, 3))
        before, then = now, now_at
    return series


def folded(text: str) -> list[tuple[int, str]]:
    """Counts and stacks, most first, without the first frame: the process's name."""
    rows = []
    for line in text.splitlines():
        stack, _, count = line.rpartition(" ")
        rows.append((int(count), stack.partition(";")[2]))
    return sorted(rows, key=lambda row: (-row[0], row[1]))


def profile(program: Program, setting: Setting, folder: Path, streams: list[Path], options: Any) -> dict[str, Any]:
    """One record of the corpus."""
    with running(program, setting, folder, streams) as pid:
        time.sleep(WARM_UP_SECONDS.get(program.language, 0.6))
        out = folder / f"profile-{pid}"
        command = [options.agent, "profile", "--seconds", str(options.seconds), "--pid", str(pid), "--out", str(out)]
        profiler = subprocess.Popen([str(it) for it in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        resources = watch(pid, profiler)
        if profiler.returncode:
            raise RuntimeError(f"eo-agent profile failed for {program.name}: run `{' '.join(map(str, command))}`")
        stacks = folded(out.read_text(encoding="utf-8"))
        out.unlink()
    return {
        "program": program.name,
        "language": program.language,
        **asdict(setting),
        "stripped": setting.build == STRIPPED,
        "samples": sum(count for count, _ in stacks),
        "stacks": stacks,
        "resources": resources,
    }


def attempt(program: Program, setting: Setting, *rest: Any) -> dict[str, Any] | None:
    """A record, or None and a line that says why there is none."""
    try:
        return profile(program, setting, *rest)
    except (OSError, RuntimeError) as error:
        print(f"left out: {program.name}, {setting}: {error}")
        return None


def write(records: list[dict[str, Any]], out: IO[bytes]) -> None:
    """One JSON object a line, compressed."""
    records.sort(key=lambda it: (it["program"], it["build"], it["quota"] or 1.0, it["input"]))
    lines = "".join(json.dumps(record, separators=(",", ":")) + "\n" for record in records)
    out.write(lzma.compress(lines.encode(), preset=9))


def load(path: Path = CORPUS) -> list[dict[str, Any]]:
    """The records of a corpus."""
    return [json.loads(line) for line in lzma.decompress(path.read_bytes()).decode().splitlines()]


def main() -> None:
    """Build, run, profile, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=CORPUS)
    parser.add_argument("--agent", type=Path, default=AGENT)
    parser.add_argument("--only", default="", help="programs whose name has this text")
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--at-once", type=int, default=2)
    options = parser.parse_args()
    wanted = [it for it in known.programs() if options.only in it.name]
    with tempfile.TemporaryDirectory(prefix="eo-corpus-") as name:
        folder = Path(name)
        streams = write_streams(folder)
        builds = [(it, name) for it in wanted if it.language != "tool" for name in it.builds]
        with ThreadPoolExecutor(2) as pool:
            made = pool.map(lambda one: known.build(*one, folder), builds)
            list(track(made, total=len(builds), description="Building"))
        # Runs of one program lie apart in time, so that a passing load on the machine is not its mark.
        jobs = [(program, setting) for program in wanted for setting in settings(program)]
        random.Random(7).shuffle(jobs)
        records = []
        with ThreadPoolExecutor(options.at_once) as pool:
            todo = pool.map(lambda job: attempt(*job, folder, streams, options), jobs)
            for record in track(todo, total=len(jobs), description="Profiling"):
                if record:
                    records.append(record)
    with options.out.open("wb") as out:
        write(records, out)
    few = [it for it in records if it["samples"] < 20]
    print(f"{len(records)} profiles of {len(wanted)} programs in {options.out} ({options.out.stat().st_size} bytes)")
    print(f"fewer than 20 samples: {[(it['program'], it['build'], it['quota'], it['samples']) for it in few]}")


if __name__ == "__main__":
    main()
