"""Schedule shift: jobs that may wait run when the grid is cleaner or power is cheaper.

In: jobs with earliest start and deadline, a forecast in slots, how many watts may run at once. Out: starts that are
proven best (CP-SAT over the possible starts of each job; without a shared limit that is each job's own best start),
and a finding for each job worth moving. Joules stay the same, so none are promised: what is saved is gCO2e and money.
Bounds come from the forecast's stated error. A missing forecast value makes its slot unusable, never free.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray
from ortools.sat.python import cp_model

from energy_orchestrator.errors import InvalidInputError
from energy_orchestrator.model.fleet import Forecast, Job
from energy_orchestrator.model.recommendation import SuggestionType
from energy_orchestrator.model.units import Bounded, Tier
from energy_orchestrator.recommend.observation import Finding, Prior
from energy_orchestrator.recommend.playbook import Measured, corrected
from energy_orchestrator.recommend.subject import Found, Subject, between, no_joules

UNITS = 1000
MINIMUM_SHARE = 0.03
SEARCH_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Shift:
    """One job's start now and then, with grams and money of a run at either (None: not in the forecast)."""

    job: Job
    start: datetime
    gco2e: tuple[float, float] | None
    price: tuple[float, float] | None
    proven: bool


def shift_jobs(jobs: Sequence[Job], forecast: Forecast, by: str, capacity_watts: float | None) -> list[Shift]:
    """The best start of every job.

    Raises:
        InvalidInputError: a job has no possible start within the forecast, or the limit of watts can't be kept.
    """
    costs = {name: _column(forecast, name) for name in ("gco2e_per_kwh", "price_per_kwh")}
    aim = costs["gco2e_per_kwh" if by == "gco2e" else "price_per_kwh"]
    if np.isnan(aim).all():
        raise InvalidInputError(f"no slot has {by}", where="forecast.slots", next_step="add it, or set shift_by")
    options = [_starts(job, forecast, aim) for job in jobs]
    for job, found in zip(jobs, options, strict=True):
        if not found:
            raise InvalidInputError(
                "no start within the forecast keeps earliest and deadline",
                where=f"jobs.{job.workload}",
                next_step="lengthen the forecast or the deadline",
            )
    chosen, proven = _schedule(jobs, options, forecast, capacity_watts)
    shifts = []
    for job, start in zip(jobs, chosen, strict=True):
        both = [_both(job, start, costs[name], forecast) for name in ("gco2e_per_kwh", "price_per_kwh")]
        shifts.append(Shift(job, forecast.slots[start].start, both[0], both[1], proven))
    return shifts


def schedule_shift(
    shift: Shift, forecast: Forecast, by: str, measured: Measured, tenant: str, now: datetime
) -> Found | None:
    """The finding of one shift; None where it saves next to nothing."""
    job, aim = shift.job, shift.gco2e if by == "gco2e" else shift.price
    if aim is None or aim[0] <= 0 or shift.start == job.planned_start:
        return None
    share = 1 - aim[1] / aim[0]
    if share < MINIMUM_SHARE:
        return None
    prior = corrected(Prior(Bounded(0.5, 0.0, 1.0), 0.7, "a forecast; not tried here yet"), measured)
    spent = job.watts * job.minutes * 60 * job.runs_per_day / 86_400
    told = [
        f"{before:.4g} to {after:.4g} {unit}"
        for unit, both in (("gCO2e", shift.gco2e), ("money", shift.price))
        if both is not None
        for before, after in [both]
    ]
    slack = (job.deadline - shift.start).total_seconds() / 60 - job.minutes
    return Found(
        Subject(tenant, job.workload, job.node, now, now, Tier.MODEL, {job.workload: ""}),
        Finding(
            strategy="schedule_shift",
            suggestion_type=SuggestionType.SCHEDULE_SHIFT,
            patch={"start": shift.start.isoformat()},
            inverse={"start": job.planned_start.isoformat()},
            saved_watts=no_joules(),
            spent_watts=Bounded(spent, spent * 0.9, spent * 1.1),
            confidence=prior.confidence,
            confidence_reason=prior.source,
            risk_parts={
                "availability": 0.1,
                "latency": 0.6 if slack < 0.1 * job.minutes else 0.2,
                "blast_radius": 0.1,
                "reversibility": 0.05,
            },
            evidence=[
                ("energy of a run", round(job.watts * job.minutes / 60_000, 4), "kWh"),
                ("time left before the deadline", round(slack, 1), "min"),
            ],
            explanation=(
                f"Start {shift.start:%Y-%m-%d %H:%M %Z} instead of "
                f"{job.planned_start:%Y-%m-%d %H:%M %Z}: a run goes from "
                f"{' and from '.join(told)}. It takes {job.minutes:g} min, the deadline is {job.deadline:%H:%M}. "
                f"No joules are saved; the start is {'proven best' if shift.proven else 'the best found in time'}."
            ),
            restarted_replicas=0,
            executor="none",
            cost_per_day=_saved(shift.price, forecast.relative_error, job.runs_per_day),
            gco2e_per_day=_saved(shift.gco2e, forecast.relative_error, job.runs_per_day),
            ranked_as_watts=between(
                spent * share,
                spent * (share - forecast.relative_error),
                spent * (share + forecast.relative_error),
                spent,
            ),
        ),
    )


def _saved(both: tuple[float, float] | None, error: float, runs: float) -> Bounded | None:
    if both is None:
        return None
    saved = (both[0] - both[1]) * runs
    doubt = error * (abs(both[0]) + abs(both[1])) / 2 * runs
    return Bounded(saved, saved - doubt, min(saved + doubt, max(saved, abs(both[0]) * runs)))


def _column(forecast: Forecast, name: str) -> NDArray[np.float64]:
    return np.array([np.nan if (it := getattr(slot, name)) is None else it for slot in forecast.slots], float)


def _weights(job: Job, forecast: Forecast) -> NDArray[np.float64]:
    """kWh in each slot from the start on."""
    left, weights = job.minutes, []
    while left > 1e-9:
        part = min(left, forecast.slot_minutes)
        weights.append(job.watts * part / 60_000)
        left -= part
    return np.array(weights)


def _starts(job: Job, forecast: Forecast, aim: NDArray[np.float64]) -> dict[int, float]:
    weights, found = _weights(job, forecast), {}
    for start in range(len(forecast.slots) - len(weights) + 1):
        begin = forecast.slots[start].start
        if begin < job.earliest or begin + timedelta(minutes=job.minutes) > job.deadline:
            continue
        cost = float(weights @ aim[start : start + len(weights)])
        if not np.isnan(cost):
            found[start] = cost
    return found


def _schedule(
    jobs: Sequence[Job], options: Sequence[dict[int, float]], forecast: Forecast, capacity_watts: float | None
) -> tuple[list[int], bool]:
    if capacity_watts is None:
        return [min(found, key=lambda start: (found[start], start)) for found in options], True
    model = cp_model.CpModel()
    chosen = [{start: model.new_bool_var("") for start in found} for found in options]
    for starts in chosen:
        model.add_exactly_one(starts.values())
    for slot in range(len(forecast.slots)):
        running = [
            round(job.watts) * variable
            for job, starts in zip(jobs, chosen, strict=True)
            for start, variable in starts.items()
            if start <= slot < start + len(_weights(job, forecast))
        ]
        if running:
            model.add(sum(running) <= int(capacity_watts))
    model.minimize(
        sum(
            round(found[start] * job.runs_per_day * UNITS) * variable
            for job, found, starts in zip(jobs, options, chosen, strict=True)
            for start, variable in starts.items()
        )
    )
    solver = cp_model.CpSolver()
    solver.parameters.max_time_in_seconds = SEARCH_SECONDS
    solver.parameters.num_workers = 1
    status = solver.solve(model)
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        raise InvalidInputError(
            "the jobs can't all keep their deadlines below it",
            where="job_capacity_watts",
            next_step="raise it or a deadline",
        )
    picked = [next(start for start, variable in starts.items() if solver.value(variable)) for starts in chosen]
    return picked, status == cp_model.OPTIMAL


def _both(job: Job, start: int, column: NDArray[np.float64], forecast: Forecast) -> tuple[float, float] | None:
    """Cost of a run as planned and as proposed; None where the forecast does not cover either."""
    weights = _weights(job, forecast)
    offset = (job.planned_start - forecast.slots[0].start).total_seconds() / (forecast.slot_minutes * 60)
    planned = int(offset)
    if offset < 0 or planned + len(weights) > len(column):
        return None
    before = float(weights @ column[planned : planned + len(weights)])
    after = float(weights @ column[start : start + len(weights)])
    return None if np.isnan(before) or np.isnan(after) else (before, after)
