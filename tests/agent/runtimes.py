"""Small real programs, one for each runtime: each says `ready` and then stays. What a machine lacks is named."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import debian

# The bundle marker and the runtime's version, as the host of a single-file .NET program has them in .data.
# No .NET can be had here: this C program is a simulation of such a host.
BUNDLE = """
#include <stdio.h>
#include <unistd.h>
static char version[] __attribute__((used)) = "@(#)Version 8.0.23.53103 @Commit: simulated";
static volatile unsigned char placeholder[] __attribute__((used)) = {1, 0, 0, 0, 0, 0, 0, 0,
  0x8b, 0x12, 0x02, 0xb9, 0x6a, 0x61, 0x20, 0x38, 0x72, 0x7b, 0x93, 0x02, 0x14, 0xd7, 0xa0, 0x32,
  0x13, 0xf5, 0xb9, 0xe6, 0xef, 0xae, 0x33, 0x18, 0xee, 0x3b, 0x2d, 0xce, 0x24, 0xb3, 0x6a, 0xae};
int main(void) { placeholder[0] = version[0]; puts("ready"); fflush(stdout); pause(); }
"""
C = '#include <stdio.h>\n#include <unistd.h>\nint main(void) { puts("ready"); fflush(stdout); pause(); }\n'
CPP = """#include <iostream>
#include <stdexcept>
#include <unistd.h>
int main(int argc, char **) {
  try { if (argc > 9) throw std::runtime_error("x"); } catch (const std::exception &e) { std::cout << e.what(); }
  std::cout << "ready" << std::endl;
  pause();
}
"""
GO = 'package main\nimport ("fmt"; "time")\nfunc main() { fmt.Println("ready"); time.Sleep(time.Hour) }\n'
RUST = 'fn main() { println!("ready"); std::thread::sleep(std::time::Duration::from_secs(3600)); }\n'
JAVA = """class Stay { public static void main(String[] arguments) throws Exception {
  System.out.println("ready"); Thread.sleep(3600000); } }
"""
CSHARP = (
    'class T { static void Main() { System.Console.WriteLine("ready"); System.Threading.Thread.Sleep(3600000); } }\n'
)
NODE = 'console.log("ready"); setTimeout(() => {}, 3600000)'
PYTHON = 'import time; print("ready", flush=True); time.sleep(3600)'
RUBY = 'puts "ready"; $stdout.flush; sleep 3600'


@dataclass(frozen=True)
class Program:
    """How to start it, and what the inventory must say of it."""

    command: list[str]
    language: str
    version: str | None
    settings: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)


class MissingError(Exception):
    """What a program needs and this machine has not."""


def says(*command: str) -> str:
    """What a tool prints of its version."""
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout + done.stderr


def tool(name: str) -> str:
    """Its path."""
    path = shutil.which(name)
    if not path:
        raise MissingError(f"{name} is not here")
    return path


def packaged(name: str, *packages: str) -> str:
    """A tool that Debian has; installed where this is root."""
    if not shutil.which(name) and os.geteuid() == 0 and shutil.which("apt-get"):
        failure = debian.install(packages)
        if failure:
            raise MissingError(f"{name}: {failure}")
    return tool(name)


def built(folder: Path, name: str, source: str, *command: str) -> str:
    """A program made of one source file; `{source}` and `{program}` stand for the two files."""
    tool(command[0])
    file, program = folder / name, folder / name.replace(".", "-")
    file.write_text(source)
    words = [word.format(source=file, program=program) for word in command]
    environment = {**os.environ, "GO111MODULE": "off", "GOFLAGS": "", "CGO_ENABLED": "0"}
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=folder, env=environment)
    if done.returncode:
        raise MissingError(f"{name}: {done.stderr[-300:]}")
    return str(program)


def compiled_c(folder: Path) -> Program:
    """C by GCC."""
    program = built(folder, "gcc.c", C, "gcc", "-o", "{program}", "{source}")
    return Program([program], "c", f"gcc {says('gcc', '-dumpfullversion').strip()}")


def clang(folder: Path) -> Program:
    """C by clang."""
    program = built(folder, "clang.c", C, "clang", "-o", "{program}", "{source}")
    return Program([program], "c", f"clang {says('clang', '-dumpversion').strip()}")


def cpp(folder: Path) -> Program:
    """C++ with its library loaded; the thread counts of libraries are taken where they are numbers."""
    program = built(folder, "shared.cpp", CPP, "g++", "-o", "{program}", "{source}")
    environment = {"OMP_NUM_THREADS": "3", "BLIS_NUM_THREADS": "2", "MKL_NUM_THREADS": "no"}
    settings = ["BLIS_NUM_THREADS=2", "OMP_NUM_THREADS=3"]
    return Program([program], "cpp", f"gcc {says('g++', '-dumpfullversion').strip()}", settings, environment)


def static_cpp(folder: Path) -> Program:
    """C++ with its library inside."""
    program = built(folder, "static.cpp", CPP, "g++", "-static", "-o", "{program}", "{source}")
    return Program([program], "cpp", f"gcc {says('g++', '-dumpfullversion').strip()}")


def rust(folder: Path) -> Program:
    """Rust."""
    program = built(folder, "stay.rs", RUST, "rustc", "-o", "{program}", "{source}")
    return Program([program], "rust", says("rustc", "--version").split()[1])


def go(folder: Path) -> Program:
    """Go with its own limit of threads."""
    program = built(folder, "stay.go", GO, "go", "build", "-o", "{program}", "{source}")
    version = says("go", "version").split()[2].removeprefix("go")
    return Program([program], "go", version, ["GOMAXPROCS=2"], {"GOMAXPROCS": "2"})


def java(folder: Path) -> Program:
    """A JVM whose options come from the environment, from arguments and from a file of arguments."""
    built(folder, "Stay.java", JAVA, "javac", "-d", str(folder), "{source}")
    (folder / "options").write_text("# of the team\n-XX:+UseSerialGC\n-Xmx48m\n")
    command = [tool("java"), "-Xmx64m", "@options", "-Dtoken=s3cret", "-cp", str(folder), "Stay"]
    settings = ["Xss=512k", "UseSerialGC=true", "Xmx=48m"]
    version = says("java", "--version").split()[1]
    return Program(command, "java", version, settings, {"JAVA_TOOL_OPTIONS": "-Xss512k -Dother=s3cret"})


def node(_: Path) -> Program:
    """Node."""
    return Program([tool("node"), "-e", NODE], "node", says("node", "--version").strip().removeprefix("v"))


def python(_: Path) -> Program:
    """CPython."""
    version = ".".join(str(part) for part in sys.version_info[:2])
    return Program(
        [sys.executable, "-c", PYTHON], "python", version, ["NUMEXPR_MAX_THREADS=4"], {"NUMEXPR_MAX_THREADS": "4"}
    )


def pypy(_: Path) -> Program:
    """PyPy, with the version of the language that it runs."""
    program = packaged("pypy3", "pypy3")
    version = says(program, "-c", "import sys; print('%d.%d' % sys.version_info[:2])").strip()
    return Program([program, "-c", PYTHON], "python", f"pypy {version}")


def ruby(_: Path) -> Program:
    """Ruby."""
    program = packaged("ruby", "ruby")
    version = says(program, "-e", "puts RUBY_VERSION").strip()
    return Program([program, "-e", RUBY], "ruby", version.rpartition(".")[0])


def mono(folder: Path) -> Program:
    """C# on Mono, whose program does not tell its version in a way that can be relied on."""
    packaged("mcs", "mono-mcs")
    runtime = packaged("mono", "mono-runtime")
    program = built(folder, "stay.cs", CSHARP, "mcs", "-out:{program}", "{source}")
    return Program([runtime, program], "dotnet", None)


def single_file(folder: Path) -> Program:
    """The host of a single-file .NET program, simulated."""
    return Program([built(folder, "bundle.c", BUNDLE, "gcc", "-o", "{program}", "{source}")], "dotnet", "8.0")


PROGRAMS: list[Callable[[Path], Program]] = [
    compiled_c, clang, cpp, static_cpp, rust, go, java, node, python, pypy, ruby, mono, single_file,
]  # fmt: skip
