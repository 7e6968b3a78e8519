"""The batch: a span of telemetry of a whole fleet into energy, J/op and advice, by one worker or by several.

Three steps with the functions of the stream (`analyzer.py`, `measurements.py`, `advisor.py`), and, where the records
are named, fingerprints and their groups before the advice (`fleet_fingerprints.py`). A workload may run on hosts of
several workers, so all of them finish a step before any begins the next; so do virtual machines, which have their
energy from a host. Workers know nothing of
each other (`shards.py`): they share the series store and hand back what they found, and `recommend.ranking.best_of`
puts it together. The result does not depend on how many they are.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import chain, islice
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

from energy_orchestrator.analyze.estimator import default_model
from energy_orchestrator.analyze.operation_cost import NOT_COUNTED, CostWindow, operation_cost
from energy_orchestrator.errors import InvalidInputError, NotFoundError, UnavailableError
from energy_orchestrator.model.recommendation import Recommendation
from energy_orchestrator.model.sample import MeasuredWindow
from energy_orchestrator.model.workload import Declaration
from energy_orchestrator.recommend.ranking import RankingSettings, best_of
from energy_orchestrator.services import cost_queries, fleet_fingerprints, series_queries
from energy_orchestrator.services.advisor import Advisor
from energy_orchestrator.services.analyzer import Analyzer
from energy_orchestrator.services.fingerprint_groups import Reduced
from energy_orchestrator.services.measurements import AT_ONCE, SeriesMeasurements
from energy_orchestrator.services.past import Past
from energy_orchestrator.services.past import records as open_records
from energy_orchestrator.services.series import rows_of, window_edge
from energy_orchestrator.services.shards import ALONE, Tick, Worker, silent
from energy_orchestrator.services.version_advice import VersionAdvice
from energy_orchestrator.store.records.database import Database
from energy_orchestrator.store.records.fingerprints import PostgresFingerprints
from energy_orchestrator.store.series.chdb_store import ChdbSeriesStore
from energy_orchestrator.store.series.clickhouse_store import ClickHouseSeriesStore
from energy_orchestrator.store.series.port import Parameters, SeriesStore

Progress = Callable[[str, int, int], None]
"""The step, what of it is done, of how much."""


WAIT_SECONDS = 2.0
"""Between two looks at what the other workers have done."""
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
        with open_records(self.records_url_file) as database:
            yield database


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be analysed. `declared` are the declarations in force, by tenant and workload; `past` what was done
    before."""

    start: datetime
    end: datetime
    window_seconds: float = 60.0
    declared: dict[tuple[str, str], Declaration] = field(default_factory=dict)
    ranking: RankingSettings = field(default_factory=RankingSettings)
    past: Past = field(default_factory=Past)

    def declaration_of(self, tenant: str, workload: str) -> Declaration:
        """Or NotFoundError."""
        try:
            return self.declared[tenant, workload]
        except KeyError:
            raise NotFoundError(f"{workload!r} is not declared for tenant {tenant!r}") from None


@dataclass(frozen=True, slots=True)
class Cost:
    """J/op of a workload over the span with its 90 % interval (`analyze/operation_cost.py`); None where no operation
    was done in a window with energy, for the `reason`. `windows` with energy, counted or not."""

    tenant: str
    workload: str
    windows: int
    operations: float
    joules_per_operation: float | None
    joules_per_operation_lower: float | None = None
    joules_per_operation_upper: float | None = None
    reason: str | None = None
    note: str | None = None


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
    found: list[Cost] = []
    for tenant in _tenants(series, task):
        counted = measurements.counted(tenant, task.start, task.end, worker)
        while some := list(islice(counted, AT_ONCE)):
            found += _costs_of(series, task, tenant, some)
    return found


def advise(
    series: SeriesStore, task: Task, worker: Worker = ALONE, tick: Tick = silent, database: Database | None = None
) -> list[Recommendation]:
    """What is worth doing, of every tenant; with the records also who is like whom."""
    advisor = Advisor(
        series,
        SeriesMeasurements(series, task.window_seconds),
        task.declaration_of,
        task.past.playbook,
        task.ranking,
        span_seconds=(task.end - task.start) / timedelta(seconds=1),
        record=task.past.record,
        fingerprints=PostgresFingerprints(database) if database is not None else None,
    )
    versions = VersionAdvice(series, task.window_seconds, task.declaration_of, task.past, task.ranking)
    tenants = _tenants(series, task)
    return best_of(
        chain(
            (advisor.recommend(tenant, task.end, worker, tick) for tenant in tenants),
            (versions.recommend(tenant, task.end, worker) for tenant in tenants),
        )
    )


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
        sum(each("guests", guests_part))
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
    return Found(windows, found, advise(series, task, tick=ticks("advice"), database=records), prints, groups)


def analyse_share(
    series: SeriesStore, task: Task, worker: Worker, patience_seconds: float, progress: Progress = _silent,
    records: Database | None = None,
) -> Found:  # fmt: skip
    """All steps of one worker of several that know nothing of each other, on machines of their own: after the first it
    waits until the store has the energy of all windows, which the others write. Of fingerprints each makes its own;
    worker 0 groups those that are there by then, so a late worker's get their groups with the next span.

    Raises:
        UnavailableError: they did not within the patience.
    """
    windows = attribute(series, task, worker, lambda done, of: progress("energy", done, of))
    _wait_for_others(series, task, worker, patience_seconds, progress)
    guests_again(series, task, worker)
    found = costs(series, task, worker)
    prints, groups = None, None
    if records is not None:
        made = fingerprint(series, records, task, worker, lambda done, of: progress("fingerprints", done, of))
        prints = sum(made.values())
        if worker.number == 0:
            _, groups = fleet_fingerprints.settled(PostgresFingerprints(records), [made], task.end)
    advised = advise(series, task, worker, lambda done, of: progress("advice", done, of), records)
    return Found(windows, found, advised, prints, groups)


def _wait_for_others(
    series: SeriesStore, task: Task, worker: Worker, patience_seconds: float, progress: Progress
) -> None:
    ends = time.monotonic() + patience_seconds
    while missing := windows_missing(series, task):
        if time.monotonic() >= ends:
            raise UnavailableError(
                f"the energy of {missing:,} windows is not there",
                where=f"worker {worker.number}/{worker.of}",
                next_step="start the other workers too, on the same span, or wait longer: --patience-seconds",
            )
        progress("waiting for the other workers", 0, 1)
        time.sleep(min(WAIT_SECONDS, patience_seconds))


def windows_missing(series: SeriesStore, task: Task) -> int:
    """Node-windows of the span, of all workers, that have samples and no energy yet."""
    window = timedelta(seconds=task.window_seconds)
    during: Parameters = {
        "start": window_edge(task.start, window),
        "end": window_edge(task.end, window),
        "window_ms": task.window_seconds * 1000,
        "buckets": ALONE.buckets,
    }
    return int(rows_of(series, series_queries.MISSED_WINDOWS, during)[0]["n"])


def attribute_part(place: Place, task: Task, worker: Worker) -> int:
    """The first step of one worker, in a process of its own; so are the next two."""
    with place.open() as series:
        return attribute(series, task, worker)


def guests_part(place: Place, task: Task, worker: Worker) -> int:
    """Virtual machines again, whose hosts may have been another worker's."""
    with place.open() as series:
        return guests_again(series, task, worker)


def guests_again(series: SeriesStore, task: Task, worker: Worker) -> int:
    """What their hosts gave them, now that all hosts are done; how many node-windows."""
    analyzer = Analyzer(series, default_model(), task.window_seconds, lambda: task.end, worker)
    return analyzer.work_on_guests(task.start, task.end)


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
        return advise(series, task, worker, database=records)


def _tenants(series: SeriesStore, task: Task) -> list[str]:
    span = {"start": task.start, "end": task.end}
    return [row["tenant"] for row in rows_of(series, series_queries.TENANTS, span)]


def _costs_of(
    series: SeriesStore, task: Task, tenant: str, found: list[tuple[str, list[MeasuredWindow]]]
) -> Iterator[Cost]:
    names = [name for name, _ in found]
    about: Parameters = {"tenant": tenant, "workloads": names, "start": task.start, "end": task.end}
    rows = rows_of(series, cost_queries.WORKLOAD_BOUNDS, about)
    bounds = {row["workload"]: (row["low"], row["high"]) for row in rows}
    for workload, windows in found:
        yield cost_of(tenant, workload, windows, *bounds.get(workload, (1.0, 1.0)))


def cost_of(tenant: str, workload: str, windows: Sequence[MeasuredWindow], low: float, high: float) -> Cost:
    """Energy over operations of the windows in which operations were counted, none done included; `low` and `high` are
    the meter's bounds as factors."""
    counted = [CostWindow(e, e * low, e * high, done) for e, done in filter(None, map(_joined, windows))]
    cost = operation_cost(counted)
    value = cost.value
    return Cost(
        tenant,
        workload,
        len(windows),
        cost.operations,
        value.value if value else None,
        value.lower if value else None,
        value.upper if value else None,
        NOT_COUNTED if windows and not counted else cost.reason,
        cost.note,
    )


def _joined(window: MeasuredWindow) -> tuple[float, float] | None:
    """Energy and operations of a window, over the same seconds; None where operations were not counted in it."""
    if window.operations is None or window.active_joules is None:
        return None
    if window.joules_per_operation is None:
        return (window.active_joules, 0.0) if window.operations == 0 else None
    return window.joules_per_operation * window.operations, window.operations
