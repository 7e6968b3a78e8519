"""The batch keeps what it advises: once an hour inside `eo up`, by workers on several machines, and until the next."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from benchmarks.simulated_telemetry import Fleet, declarations, last_hour, write

from energy_orchestrator.errors import UnavailableError
from energy_orchestrator.model.recommendation import Recommendation, SuggestionType, Tried
from energy_orchestrator.services.batch import HourlyBatch, keep
from energy_orchestrator.services.fleet_analysis import (
    Task,
    advise,
    analyse_share,
    attribute,
    costs,
    windows_missing,
)
from energy_orchestrator.services.past import Past
from energy_orchestrator.services.shards import Worker
from energy_orchestrator.store.records import recommendations
from energy_orchestrator.store.records.database import Database
from energy_orchestrator.store.series.port import SeriesStore
from records.examples import NOW, advice
from records.shared import emptied

from .world import World

FLEET = Fleet(nodes=16, start=last_hour(), containers=30, minutes=5)
TASK = Task(FLEET.start, FLEET.end, 60.0, declarations())
HOUR = timedelta(hours=1)


@pytest.fixture
def fleet(world: World) -> SeriesStore:
    write(world.store, FLEET)
    return world.store


def is_open(database: Database, now: datetime) -> list[tuple[str, ...]]:
    with database.transaction() as connection:
        rows = connection.execute(
            "SELECT tenant, target, coalesce(host, '') AS host, suggestion_type FROM recommendation"
            " WHERE status = 'open' AND expires_at > %s ORDER BY 1, 2, 3, 4",
            (now,),
        ).fetchall()
    return [tuple(row.values()) for row in rows]


def targets(found: list[Recommendation]) -> list[tuple[str, ...]]:
    return sorted(
        (it.target.tenant, it.target.workload, it.target.host or "", it.suggestion_type.value) for it in found
    )


def test_a_batch_runs_once_for_each_hour_that_ends_after_it_was_made(fleet: SeriesStore, database: Database) -> None:
    hour = FLEET.start.replace(minute=0, second=0, microsecond=0)
    now = hour + timedelta(minutes=30)
    spans: list[tuple[datetime, datetime]] = []

    def task_of(start: datetime, end: datetime) -> Task:
        spans.append((start, end))
        return TASK

    batch = HourlyBatch(fleet, database, task_of, lambda: now)
    assert batch.run_if_due() == 0
    now = hour + HOUR + timedelta(seconds=30)
    assert (batch.run_if_due(), spans) == (0, [])
    now = hour + HOUR + timedelta(minutes=2)
    kept = batch.run_if_due()
    assert spans == [(hour, hour + HOUR)]
    assert kept == len(is_open(database, now)) > 0
    assert is_open(database, now) == targets(advise(fleet, TASK))
    assert batch.run_if_due() == 0
    assert is_open(database, now + HOUR) == is_open(database, now)
    assert is_open(database, now + HOUR + timedelta(minutes=2)) == []


def test_workers_apart_write_the_same_and_wait_for_each_other(fleet: SeriesStore) -> None:
    assert windows_missing(fleet, TASK) == FLEET.nodes * FLEET.minutes
    with pytest.raises(UnavailableError, match="windows is not there"):
        analyse_share(fleet, TASK, Worker(0, 2), 0.0)
    other = analyse_share(fleet, TASK, Worker(1, 2), 0.0)
    one = analyse_share(fleet, TASK, Worker(0, 2), 0.0)
    assert windows_missing(fleet, TASK) == 0
    assert one.node_windows + other.node_windows == FLEET.nodes * FLEET.minutes
    assert sorted(it.workload for it in [*one.costs, *other.costs]) == sorted(it.workload for it in costs(fleet, TASK))


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_what_workers_apart_keep_is_what_one_keeps(
    fleet: SeriesStore, database: Database, order: tuple[int, int]
) -> None:
    attribute(fleet, TASK)
    now = datetime.now(UTC)
    for number in order:
        keep(database, advise(fleet, TASK, Worker(number, 2)), now, HOUR, now - HOUR)
    assert is_open(database, now) == targets(advise(fleet, TASK))


def test_of_one_target_the_best_of_all_workers_stays_in_whichever_order(database: Database) -> None:
    poor, good = advice(rank=1.0), advice(rank=2.0, kind=SuggestionType.RUNTIME_FLAGS, patch={"a": 1})
    for order in ([poor, good], [good, poor]):
        emptied(database)
        for it in order:
            keep(database, [it], NOW, HOUR, NOW - HOUR)
        assert [row[3] for row in is_open(database, NOW)] == ["runtime_flags"]


def test_an_older_batch_and_other_targets_do_not_stand_in_the_way(database: Database) -> None:
    good, poor = advice(rank=2.0, kind=SuggestionType.RUNTIME_FLAGS, patch={"a": 1}), advice(rank=1.0)
    keep(database, [good, advice(workload="declared/other", rank=3.0)], NOW, 3 * HOUR, NOW - HOUR)
    later = NOW + 2 * HOUR
    assert keep(database, [poor], later, HOUR, later - HOUR) == 1
    assert len(is_open(database, later)) == 3


def test_what_was_refused_is_not_kept_again(database: Database) -> None:
    it = advice()
    assert keep(database, [it], NOW, HOUR) == 1
    status = recommendations.RecommendationStatus
    with database.transaction() as connection:
        recommendations.transition(connection, "local", it.id, [status.OPEN], status.REFUSED, NOW)
    assert keep(database, [advice()], NOW + HOUR, HOUR) == 0


TRIED = [Tried("elsewhere", None, share) for share in (0.3, 0.3, None)]


def test_what_was_tried_before_counts_in_a_batch(fleet: SeriesStore) -> None:
    attribute(fleet, TASK)
    kinds = {(it.target.tenant, it.suggestion_type.value) for it in advise(fleet, TASK)}
    after = advise(fleet, replace(TASK, past=Past(tries={kind: TRIED for kind in kinds})))
    assert after
    assert all("2 of 3 such changes" in it.confidence_reason for it in after)
