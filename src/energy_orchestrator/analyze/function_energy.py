"""Energy by function: a workload's active energy, shared by its on-CPU samples per stack."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

MAX_DEPTH = 200


@dataclass(slots=True)
class FlameTree:
    """A node of the flame graph. `joules` covers the frame and all below it."""

    name: str
    joules: float = 0.0
    children: dict[str, FlameTree] = field(default_factory=dict)


def flame_tree(name: str, stacks: Iterable[tuple[Sequence[str], int]], active_joules: float) -> FlameTree:
    """Build the tree; its root carries all the energy.

    Args:
        stacks: frames from root to leaf, and how many samples had them.
        active_joules: energy of the workload in the same span.
    """
    counted = [(stack[:MAX_DEPTH], count) for stack, count in stacks if count > 0]
    total = sum(count for _, count in counted)
    root = FlameTree(name, active_joules if total else 0.0)
    for stack, count in counted:
        joules, here = active_joules * count / total, root
        for frame in stack:
            here = here.children.setdefault(frame, FlameTree(frame))
            here.joules += joules
    return root
