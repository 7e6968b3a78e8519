"""The judged comparison of a canary with its baseline: one measurement per metric, one phase for the whole.

Words and defaults are those of Argo Rollouts' analysis (https://argo-rollouts.readthedocs.io/en/stable/features/analysis/).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from energy_orchestrator.model.saving import Saving


class AnalysisPhase(StrEnum):
    """Running until decided. Inconclusive is neither good nor bad, and never passes."""

    RUNNING = "Running"
    SUCCESSFUL = "Successful"
    FAILED = "Failed"
    ERROR = "Error"
    INCONCLUSIVE = "Inconclusive"


@dataclass(frozen=True, slots=True)
class MetricResult:
    """One metric. `estimate` with its interval is canary minus baseline, in `unit`; negative is less."""

    name: str
    phase: AnalysisPhase
    judge: str
    unit: str
    baseline: float | None = None
    canary: float | None = None
    estimate: float | None = None
    lower: float | None = None
    upper: float | None = None
    samples_baseline: int = 0
    samples_canary: int = 0
    message: str = ""


@dataclass(frozen=True, slots=True)
class AnalysisRun:
    """All metrics; the phase is the worst of them (`verify/analysis.py`)."""

    phase: AnalysisPhase
    metrics: tuple[MetricResult, ...]
    method: str
    """`canary_vs_baseline` (at the same time) or `before_after`."""
    message: str = ""
    saving: Saving | None = None
    """What the change saves, once the energy was compared; None while it runs, and in runs of older versions."""
