"""The programs of the corpus: how each is built, and run so that it works until it is ended.

Sources are in `sources/`, written for this corpus; the tools are those of the machine. No name tells which program it
is: every main module is called `main` or `Main`. A program takes the number of its input (0, 1, 2) as its argument,
a tool gets a stream of one of three files.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

SOURCES = Path(__file__).parent / "sources"
INPUTS = (0, 1, 2)
STRIPPED = "stripped"
PYTHONS = Path(os.environ.get("PYENV_ROOT", str(Path.home() / ".pyenv"))) / "versions"

# The first build of each language is the usual one.
BUILDS: dict[str, dict[str, tuple[str, ...]]] = {
    "c": {
        "gcc -O2": ("gcc", "-O2"),
        "gcc -O1": ("gcc", "-O1"),
        "clang -O2": ("clang", "-O2"),
        STRIPPED: ("gcc", "-O2", "-s"),
    },
    "cpp": {
        "g++ -O2": ("g++", "-std=c++17", "-O2"),
        "g++ -O1": ("g++", "-std=c++17", "-O1"),
        "clang++ -O2": ("clang++", "-std=c++17", "-O2"),
        STRIPPED: ("g++", "-std=c++17", "-O2", "-s"),
    },
    "rust": {
        "rustc -O": ("rustc", "-O"),
        "rustc opt-level=1": ("rustc", "-C", "opt-level=1"),
        "rustc opt-level=s": ("rustc", "-C", "opt-level=s"),
        STRIPPED: ("rustc", "-O", "-C", "strip=symbols"),
    },
    "go": {
        "go": ("go", "build"),
        "go, no inlining": ("go", "build", "-gcflags=all=-l"),
        STRIPPED: ("go", "build", "-ldflags=-s -w"),
    },
    "java": {
        "default": (),
        "C1 only": ("-XX:TieredStopAtLevel=1",),
        "serial collector": ("-XX:+UseSerialGC",),
    },
    "node": {"default": (), "no optimising compiler": ("--no-opt",)},
    "python": {"3.11": ("3.11.7",), "3.12": ("3.12.1",), "3.9": ("3.9.18",)},
    "tool": {"debian": ()},
}

_SQL = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 900000000) SELECT %s FROM n;"
TOOLS: dict[str, tuple[tuple[str, ...], ...]] = {
    "gzip": (("gzip", "-c"),),
    "bzip2": (("bzip2", "-c"),),
    "xz": (("xz", "-2", "-T1", "-c"),),
    "zstd": (("zstd", "-9", "-T1", "-q", "-c"),),
    "lz4": (("lz4", "-q", "-c"),),
    "aes": (("openssl", "enc", "-aes-256-cbc", "-pbkdf2", "-pass", "pass:corpus"),),
    "sha256sum": (("sha256sum",),),
    "md5sum": (("md5sum",),),
    "awk": (("mawk", "{n[$1]++; s += length($2)} END {print s}"),),
    "sed": (("sed", "-E", "s/node/host/g; s/[0-9]+/N/"),),
    "grep": (("grep", "-c", "-E", "(node|host)-[0-9]+.*(7|a)$"),),
    "sort": (("sort", "-S", "16M", "--parallel=1"),),
    "perl": (("perl", "-ne", "$n{$1}++ while /(\\w\\w)/g"),),
    "jq": (("jq", "-R", 'split(" ") | length'),),
    "sqlite3": tuple(
        ("sqlite3", ":memory:", _SQL % what)
        for what in ("count(*), sum(i % 7)", "max(abs(i - 77)), min(i)", "avg(length(hex(i)))")
    ),
    "bc": tuple(("bc", "-l", "-q", what) for what in ("0", "1", "2")),
}
BC_SCRIPTS = (
    "scale=300; while (1) x = a(1)",
    "scale=1200; while (1) x = e(1.5)",
    "while (1) { x = 3 ^ 9000; y = x / 7 ^ 800 }",
)


@dataclass(frozen=True)
class Program:
    """One program: `name` is the label of the corpus."""

    name: str
    language: str

    @property
    def builds(self) -> tuple[str, ...]:
        """What it can be built with, the usual one first."""
        return tuple(BUILDS[self.language])


def programs() -> list[Program]:
    """All of them."""
    found = [
        Program(f"{folder.name}/{source.stem}", folder.name)
        for folder in sorted(SOURCES.iterdir())
        for source in sorted(folder.iterdir())
        if folder.name in BUILDS
    ]
    return found + [Program(f"tool/{name}", "tool") for name in TOOLS]


def build(program: Program, build_name: str, folder: Path) -> tuple[str, ...]:
    """The command that runs it, built if it must be; without the input. What is there already is not built again."""
    flags, stem = BUILDS[program.language][build_name], program.name.split("/")[1]
    place = folder / program.name.replace("/", "_") / build_name.replace(" ", "_")
    source, out, done = SOURCES / program.language, place / "main", place.exists()
    place.mkdir(parents=True, exist_ok=True)
    if program.language in ("c", "cpp", "rust"):
        extra = ("--crate-name", "main") if program.language == "rust" else ()
        suffix = {"c": ".c", "cpp": ".cpp", "rust": ".rs"}[program.language]
        libraries = ("-lm",) if program.language == "c" else ()
        done or _make(*flags, *extra, str(source / f"{stem}{suffix}"), "-o", str(out), *libraries)
        return (str(out),)
    if program.language == "go":
        copy = place / "main.go"
        shutil.copy(source / f"{stem}.go", copy)
        done or _make(*flags, "-o", str(out), str(copy))
        return (str(out),)
    if program.language == "java":
        done or _make("javac", "-d", str(place), str(source / stem / "Main.java"))
        return ("java", *flags, "-cp", str(place), "Main")
    if program.language == "node":
        shutil.copy(source / f"{stem}.js", place / "main.js")
        return ("node", *flags, str(place / "main.js"))
    shutil.copy(source / f"{stem}.py", place / "main.py")
    return (str(PYTHONS / flags[0] / "bin" / "python3"), str(place / "main.py"))


def tool_command(name: str, number: int) -> tuple[tuple[str, ...], bool]:
    """The tool's command for an input, and whether it reads the stream."""
    commands = TOOLS[name]
    return commands[number % len(commands)], len(commands) == 1


def _make(*command: str) -> None:
    environment = dict(os.environ, GOTOOLCHAIN="local", GOFLAGS="-mod=mod", GO111MODULE="off")
    subprocess.run(command, check=True, capture_output=True, env=environment, timeout=300)
