"""Strategies on measured points: the best of what was measured within the limits, and never more than is spent."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks.zeus_sweeps import FOLDER, batch_sweeps, power_sweeps
from hypothesis import given, settings
from hypothesis import strategies as st

from energy_orchestrator.errors import InvalidInputError
from energy_orchestrator.model.fleet import (
    BatchPoint,
    BatchSweep,
    CapPoint,
    Forecast,
    ImageRuns,
    InstanceUse,
    Job,
    PowerSweep,
)
from energy_orchestrator.recommend.batch_sweep import batch_sweep, fit_joules
from energy_orchestrator.recommend.image import image, ratio_of
from energy_orchestrator.recommend.instance_type import instance_type, read_catalogue, shipped_catalogue
from energy_orchestrator.recommend.power_cap import best_limit, energy_per_operation, power_cap
from energy_orchestrator.recommend.ranking import RankingSettings, recommendation
from energy_orchestrator.recommend.schedule_shift import schedule_shift, shift_jobs
from energy_orchestrator.recommend.subject import Found

NOW = datetime(2026, 11, 24, tzinfo=UTC)


def data(folder: Path) -> None:
    if not folder.is_dir():
        pytest.fail(f"no data: {folder}") if os.environ.get("CI") == "true" else pytest.skip(f"no data: {folder}")


def sane(found: Found) -> None:
    """What has to hold of every finding."""
    made = recommendation(found, 1000.0, RankingSettings(price_per_kwh=0.3, gco2e_per_kwh=400), "id", NOW)
    assert 0 <= made.expected_savings_j.lower <= made.expected_savings_j.upper <= made.target_spend_j.upper
    assert made.expected_savings_j.value <= made.target_spend_j.value
    assert made.risk_score == max(made.risk_parts.values()) <= 1
    assert 0 <= made.confidence <= 1
    assert made.change.executor == "none"
    assert made.evidence
    assert any(character.isdigit() for character in made.explanation)
    assert set(made.change.patch) == set(made.change.inverse) or "moves" in made.change.patch


# Power caps

SWEEPS = st.builds(
    lambda points, slow, rest: PowerSweep(
        workload="w",
        node="n",
        limit_watts_now=points[-1].limit_watts,
        max_slowdown=slow,
        rest_watts=rest,
        points=tuple(points),
    ),
    st.lists(
        st.builds(
            CapPoint,
            limit_watts=st.floats(50, 400),
            watts=st.floats(20, 400),
            seconds_per_operation=st.floats(0.1, 100),
        ),
        min_size=2,
        max_size=8,
    ),
    st.floats(0, 1),
    st.floats(0, 500),
)


@given(sweep=SWEEPS, measured=st.lists(st.one_of(st.none(), st.floats(-0.5, 1)), max_size=5))
def test_a_cap_is_a_measured_one_not_too_slow_and_saves_no_more_than_is_spent(
    sweep: PowerSweep, measured: list[float | None]
) -> None:
    found = power_cap(sweep, measured, "t", NOW)
    if found is None:
        return
    sane(found)
    present = next(it for it in sweep.points if it.limit_watts == sweep.limit_watts_now)
    chosen = [it for it in sweep.points if it.limit_watts == found.finding.patch["power_limit_watts"]]
    assert any(it.seconds_per_operation <= present.seconds_per_operation * (1 + sweep.max_slowdown) for it in chosen)


def test_the_rest_of_the_machine_can_make_a_cap_not_worth_it() -> None:
    points = (
        CapPoint(limit_watts=150, watts=150, seconds_per_operation=1.2),
        CapPoint(limit_watts=250, watts=200, seconds_per_operation=1.0),
    )
    sweep = PowerSweep(workload="w", node="n", limit_watts_now=250, max_slowdown=0.3, points=points)
    assert power_cap(sweep, (), "t", NOW) is not None
    assert power_cap(sweep.model_copy(update={"rest_watts": 500.0}), (), "t", NOW) is None


@pytest.mark.parametrize("allowed", [0.05, 0.1])
def test_on_zeus_sweeps_the_cap_is_the_best_within_the_slowdown(allowed: float) -> None:
    data(FOLDER)
    sweeps = power_sweeps(max_slowdown=allowed)
    assert len(sweeps) > 150
    for sweep in sweeps:
        now = max(sweep.points, key=lambda it: it.limit_watts)
        best = best_limit(sweep.points, now, allowed, 0.0)
        assert best.seconds_per_operation <= now.seconds_per_operation * (1 + allowed)
        for it in sweep.points:
            if it.seconds_per_operation <= now.seconds_per_operation * (1 + allowed):
                assert energy_per_operation(best, 0.0) <= energy_per_operation(it, 0.0)


# Batches


def test_on_zeus_sweeps_a_batch_size_left_out_is_predicted_within_a_tenth() -> None:
    data(FOLDER)
    errors = []
    for points in batch_sweeps().values():
        for place in range(1, len(points) - 1):
            curve = fit_joules(points[:place] + points[place + 1 :])
            errors.append(abs(curve.joules(points[place].batch) / points[place].joules_per_operation - 1))
    assert len(errors) > 100
    assert np.mean(errors) < 0.10


def sweep_of(fixed: float, shared: float, slo: float | None = None, **more: Any) -> BatchSweep:
    sizes = (1, 2, 4, 8, 16, 32)
    points = tuple(
        BatchPoint(batch=it, joules_per_operation=fixed + shared / it, latency_p95_seconds=0.01 * it) for it in sizes
    )
    return BatchSweep(workload="w", batch_now=1, operations_per_day=1e6, latency_slo_seconds=slo, points=points, **more)


@pytest.mark.parametrize(("slo", "batch"), [(None, 32), (0.1, 8), (0.2, 16), (0.03, 2)])
def test_the_knee_keeps_the_slo(slo: float | None, batch: int) -> None:
    found = batch_sweep(sweep_of(0.1, 1.0, slo), (), "t", NOW)
    assert found is not None
    sane(found)
    assert found.finding.patch == {"batch_size": batch}


def test_a_larger_batch_that_hardly_helps_is_not_taken() -> None:
    found = batch_sweep(sweep_of(1.0, 0.5), (), "t", NOW)
    assert found is not None
    assert found.finding.patch == {"batch_size": 8}


@pytest.mark.parametrize("change", [{"batch_now": 3}, {"batch_now": 32}, {"latency_slo_seconds": 0.001}])
def test_nothing_is_said_without_the_present_point_or_a_better_one(change: dict[str, Any]) -> None:
    assert batch_sweep(sweep_of(0.1, 1.0).model_copy(update=change), (), "t", NOW) is None


@given(
    st.lists(
        st.builds(BatchPoint, batch=st.integers(1, 512), joules_per_operation=st.floats(1e-3, 1e3),
        latency_p95_seconds=st.floats(1e-3, 10)), min_size=3,
        max_size=8,
    ),
    st.one_of(st.none(), st.floats(1e-3, 10)),
)  # fmt: skip
def test_no_batch_is_larger_than_any_measured(points: list[BatchPoint], slo: float | None) -> None:
    sweep = BatchSweep(
        workload="w", batch_now=points[0].batch, operations_per_day=10, latency_slo_seconds=slo, points=tuple(points)
    )
    found = batch_sweep(sweep, (), "t", NOW)
    if found is not None:
        sane(found)
        assert min(it.batch for it in points) <= found.finding.patch["batch_size"] <= max(it.batch for it in points)


# Shifted jobs


def forecast(values: list[float | None], **more: Any) -> Forecast:
    slots = [{"start": NOW + timedelta(hours=n), "gco2e_per_kwh": it} for n, it in enumerate(values)]
    return Forecast.model_validate({"slots": slots, **more})


def job(
    name: str = "etl", earliest: int = 0, deadline: int = 6, start: int = 0, hours: float = 1, watts: float = 1000
) -> Job:
    at = lambda hour: NOW + timedelta(hours=hour)  # noqa: E731
    return Job(
        workload=name,
        watts=watts,
        minutes=hours * 60,
        earliest=at(earliest),
        deadline=at(deadline),
        planned_start=at(start),
    )


def test_a_job_goes_to_the_cleanest_hours_before_its_deadline() -> None:
    grid = forecast([300, 200, 250, 400, 240, 230, 1.0])
    (shift,) = shift_jobs([job(hours=2)], grid, "gco2e", None)
    assert shift.start == NOW + timedelta(hours=1)
    found = schedule_shift(shift, grid, "gco2e", (), "t", NOW)
    assert found is not None
    sane(found)
    assert found.finding.saved_watts.upper == 0
    assert found.finding.gco2e_per_day is not None
    assert found.finding.gco2e_per_day.value == pytest.approx(50)
    assert found.finding.cost_per_day is None


def test_an_unknown_hour_is_never_taken_for_a_clean_one() -> None:
    (shift,) = shift_jobs([job()], forecast([300, None, 250, 400, 260, 270]), "gco2e", None)
    assert shift.start == NOW + timedelta(hours=2)


def test_jobs_that_share_a_limit_do_not_all_take_the_best_hour() -> None:
    grid = forecast([300, 100, 150, 400, 400, 400])
    shifts = shift_jobs([job("a"), job("b"), job("c")], grid, "gco2e", 1000)
    assert sorted(it.start for it in shifts) == [NOW + timedelta(hours=hour) for hour in (0, 1, 2)]
    assert all(it.proven for it in shifts)


@settings(max_examples=25, deadline=None)
@given(values=st.lists(st.floats(10, 900), min_size=4, max_size=6), capacity=st.sampled_from([1000.0, 2000.0]))
def test_the_schedule_is_as_good_as_trying_every_one(values: list[float], capacity: float) -> None:
    import itertools

    jobs = [job("a", deadline=len(values)), job("b", deadline=len(values)), job("c", deadline=len(values))]
    shifts = shift_jobs(jobs, forecast(list(values)), "gco2e", capacity)
    made = sum(values[int((it.start - NOW).total_seconds() // 3600)] for it in shifts)
    best = min(
        sum(values[it] for it in starts)
        for starts in itertools.product(range(len(values)), repeat=3)
        if max(starts.count(it) for it in starts) * 1000 <= capacity
    )
    assert made == pytest.approx(best, abs=0.01)


@pytest.mark.parametrize(
    ("jobs", "capacity", "where"),
    [
        ([job(deadline=20, earliest=10)], None, "jobs.etl"),
        ([job("a", deadline=1), job("b", deadline=1)], 1500, "job_capacity_watts"),
    ],
)
def test_what_cannot_be_scheduled_is_an_error_that_names_it(
    jobs: list[Job], capacity: float | None, where: str
) -> None:
    with pytest.raises(InvalidInputError) as error:
        shift_jobs(jobs, forecast([1, 2, 3]), "gco2e", capacity)
    assert error.value.where == where


# Instance types


def use(**change: Any) -> InstanceUse:
    usual = {
        "node": "vm", "provider": "aws", "instance_type": "m5.4xlarge", "cpu_cores_p95": 2.9, "mean_cores": 1.4,
        "memory_gb_max": 11,
    }  # fmt: skip
    return InstanceUse.model_validate(usual | change)


def test_a_smaller_instance_holds_the_peaks_and_draws_less() -> None:
    found = instance_type(use(), shipped_catalogue(), (), "t", NOW)
    assert found is not None
    sane(found)
    by_name = {(it.provider, it.name): it for it in shipped_catalogue()}
    chosen = by_name["aws", found.finding.patch["instance_type"]]
    assert chosen.vcpus >= 2.9 * 1.2
    assert chosen.memory_gb >= 11 * 1.15
    assert chosen.isa == "x86_64"
    assert found.finding.cost_per_day is None
    assert f"no price of m5.4xlarge and {chosen.name} was given" in found.finding.explanation
    assert recommendation(found, 1000.0, RankingSettings(price_per_kwh=0.3), "id", NOW).expected_savings_cost is None


def test_money_is_said_where_both_prices_are_known() -> None:
    name = instance_type(use(), shipped_catalogue(), (), "t", NOW).finding.patch["instance_type"]  # type: ignore[union-attr]
    found = instance_type(use(price_per_hour=0.8, prices_per_hour={name: 0.3}), shipped_catalogue(), (), "t", NOW)
    assert found is not None
    assert found.finding.cost_per_day is not None
    assert found.finding.cost_per_day.value == pytest.approx(12)


def test_one_price_is_not_enough_for_money_and_the_missing_one_is_named() -> None:
    found = instance_type(use(price_per_hour=0.8), shipped_catalogue(), (), "t", NOW)
    assert found is not None
    assert found.finding.cost_per_day is None
    assert f"no price of {found.finding.patch['instance_type']} was given" in found.finding.explanation


def test_watts_that_stand_in_for_another_architecture_promise_nothing() -> None:
    found = instance_type(use(same_architecture=False), shipped_catalogue(), (), "t", NOW)
    assert found is not None
    chosen = next(it for it in shipped_catalogue() if it.name == found.finding.patch["instance_type"])
    assert (found.finding.saved_watts.lower == 0) is (chosen.basis == "stand_in")


def test_a_type_that_is_full_stays() -> None:
    assert instance_type(use(instance_type="c5a.2xlarge"), shipped_catalogue(), (), "t", NOW) is None


def test_an_unknown_type_is_an_error_that_names_it() -> None:
    with pytest.raises(InvalidInputError, match=r"m9\.huge is not in the catalogue"):
        instance_type(use(instance_type="m9.huge"), shipped_catalogue(), (), "t", NOW)


def test_the_catalogue_has_no_prices_and_no_impossible_watts() -> None:
    rows = shipped_catalogue()
    assert {it.provider for it in rows} == {"aws", "gcp", "azure"}
    assert all(0 < it.idle_watts < it.full_watts for it in rows)
    assert all(it.price_per_hour is None for it in rows)
    assert {it.basis for it in rows if it.architecture.startswith("Graviton")} == {"stand_in"}


def test_the_catalogue_is_what_the_tool_builds_from_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tools import build_instance_catalogue

    from energy_orchestrator.recommend.instance_type import CATALOGUE_FILE

    shared = Path(__file__).parents[3] / "shared/data"
    data(shared / "ccf-coefficients")
    monkeypatch.setattr("sys.argv", ["build", "--data", str(shared), "--out", str(tmp_path / "made.csv")])
    build_instance_catalogue.main()
    assert (tmp_path / "made.csv").read_bytes() == CATALOGUE_FILE.read_bytes()
    assert read_catalogue((tmp_path / "made.csv").read_text().splitlines())


# Images


def runs(name: str, joules: tuple[float, ...], **more: Any) -> ImageRuns:
    return ImageRuns(workload="api", image=name, joules_per_operation=joules, operations_per_day=1e6, **more)


OLD = tuple(0.40 + 0.01 * (n % 4) for n in range(12))


def test_an_image_that_measured_lower_is_proposed() -> None:
    found = image([runs("api:1", OLD, current=True), runs("api:2", tuple(0.8 * it for it in OLD))], (), "t", NOW)
    assert found is not None
    sane(found)
    share = found.finding.saved_watts.value / found.finding.spent_watts.value
    assert share == pytest.approx(0.2, abs=0.01)


@pytest.mark.parametrize(
    "other",
    [
        runs("api:2", OLD),
        runs("api:2", tuple(0.8 * it for it in OLD[:4])),
        runs("api:2", tuple(it * (0.7 if n % 2 else 1.3) for n, it in enumerate(OLD))),
    ],
    ids=["the same", "too few windows", "too noisy"],
)
def test_an_image_that_is_not_surely_better_is_not_proposed(other: ImageRuns) -> None:
    assert image([runs("api:1", OLD, current=True), other], (), "t", NOW) is None


def test_a_smaller_image_promises_the_pull_only() -> None:
    small = ImageRuns(workload="api", image="api:slim", size_mb=90)
    now = runs("api:1", OLD, current=True, size_mb=900, starts_per_day=24)
    found = image([now, small], (), "t", NOW)
    assert found is not None
    sane(found)
    assert (found.finding.saved_watts.value, found.finding.saved_watts.lower) == (0, 0)
    assert 0 < found.finding.saved_watts.upper < 0.9 * 3600 * 24 / 86_400


def test_the_interval_of_a_ratio_holds_the_truth_nine_times_in_ten() -> None:
    draw = np.random.default_rng(4)
    held = 0
    for _ in range(400):
        before, after = draw.lognormal(0, 0.2, 15), draw.lognormal(np.log(0.9), 0.2, 15)
        ratio = ratio_of(list(before), list(after))
        held += ratio.lower <= 0.9 <= ratio.upper
    assert 0.86 <= held / 400 <= 0.95
