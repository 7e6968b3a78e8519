"""One analysis step: every metric of the canary, SLO gates first, energy second.

Settings and their defaults are those of Argo Rollouts (failureLimit 0, inconclusiveLimit 0, consecutiveErrorLimit 4,
compared by a strict >), with `onNoData` added. Rules:

- A window of the canary that breaks the SLO is a failed measurement, unless the baseline broke it in the same
  window: then the node was disturbed, and the measurement is inconclusive.
- A gate fails as soon as its failures exceed `failure_limit`: nobody waits for energy while users suffer.
- Windows that began before the initial delay are left out (a restarted program warms up).
- Energy is judged when `count` windows of each side have J/op. Better than the baseline with the whole interval ->
  Successful; worse -> Failed; neither -> Inconclusive.
- No data after `count` windows' time and a grace -> `on_no_data` (default Inconclusive). A value that is no finite
  number is no data: a broken metric must never pass.
- A measurement that can't be taken (the store is down) says nothing about the canary: more than
  `consecutive_error_limit` of them in a row end the run as Error (`ConsecutiveErrors`).
- The run's phase is the worst of its metrics: Failed, Error, Inconclusive, Running, Successful.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median

from energy_orchestrator.model.analysis_run import AnalysisPhase, AnalysisRun, MetricResult
from energy_orchestrator.model.sample import MeasuredWindow
from energy_orchestrator.model.saving import Saving
from energy_orchestrator.verify.judge import MIN_SAMPLES, judge
from energy_orchestrator.verify.savings import Control, Evidence, measure

_WORST_FIRST = (
    AnalysisPhase.FAILED,
    AnalysisPhase.ERROR,
    AnalysisPhase.INCONCLUSIVE,
    AnalysisPhase.RUNNING,
    AnalysisPhase.SUCCESSFUL,
)


@dataclass(frozen=True, slots=True)
class AnalysisTemplate:
    """What is compared and how strictly. Seconds are those of the clock, counts are windows."""

    count: int = 12
    interval_seconds: float = 5.0
    initial_delay_seconds: float = 10.0
    failure_limit: int = 0
    inconclusive_limit: int = 0
    consecutive_error_limit: int = 4
    on_no_data: AnalysisPhase = AnalysisPhase.INCONCLUSIVE
    grace_seconds: float = 30.0
    latency_p95_seconds: float | None = None
    error_ratio: float | None = None
    need_improvement: bool = True
    """Energy must be better (a canary), or only not worse (a watch window after a proven canary)."""
    tolerance_ratio: float = 0.0
    """Share of the baseline's median J/op that a shift must exceed to count, either way."""
    method: str = "canary_vs_baseline"

    @property
    def needed(self) -> int:
        """Windows of each side: `count`, and never fewer than the judge can tell anything from."""
        return max(self.count, MIN_SAMPLES)


def evaluate(
    template: AnalysisTemplate,
    baseline: Sequence[MeasuredWindow],
    canary: Sequence[MeasuredWindow],
    started: datetime,
    now: datetime,
    controls: Sequence[Control] = (),
) -> AnalysisRun:
    """The state of the comparison now. `controls` tell what the time did by itself where before and after are
    compared; they bear on the saving, not on the verdict."""
    first = started + timedelta(seconds=template.initial_delay_seconds)
    canary = [window for window in canary if window.window_start >= first]
    if template.method == "canary_vs_baseline":
        baseline = [window for window in baseline if window.window_start >= first]
    patience = template.initial_delay_seconds + template.needed * template.interval_seconds + template.grace_seconds
    out_of_time = (now - started).total_seconds() >= patience
    energy = _energy(template, baseline, canary, out_of_time)
    metrics = [
        _gate(template, "latency_p95", "s", template.latency_p95_seconds, baseline, canary, out_of_time),
        _gate(template, "error_ratio", "", template.error_ratio, baseline, canary, out_of_time),
        energy,
    ]
    present = tuple(metric for metric in metrics if metric is not None)
    phase = next(phase for phase in _WORST_FIRST if any(metric.phase == phase for metric in present))
    if phase is AnalysisPhase.INCONCLUSIVE and any(metric.phase is AnalysisPhase.RUNNING for metric in present):
        phase = AnalysisPhase.RUNNING
    told = [f"{metric.name}: {metric.message}" for metric in present if metric.phase == phase and metric.message]
    saving = None if energy.phase is AnalysisPhase.RUNNING else _saving(template, baseline, canary, controls)
    return AnalysisRun(phase, present, template.method, "; ".join(told), saving)


def _saving(
    template: AnalysisTemplate,
    baseline: Sequence[MeasuredWindow],
    canary: Sequence[MeasuredWindow],
    controls: Sequence[Control],
) -> Saving:
    if template.method == "canary_vs_baseline":
        return measure(Evidence(baseline=baseline, canary=canary))
    return measure(Evidence(before=baseline, after=canary, controls=controls))


class ConsecutiveErrors:
    """Counts measurements of one run that could not be taken; at most one an interval."""

    def __init__(self, template: AnalysisTemplate) -> None:
        self._template = template
        self._count = 0
        self._counted_at: datetime | None = None

    def succeeded(self) -> None:
        """A measurement was taken."""
        self._count = 0

    def failed(self, why: str, now: datetime) -> AnalysisRun | None:
        """Count one; the run's end once the limit is exceeded (strictly, as in Argo Rollouts)."""
        interval = timedelta(seconds=self._template.interval_seconds)
        if self._counted_at is None or now - self._counted_at >= interval:
            self._count, self._counted_at = self._count + 1, now
        if self._count <= self._template.consecutive_error_limit:
            return None
        message = f"{self._count} measurements in a row could not be taken: {why}"
        return AnalysisRun(AnalysisPhase.ERROR, (), self._template.method, message)


def evaluate_idle(windows: Sequence[MeasuredWindow], count: int) -> AnalysisRun:
    """Before a workload is stopped: it must have done nothing. Operations nobody counted are not none.

    The metric `active_watts` tells what is saved; `savings.watts` reads it.
    """
    counted = [window.operations for window in windows if _finite(window.operations) is not None]
    done = sum(filter(None, counted))
    if done > 0:
        phase, message = AnalysisPhase.FAILED, f"it did {done:g} operation(s) in the last {len(windows)} windows"
    elif len(counted) < count:
        phase = AnalysisPhase.INCONCLUSIVE
        message = f"operations are known for {len(counted)} of the last windows, {count} are needed"
    else:
        phase, message = AnalysisPhase.SUCCESSFUL, f"no operation in {len(counted)} windows"
    watts = [
        joules / (window.window_end - window.window_start).total_seconds()
        for window in windows
        if (joules := _finite(window.active_joules)) is not None
    ]
    metrics = [
        MetricResult("operations", phase, "threshold", "", canary=done, samples_canary=len(counted), message=message)
    ]
    if watts:
        metrics.append(
            MetricResult(
                "active_watts",
                phase,
                "before",
                "W",
                baseline=median(watts),
                canary=0.0,
                estimate=-median(watts),
                lower=-max(watts),
                upper=-min(watts),
                samples_baseline=len(watts),
                message="what is stopped spends nothing",
            )
        )
    return AnalysisRun(phase, tuple(metrics), "before_stop", message)


def _value(window: MeasuredWindow, name: str) -> float | None:
    return _finite(window.latency_p95_seconds if name == "latency_p95" else window.error_ratio)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _gate(
    template: AnalysisTemplate,
    name: str,
    unit: str,
    limit: float | None,
    baseline: Sequence[MeasuredWindow],
    canary: Sequence[MeasuredWindow],
    out_of_time: bool,
) -> MetricResult | None:
    if limit is None:
        return None
    values = [value for window in canary if (value := _value(window, name)) is not None]
    reference = [value for window in baseline if (value := _value(window, name)) is not None]
    broken = [window.window_start for window in canary if (_value(window, name) or 0) > limit]
    disturbed = {window.window_start for window in baseline if (_value(window, name) or 0) > limit}
    own = [start for start in broken if start not in disturbed]
    shared = len(broken) - len(own)
    phase = AnalysisPhase.RUNNING
    message = f"{len(values)} of {template.needed} windows, limit {limit:g} {unit}".strip()
    if len(own) > template.failure_limit:
        phase, message = AnalysisPhase.FAILED, f"the canary broke the SLO of {limit:g} {unit} in {len(own)} window(s)"
    elif shared > template.inconclusive_limit:
        phase = AnalysisPhase.INCONCLUSIVE
        message = f"both sides broke the SLO in {shared} window(s): the node was disturbed"
    elif len(values) >= template.needed:
        phase, message = AnalysisPhase.SUCCESSFUL, f"within {limit:g} {unit}".strip()
    elif out_of_time:
        phase, message = template.on_no_data, f"only {len(values)} of {template.needed} windows have data"
    return MetricResult(
        name,
        phase,
        "threshold",
        unit,
        baseline=median(reference) if reference else None,
        canary=median(values) if values else None,
        samples_baseline=len(reference),
        samples_canary=len(values),
        message=message,
    )


def _energy(
    template: AnalysisTemplate, baseline: Sequence[MeasuredWindow], canary: Sequence[MeasuredWindow], out_of_time: bool
) -> MetricResult:
    before = [value for window in baseline if (value := _finite(window.joules_per_operation)) is not None]
    after = [value for window in canary if (value := _finite(window.joules_per_operation)) is not None]
    verdict = judge(before, after, tolerance=template.tolerance_ratio * median(before) if before else 0.0)
    enough = min(len(before), len(after)) >= template.needed or (
        template.method == "before_after" and len(after) >= template.needed
    )
    if not enough and not out_of_time:
        phase, message = AnalysisPhase.RUNNING, f"{len(after)} of {template.needed} windows have J/op"
    elif not enough and verdict.estimate is None:
        phase, message = template.on_no_data, verdict.message
    elif not template.need_improvement and verdict.phase is AnalysisPhase.INCONCLUSIVE and verdict.estimate is not None:
        phase, message = AnalysisPhase.SUCCESSFUL, "not higher than before"
    else:
        phase, message = verdict.phase, verdict.message
    return MetricResult(
        "joules_per_operation",
        phase,
        "mann_whitney",
        "J/op",
        baseline=median(before) if before else None,
        canary=median(after) if after else None,
        estimate=verdict.estimate,
        lower=verdict.lower,
        upper=verdict.upper,
        samples_baseline=len(before),
        samples_canary=len(after),
        message=message,
    )
