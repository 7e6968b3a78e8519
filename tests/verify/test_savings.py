"""What was saved: three methods, the choice between them, and how often they are right (on simulated fleets)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from benchmarks.savings import METHODS, Fleet, Tally, simulate
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from energy_orchestrator.model.analysis_run import AnalysisPhase, AnalysisRun
from energy_orchestrator.model.sample import MeasuredWindow
from energy_orchestrator.model.saving import Saving, SavingMethod
from energy_orchestrator.verify import savings
from energy_orchestrator.verify.savings import Evidence, measure

START = datetime(2026, 11, 23, tzinfo=UTC)


def windows(
    per_operation: float,
    count: int = 48,
    *,
    first: int = 0,
    seed: int = 0,
    load: float = 100.0,
    fixed: float = 0.0,
    noise: float = 0.02,
    drift: float = 0.0,
    swing: float = 0.2,
) -> list[MeasuredWindow]:
    rng = np.random.default_rng(seed)
    made = []
    for n in range(count):
        begun = START + timedelta(seconds=5 * (first + n))
        operations = load * float(rng.uniform(1 - swing, 1 + swing))
        energy = (fixed + per_operation * operations) * float(1 + noise * rng.standard_normal()) * (1 + drift * n)
        made.append(
            MeasuredWindow(begun, begun + timedelta(seconds=5), energy, operations, energy / operations, None, None)
        )
    return made


def test_a_canary_beside_its_baseline_is_the_first_choice() -> None:
    found = measure(
        Evidence(
            baseline=windows(1.0),
            canary=windows(0.8, seed=1),
            before=windows(1.0),
            after=windows(0.8, first=48),
            controls=[(windows(1.0), windows(1.0, first=48))],
        )
    )
    assert found.method is SavingMethod.SIDE_BY_SIDE
    assert found.ratio is not None
    assert found.ratio.lower <= 0.2 <= found.ratio.upper
    assert found.found
    assert "not " not in found.reason


def test_controls_take_out_what_moved_everyone() -> None:
    """All energy rose by 30 %, of the workload by 30 % of 90 %: a before-after comparison would see a loss."""
    found = measure(
        Evidence(
            before=windows(1.0),
            after=windows(1.3 * 0.9, first=48, seed=1),
            controls=[(windows(4.0, seed=2), windows(4.0 * 1.3, first=48, seed=3))],
        )
    )
    assert found.method is SavingMethod.DIFFERENCE_IN_DIFFERENCES
    assert found.ratio is not None
    assert found.ratio.value == pytest.approx(0.1, abs=0.02)
    assert found.found
    assert "not side_by_side" in found.reason


def test_alone_the_load_is_taken_out() -> None:
    """Half of the energy is fixed, so less load makes J/op worse though the change saves 10 %."""
    before = windows(0.5, load=100, fixed=50, swing=0.6)
    after = windows(0.45, load=60, fixed=45, first=48, seed=1, count=24)
    found = measure(Evidence(before=before, after=after))
    assert found.method is SavingMethod.LOAD_ADJUSTED
    assert found.ratio is not None
    assert found.ratio.value == pytest.approx(0.1, abs=0.02)
    assert found.found
    assert "no control" in found.reason


@pytest.mark.parametrize(
    ("evidence", "why"),
    [
        (Evidence(), "are needed"),
        (Evidence(before=windows(1.0), after=windows(0.8, load=300, first=48)), "outside of the"),
        (Evidence(before=windows(1.0, noise=0.8), after=windows(0.8, first=48)), "CV(RMSE)"),
        (Evidence(baseline=windows(1.0), canary=windows(0.8, first=48)), "0 windows of both"),
        (Evidence(baseline=windows(1.0), canary=windows(0.0)), "no energy"),
        (
            Evidence(
                before=windows(1.0, drift=0.01),
                after=windows(0.8, load=500, first=48),
                controls=[(windows(1.0, seed=5), windows(1.0, first=48))],
            ),
            "drifted apart before the change",
        ),
    ],
    ids=["nothing", "load out of range", "poor fit", "not together", "no energy", "no parallel trends"],
)
def test_what_cannot_be_measured_has_a_reason_and_no_figure(evidence: Evidence, why: str) -> None:
    found = measure(evidence)
    assert (found.method, found.ratio, found.found) == (None, None, False)
    assert why in found.reason


@given(st.floats(0.1, 10), st.floats(0.5, 1.5), st.integers(0, 1000))
def test_figures_of_one_answer_agree_in_any_unit(unit: float, factor: float, seed: int) -> None:
    def told(scale: float) -> Saving:
        return measure(Evidence(baseline=windows(scale), canary=windows(scale * factor, seed=seed)))

    one, scaled = told(1.0), told(unit)
    for it in (one.ratio, one.joules, one.joules_per_operation, one.joules_per_day):
        assert it is not None
        assert one.ratio is not None
        assert (it.lower > 0) == (one.ratio.lower > 0)
        assert (it.value > 0) == (one.ratio.value > 0)
    assert one.ratio
    assert scaled.ratio
    assert one.joules_per_day
    assert scaled.joules_per_day
    assert scaled.ratio.value == pytest.approx(one.ratio.value, abs=1e-9)
    assert scaled.joules_per_day.value == pytest.approx(unit * one.joules_per_day.value, rel=1e-6, abs=1e-6)


def test_an_analysis_run_without_a_method_reports_no_saving() -> None:
    refused = AnalysisRun(AnalysisPhase.SUCCESSFUL, (), "before_after", saving=measure(Evidence()))
    assert savings.per_operation(refused) is None
    assert savings.ratio(refused) is None


# Fixed seeds; bounds are the 0.1 % and 99.9 % quantiles of what a true 88 % (92 %, 95 %) would give.
TRIALS = 600


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("memory", [0.0, 0.5])
def test_on_simulated_fleets_the_interval_covers_and_placebos_save_nothing(method: str, memory: float) -> None:
    it = simulate(method, Fleet(96, memory), TRIALS, seed=7)
    assert it.answered > 0.7 * TRIALS
    assert binom.ppf(0.001, it.answered, 0.88) <= it.covered <= binom.ppf(0.999, it.answered, 0.92)
    assert it.placebos - it.called >= binom.ppf(0.001, it.placebos, 0.95)
    assert it.found / it.fives > it.called / it.placebos


def test_intervals_that_ignore_memory_would_fail_that_test(monkeypatch: pytest.MonkeyPatch) -> None:
    from energy_orchestrator.model.long_run import Spread
    from energy_orchestrator.verify.savings import side_by_side

    naive: Callable[..., Spread] = lambda series: Spread(float(np.var(series, ddof=1)) / len(series), len(series) - 1)  # noqa: E731
    monkeypatch.setattr(side_by_side, "spread_of_mean", naive)
    it: Tally = simulate("side_by_side", Fleet(96, 0.5), TRIALS, seed=7)
    assert it.covered < binom.ppf(0.001, it.answered, 0.88)
