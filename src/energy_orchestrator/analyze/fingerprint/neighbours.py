"""Which workloads are alike, and why: the reason is what both spend their samples on.

Search here is exact, for some thousand vectors; the store searches more. Cosine: 1 is the same, 0 has nothing shared.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from energy_orchestrator.analyze.fingerprint.features import Profile, tokens
from energy_orchestrator.analyze.fingerprint.normalise import UNNAMED
from energy_orchestrator.analyze.fingerprint.vector import FingerprintModel

LEAST_SHARED = 0.15
"""A path is called hot when so much of the samples of both has it."""
KEPT_FUNCTIONS = 8
GENERAL = frozenset({"interpreter", "copying and comparing memory", "memory allocation", "kernel: memory"})
"""True of many programs: named only where nothing more telling is shared."""
PLUMBING = re.compile(
    r"^(Py(Eval|Object|Run|Import|Function|Method|Number|Iter|Gen|Dict|Code)_\w+|Py_\w+|pymain_\w+|run_mod|run_eval_code_obj"
    r"|\w*vectorcall\w*|object_vacall|builtin_exec|slot_tp_\w+|type_call|gen_send_ex\w*|cfunction_\w+"
    r"|main|start|start_thread|thread_start|clone3?|libc_start_\w+|call_init|new::thread_start"
    r"|runtime\.(goexit|main|mcall|schedule|findRunnable)\b.*|JavaMain|call_stub|(\w+::)*Execution::\w+|node::\w*Start\w*"
    r"|std::rt::lang_start\w*|std::(sys|sys_common)::backtrace::.*|std::panic\w*::.*|core::ops::function::.*"
    r"|kernel:(ret_from_fork\w*|kthread|entry_SYSCALL\w*|do_syscall_64|x64_sys_call))$"
)
"""Functions that every program of a language runs through: they tell the language, and no more."""


@dataclass(frozen=True)
class Traits:
    """What explains a vector: shares of samples by what they do, and of the most telling functions."""

    does: Mapping[str, float]
    functions: Mapping[str, float]


def traits(profile: Profile, model: FingerprintModel) -> Traits:
    """What to keep beside the vector."""
    found = tokens(profile.stacks)
    named = {name: share for name, share in found.get("under", {}).items() if not name.startswith(UNNAMED)}
    order = {name: (is_plumbing(name), -named[name] * model.rarity(f"under:{name}"), name) for name in named}
    telling = sorted(named, key=order.__getitem__)[:KEPT_FUNCTIONS]
    return Traits(found.get("does", {}), {name: named[name] for name in telling})


def is_plumbing(name: str) -> bool:
    """See `PLUMBING`."""
    return PLUMBING.match(name) is not None


def told(does: Mapping[str, float]) -> list[str]:
    """What it does, the most telling first."""
    return sorted(does, key=lambda name: (name in GENERAL, -does[name], name))


def reason(one: Traits, other: Traits) -> str:
    """Why two are neighbours, for a person to read."""
    does = _shared(one.does, other.does)
    telling = [name for name in does if name not in GENERAL]
    functions = [name for name in _shared(one.functions, other.functions) if not is_plumbing(name)]
    if telling:
        return f"same hot path: {_both(telling[0], one, other)}"
    if functions:
        return f"same hot functions: {', '.join(functions[:3])}"
    if does:
        return f"much {_both(does[0], one, other)}; no more telling path in common"
    return "alike in how resources are used over time; no hot path in common"


def _both(name: str, one: Traits, other: Traits) -> str:
    return f"{name} ({_percent(one.does[name])} and {_percent(other.does[name])} of the samples)"


def nearest(vectors: NDArray[np.float32], query: NDArray[np.float32], count: int) -> list[tuple[int, float]]:
    """Index and cosine of the most alike, the most alike first."""
    likeness = vectors @ query
    order = np.argsort(-likeness, kind="stable")[:count]
    return [(int(index), float(likeness[index])) for index in order]


def _shared(one: Mapping[str, float], other: Mapping[str, float]) -> Sequence[str]:
    both = {name: min(share, other[name]) for name, share in one.items() if name in other}
    return sorted((name for name, share in both.items() if share >= LEAST_SHARED), key=lambda name: (-both[name], name))


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
