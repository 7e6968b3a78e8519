"""One analysis step: SLO first, energy second, and nothing passes by silence."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energy_orchestrator.model.analysis_run import AnalysisPhase, AnalysisRun
from energy_orchestrator.model.sample import MeasuredWindow
from energy_orchestrator.verify import savings
from energy_orchestrator.verify.analysis import AnalysisTemplate, ConsecutiveErrors, evaluate, evaluate_idle

START = datetime(2026, 11, 23, tzinfo=UTC)
TEMPLATE = AnalysisTemplate(latency_p95_seconds=0.1, error_ratio=0.01)
LATE = START + timedelta(minutes=10)


def windows(
    per_operation: float | None,
    *,
    count: int = 14,
    latency: float | None = 0.05,
    errors: float | None = 0.0,
    operations: float | None = 100.0,
    broken: tuple[int, ...] = (),
) -> list[MeasuredWindow]:
    made = []
    for n in range(count):
        begun = START + timedelta(seconds=10 + 5 * n)
        value = None if per_operation is None else per_operation + n / 1000
        energy = value * operations if value is not None and operations else 5.0
        p95 = 0.5 if n in broken else latency
        made.append(
            MeasuredWindow(begun, begun + timedelta(seconds=5), energy, operations, value, p95, errors, cpu_seconds=1)
        )
    return made


def now_after(windows: list[MeasuredWindow]) -> datetime:
    return windows[-1].window_end if windows else START


def run(
    baseline: list[MeasuredWindow],
    canary: list[MeasuredWindow],
    template: AnalysisTemplate = TEMPLATE,
    at: datetime | None = None,
) -> AnalysisRun:
    return evaluate(template, baseline, canary, START, at or now_after(canary))


def test_less_energy_within_the_slo_is_successful() -> None:
    done = run(windows(1.0), windows(0.5))
    assert done.phase is AnalysisPhase.SUCCESSFUL
    saved = savings.per_operation(done)
    assert saved is not None
    assert saved.lower <= 0.5 <= saved.upper
    share = savings.ratio(done)
    assert share is not None
    assert share.value == pytest.approx(0.5, abs=0.02)


def test_a_saving_that_breaks_the_slo_fails() -> None:
    done = run(windows(1.0), windows(0.5, broken=(3,)))
    assert done.phase is AnalysisPhase.FAILED
    assert "broke the SLO" in done.message


def test_the_slo_fails_at_once_and_does_not_wait_for_energy() -> None:
    early = windows(0.5, count=2, broken=(1,))
    assert run(windows(1.0, count=2), early).phase is AnalysisPhase.FAILED


def test_a_disturbed_node_is_nobodys_fault_and_no_pass() -> None:
    done = run(windows(1.0, broken=(3,)), windows(0.5, broken=(3,)))
    assert done.phase is AnalysisPhase.INCONCLUSIVE


@pytest.mark.parametrize(("limit", "broken"), [(0, 1), (1, 2), (3, 4)])
def test_limits_are_strict(limit: int, broken: int) -> None:
    template = AnalysisTemplate(latency_p95_seconds=0.1, failure_limit=limit)
    exactly = run(windows(1.0), windows(0.5, broken=tuple(range(limit))), template)
    over = run(windows(1.0), windows(0.5, broken=tuple(range(broken))), template)
    assert (exactly.phase, over.phase) == (AnalysisPhase.SUCCESSFUL, AnalysisPhase.FAILED)


def test_more_energy_fails() -> None:
    assert run(windows(1.0), windows(1.5)).phase is AnalysisPhase.FAILED


def test_no_difference_never_passes() -> None:
    assert run(windows(1.0), windows(1.0)).phase is AnalysisPhase.INCONCLUSIVE


def test_after_a_proven_canary_it_only_must_not_be_worse() -> None:
    watch = AnalysisTemplate(method="before_after", need_improvement=False, tolerance_ratio=0.05, count=6)
    assert run(windows(1.0), windows(1.0), watch).phase is AnalysisPhase.SUCCESSFUL
    assert run(windows(1.0), windows(1.03), watch).phase is AnalysisPhase.SUCCESSFUL
    assert run(windows(1.0), windows(1.2), watch).phase is AnalysisPhase.FAILED


def test_it_runs_until_there_are_enough_windows() -> None:
    few = windows(0.5, count=11)
    assert run(windows(1.0, count=11), few).phase is AnalysisPhase.RUNNING


@pytest.mark.parametrize(
    "silent",
    [windows(None), windows(None, latency=None, errors=None), [], windows(math.nan), windows(0.5, latency=math.nan)],
    ids=["no J/op", "nothing", "no windows", "NaN energy", "NaN latency"],
)
def test_no_data_is_inconclusive_in_the_end_and_never_a_pass(silent: list[MeasuredWindow]) -> None:
    assert run(windows(1.0), silent, at=LATE).phase is AnalysisPhase.INCONCLUSIVE
    assert run(windows(1.0), silent, at=START).phase is not AnalysisPhase.SUCCESSFUL


def test_windows_of_the_warm_up_are_left_out() -> None:
    template = AnalysisTemplate(initial_delay_seconds=30)
    assert run(windows(1.0), windows(0.5), template).phase is AnalysisPhase.RUNNING


@given(st.integers(0, 8))
def test_errors_in_a_row_end_the_run_beyond_the_limit(times: int) -> None:
    errors = ConsecutiveErrors(AnalysisTemplate(consecutive_error_limit=4))
    ends = [errors.failed("store down", START + timedelta(seconds=5 * n)) for n in range(times)]
    assert [end is not None for end in ends] == [n >= 4 for n in range(times)]
    assert all(end is None or end.phase is AnalysisPhase.ERROR for end in ends)


def test_errors_count_once_an_interval_and_only_in_a_row() -> None:
    errors = ConsecutiveErrors(AnalysisTemplate())
    assert not any(errors.failed("down", START + timedelta(milliseconds=400 * n)) for n in range(12))
    errors.succeeded()
    assert not any(errors.failed("down", START + timedelta(seconds=60 + 5 * n)) for n in range(4))


def test_only_what_did_nothing_may_be_stopped() -> None:
    idle = evaluate_idle(windows(None, count=8, operations=0.0), 6)
    assert idle.phase is AnalysisPhase.SUCCESSFUL
    assert savings.watts(idle) is not None
    assert savings.ratio(idle) is not None
    assert evaluate_idle(windows(1.0, count=8, operations=1.0), 6).phase is AnalysisPhase.FAILED
    assert evaluate_idle(windows(None, count=8, operations=None), 6).phase is AnalysisPhase.INCONCLUSIVE
    assert evaluate_idle(windows(None, count=3, operations=0.0), 6).phase is AnalysisPhase.INCONCLUSIVE


def test_a_day_at_the_measured_load() -> None:
    saved = savings.per_operation(run(windows(1.0), windows(0.5)))
    assert saved is not None
    assert savings.per_day(saved, 2.0).value == pytest.approx(saved.value * 172_800)
