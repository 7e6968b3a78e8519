"""What a change saved, as an analysis run tells it: joules per operation, joules per day, the share of what was spent.

A run carries the saving that `choose.measure` found. Runs kept by older versions carry none: for them the judge's
interval (Hodges-Lehmann, Mann-Whitney) is turned around: less energy is a positive saving. What a rollout kept goes
to the records as an outcome, and from there to the playbook of `recommend/`.
"""

from __future__ import annotations

from energy_orchestrator.model.analysis_run import AnalysisPhase, AnalysisRun
from energy_orchestrator.model.units import SECONDS_PER_DAY, Bounded


def per_operation(run: AnalysisRun) -> Bounded | None:
    """Joules saved for each operation (positive is less energy), with its interval; None if unmeasured."""
    if run.saving is not None:
        return run.saving.joules_per_operation
    for metric in run.metrics:
        if metric.name == "joules_per_operation" and metric.phase is not AnalysisPhase.RUNNING:
            if metric.estimate is None or metric.lower is None or metric.upper is None:
                return None
            return Bounded(-metric.estimate, -metric.upper, -metric.lower)
    return None


def per_day(saved_per_operation: Bounded, operations_per_second: float) -> Bounded:
    """Joules a day, if the load stays as it was measured."""
    return saved_per_operation.scaled(operations_per_second * SECONDS_PER_DAY)


def watts(run: AnalysisRun) -> Bounded | None:
    """Power that stopping a workload saves; None for any other change."""
    for metric in run.metrics:
        if metric.name == "active_watts" and None not in (metric.estimate, metric.lower, metric.upper):
            return Bounded(-(metric.estimate or 0.0), -(metric.upper or 0.0), -(metric.lower or 0.0))
    return None


def ratio(run: AnalysisRun) -> Bounded | None:
    """The same as a share of the baseline's J/op: what the playbook keeps. All of it where a workload was stopped."""
    if watts(run) is not None:
        return Bounded(1.0, 1.0, 1.0)
    if run.saving is not None:
        return run.saving.ratio
    saved = per_operation(run)
    before = next((metric.baseline for metric in run.metrics if metric.name == "joules_per_operation"), None)
    if saved is None or not before or before <= 0:
        return None
    return saved.scaled(1 / before)
