"""Right-size: limits and replicas above what the work needs, by percentiles with headroom.

A CPU or memory limit costs no joules by itself; lowering it lets others be placed beside it. So the saving expected
of a limit is zero, and its upper bound is the power of the memory set free (0 to 0.4 W/GB: DRAM at rest to busy,
Cloud Carbon Footprint takes 0.39 W/GB). A replica too many costs its own fixed CPU time: the part that does not
follow the work.
"""

from __future__ import annotations

import math
from typing import Any

from energy_orchestrator.model.recommendation import SuggestionType
from energy_orchestrator.model.units import Bounded
from energy_orchestrator.recommend.busy_polling import idle_cpu_share
from energy_orchestrator.recommend.observation import Finding, Observation, Prior
from energy_orchestrator.recommend.playbook import Measured, corrected

HEADROOM = 1.15
MEMORY_HEADROOM = 1.3
"""More than for CPU: too little CPU is slow, too little memory is killed."""
TOO_LARGE = 2.0
"""Only limits at least so many times the need are worth a restart."""
HISTORY_SECONDS = 3600.0
"""A limit is lowered only after so long: a minute says nothing of the next peak (VPA #1574: OOM loops)."""
REPLICA_BUSY = 0.10
MEMORY_STEP = 16 * 2**20
MEMORY_WATTS_PER_GB = Bounded(0.2, 0.0, 0.4)


def right_size(seen: Observation, measured: Measured) -> Finding | None:
    """See the module."""
    if seen.declaration is None or seen.replicas < 1:
        return None
    return _replicas(seen, measured) or _limits(seen)


def _replicas(seen: Observation, measured: Measured) -> Finding | None:
    wanted = max(2, math.ceil(seen.cpu_cores / REPLICA_BUSY))
    share, how = idle_cpu_share(seen)
    if seen.replicas <= wanted or share <= 0 or not seen.operations:
        return None
    surplus = (seen.replicas - wanted) / seen.replicas
    ratio = Bounded(surplus * share * 0.8, surplus * share * 0.4, surplus)
    prior = corrected(Prior(ratio, 0.5, f"{how}; nothing measured here yet"), measured)
    watts, ratio = seen.active_watts, prior.ratio
    saved = watts.times(ratio)
    told = f"{seen.replicas} replicas share {seen.cpu_cores:.2f} cores; {wanted} would each stay below one tenth."
    patch = {"replicas": wanted}
    return _finding(seen, patch, {"replicas": seen.replicas}, saved, prior.confidence, prior.source, told)


def _limits(seen: Observation) -> Finding | None:
    assert seen.declaration is not None
    limits, patch, inverse, told = seen.declaration.limits, {}, {}, []
    memory_watts = Bounded(0.0, 0.0, 0.0)
    peaks = seen.peaks
    if peaks is None or peaks.history_seconds < HISTORY_SECONDS:
        return None
    need = math.ceil(max(0.05, peaks.cpu_cores_p95 * HEADROOM) * 20) / 20
    if limits.cpu is not None and limits.cpu > TOO_LARGE * need:
        patch["cpu"], inverse["cpu"] = need, limits.cpu
        told.append(f"95 % of windows used at most {peaks.cpu_cores_p95:.2f} of {limits.cpu:g} CPUs")
    room = math.ceil(peaks.mem_bytes * MEMORY_HEADROOM / MEMORY_STEP) * MEMORY_STEP
    if limits.memory_bytes is not None and peaks.mem_bytes > 0 and limits.memory_bytes > TOO_LARGE * room:
        patch["memory_bytes"], inverse["memory_bytes"] = room, limits.memory_bytes
        told.append(f"at most {peaks.mem_bytes / 1e6:.0f} of {limits.memory_bytes / 1e6:.0f} MB were used")
        freed = MEMORY_WATTS_PER_GB.upper * (limits.memory_bytes - room) * seen.replicas / 1e9
        memory_watts = Bounded(0.0, 0.0, freed)
    if not patch:
        return None
    text = f"{' and '.join(told)}. Lowering it saves nothing by itself: it makes room for others."
    return _finding(
        seen, {"limits": patch}, {"limits": inverse}, memory_watts, 0.5, "no direct saving is promised", text
    )


def _finding(
    seen: Observation,
    patch: dict[str, Any],
    inverse: dict[str, Any],
    saved: Bounded,
    confidence: float,
    reason: str,
    text: str,
) -> Finding:
    limit = (seen.declaration.limits.memory_bytes if seen.declaration else None) or 0
    reserved = MEMORY_WATTS_PER_GB.scaled(max(seen.mem_bytes, limit * seen.replicas) / 1e9)
    active = seen.active_watts
    spent = Bounded(active.value + reserved.value, active.lower + reserved.lower, active.upper + reserved.upper)
    return Finding(
        strategy="right_size",
        suggestion_type=SuggestionType.RIGHT_SIZE,
        patch=patch,
        inverse=inverse,
        saved_watts=saved,
        spent_watts=spent,
        confidence=confidence,
        confidence_reason=reason,
        risk_parts={"availability": 0.5, "latency": 0.4, "blast_radius": 0.3, "reversibility": 0.1},
        evidence=[
            ("CPU", round(seen.cpu_cores, 3), "cores"),
            ("memory", round(seen.mem_bytes / 1e6, 1), "MB"),
            ("replicas", float(seen.replicas), ""),
        ],
        explanation=text,
        restarted_replicas=seen.replicas,
    )
