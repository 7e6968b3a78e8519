"""A rollout: how far an approved change has come, and what it will put back if it fails.

The rules by which one state follows another are in `execute/rollout_machine.py`; these are the values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any


class RolloutPhase(StrEnum):
    """Argo Rollouts' words where it has them."""

    PENDING = "Pending"
    RUNNING = "Running"
    WATCHING = "Watching"
    INCONCLUSIVE = "Inconclusive"
    REVERTING = "Reverting"
    SUCCESSFUL = "Successful"
    FAILED = "Failed"
    ERROR = "Error"

    @property
    def finished(self) -> bool:
        """Nothing follows."""
        return self in (RolloutPhase.SUCCESSFUL, RolloutPhase.FAILED, RolloutPhase.ERROR)


class StepKind(StrEnum):
    """What a step does."""

    SET_SCOPE = "setScope"
    SMOKE = "smoke"
    ANALYSIS = "analysis"
    PAUSE = "pause"
    WATCH = "watch"
    IDLE_CHECK = "idleCheck"


@dataclass(frozen=True, slots=True)
class Step:
    """`percent` for setScope, `seconds` for pause."""

    kind: StepKind
    percent: int | None = None
    seconds: float | None = None

    def describe(self) -> str:
        """In words."""
        match self.kind:
            case StepKind.SET_SCOPE:
                return f"apply to {self.percent} %"
            case StepKind.SMOKE:
                return "smoke test"
            case StepKind.ANALYSIS:
                return "compare canary with baseline"
            case StepKind.PAUSE:
                return f"pause {self.seconds:g} s"
            case StepKind.WATCH:
                return "watch after full rollout"
            case StepKind.IDLE_CHECK:
                return "check that it does nothing"


@dataclass(frozen=True, slots=True)
class Rollout:
    """State of one rollout. `pre_image` is what a revert restores; it is saved before the first act."""

    id: str
    recommendation_id: str
    tenant: str
    workload: str
    executor: str
    patch: Mapping[str, Any]
    pre_image: Mapping[str, Any]
    steps: tuple[Step, ...]
    started_at: datetime
    step_started_at: datetime
    phase: RolloutPhase = RolloutPhase.PENDING
    step_index: int = 0
    attempt: int = 0
    """Counts repetitions of a step that was inconclusive; part of the action id."""
    scope_percent: int = 0
    message: str = ""
    failure: RolloutPhase | None = None
    """Phase to end in once the revert is done."""
    finished_at: datetime | None = None
    paused_at: datetime | None = None
    """Since when the kill switch holds it."""
    version: int = 0
    """Counts stored states: a state that was computed from an older one is refused."""

    @property
    def step(self) -> Step | None:
        """The present step; None after the last."""
        return self.steps[self.step_index] if self.step_index < len(self.steps) else None
