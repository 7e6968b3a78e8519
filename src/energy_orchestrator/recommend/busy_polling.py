"""Runtime flags, second case: CPU that is burned whether or not there is work.

CPU time is regressed on operations over the windows of the span. What it would take at zero operations (the
intercept) does no work. Where the rate hardly varies the regression says nothing; then a process that hardly waits
of its own accord (voluntary switches for each second of CPU) is taken for one that polls: a sleep of 5 ms gives
thousands, a server that blocks for its next request at least one a request. Measured on the demo poller: 48 while it
spins (the thread that answers the scraper), which is why the limit is not near zero. The saving is bounded by the
CPU time that does not follow the work.
"""

from __future__ import annotations

from statistics import StatisticsError, fmean, linear_regression, pstdev

from energy_orchestrator.model.recommendation import SuggestionType
from energy_orchestrator.model.units import Bounded
from energy_orchestrator.model.workload import KnobMeaning
from energy_orchestrator.recommend.observation import Finding, Observation, Prior, environment_change
from energy_orchestrator.recommend.playbook import Measured, corrected

IDLE_SHARE = 0.7
MINIMUM_CORES = 0.2
MINIMUM_WINDOWS = 6
VARIATION = 0.15
WAITS_PER_CPU_SECOND = 100.0
"""Below it a process spins; see the module for where the figure lies."""


def busy_polling(seen: Observation, measured: Measured) -> Finding | None:
    """See the module."""
    knob = seen.knob(KnobMeaning.POLL_WAIT)
    if knob is None or seen.cpu_cores < MINIMUM_CORES or seen.operations is None:
        return None
    name, value, allowed = knob
    later = allowed[allowed.index(value) + 1 :]
    share, how = idle_cpu_share(seen)
    if not later or share < IDLE_SHARE:
        return None
    patch, inverse = environment_change(name, value, later[0])
    ratio = Bounded(share * 0.8, share * 0.4, share)
    prior = corrected(Prior(ratio, 0.6, f"{how}; nothing measured here yet"), measured)
    watts, ratio = seen.active_watts, prior.ratio
    return Finding(
        strategy="busy_polling",
        suggestion_type=SuggestionType.RUNTIME_FLAGS,
        patch=patch,
        inverse=inverse,
        saved_watts=watts.times(ratio),
        spent_watts=watts,
        confidence=prior.confidence,
        confidence_reason=prior.source,
        risk_parts={"availability": 0.3, "latency": 0.3, "blast_radius": 0.2, "reversibility": 0.1},
        evidence=[
            ("CPU", round(seen.cpu_cores, 3), "cores"),
            ("rate", round(seen.operations / seen.seconds, 2), "operations/s"),
            ("CPU that does not follow the work", round(100 * share), "%"),
            ("waits of its own accord", _known(seen.voluntary_per_second), "1/s"),
        ],
        explanation=(
            f"It uses {seen.cpu_cores:.2f} cores for {seen.operations / seen.seconds:.1f} operations a second, and "
            f"about {share:.0%} of that would be used without any ({how}). {name} = {later[0]} lets it wait instead."
        ),
        restarted_replicas=seen.replicas,
    )


def idle_cpu_share(seen: Observation) -> tuple[float, str]:
    """Share of the CPU time that is spent without work, and how that is known."""
    points = [(p.operations_per_second, p.cpu_cores) for p in seen.points if p.operations_per_second is not None]
    if len(points) >= MINIMUM_WINDOWS:
        rates, cores = [rate for rate, _ in points], [core for _, core in points]
        if fmean(rates) > 0 and pstdev(rates) / fmean(rates) >= VARIATION:
            try:
                intercept = linear_regression(rates, cores).intercept
            except StatisticsError:
                intercept = 0.0
            share = min(1.0, max(0.0, intercept / fmean(cores))) if fmean(cores) > 0 else 0.0
            if share >= IDLE_SHARE:
                return share, f"regression over {len(points)} windows"
    waits = seen.voluntary_per_second
    if waits is not None and seen.cpu_cores >= MINIMUM_CORES and waits < WAITS_PER_CPU_SECOND * seen.cpu_cores:
        return 0.9, f"it waits of its own accord only {waits / seen.cpu_cores:.0f} times in a second of CPU"
    return 0.0, "CPU follows the work"


def _known(value: float | None) -> float | str:
    return round(value, 1) if value is not None else "unknown"
