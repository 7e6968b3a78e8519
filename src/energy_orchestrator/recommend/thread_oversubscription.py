"""Runtime flags, first case: more threads than CPUs they may run on.

Threads of one parallel section wait for each other at its end. With more of them than CPUs some have not even run
yet while the others wait, often by spinning, and the kernel switches between them by force (involuntary switches).
Declared workloads get a lower thread knob; a program that is not declared gets the same advice for a person.
"""

from __future__ import annotations

import math

from energy_orchestrator.model.recommendation import SuggestionType
from energy_orchestrator.model.units import Bounded
from energy_orchestrator.model.workload import KnobMeaning
from energy_orchestrator.recommend.observation import Finding, Observation, Prior, environment_change
from energy_orchestrator.recommend.playbook import Measured, corrected

PRIOR = Prior(
    Bounded(0.30, 0.02, 0.95), 0.6, "prior: 20.7 against 2.1 CPU-seconds for 8 and 2 BLAS threads on 2 CPUs (memo)"
)
SWITCHES_PER_SECOND = 20.0
MINIMUM_CORES = 0.1
LIBRARIES = frozenset({"openblas", "mkl", "blis", "libgomp"})


def thread_oversubscription(seen: Observation, measured: Measured) -> Finding | None:
    """See the module."""
    if seen.cpus_allowed is None or seen.cpu_cores < MINIMUM_CORES:
        return None
    if (seen.involuntary_per_second or 0.0) < SWITCHES_PER_SECOND:
        return None
    cpus = max(1, math.floor(seen.cpus_allowed))
    knob = seen.knob(KnobMeaning.THREADS)
    if knob is not None:
        return _declared(seen, knob, cpus, corrected(PRIOR, measured))
    oversubscribed = (seen.threads or 0) > cpus * 2
    if seen.declaration is None and oversubscribed and LIBRARIES & set(seen.libraries):
        return _advice(seen, cpus, corrected(PRIOR, measured))
    return None


def _declared(seen: Observation, knob: tuple[str, str, tuple[str, ...]], cpus: int, prior: Prior) -> Finding | None:
    name, value, allowed = knob
    fitting = [int(v) for v in allowed if v.isdigit() and int(v) <= cpus]
    if not value.isdigit() or int(value) <= cpus or not fitting:
        return None
    patch, inverse = environment_change(name, value, str(max(fitting)))
    return _finding(seen, patch, inverse, prior, cpus, f"{name} is {value}", "local")


def _advice(seen: Observation, cpus: int, prior: Prior) -> Finding:
    patch, inverse = environment_change("OMP_NUM_THREADS", None, str(cpus))
    return _finding(seen, patch, inverse, prior, cpus, f"it runs {seen.threads} threads", "none")


def _finding(
    seen: Observation, patch: dict[str, object], inverse: dict[str, object], prior: Prior, cpus: int, fact: str, by: str
) -> Finding:
    watts, ratio = seen.active_watts, prior.ratio
    return Finding(
        strategy="thread_oversubscription",
        suggestion_type=SuggestionType.RUNTIME_FLAGS,
        patch=patch,
        inverse=inverse,
        saved_watts=watts.times(ratio),
        spent_watts=watts,
        confidence=prior.confidence,
        confidence_reason=prior.source,
        risk_parts={"availability": 0.3, "latency": 0.2, "blast_radius": 0.2, "reversibility": 0.1},
        evidence=[
            ("CPUs allowed", float(seen.cpus_allowed or cpus), "CPUs"),
            ("threads", seen.threads or "unknown", "threads"),
            ("forced switches", round(seen.involuntary_per_second or 0.0, 1), "1/s"),
            ("CPU", round(seen.cpu_cores, 3), "cores"),
        ],
        explanation=(
            f"It may use {seen.cpus_allowed:g} CPUs, but {fact}; the kernel took the CPU away "
            f"{seen.involuntary_per_second:.0f} times a second. With {cpus} thread(s) nobody waits by spinning."
        ),
        restarted_replicas=seen.replicas,
        executor=by,
    )
