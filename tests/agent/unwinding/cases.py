"""The programs, how each is built, and the chains of calls that it can be in.

A chain lists a program's own functions from the root to the leaf. A sample may catch the program in any of its
functions, so that every prefix of a chain is true, too; anything else is a wrong or torn stack.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

PROGRAMS = Path(__file__).parent / "programs"
# The chain that stands in the source is the chain that runs.
KEEP_CALLS = ("-fno-optimize-sibling-calls", "-fno-inline", "-fno-ipa-icf")


@dataclass(frozen=True)
class Case:
    """One built program."""

    name: str
    group: str
    program: Path
    chains: tuple[tuple[str, ...], ...]
    arguments: tuple[str, ...] = ()
    # The same program with its symbols, for naming the frames of a stripped one.
    twin: Path | None = None
    # Run in another mount namespace, or deleted once it runs.
    placement: str = ""
    own: frozenset[str] = field(init=False, default=frozenset())

    def __post_init__(self) -> None:
        """Derive the names that count."""
        object.__setattr__(self, "own", frozenset(name for chain in self.chains for name in chain))

    def is_true(self, chain: tuple[str, ...]) -> bool:
        """Whether the program can have been in these calls."""
        return bool(chain) and any(chain == whole[: len(chain)] for whole in self.chains)


CHAIN = (("main", "alpha", "beta", "gamma_", "delta", "epsilon"),)
HANDLER = (("main", "alpha", "beta", "on_signal", "inside"), ("main", "alpha", "on_signal", "inside"))
HANDLER += (("main", "on_signal", "inside"),)
HOST = (("main", "alpha", "library_outer", "library_step"), ("main", "alpha", "library_outer", "back"))
GO = (
    ("main.main", "main.worker", "main.alpha", "main.beta", "main.gamma", "main.step"),
    ("main.worker", "main.alpha", "main.beta", "main.gamma", "main.step"),
)


def build(folder: Path) -> Iterator[Case]:
    """Build everything that the compilers here can build. Raises CalledProcessError with the compiler's words."""
    for compiler in ("gcc", "clang"):
        if shutil.which(compiler):
            yield from _c(folder, compiler)
            yield from _cpp(folder, {"gcc": "g++", "clang": "clang++"}[compiler])
    if shutil.which("rustc"):
        yield from _rust(folder)
    if shutil.which("go"):
        yield from _go(folder)


def compilers() -> list[str]:
    """Those that are here."""
    return [name for name in ("gcc", "clang", "rustc", "go") if shutil.which(name)]


def _run(*command: str | Path) -> None:
    subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True)


def _stripped(program: Path) -> Path:
    bare = program.with_name(program.name + "-stripped")
    _run("strip", "--strip-all", "-o", bare, program)
    return bare


def _c(folder: Path, compiler: str) -> Iterator[Case]:
    keep_calls = KEEP_CALLS if compiler == "gcc" else KEEP_CALLS[:2]

    def compiled(source: str, name: str, *options: str) -> Path:
        program = folder / f"{compiler}-{name}"
        _run(compiler, "-g0", *keep_calls, *options, "-o", program, PROGRAMS / source, "-ldl", "-lpthread")
        return program

    pointers = {"fp": "-fno-omit-frame-pointer", "nofp": "-fomit-frame-pointer"}
    for level in ("O0", "O1", "O2", "O3", "Os"):
        for kind, option in pointers.items():
            program = compiled("chain.c", f"chain-{level}-{kind}", f"-{level}", option)
            yield Case(program.name, f"{compiler} {kind}", program, CHAIN)
    for kind, option in pointers.items():
        program = compiled("chain.c", f"chain-static-{kind}", "-O2", "-static", option)
        yield Case(program.name, f"{compiler} static", program, CHAIN)
        bare = _stripped(program)
        yield Case(bare.name, f"{compiler} static stripped", bare, CHAIN, twin=program)
        program = compiled("chain.c", f"chain-bare-{kind}", "-O2", option)
        bare = _stripped(program)
        yield Case(bare.name, f"{compiler} stripped", bare, CHAIN, twin=program)
        program = compiled("handler.c", f"handler-{kind}", "-O2", option)
        yield Case(program.name, "signal handler", program, HANDLER)
        library = folder / f"lib{compiler}-{kind}.so"
        _run(compiler, "-g0", "-O2", "-shared", "-fPIC", option, "-o", library, PROGRAMS / "library.c")
        program = compiled("host.c", f"host-{kind}", "-O2", "-Wl,-z,lazy", option)
        yield Case(program.name, "PLT and dlopen", program, HOST, arguments=(str(library),))
        program = compiled("threads.c", f"threads-{kind}", "-O2", option)
        yield Case(program.name, "120 threads", program, (("thread_main", "alpha", "work"),))
        for depth in (100, 250):
            program = compiled("deep.c", f"deep{depth}-{kind}", "-O2", f"-DDEPTH={depth}", option)
            yield Case(program.name, f"{depth} calls deep", program, (("main", *["descend"] * depth, "work"),))
    program = compiled("chain.c", "chain-deleted", "-O2")
    yield Case(program.name, "deleted binary", program, CHAIN, placement="deleted")
    if os.geteuid() == 0 and shutil.which("unshare"):
        program = compiled("chain.c", "chain-elsewhere", "-O2")
        yield Case(program.name, "other mount namespace", program, CHAIN, placement="namespace")


def _cpp(folder: Path, compiler: str) -> Iterator[Case]:
    chains = (("main", "alpha", "Derived::beta", "gamma_"),)
    for level, kind, option in (
        ("O0", "fp", "-fno-omit-frame-pointer"),
        ("O2", "nofp", "-fomit-frame-pointer"),
        ("O3", "nofp", "-fomit-frame-pointer"),
    ):
        program = folder / f"{compiler}-chain-{level}-{kind}"
        _run(compiler, "-g0", "-fno-inline", f"-{level}", option, "-o", program, PROGRAMS / "chain.cpp")
        yield Case(program.name, f"{compiler} {kind}", program, chains)


def _rust(folder: Path) -> Iterator[Case]:
    chains = (("chain::main", "chain::alpha", "chain::beta", "chain::gamma"),)
    for level in ("0", "2", "3"):
        for kind, option in {"fp": "yes", "nofp": "no"}.items():
            program = folder / f"rust-O{level}-{kind}"
            options = ("-C", f"opt-level={level}", "-C", f"force-frame-pointers={option}")
            _run("rustc", "--edition=2021", *options, "-o", program, PROGRAMS / "chain.rs")
            yield Case(program.name, f"rust {kind}", program, chains)
    bare = _stripped(folder / "rust-O3-nofp")
    yield Case(bare.name, "rust stripped", bare, chains, twin=folder / "rust-O3-nofp")


def _go(folder: Path) -> Iterator[Case]:
    for name, options in {"go": (), "go-noopt": ("-gcflags=-N -l",), "go-sw": ("-ldflags=-s -w",)}.items():
        program = folder / name
        _run("go", "build", *options, "-o", program, PROGRAMS / "chain.go")
        twin = folder / "go" if name == "go-sw" else None
        yield Case(name, "go stripped" if twin else "go", program, GO, twin=twin)
