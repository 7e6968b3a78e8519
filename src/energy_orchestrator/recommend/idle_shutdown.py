"""Idle shutdown: a service that may be stopped did nothing for the whole span.

Its operations are counted and there were none, it uses next to no CPU, and its declaration says `may_stop`. Saved
are its own active energy and the power of the memory it holds (0 to 0.4 W/GB, as in `right_size`).
"""

from __future__ import annotations

from energy_orchestrator.model.recommendation import SuggestionType
from energy_orchestrator.model.units import Bounded
from energy_orchestrator.recommend.observation import Finding, Observation, Prior
from energy_orchestrator.recommend.playbook import Measured, corrected
from energy_orchestrator.recommend.right_size import MEMORY_WATTS_PER_GB

IDLE_CORES = 0.02


def idle_shutdown(seen: Observation, measured: Measured) -> Finding | None:
    """See the module."""
    declaration = seen.declaration
    if declaration is None or not declaration.may_stop or declaration.replicas == 0:
        return None
    if seen.operations is None or seen.operations > 0 or seen.cpu_cores > IDLE_CORES:
        return None
    memory = MEMORY_WATTS_PER_GB.scaled(seen.mem_bytes / 1e9)
    active = seen.active_watts
    spent = Bounded(active.value + memory.value, active.lower + memory.lower, active.upper + memory.upper)
    prior = corrected(Prior(Bounded(1.0, 1.0, 1.0), 0.7, "what is stopped spends nothing"), measured)
    return Finding(
        strategy="idle_shutdown",
        suggestion_type=SuggestionType.IDLE_SHUTDOWN,
        patch={"replicas": 0},
        inverse={"replicas": declaration.replicas},
        saved_watts=spent,
        spent_watts=spent,
        confidence=prior.confidence,
        confidence_reason=prior.source,
        risk_parts={"availability": 0.6, "latency": 0.1, "blast_radius": 0.2, "reversibility": 0.2},
        evidence=[
            ("operations", 0.0, "operations"),
            ("memory held", round(seen.mem_bytes / 1e6, 1), "MB"),
            ("CPU", round(seen.cpu_cores, 4), "cores"),
        ],
        explanation=(
            f"No operation in {seen.seconds:.0f} s, while it holds {seen.mem_bytes / 1e6:.0f} MB. Stopping it frees "
            "the memory; starting it again is the inverse. Nothing starts it by itself when somebody asks for it."
        ),
        restarted_replicas=declaration.replicas,
    )
