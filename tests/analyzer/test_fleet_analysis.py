"""The batch of a fleet: whole, in packs, by two processes, and as a stream, the same rows and the same advice.

The telemetry is simulated (benchmarks/simulated_telemetry.py).
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from benchmarks.series_server import serving
from benchmarks.simulated_telemetry import TENANTS, Fleet, declarations, last_hour, write

from energy_orchestrator.analyze.estimator import default_model
from energy_orchestrator.analyze.fingerprint import FingerprintModel
from energy_orchestrator.analyze.operation_cost import NO_ENERGY, NOT_COUNTED, NOTHING_DONE, ONE_WINDOW
from energy_orchestrator.errors import InvalidInputError
from energy_orchestrator.model.sample import MeasuredWindow
from energy_orchestrator.services import advisor, analyzer, measurements
from energy_orchestrator.services.analyzer import Analyzer
from energy_orchestrator.services.fleet_analysis import (
    Found,
    Place,
    Task,
    advise,
    analyse,
    attribute,
    cost_of,
    costs,
    fingerprint,
)
from energy_orchestrator.services.fleet_fingerprints import settled
from energy_orchestrator.services.shards import Worker
from energy_orchestrator.store.records.database import Database
from energy_orchestrator.store.records.fingerprints import PostgresFingerprints
from energy_orchestrator.store.series.port import SeriesStore
from records.shared import new_url

from .world import World

FLEET = Fleet(nodes=24, start=last_hour(), containers=30, minutes=8)
TASK = Task(FLEET.start, FLEET.end, 60.0, declarations())
NODES = "SELECT * FROM node_energy FINAL ORDER BY tenant, host, timestamp"
WORKLOADS = "SELECT * FROM workload_energy FINAL ORDER BY tenant, host, timestamp, workload, replica"
ROUNDING = 1e-9
"""Sums of floats in another order."""


def rows(store: SeriesStore) -> list[dict[str, Any]]:
    return [row for query in (NODES, WORKLOADS) for row in store.query(query).to_pylist()]


def same(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> bool:
    return len(one) == len(other) and all(
        a == pytest.approx(b, rel=ROUNDING) if isinstance(a, float) else a == b
        for left, right in zip(one, other, strict=True)
        for a, b in zip(left.values(), right.values(), strict=True)
    )


def advice(found: Found) -> list[tuple[object, ...]]:
    return sorted(
        (it.target.tenant, it.target.host or "", it.target.workload, it.suggestion_type.value, it.explanation,
         f"{it.expected_savings_j.value:.6g}", f"{it.rank_score:.6g}")
        for it in found.recommendations
    )  # fmt: skip


def per_operation(found: Found) -> list[tuple[object, ...]]:
    return sorted(
        (it.tenant, it.workload, it.windows, f"{it.joules_per_operation:.9g} {it.joules_per_operation_upper:.6g}")
        for it in found.costs
    )


def analysed(store: SeriesStore, workers: int = 1) -> Found:
    team = [Worker(number, workers) for number in range(workers)]
    windows = sum(attribute(store, TASK, worker) for worker in team)
    found = [it for worker in team for it in costs(store, TASK, worker)]
    return Found(windows, found, [it for worker in team for it in advise(store, TASK, worker)])


@pytest.fixture
def fleet(world: World) -> SeriesStore:
    write(world.store, FLEET)
    return world.store


def test_an_hour_has_energy_that_adds_up_joules_per_operation_and_advice(fleet: SeriesStore) -> None:
    found = analysed(fleet)
    assert found.node_windows == FLEET.nodes * FLEET.minutes
    nodes = fleet.query(NODES).to_pylist()
    assert {row["tier"] for row in nodes} == {"model", "on_die", "bmc"}
    active = fleet.query("SELECT sum(active_joules) AS joules FROM workload_energy FINAL").to_pylist()[0]["joules"]
    assert active == pytest.approx(sum(row["active_joules"] for row in nodes))
    whole = sum(row["idle_joules"] + row["active_joules"] + row["unattributed_joules"] for row in nodes)
    assert whole == pytest.approx(sum(row["node_joules"] for row in nodes))
    assert found.costs
    assert all(it.joules_per_operation for it in found.costs)
    for it in found.costs:
        assert it.joules_per_operation_lower is not None
        assert it.joules_per_operation_upper is not None
        assert it.joules_per_operation_lower < (it.joules_per_operation or 0) < it.joules_per_operation_upper
    assert {it.suggestion_type.value for it in found.recommendations} >= {"runtime_flags", "code_path"}


def test_in_packs_it_is_as_in_one(fleet: SeriesStore, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, written = analysed(fleet), rows(fleet)
    for table in ("node_energy", "workload_energy"):
        fleet.query(f"TRUNCATE TABLE {table}")
    monkeypatch.setattr(analyzer, "ROWS_AT_ONCE", 4000)
    monkeypatch.setattr(advisor, "HOSTS_AT_ONCE", 3)
    monkeypatch.setattr(measurements, "AT_ONCE", 2)
    parts = analysed(fleet)
    assert same(written, rows(fleet))
    assert (advice(parts), per_operation(parts)) == (advice(whole), per_operation(whole))


def test_what_the_workers_of_one_fleet_do_is_what_one_does(fleet: SeriesStore) -> None:
    whole, written = analysed(fleet), rows(fleet)
    for table in ("node_energy", "workload_energy"):
        fleet.query(f"TRUNCATE TABLE {table}")
    shared = analysed(fleet, workers=3)
    assert shared.node_windows == whole.node_windows
    assert same(written, rows(fleet))
    assert per_operation(shared) == per_operation(whole)


def test_the_stream_and_the_batch_write_the_same_rows(fleet: SeriesStore) -> None:
    """Minute by minute as time passes, and all at once. Nodes with a meter get another idle share once an hour of rest
    was seen; in eight minutes there is none."""
    now = FLEET.start
    stream = Analyzer(fleet, default_model(), 60.0, lambda: now)
    for minute in range(1, FLEET.minutes + 1):
        now = FLEET.start + timedelta(minutes=minute, seconds=3)
        stream.run_once()
    written = rows(fleet)
    for table in ("node_energy", "workload_energy"):
        fleet.query(f"TRUNCATE TABLE {table}")
    attribute(fleet, TASK)
    assert len(written) == FLEET.nodes * FLEET.minutes * (1 + FLEET.containers)
    assert same(written, rows(fleet))


def test_workers_of_a_stream_each_go_on_where_they_stopped(fleet: SeriesStore) -> None:
    """One worker is a few minutes behind: what the other has done does not count as its own."""
    now = FLEET.start
    team = [Analyzer(fleet, default_model(), 60.0, lambda: now, Worker(number, 2)) for number in range(2)]
    for minute, awake in ((3, team), (6, team[:1]), (FLEET.minutes, team)):
        now = FLEET.start + timedelta(minutes=minute, seconds=3)
        for worker in awake:
            worker.run_once()
    assert len(fleet.query(NODES)) == FLEET.nodes * FLEET.minutes


def test_fingerprints_are_made_by_workers_as_by_one(fleet: SeriesStore, database: Database) -> None:
    """Into a real Postgres; one node in fifty is profiled."""
    attribute(fleet, TASK)
    store, version = PostgresFingerprints(database), FingerprintModel.shipped().version

    def kept() -> dict[tuple[str, str], list[float]]:
        rows = [row for tenant in TENANTS for row in store.listed(tenant, version)]
        return {(row.tenant, row.workload): row.vector.tolist() for row in rows}

    one = fingerprint(fleet, database, TASK)
    alone = kept()
    assert sum(one.values()) == len(alone) > 10
    made, groups = settled(store, [one], TASK.end)
    numbers = {(tenant, cluster) for tenant in TENANTS for cluster in store.clusters(tenant).values()}
    assert (made, groups) == (len(alone), len(numbers))
    with database.transaction() as connection:
        connection.execute("TRUNCATE fingerprint")
    parts = [fingerprint(fleet, database, TASK, Worker(number, 3)) for number in range(3)]
    assert sum(sum(part.values()) for part in parts) == len(alone)
    assert kept() == alone


def test_records_that_cannot_be_read_are_an_error_that_says_so(tmp_path: Path) -> None:
    place = Place(folder=tmp_path / "series", records_url_file=tmp_path / "missing")
    with pytest.raises(InvalidInputError, match="URL of Postgres"):
        analyse(place, TASK)


def test_a_chdb_folder_is_not_shared(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="one process"):
        analyse(Place(folder=tmp_path), TASK, workers=2)


@pytest.mark.slow
def test_two_processes_give_what_one_gives(tmp_path: Path) -> None:
    """Through the adapter for ClickHouse servers, on chDB behind its interface."""
    with serving(tmp_path / "series") as (url, _):
        address = tmp_path / "records"
        address.write_text(new_url())
        place = Place(url=url, records_url_file=address)
        with place.open() as store:
            write(store, replace(FLEET, nodes=40))
            one = analyse(place, TASK)
            written = rows(store)
            for table in ("node_energy", "workload_energy"):
                store.query(f"TRUNCATE TABLE {table}")
            two = analyse(place, TASK, workers=2)
            assert same(written, rows(store))
    assert one.recommendations
    assert (advice(two), per_operation(two)) == (advice(one), per_operation(one))
    assert one.fingerprints
    assert (two.fingerprints, two.groups) == (one.fingerprints, one.groups)


def window(joules: float | None, operations: float | None, second: int = 0) -> MeasuredWindow:
    per = joules / operations if joules is not None and operations else None
    start = FLEET.start + timedelta(seconds=second)
    return MeasuredWindow(start, start + timedelta(seconds=1), joules, operations, per, None, None)


def test_the_cost_of_a_span_has_the_energy_of_windows_in_which_nothing_was_done() -> None:
    cost = cost_of("t", "w", [window(10, 5), window(10, 0, 1), window(7, None, 2)], 0.9, 1.2)
    assert (cost.joules_per_operation, cost.operations, cost.windows) == (4.0, 5, 3)


@pytest.mark.parametrize(
    ("windows", "reason", "note"),
    [
        ([], NO_ENERGY, None),
        ([window(7, None)], NOT_COUNTED, None),
        ([window(7, 0)], NOTHING_DONE, None),
        ([window(10, 5)], None, ONE_WINDOW),
    ],
)
def test_the_cost_of_no_or_one_window_says_what_is_missing(
    windows: list[MeasuredWindow], reason: str | None, note: str | None
) -> None:
    cost = cost_of("t", "w", windows, 0.9, 1.2)
    assert (cost.reason, cost.note) == (reason, note)
    assert (cost.joules_per_operation is None) == (cost.joules_per_operation_upper is None) == (reason is not None)
    assert reason or (cost.joules_per_operation_lower, cost.joules_per_operation_upper) == pytest.approx((1.8, 2.4))
