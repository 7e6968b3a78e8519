"""What a change saved, from the judged comparison: joules per operation, and the share of what was spent."""

from __future__ import annotations

from energy_orchestrator.model.analysis_run import AnalysisPhase, AnalysisRun
from energy_orchestrator.model.units import Bounded


def per_operation(run: AnalysisRun) -> Bounded | None:
    """Joules saved for each operation (positive is less energy), with the judge's interval; None if unmeasured."""
    for metric in run.metrics:
        if metric.name == "joules_per_operation" and metric.phase is not AnalysisPhase.RUNNING:
            if metric.estimate is None or metric.lower is None or metric.upper is None:
                return None
            return Bounded(-metric.estimate, -metric.upper, -metric.lower)
    return None


def ratio(run: AnalysisRun) -> Bounded | None:
    """The same as a share of the baseline's J/op: what the playbook keeps."""
    saved = per_operation(run)
    before = next((metric.baseline for metric in run.metrics if metric.name == "joules_per_operation"), None)
    if saved is None or not before or before <= 0:
        return None
    return saved.scaled(1 / before)
