"""From a recommendation to a decision.

- A pause denies, and so does a change that no executor can carry out.
- Where the workload's declaration and the policy file both name a mode, the more careful one counts; where neither
  does, the configured default.
- Mode advisory denies; mode approve needs an approval; mode auto allows, but only where the workload is labelled
  non-production or batch (`environment` in AUTO_ENVIRONMENTS), else it needs an approval.
- A policy that denies wins over everything; one that requires an approval wins over auto.
- The budget denies for now: too many rollouts at once or in the last hour, a cool-down after a revert of the same
  target, a saving below the minimum. An approval does not lift it.

`services/orchestrator.py` brings the values, keeps the decision and acts on it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from energy_orchestrator.decide.policy import Verdict
from energy_orchestrator.model.decision import Decision, DecisionOutcome, Mode
from energy_orchestrator.model.pause import Pause
from energy_orchestrator.model.recommendation import Recommendation
from energy_orchestrator.model.workload import Declaration

AUTO_ENVIRONMENTS = frozenset({"demo", "development", "non-production", "test", "staging", "batch"})
NO_EXECUTOR = "none"
_CAREFUL_FIRST = (Mode.ADVISORY, Mode.APPROVE, Mode.AUTO)


@dataclass(frozen=True, slots=True)
class Budget:
    """Limits that keep a fleet from moving all at once."""

    max_active_rollouts: int = 1
    max_rollouts_per_hour: int = 12
    cool_down_after_revert: timedelta = timedelta(hours=1)
    minimum_savings_j_per_day: float = 100.0


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What the stores say at this moment."""

    pause: Pause | None = None
    active_rollouts: int = 0
    rollouts_last_hour: int = 0
    last_revert_of_target: datetime | None = None


def policy_context(it: Recommendation, declaration: Declaration | None) -> dict[str, Any]:
    """What policies see."""
    return {
        "recommendation": {
            "suggestion_type": it.suggestion_type.value,
            "risk_score": float(it.risk_score),
            "confidence": float(it.confidence),
            "expected_savings_j": float(it.expected_savings_j.value),
            "expected_savings_j_lower": float(it.expected_savings_j.lower),
            "source": it.source,
            "patch": _plain(it.change.patch),
            "risk_parts": {name: float(value) for name, value in it.risk_parts.items()},
        },
        "workload": {
            "key": it.target.workload,
            "name": declaration.name if declaration else it.target.workload,
            "labels": dict(declaration.labels) if declaration else {},
            "replicas": declaration.replicas if declaration else 0,
            "declared": declaration is not None,
        },
    }


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return value


def chosen_mode(declared: str | None, by_rule: Mode | None, default: Mode) -> Mode:
    """The more careful of what the declaration and the policy file say."""
    said = [Mode(declared)] if declared else []
    said += [by_rule] if by_rule else []
    return min(said, key=_CAREFUL_FIRST.index, default=default)


def decide(
    it: Recommendation,
    declaration: Declaration | None,
    mode: Mode,
    verdicts: Sequence[Verdict],
    circumstances: Circumstances,
    budget: Budget,
    now: datetime,
) -> Decision:
    """See the module; `mode` as `chosen_mode` gives it."""
    policies = tuple(verdict.policy for verdict in verdicts)
    denials = [f"{verdict.policy}: {verdict.message}" for verdict in verdicts if verdict.denies]
    if mode is Mode.ADVISORY:
        denials.append("mode advisory: nothing is executed")
    if it.change.executor == NO_EXECUTOR:
        denials.append("no executor owns the workload: declare it in the workload file first")
    if circumstances.pause:
        denials.append(f"paused by {circumstances.pause.by}: {circumstances.pause.reason}")
    denials += over_budget(it, circumstances, budget, now)
    if denials:
        return Decision(DecisionOutcome.DENY, mode, tuple(denials), policies)
    asks = [f"{verdict.policy}: {verdict.message}" for verdict in verdicts]
    if mode is Mode.APPROVE:
        asks.append("mode approve: a person approves each change")
    elif not _may_run_alone(declaration):
        asks.append("mode auto: only for workloads labelled environment = " + ", ".join(sorted(AUTO_ENVIRONMENTS)))
    if asks:
        return Decision(DecisionOutcome.NEEDS_APPROVAL, mode, tuple(asks), policies)
    return Decision(DecisionOutcome.ALLOW, mode, ("mode auto, and no policy objects",), policies)


def over_budget(it: Recommendation, now_is: Circumstances, budget: Budget, now: datetime) -> list[str]:
    """Reasons why it has to wait."""
    reasons = []
    if now_is.active_rollouts >= budget.max_active_rollouts:
        reasons.append(f"budget: {now_is.active_rollouts} rollout(s) under way, {budget.max_active_rollouts} allowed")
    if now_is.rollouts_last_hour >= budget.max_rollouts_per_hour:
        reasons.append(f"budget: {now_is.rollouts_last_hour} rollouts in the last hour are the limit")
    reverted = now_is.last_revert_of_target
    if it.source != "operator" and reverted and now - reverted < budget.cool_down_after_revert:
        reasons.append(f"budget: a change of {it.target.workload} was reverted at {reverted:%H:%M}; cooling down")
    if it.source != "operator" and it.expected_savings_j.value < budget.minimum_savings_j_per_day:
        reasons.append(f"budget: it would save less than {budget.minimum_savings_j_per_day:g} J a day")
    return reasons


def _may_run_alone(declaration: Declaration | None) -> bool:
    return declaration is not None and declaration.labels.get("environment", "") in AUTO_ENVIRONMENTS
