"""What the driver asks while a step measures: fetches the windows that the step compares, and has them judged.

A canary is compared with the baseline of the same time; after full rollout the workload is compared with itself
before the rollout began, less what neighbours that nobody changed did meanwhile; before a stop it must have done
nothing. The series are asked at most once a second for
each rollout, and not being able to ask is counted: it ends an analysis only when it lasts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol

from energy_orchestrator.errors import EoError
from energy_orchestrator.execute.port import TargetState
from energy_orchestrator.model.analysis_run import AnalysisRun
from energy_orchestrator.model.rollout import Rollout, StepKind
from energy_orchestrator.model.sample import MeasuredWindow
from energy_orchestrator.services.declarations import DeclarationOf
from energy_orchestrator.verify.analysis import AnalysisTemplate, ConsecutiveErrors, evaluate, evaluate_idle
from energy_orchestrator.verify.savings import Control, measured_enough

WATCH_TOLERANCE = 0.05
"""After full rollout nothing runs beside it any more, so a few percent may be the load, not the change."""
ASK_SECONDS = 1.0
MAX_CONTROLS = 5


class Measurements(Protocol):
    """Windows of a group of replicas (None for all), read from the series."""

    def windows(
        self, tenant: str, workload: str, replicas: Sequence[str] | None, start: datetime, end: datetime
    ) -> list[MeasuredWindow]:
        """Windows that lie in the span, oldest first."""
        ...

    def neighbours(self, tenant: str, workload: str, start: datetime, changed: datetime, end: datetime) -> list[str]:
        """Workloads on the same hosts that did something both before and after the change, busiest first."""
        ...


@dataclass(slots=True)
class _Asking:
    """The newest step of a rollout that was asked about."""

    step: tuple[int, int]
    errors: ConsecutiveErrors
    at: datetime | None = None


class StepAnalysis:
    """Callable by the driver; None means that nothing new is known."""

    def __init__(
        self,
        measurements: Measurements,
        declaration_of: DeclarationOf,
        template: AnalysisTemplate,
        watch_windows: int,
        changed_since: Callable[[str, datetime], set[str]],
    ) -> None:
        self._measurements = measurements
        self._declaration_of = declaration_of
        self._template = template
        self._watch_windows = watch_windows
        self._changed_since = changed_since
        self._asking: dict[str, _Asking] = {}

    def __call__(self, rollout: Rollout, target: TargetState, now: datetime) -> AnalysisRun | None:
        """Judge the present step."""
        step = (rollout.step_index, rollout.attempt)
        asking = self._asking.get(rollout.id)
        if asking is None or asking.step != step:
            asking = self._asking[rollout.id] = _Asking(step, ConsecutiveErrors(self._template))
        if asking.at is not None and now - asking.at < timedelta(seconds=ASK_SECONDS):
            return None
        asking.at = now
        try:
            run = self._judge(rollout, target, now)
        except EoError as error:
            return asking.errors.failed(str(error), now)
        asking.errors.succeeded()
        return run

    def _judge(self, rollout: Rollout, target: TargetState, now: datetime) -> AnalysisRun:
        slo = self._declaration_of(rollout.tenant, rollout.workload).slo
        template = replace(self._template, latency_p95_seconds=slo.latency_p95_seconds, error_ratio=slo.error_ratio)
        kind = rollout.step.kind if rollout.step else None
        if kind is StepKind.IDLE_CHECK:
            return self._idle(rollout, now)
        start = rollout.step_started_at
        after = self._windows(rollout, target.canary, start, now)
        if kind is StepKind.ANALYSIS:
            return evaluate(template, self._windows(rollout, target.baseline, start, now), after, start, now)
        return self._watch(rollout, template, after, now)

    def _watch(
        self, rollout: Rollout, template: AnalysisTemplate, after: list[MeasuredWindow], now: datetime
    ) -> AnalysisRun:
        proven = any(step.kind is StepKind.ANALYSIS for step in rollout.steps)
        span = timedelta(seconds=3 * template.count * template.interval_seconds)
        before = self._windows(rollout, None, rollout.started_at - span, rollout.started_at)
        template = replace(
            template,
            method="before_after",
            need_improvement=not proven,
            tolerance_ratio=WATCH_TOLERANCE if proven else template.tolerance_ratio,
            count=self._watch_windows if proven else template.count,
        )
        run = evaluate(template, before, after, rollout.step_started_at, now)
        if run.saving is None:
            return run
        controls = self._controls(rollout, rollout.started_at - span, now)
        return evaluate(template, before, after, rollout.step_started_at, now, controls) if controls else run

    def _controls(self, rollout: Rollout, start: datetime, now: datetime) -> list[Control]:
        """Neighbours that no rollout touched in that time and that were measured long enough."""
        changed, moved = rollout.started_at, rollout.step_started_at
        touched = self._changed_since(rollout.tenant, start)
        found: list[Control] = []
        for name in self._measurements.neighbours(rollout.tenant, rollout.workload, start, changed, now):
            if name in touched or len(found) == MAX_CONTROLS:
                continue
            then = self._measurements.windows(rollout.tenant, name, None, start, changed)
            since = self._measurements.windows(rollout.tenant, name, None, moved, now)
            if measured_enough(then, since):
                found.append((then, since))
        return found

    def _idle(self, rollout: Rollout, now: datetime) -> AnalysisRun:
        span = timedelta(seconds=(self._watch_windows + 2) * self._template.interval_seconds)
        return evaluate_idle(self._windows(rollout, None, now - span, now), self._watch_windows)

    def _windows(
        self, rollout: Rollout, replicas: Sequence[str] | None, start: datetime, end: datetime
    ) -> list[MeasuredWindow]:
        return self._measurements.windows(rollout.tenant, rollout.workload, replicas, start, end)
