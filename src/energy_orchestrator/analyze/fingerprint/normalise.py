"""Frames as the agent writes them (`name (module)`) -> names that another build, version or compiler also has.

Removed: parameter lists, return types, template and generic arguments, clone and version suffixes, hashes of Rust,
numbers of lambdas and closures, variants for instruction sets, addresses and offsets. A frame without a name becomes
`?`, with the library's name where it is a shared library, else with the number of such calls in a row; the name of a
program or of its own files is never kept. Interrupts are cut off: they belong to the machine.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

UNNAMED = "?"
KERNEL = "kernel"
FOREIGN = frozenset({KERNEL, "jit"})
DEEPEST = 6
"""Of calls without a name in a row that are told apart: their number is all that a stripped program shows of itself."""
_FRAME = re.compile(r"^(?P<name>.*) \((?P<module>[^()]*)\)$", re.DOTALL)
_ADDRESS = re.compile(r"^\[?(0x)?[0-9a-f]{6,}(\+0x[0-9a-f]+)?\]?$|^\[[^\]]*\+0x[0-9a-f]+\]$|^\[unknown\]$")
_LIBRARY = re.compile(r"^(?P<stem>[\w+.-]*?)[-.]?(\d[\d.]*)?(\.cpython-[\w-]+|\.abi3)?\.so([.\d]*)$")
_SUFFIX = re.compile(
    r"( \[clone [^\]]*\]|\.(isra|constprop|part|cold|lto_priv|llvm|abi0|abiinternal)(\.\d+)*|@@?[\w.]+|::h[0-9a-f]{16}"
    r"|\.\d+)+$"
)
_CLOSURE = re.compile(r"\{\{?(closure|lambda|vtable\.shim|shim)[^{}]*\}?\}|\$_\d+|'lambda\d*'")
_JAVA_HIDDEN = re.compile(r"\$\$Lambda.*?(?=\.)|\$\$?\d+|/0x[0-9a-f]+")
_GO_CLOSURE = re.compile(r"(\.func|\.gowrap)\d+(\.\d+)*")
_ISA = re.compile(
    r"(_(avx\d*|avx512\w*|sse\d*(_\d)?|ssse3|evex\d*|erms|unaligned|shaext|aesni|bmi\d?|generic|x86_64))+$"
)
_RUST_IMPL = re.compile(r"^<(?P<type>.+?) as (?P<trait>.+?)>::(?P<rest>.+)$")
_INTERRUPT = re.compile(r"^(asm_)?(sysvec_|common_interrupt|irqentry|fred_)|^(asm_)?exc_nmi|^schedule_tail")
_INLINE_NAMESPACE = re.compile(r"\b(__cxx11|__1|__ndk1|_V2|__detail)::")


@lru_cache(maxsize=200_000)
def frame_name(frame: str) -> str:
    """The comparable name of one frame; `?` where it has none."""
    parts = _FRAME.match(frame)
    name, module = (parts["name"], parts["module"]) if parts else (frame, "")
    if module == KERNEL or module == "[kernel]":
        return f"kernel:{_SUFFIX.sub('', name).lstrip('_')}"
    if not name or _ADDRESS.match(name):
        return UNNAMED + library_name(module)
    return function_name(name) or UNNAMED


def library_name(module: str) -> str:
    """`libc.so.6` -> `libc`; empty for a program, whose name tells nothing about what it does."""
    found = _LIBRARY.match(module)
    return found["stem"] if found else ("jit" if module == "jit" else "")


def is_own(frame: str) -> bool:
    """It is of the program itself: of no shared library, not of the kernel, not compiled at run time."""
    parts = _FRAME.match(frame)
    module = parts["module"] if parts else ""
    return bool(module) and module not in FOREIGN and not module.startswith("[") and not _LIBRARY.match(module)


def is_named(frame: str) -> bool:
    """It shows a name of the program: of its own functions, or of what was compiled at run time."""
    return (is_own(frame) or frame.endswith(" (jit)")) and not frame_name(frame).startswith(UNNAMED)


def function_name(name: str) -> str:
    """A function's qualified name without what differs from build to build."""
    name = _CLOSURE.sub("closure", _SUFFIX.sub("", name))
    name = name.replace("(anonymous namespace)::", "").replace("_GLOBAL__N_1::", "")
    name = _INLINE_NAMESPACE.sub("", name)
    if implemented := _RUST_IMPL.match(name):
        name = f"{implemented['type']}::{implemented['rest']}"
    name = re.sub(r"\(\*?([\w.]+)\)\.", r"\1.", name)  # Go: (*compressor).deflate
    name = _without_brackets(name.replace("operator()", "operator_call").replace("operator<", "operator_less"))
    name = name.split("(")[0].strip()
    name = name.rsplit(" ", 1)[-1]  # a return type stands before
    name = _GO_CLOSURE.sub(".func", _JAVA_HIDDEN.sub("$", name))
    return _ISA.sub("", name).lstrip("_&*:")


def _without_brackets(name: str) -> str:
    """Template and generic arguments removed, however deep; `->` is no bracket."""
    kept, depth = [], 0
    for index, letter in enumerate(name):
        if letter in "<[":
            depth += 1
        elif letter in ">]" and name[index - 1 : index] != "-":
            depth = max(0, depth - 1)
        elif depth == 0:
            kept.append(letter)
    return "".join(kept).replace("::::", "::")


@lru_cache(maxsize=100_000)
def _stack_names(stack: tuple[str, ...]) -> tuple[str, ...]:
    runs: list[tuple[str, int]] = []
    for frame in stack:
        name = frame_name(frame)
        if name.startswith("kernel:") and _INTERRUPT.match(name.removeprefix("kernel:")):
            break
        # Recursion counts once: in another build it may be a loop.
        if runs and runs[-1][0] == name:
            runs[-1] = (name, runs[-1][1] + 1)
        else:
            runs.append((name, 1))
    return tuple(f"{name}{min(deep, DEEPEST)}" if name == UNNAMED else name for name, deep in runs)


def stack_names(stack: Sequence[str]) -> tuple[str, ...]:
    """A stack, root first, as comparable names: runs of one name are one, interrupts are cut off."""
    return _stack_names(tuple(stack))


def component(name: str) -> str:
    """What a name belongs to: its package, class or name space; else the first part of its name."""
    if name.startswith((UNNAMED, "kernel:")):
        return name.split(":")[0].rstrip("0123456789")
    head = re.split(r"::|\.|/(?=[^/]*\.)", name)
    if len(head) > 1:
        return "::".join(head[:-1])
    words = re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])", name)
    return words[0].lower() if words else name
