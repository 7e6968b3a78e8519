"""The benchmarks' judge of profilers: one rule for all, and it can say no; CPU time finer than a tick."""

from __future__ import annotations

import subprocess

import psutil
import pytest
from benchmarks.known_chains import GO, PYTHON, C, Frame, Functions, Tally, of_agent, of_perf, of_py_spy
from benchmarks.machine import cpu_seconds

START = [Frame("_start", "chain"), Frame(None, "libc.so.6")]


def calls(*names: str | None, module: str = "chain") -> list[Frame]:
    """Frames of one file."""
    return [Frame(name, module) for name in names]


@pytest.mark.parametrize(
    ("names", "right"),
    [
        (("main", "alpha", "beta", "gamma_", "delta", "epsilon"), True),
        (("main",), True),
        (("alpha", "beta"), False),
        (("main", "beta"), False),
        (("main", "alpha", None), False),
        (("main", "alpha", "helper"), False),
        ((), False),
    ],
)
def test_a_stack_is_whole_only_from_the_first_call_without_a_gap(names: tuple[str | None, ...], right: bool) -> None:
    """A missing caller, a foreign order and an unnamed frame of the program's file are wrong; the kernel's are not."""
    assert C.holds([*START, *calls(*names), Frame("asm_exc_page_fault", "kernel")]) is right


def test_a_runtime_in_the_programs_file_is_no_call_of_it() -> None:
    """Go's own frames lie above and below the program's; alone they are no chain."""
    go = [f"main.{name}" for name in ("worker", "alpha", "beta", "gamma")]
    assert GO.holds(calls("runtime.goexit", *go, "runtime.asyncPreempt", module="go"))
    assert not GO.holds(calls("runtime.mstart", "runtime.gcBgMarkWorker", module="go"))
    assert PYTHON.holds([*calls("main", module="python3.11"), *calls("<module>", "main", "outer", module="<string>")])


def test_frames_without_a_name_count_as_unnamed_though_they_are_named_for_the_chain() -> None:
    """As a server would name what the eBPF profiler leaves open."""
    table = Functions([(0x10, "main"), (0x20, "alpha"), (0x30, "beta")])
    tally = Tally({7: C}, {"chain": table})
    tally.add(7, [Frame(None, "chain", 0x14), Frame(None, "chain", 0x2F)], 3)
    tally.add(8, [Frame("work", "other")])
    found = tally.figures(expected=3.4)
    assert (found["samples"], found["busy_samples"], found["busy_samples_expected"]) == (4, 3, 3)
    assert (found["whole_pct"], found["named_leaves_pct"]) == (100.0, 25.0)
    assert table.at(0xF) is None


def test_each_profilers_output_is_read() -> None:
    """Ours, `perf script` and py-spy's raw format."""
    assert of_agent("main (chain)") == Frame("main", "chain")
    assert of_agent("[0123abcd+0x10] (libc.so.6)") == Frame(None, "libc.so.6")
    assert of_agent("[truncated: no frame pointer]").name is None
    script = """
  626/2405
        ffffffff82256 clear_page_erms ([kernel.kallsyms])
                11c34 operator new(unsigned long) (/tmp/my dir/chain)
                  555 [unknown] (/usr/lib/libc.so.6)

    0/0
        ffffffff82256 idle ([kernel.kallsyms])

 7/7
                  999 main (/tmp/chain)
"""
    assert list(of_perf(iter(script.splitlines()))) == [
        (626, (Frame(None, "libc.so.6"), Frame("operator new(unsigned long)", "chain"),
               Frame("clear_page_erms", "[kernel.kallsyms]"))),
        (7, (Frame("main", "chain"),)),
    ]  # fmt: skip
    stack = tuple(Frame(name, "<string>") for name in ("<module>", "main"))
    assert of_py_spy("<module> (<string>:16);main (<string>:14) 7") == (stack, 7)


def test_cpu_time_is_finer_than_a_tick_and_keeps_that_of_threads_that_ended() -> None:
    """A program whose other thread is gone: the kernel's sum by `stat`, within a tick and without its steps."""
    source = """
import threading, time
def burn():
    while time.thread_time() < 0.1: pass
one = threading.Thread(target=burn); one.start(); one.join()
print(flush=True); input()
"""
    with subprocess.Popen(["python3", "-c", source], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        assert program.stdout
        program.stdout.readline()
        process = psutil.Process(program.pid)
        used, ticks = cpu_seconds(process), process.cpu_times()
        assert 0.1 <= used <= ticks.user + ticks.system + 0.02
        assert round(used * 1e9) % 10_000_000 != 0
        program.kill()
    with pytest.raises(psutil.NoSuchProcess):
        cpu_seconds(process)
