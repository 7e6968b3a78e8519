"""The batch: a span of telemetry of a whole fleet into energy, J/op and advice, by one worker or by several.

Three steps with the functions of the stream (`analyzer.py`, `measurements.py`, `advisor.py`), and, where the records
are named, fingerprints and their groups before the advice (`fleet_fingerprints.py`). A workload may run on hosts of
several workers, so all of them finish a step before any begins the next. Workers know nothing of each
other (`shards.py`): they share the series store and hand back what they found, and `recommend.ranking.best_of` puts it
together. The result does not depend on how many they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import chain
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

from energy_orchestrator.analyze.estimator import default_model
from energy_orchestrator.errors import InvalidInputError, NotFoundError
from energy_orchestrator.model.recommendation import Recommendation, Tried
from energy_orchestrator.model.sample import MeasuredWindow
from energy_orchestrator.model.workload import Declaration
from energy_orchestrator.recommend.ranking import RankingSettings, best_of
from energy_orchestrator.services import fleet_fingerprints, series_queries
from energy_orchestrator.services.advisor import Advisor
from energy_orchestrator.services.analyzer import Analyzer
from energy_orchestrator.services.fingerprint_groups import Reduced
from energy_orchestrator.services.measurements import SeriesMeasurements
from energy_orchestrator.services.shards import ALONE, Tick, Worker, silent
from energy_orchestrator.store.records import outcomes
from energy_orchestrator.store.records.database import Database
from energy_orchestrator.store.records.fingerprints import PostgresFingerprints
from energy_orchestrator.store.series.chdb_store import ChdbSeriesStore
from energy_orchestrator.store.series.clickhouse_store import ClickHouseSeriesStore
from energy_orchestrator.store.series.port import SeriesStore

Progress = Callable[[str, int, int], None]
"""The step, what of it is done, of how much."""


T = TypeVar("T")


def _silent(step: str, done: int, of: int) -> None:
    """For whoever shows no progress."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the series are: a ClickHouse server, or a chDB folder that nobody else has open. `records_url_file` has the
    address of the Postgres of the records; without it there are no fingerprints."""

    url: str | None = None
    folder: Path | None = None
    credentials_file: Path | None = None
    records_url_file: Path | None = None

    @contextmanager
    def open(self) -> Iterator[SeriesStore]:
        """Closed again at the end."""
        store: SeriesStore
        if self.url is not None:
            store = ClickHouseSeriesStore(self.url, credentials_file=self.credentials_file)
        else:
            assert self.folder is not None
            store = ChdbSeriesStore(self.folder)
        try:
            yield store
        finally:
            store.close()

    @contextmanager
    def records(self) -> Iterator[Database | None]:
        """Closed again at the end; None where they are not named."""
        if self.records_url_file is None:
            yield None
            return
        database = Database(_address(self.records_url_file), pool_size=2)
        database.open()
        try:
            yield database
        finally:
            database.close()


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be analysed. `declared` are the declarations in force, by tenant and workload."""

    start: datetime
    end: datetime
    window_seconds: float = 60.0
    declared: dict[tuple[str, str], Declaration] = field(default_factory=dict)
    ranking: RankingSettings = field(default_factory=RankingSettings)

    def declaration_of(self, tenant: str, workload: str) -> Declaration:
        """Or NotFoundError."""
        try:
            return self.declared[tenant, workload]
        except KeyError:
            raise NotFoundError(f"{workload!r} is not declared for tenant {tenant!r}") from None


@dataclass(frozen=True, slots=True)
class Cost:
    """J/op of a workload over the span; None where no operation was counted in a window with energy."""

    tenant: str
    workload: str
    windows: int
    operations: float
    joules_per_operation: float | None


@dataclass(frozen=True, slots=True)
class Found:
    """What came of it; `node_windows` are in the store, with the energy of each workload in them."""

    node_windows: int
    costs: list[Cost]
    recommendations: list[Recommendation]
    fingerprints: int | None = None
    """Made; None where the records were not named."""
    groups: int | None = None


def attribute(series: SeriesStore, task: Task, worker: Worker = ALONE, tick: Tick = silent) -> int:
    """Energy of nodes and workloads into the store; how many node-windows."""
    analyzer = Analyzer(series, default_model(), task.window_seconds, lambda: task.end, worker)
    return analyzer.work_through(task.start, task.end, tick)


def costs(series: SeriesStore, task: Task, worker: Worker = ALONE) -> list[Cost]:
    """J/op of every workload whose operations are counted."""
    measurements = SeriesMeasurements(series, task.window_seconds)
    found = []
    for tenant in _tenants(series, task):
        for workload, windows in measurements.counted(tenant, task.start, task.end, worker):
            found.append(_cost(tenant, workload, windows))
    return found


def advise(
    series: SeriesStore, task: Task, worker: Worker = ALONE, tick: Tick = silent, records: Database | None = None
) -> list[Recommendation]:
    """What is worth doing, of every tenant; with the records also what they know of past changes and of who is like
    whom."""
    advisor = Advisor(
        series,
        SeriesMeasurements(series, task.window_seconds),
        task.declaration_of,
        _playbook(records),
        task.ranking,
        span_seconds=(task.end - task.start) / timedelta(seconds=1),
        fingerprints=PostgresFingerprints(records) if records is not None else None,
    )
    return best_of(advisor.recommend(tenant, task.end, worker, tick) for tenant in _tenants(series, task))


def _playbook(records: Database | None) -> Callable[[str, str], list[Tried]]:
    def tried(tenant: str, suggestion_type: str) -> list[Tried]:
        if records is None:
            return []
        with records.transaction() as connection:
            return outcomes.tried(connection, tenant, suggestion_type)

    return tried


def fingerprint(
    series: SeriesStore, records: Database, task: Task, worker: Worker = ALONE, tick: Tick = silent
) -> fleet_fingerprints.Made:
    """Fingerprints of every profiled workload, into the records."""
    store, tenants = PostgresFingerprints(records), _tenants(series, task)
    return fleet_fingerprints.make(series, store, tenants, task.end, task.end - task.start, worker, tick)


def analyse(place: Place, task: Task, workers: int = 1, progress: Progress = _silent) -> Found:
    """All steps. Several workers are processes of their own, and need a server."""
    if workers == 1:
        with place.records() as records, place.open() as series:
            return _analysed_alone(series, records, task, progress)
    if place.url is None:
        raise InvalidInputError(
            "a chDB folder belongs to one process", where="workers", next_step="name a server, or take one worker"
        )
    team = [Worker(number, workers) for number in range(workers)]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool, place.records() as records:

        def each(step: str, work: Callable[[Place, Task, Worker], T]) -> Iterator[T]:
            for done, part in enumerate([pool.submit(work, place, task, worker) for worker in team]):
                progress(step, done, workers)
                yield part.result()

        windows = sum(each("energy", attribute_part))
        found = list(chain.from_iterable(each("J/op", costs_part)))
        prints, groups = None, None
        if records is not None:
            made = list(each("fingerprints", fingerprint_part))
            store = PostgresFingerprints(records)
            prints, groups = fleet_fingerprints.settled(store, made, task.end, each("groups", reduce_part))
        return Found(windows, found, best_of(each("advice", advise_part)), prints, groups)


def _analysed_alone(series: SeriesStore, records: Database | None, task: Task, progress: Progress) -> Found:
    def ticks(step: str) -> Tick:
        return lambda done, of: progress(step, done, of)

    windows = attribute(series, task, tick=ticks("energy"))
    progress("J/op", 0, 1)
    found = costs(series, task)
    prints, groups = None, None
    if records is not None:
        made = fingerprint(series, records, task, tick=ticks("fingerprints"))
        prints, groups = fleet_fingerprints.settled(PostgresFingerprints(records), [made], task.end)
    return Found(windows, found, advise(series, task, tick=ticks("advice"), records=records), prints, groups)


def attribute_part(place: Place, task: Task, worker: Worker) -> int:
    """The first step of one worker, in a process of its own; so are the next two."""
    with place.open() as series:
        return attribute(series, task, worker)


def costs_part(place: Place, task: Task, worker: Worker) -> list[Cost]:
    """The second."""
    with place.open() as series:
        return costs(series, task, worker)


def fingerprint_part(place: Place, task: Task, worker: Worker) -> fleet_fingerprints.Made:
    """The third, where the records are named."""
    with place.open() as series, place.records() as records:
        return fingerprint(series, records, task, worker) if records is not None else {}


def reduce_part(place: Place, task: Task, worker: Worker) -> dict[str, list[Reduced]]:
    """What several share of grouping large tenants."""
    with place.open() as series, place.records() as records:
        if records is None:
            return {}
        return fleet_fingerprints.reduced(PostgresFingerprints(records), _tenants(series, task), worker)


def advise_part(place: Place, task: Task, worker: Worker) -> list[Recommendation]:
    """The last."""
    with place.open() as series, place.records() as records:
        return advise(series, task, worker, records=records)


def _address(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise InvalidInputError(
            f"can't be read: {error.strerror}", where=str(file), next_step="name a file with the address of Postgres"
        ) from error


def _tenants(series: SeriesStore, task: Task) -> list[str]:
    span = {"start": task.start, "end": task.end}
    return [row["tenant"] for row in series.query(series_queries.TENANTS, span).to_pylist()]


def _cost(tenant: str, workload: str, windows: list[MeasuredWindow]) -> Cost:
    """Mean of its windows by their operations."""
    known = [(it.joules_per_operation, it.operations) for it in windows if it.joules_per_operation and it.operations]
    done = math.fsum(operations for _, operations in known)
    per = math.fsum(per * operations for per, operations in known) / done if done else None
    return Cost(tenant, workload, len(windows), done, per)
