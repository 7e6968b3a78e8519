"""The named view `sci`: idle shared by what is reserved, as the Green Software Foundation's SCI asks (ISO/IEC 21031).

Attribution leaves idle with the node. SCI counts the hardware that is reserved for a workload as its own, used or not,
so here the idle of a node in a window is split by each workload's share of the node's CPUs and of its memory, half by
the one and half by the other: no data says how idle divides between them, and the halves are named so that they can be
argued with. What nobody reserves stays with the node as `unreserved` and is never spread. Where more is reserved than
there is, everybody gets his part of what is there, and nothing is left.

What a workload has reserved is a claim with its basis: a declared limit, the CPUs it is allowed where that is fewer
than the node has, else what it used. Limits stand in for the requests of pods, which the agent does not know.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

CPU_WEIGHT = 0.5
"""Of idle; the rest goes by memory."""


class Basis(StrEnum):
    """What a claim rests on, the firmest first."""

    DECLARED = "declared limit"
    ALLOWED = "CPUs allowed"
    USE = "use"


@dataclass(frozen=True, slots=True)
class Amount:
    """CPUs or bytes that a workload has on a node, and what that rests on."""

    value: float
    basis: Basis


@dataclass(frozen=True, slots=True)
class Claim:
    """What a workload has reserved of a node in a window, all its replicas there together."""

    workload: str
    cpus: Amount
    memory_bytes: Amount


@dataclass(frozen=True, slots=True)
class NodeSize:
    """What there is to reserve; None where it is not known."""

    cpus: float | None
    memory_bytes: float | None


@dataclass(frozen=True, slots=True)
class Split:
    """Of the whole: the part of each claim, in their order, and what nobody reserved. They add up to the whole."""

    parts: tuple[float, ...]
    unreserved: float


def claimed_cpus(declared: float | None, allowed: Sequence[float], node_cpus: float | None, used: float) -> Amount:
    """The firmest that is known, all in CPUs. `allowed`, of each replica, counts where each is restricted."""
    if declared is not None:
        return Amount(declared, Basis.DECLARED)
    if allowed and node_cpus is not None and max(allowed) < node_cpus:
        return Amount(math.fsum(allowed), Basis.ALLOWED)
    return Amount(used, Basis.USE)


def claimed_memory(declared: float | None, used: float) -> Amount:
    """Bytes."""
    return Amount(declared, Basis.DECLARED) if declared is not None else Amount(used, Basis.USE)


def shares(claims: Sequence[Claim], size: NodeSize) -> list[float]:
    """Share of the node that each has reserved, 0 to 1; together no more than 1. All 0 where its size is unknown."""
    by_cpu = _parts([it.cpus.value for it in claims], size.cpus)
    by_memory = _parts([it.memory_bytes.value for it in claims], size.memory_bytes)
    if by_cpu is None or by_memory is None:
        return by_cpu or by_memory or [0.0] * len(claims)
    return [CPU_WEIGHT * cpu + (1 - CPU_WEIGHT) * memory for cpu, memory in zip(by_cpu, by_memory, strict=True)]


def split(whole: float, claims: Sequence[Claim], size: NodeSize) -> Split:
    """Idle joules, or anything else that goes with reserved hardware, among those who reserved it.

    Raises:
        ValueError: on a negative or non-finite amount.
    """
    _check([whole, *(it.cpus.value for it in claims), *(it.memory_bytes.value for it in claims)])
    parts = [whole * share for share in shares(claims, size)]
    rest = whole - math.fsum(parts)
    if rest < 0:  # rounding: all is reserved
        largest = max(range(len(parts)), key=lambda place: parts[place])
        parts[largest] += rest
        rest = 0.0
    return Split(tuple(parts), rest)


def _parts(amounts: Sequence[float], capacity: float | None) -> list[float] | None:
    if not capacity:
        return None
    whole = max(capacity, math.fsum(amounts))
    return [amount / whole for amount in amounts]


def _check(values: Iterable[float]) -> None:
    if not all(math.isfinite(it) and it >= 0 for it in values):
        raise ValueError("amounts must be finite and not negative")
