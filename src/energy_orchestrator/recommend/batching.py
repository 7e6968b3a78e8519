"""Batching: operations wait in a queue while the program takes fewer at a time than it could.

Looks for a knob of meaning batch_size with a higher allowed value, and for work that waits (queue depth). Proposes
the largest allowed value that the queue seen can fill: a batch that is only half filled may cost more than none
(matrix libraries pack a whole matrix for two rows; see docs/PROJECT_CONCLUSION_MEMO.md).

The prior: on 8 x H200 (MLPerf v4.1, wall power) the offline scenario, where batches are always full, takes 9 to 19 %
less energy a sample than the server scenario (median 15 %, five models). Those servers batch already; a program that
does not has more to gain, hence a wide interval with its middle above theirs.
"""

from __future__ import annotations

from energy_orchestrator.model.recommendation import SuggestionType
from energy_orchestrator.model.units import Bounded
from energy_orchestrator.model.workload import KnobMeaning
from energy_orchestrator.recommend.observation import Finding, Observation, Prior, environment_change
from energy_orchestrator.recommend.playbook import Measured, corrected

MLPERF_GAP = Bounded(0.147, 0.087, 0.187)
"""1 - J/sample offline / J/sample server: median, lowest and highest; a test computes it from the logs."""
PRIOR = Prior(Bounded(0.20, 0.05, 0.60), 0.55, "prior: MLPerf v4.1 offline against server; nothing measured here yet")
MINIMUM_QUEUE = 1.0


def batching(seen: Observation, measured: Measured) -> Finding | None:
    """See the module."""
    knob = seen.knob(KnobMeaning.BATCH_SIZE)
    if knob is None or not seen.operations:
        return None
    name, value, allowed = knob
    waiting = seen.queue_depth_max
    if waiting is None or waiting < MINIMUM_QUEUE:
        return None
    larger = [int(v) for v in allowed if v.isdigit() and int(value) < int(v) <= waiting + 1]
    if not larger:
        return None
    proposed = str(max(larger))
    patch, inverse = environment_change(name, value, proposed)
    prior = corrected(PRIOR, measured)
    return Finding(
        strategy="batching",
        suggestion_type=SuggestionType.BATCHING,
        patch=patch,
        inverse=inverse,
        saved_watts=seen.active_watts.times(prior.ratio),
        spent_watts=seen.active_watts,
        confidence=prior.confidence,
        confidence_reason=prior.source,
        risk_parts={"availability": 0.2, "latency": 0.4, "blast_radius": 0.2, "reversibility": 0.1},
        evidence=[
            ("largest queue seen", waiting, "operations"),
            ("mean queue", round(seen.queue_depth or 0.0, 2), "operations"),
            ("rate", round(seen.operations / seen.seconds, 2), "operations/s"),
            (f"{name} now", value, ""),
        ],
        explanation=(
            f"Up to {waiting:g} operations waited while {name} is {value}. Taking up to {proposed} together shares the "
            f"fixed cost of a pass. The SLO is watched first: batches can add latency."
        ),
        restarted_replicas=seen.replicas,
    )
