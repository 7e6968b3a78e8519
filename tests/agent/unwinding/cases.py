"""The programs, how each is built, and the chains of calls that it can be in.

A chain lists a program's own functions from the root to the leaf. A sample may catch the program in any of them, so
that a prefix of a chain is true, too, if its last function is the innermost frame: the instruction that was running.
What a function may call beside the chain is written down for each program (`callees`), what lies above the chain is
the same for all (`STARTS`); any other frame, named or not, makes a stack wrong. `works`: where the program spends its
time; few samples may stop above.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
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
    # What a function may call beside the chain: a pattern of the whole frame, by the caller.
    callees: Mapping[str, str] = field(default_factory=dict)
    works: frozenset[str] = frozenset()
    # Too deep for the agent: right is the end of the chain below a root that says why the rest is missing. Caught on
    # its way down it may be whole.
    truncated: frozenset[str] = frozenset()
    own: frozenset[str] = field(init=False, default=frozenset())

    def __post_init__(self) -> None:
        """Derive the names that count."""
        object.__setattr__(self, "own", frozenset(name for chain in self.chains for name in chain))

    def is_true(self, stack: Sequence[tuple[str, str]]) -> bool:
        """Whether the program can have been in these calls: name and whole text of each frame in user space, from the
        root."""
        names = [name for name, _ in stack]
        if names and names[0] in self.truncated:
            return len(names) > 1 and self._ends_a_chain(tuple(names[1:]))
        first = next((index for index, name in enumerate(names) if name in self.own), None)
        if first is None or not all(STARTS.fullmatch(text) for _, text in stack[:first]):
            return False
        length = max(self._common(names[first:], chain) for chain in self.chains)
        below = stack[first + length :]
        if self.truncated and length == max(map(len, self.chains)):
            # Deeper than any stack that the agent can bring: it can't be whole.
            return False
        # A callee may call what it likes, but nothing of the program.
        called = not below or re.fullmatch(self.callees.get(names[first + length - 1], "(?!)"), below[0][1])
        return length > 0 and bool(called) and not any(name in self.own for name, _ in below)

    def _ends_a_chain(self, calls: tuple[str, ...]) -> bool:
        """Whether a chain has these calls somewhere below its first, up to the innermost or short of it."""
        return any(
            calls == chain[at : at + len(calls)]
            for chain in self.chains
            for at in range(1, len(chain) - len(calls) + 1)
        )

    @staticmethod
    def _common(names: Sequence[str], chain: tuple[str, ...]) -> int:
        return next((at for at, pair in enumerate(zip(names, chain, strict=False)) if pair[0] != pair[1]),
                    min(len(names), len(chain)))  # fmt: skip

    def is_short(self, stack: Sequence[tuple[str, str]]) -> bool:
        """Whether a true stack stops above where the program works."""
        own = [name for name, _ in stack if name in self.own]
        return bool(self.works) and (not own or own[-1] not in self.works)


# Where a signal handler returns to.
RESTORE = "<signal return>"
# What calls a program's first function: libc (whose inner functions Debian's has no names for), musl, Go, Rust.
STARTS = re.compile(
    r"_start(_c)? \(.*|_dl_start_user \(.*|(__)?clone3? \(.*|start_thread \(.*|main \(.*|libc_start_main_stage2 \(.*"
    r"|__libc_start_(main|call_main)(_impl)?(@.*)? \(.*|\[[0-9a-f]+\+0x[0-9a-f]+\] \(libc\.so\.6\)"
    r"|runtime\.(goexit|main)(\.abi0)? \(.*|<?(std|core)::.* \(.*"
)
CHAIN = (("main", "alpha", "beta", "gamma_", "delta", "epsilon"),)
HANDLER = (("main", "alpha", "beta", RESTORE, "on_signal", "inside"), ("main", "alpha", RESTORE, "on_signal", "inside"))
HANDLER += (("main", RESTORE, "on_signal", "inside"),)
HOST = (("main", "alpha", "library_outer", "library_step"), ("main", "alpha", "library_outer", "back"))
GO = (
    ("main.main", "main.worker", "main.alpha", "main.beta", "main.gamma", "main.step"),
    ("main.worker", "main.alpha", "main.beta", "main.gamma", "main.step"),
)
RUST = (("chain::main", "chain::alpha", "chain::beta", "chain::gamma"),)
CPP = (("main", "alpha", "Derived::beta", "gamma_"),)
# A stub of the procedure linkage table has no symbol: it goes by the one in front of it, `_init`.
STUB = r"_init \(.*"
HOST_CALLEES = {"back": rf"rand_r \(.*|{STUB}", "library_outer": STUB}
THREAD_CALLEES = {
    "thread_main": rf"(usleep|(__)?(clock_)?nanosleep) \(.*|\[[0-9a-f]+\+0x[0-9a-f]+\] \(libc\.so\.6\)|{STUB}"
}
# Without inlining the library's templates are functions of the program's file.
CPP_LIBRARY = rf"(.* )?(std|__gnu_cxx)::.*|(mem|__mem|__cxa_|_Unwind_|__gxx_|operator ).* \(.*|{STUB}"
CPP_CALLEES = {"gamma_": CPP_LIBRARY, "Derived::beta": CPP_LIBRARY, "alpha": CPP_LIBRARY, "main": CPP_LIBRARY}
GO_CALLEES = {name: r"runtime\..*" for chain in GO for name in chain}
RUST_CALLEES = {name: r"<?(core|std|alloc)::.*|(mem|__mem).* \(.*" for chain in RUST for name in chain}
WORKS = frozenset({"delta", "epsilon", "gamma_", "main.gamma", "main.step", "chain::gamma", "work", "inside"})
TOO_DEEP, TOO_MANY_FRAMES = "[truncated: deeper than the stack copy]", "[truncated: more than 512 frames]"
LEVELS = ("O0", "O1", "O2", "O3")
POINTERS = {"fp": "-fno-omit-frame-pointer", "nofp": "-fomit-frame-pointer"}


def build(folder: Path) -> Iterator[Case]:
    """Build everything that the compilers here can build. Raises CalledProcessError with the compiler's words."""
    for compiler in ("gcc", "clang"):
        if shutil.which(compiler):
            yield from _c(folder, compiler)
            yield from _without_symbols(folder, compiler)
            yield from _deep(folder, compiler)
            yield from _cpp(folder, {"gcc": "g++", "clang": "clang++"}[compiler])
    if shutil.which("musl-gcc"):
        yield from _musl(folder)
    if shutil.which("rustc"):
        yield from _rust(folder)
    if shutil.which("go"):
        yield from _go(folder)


def compilers() -> list[str]:
    """Those that are here."""
    return [name for name in ("gcc", "clang", "musl-gcc", "rustc", "go") if shutil.which(name)]


def _run(*command: str | Path) -> None:
    subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True)


def _stripped(program: Path) -> Path:
    bare = program.with_name(program.name + "-stripped")
    _run("strip", "--strip-all", "-o", bare, program)
    return bare


def _compiled(folder: Path, compiler: str, source: str, name: str, *options: str) -> Path:
    keep_calls = KEEP_CALLS[:2] if compiler == "clang" else KEEP_CALLS
    program = folder / f"{compiler}-{name}"
    _run(compiler, "-g0", *keep_calls, *options, "-o", program, PROGRAMS / source, "-ldl", "-lpthread")
    return program


def _c(folder: Path, compiler: str) -> Iterator[Case]:
    def compiled(source: str, name: str, *options: str) -> Path:
        return _compiled(folder, compiler, source, name, *options)

    for level in (*LEVELS, "Os"):
        for kind, option in POINTERS.items():
            program = compiled("chain.c", f"chain-{level}-{kind}", f"-{level}", option)
            yield Case(program.name, f"{compiler} {kind}", program, CHAIN, works=WORKS)
    for kind, option in POINTERS.items():
        program = compiled("handler.c", f"handler-{kind}", "-O2", option)
        # Between two signals it is in beta.
        yield Case(program.name, "signal handler", program, HANDLER, works=WORKS | {"beta"})
        library = folder / f"lib{compiler}-{kind}.so"
        _run(compiler, "-g0", "-O2", "-shared", "-fPIC", option, "-o", library, PROGRAMS / "library.c")
        program = compiled("host.c", f"host-{kind}", "-O2", "-Wl,-z,lazy", option)
        works = frozenset({"back", "library_outer", "library_step"})
        yield Case(program.name, "PLT and dlopen", program, HOST, (str(library),), callees=HOST_CALLEES, works=works)
        program = compiled("threads.c", f"threads-{kind}", "-O2", option)
        chains = (("thread_main", "alpha", "work"),)
        yield Case(program.name, "120 threads", program, chains, callees=THREAD_CALLEES, works=WORKS)
    program = compiled("chain.c", "chain-deleted", "-O2")
    yield Case(program.name, "deleted binary", program, CHAIN, placement="deleted", works=WORKS)
    if os.geteuid() == 0 and shutil.which("unshare"):
        program = compiled("chain.c", "chain-elsewhere", "-O2")
        yield Case(program.name, "other mount namespace", program, CHAIN, placement="namespace", works=WORKS)


def _without_symbols(folder: Path, compiler: str) -> Iterator[Case]:
    """Stripped, static, and both, at each level."""
    for level in LEVELS:
        for kind, option in POINTERS.items():
            for way, options in {"dynamic": (), "static": ("-static",)}.items():
                program = _compiled(folder, compiler, "chain.c", f"{way}-{level}-{kind}", f"-{level}", option, *options)
                bare = _stripped(program)
                if options:
                    yield Case(program.name, f"{compiler} static", program, CHAIN, works=WORKS)
                group = f"{compiler} static stripped" if options else f"{compiler} stripped"
                yield Case(bare.name, group, bare, CHAIN, twin=program, works=WORKS)


def _deep(folder: Path, compiler: str) -> Iterator[Case]:
    """As deep as the agent goes, and deeper: that has to be said at the root."""
    for kind, option in POINTERS.items():
        for depth in (100, 250):
            chains = (("main", *["descend"] * depth, "work"),)
            program = _compiled(folder, compiler, "deep.c", f"deep{depth}-{kind}", "-O2", f"-DDEPTH={depth}", option)
            # So many calls take a few percent of the time themselves.
            yield Case(program.name, f"{depth} calls deep", program, chains, works=WORKS | {"descend"})
        chains = (("main", *["descend"] * 700, "work"),)
        program = _compiled(folder, compiler, "deep.c", f"deep700-{kind}", "-O2", "-DDEPTH=700", option)
        # Which of the two comes first depends on the size of a frame.
        both = frozenset({TOO_DEEP, TOO_MANY_FRAMES})
        yield Case(program.name, "700 calls deep, told as truncated", program, chains, truncated=both)
    # One frame of 20,000 bytes is larger than the copy of the stack.
    program = _compiled(folder, compiler, "chain.c", "wide", "-O2", POINTERS["nofp"])
    group = "a frame of 20 KB, told as truncated"
    yield Case(program.name, group, program, CHAIN, ("20000",), truncated=frozenset({TOO_DEEP}))


def _cpp(folder: Path, compiler: str) -> Iterator[Case]:
    for level, kind in (("O0", "fp"), ("O2", "nofp"), ("O3", "nofp")):
        for way, options in {"": (), "static-": ("-static",)}.items():
            program = folder / f"{compiler}-{way}chain-{level}-{kind}"
            build = ("-g0", "-fno-inline", f"-{level}", POINTERS[kind], *options)
            _run(compiler, *build, "-o", program, PROGRAMS / "chain.cpp")
            group = f"{compiler} static" if options else f"{compiler} {kind}"
            yield Case(program.name, group, program, CPP, callees=CPP_CALLEES, works=WORKS)
            bare = _stripped(program)
            yield Case(bare.name, f"{group} stripped", bare, CPP, twin=program, callees=CPP_CALLEES, works=WORKS)


def _musl(folder: Path) -> Iterator[Case]:
    """Its own functions have no unwind tables; stripped, nothing tells that its first one is the first, so that the
    agent calls such stacks truncated: left out."""
    for level in LEVELS:
        program = _compiled(folder, "musl-gcc", "chain.c", f"chain-{level}", f"-{level}", "-static", POINTERS["nofp"])
        yield Case(program.name, "musl static", program, CHAIN, works=WORKS)


def _rust(folder: Path) -> Iterator[Case]:
    pointers = {"fp": "yes", "nofp": "no"}
    builds = [(f"O{level}-{kind}", level, kind, ()) for level in ("0", "1", "2", "3") for kind in pointers]
    builds += [(f"static-O{level}", level, "nofp", ("-C", "target-feature=+crt-static")) for level in ("0", "3")]
    for name, level, kind, further in builds:
        program = folder / f"rust-{name}"
        options = ("-C", f"opt-level={level}", "-C", f"force-frame-pointers={pointers[kind]}", *further)
        _run("rustc", "--edition=2021", *options, "-o", program, PROGRAMS / "chain.rs")
        group = "rust static" if further else f"rust {kind}"
        yield Case(program.name, group, program, RUST, callees=RUST_CALLEES, works=WORKS)
        if kind == "nofp":
            bare, group = _stripped(program), "rust static stripped" if further else "rust stripped"
            yield Case(bare.name, group, bare, RUST, twin=program, callees=RUST_CALLEES, works=WORKS)


def _go(folder: Path) -> Iterator[Case]:
    for name, options in {"go": (), "go-noopt": ("-gcflags=-N -l",), "go-sw": ("-ldflags=-s -w",)}.items():
        program = folder / name
        _run("go", "build", *options, "-o", program, PROGRAMS / "chain.go")
        twin = folder / "go" if name == "go-sw" else None
        yield Case(name, "go stripped" if twin else "go", program, GO, twin=twin, callees=GO_CALLEES, works=WORKS)
