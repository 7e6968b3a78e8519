"""The advisor: fetches what the strategies look at, and hands over what they find.

One look covers the last minute. A declared workload whose replica was restarted within it (by a rollout, or after a
crash) is looked at from a moment after that start on, so that what it did with its old settings is no evidence about
its new ones; until that is long enough for `recommend/ranking.py` nothing is said about it.

Hosts are looked at some hundred at a time, so that memory does not grow with the fleet.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
from uuid_utils.compat import uuid7

from energy_orchestrator.analyze.fingerprint import FingerprintModel
from energy_orchestrator.model.recommendation import Recommendation, Tried
from energy_orchestrator.model.sample import MeasuredWindow
from energy_orchestrator.model.units import Bounded, Tier
from energy_orchestrator.model.workload import Declaration
from energy_orchestrator.recommend.code_path import any_known
from energy_orchestrator.recommend.confidence import Record, no_record
from energy_orchestrator.recommend.observation import Observation, Peaks, WindowPoint
from energy_orchestrator.recommend.ranking import RankingSettings, best_of, recommend
from energy_orchestrator.services import operation_queries, series_queries
from energy_orchestrator.services.declarations import DeclarationOf, declared
from energy_orchestrator.services.likeness import Compared, Likeness
from energy_orchestrator.services.measurements import SeriesMeasurements
from energy_orchestrator.services.series import Series, rows_of
from energy_orchestrator.services.shards import ALONE, Tick, Worker, silent
from energy_orchestrator.store.fingerprint_port import FingerprintStore

MAX_WORKLOADS = 50
"""Of one host, by energy: the others have little to save."""
WARM_UP = timedelta(seconds=5)
"""After a start a program imports, connects and fills caches."""
START_STEP = 5.0
"""Seconds to which starts are rounded up."""
RUNNING = timedelta(seconds=15)
"""Processes seen that lately are the ones that run now; quiet ones are sent every ten seconds."""
POINTS = 3
"""How many spans back CPU is compared with operations: a regression wants windows."""
PEAK_HISTORY = timedelta(hours=24)
OWN_WORKLOADS = frozenset({"process/python3:eo", "process/eo-agent"})
"""Nobody can act on advice about `eo` and the agent; the databases and the bus may be somebody else's."""
HOSTS_AT_ONCE = 200
"""Bounds the memory where a tenant has many."""

_WORKLOAD_SPANS = series_queries.of_hosts(series_queries.WORKLOAD_SPANS)
_PEAKS = series_queries.of_hosts(series_queries.PEAKS)
_JOINED = {
    "operations": series_queries.of_hosts(operation_queries.OPERATION_SPANS),
    "behaviour": series_queries.of_hosts(series_queries.PROCESS_BEHAVIOUR),
    "memory": series_queries.of_hosts(series_queries.WORKLOAD_MEMORY),
    "inventory": series_queries.of_hosts(series_queries.INVENTORY_SPANS),
}

Row = Mapping[str, Any]
Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Look:
    """One span of one tenant, and whom it is about."""

    tenant: str
    start: datetime
    end: datetime
    points_from: datetime
    wanted: Callable[[str], bool]

    @property
    def parameters(self) -> dict[str, Any]:
        """For the queries of a span."""
        return {"tenant": self.tenant, "start": self.start, "end": self.end}


@dataclass(frozen=True, slots=True)
class _Everywhere:
    """What is known of workloads wherever they run; `points` of the declared ones that were met so far."""

    look: Look
    hot: Mapping[str, Row]
    known_paths: Mapping[str, Sequence[tuple[str, float]]]
    compared: Compared
    points: dict[str, Sequence[WindowPoint]] = field(default_factory=dict)


class Advisor:
    """`declaration_of` gives the declaration in force or raises NotFoundError; `playbook` what was tried before;
    `record` what was claimed before and whether it came true; `fingerprints` who is like whom."""

    def __init__(
        self,
        series: Series,
        measurements: SeriesMeasurements,
        declaration_of: DeclarationOf,
        playbook: Callable[[str, str], Sequence[Tried]],
        settings: RankingSettings,
        span_seconds: float = 60.0,
        record: Callable[[str, str], Record] = no_record,
        fingerprints: FingerprintStore | None = None,
    ) -> None:
        self._series = series
        self._measurements = measurements
        self._declaration_of = declaration_of
        self._playbook = playbook
        self._settings = settings
        self._span = timedelta(seconds=span_seconds)
        self._record = record
        self._likeness = Likeness(series, measurements, fingerprints, FingerprintModel.shipped().version)

    def recommend(
        self, tenant: str, now: datetime, worker: Worker = ALONE, tick: Tick = silent
    ) -> list[Recommendation]:
        """What is worth trying now, best first; of a worker's hosts, where several share the work. What they find is
        put together by `recommend/ranking.py`: `best_of`."""
        start = now - self._span
        restarted = self._restarted(tenant, now)
        young = frozenset().union(*restarted.values())
        looks = [Look(tenant, start, now, now - POINTS * self._span, lambda workload: workload not in young)]
        looks += [Look(tenant, max(start, since), now, since, names.__contains__) for since, names in restarted.items()]
        covered = [self._covered(look, worker) if look.start < look.end else {} for look in looks]
        everywhere = [self._everywhere(look) if of_look else None for look, of_look in zip(looks, covered, strict=True)]
        watts = {
            host: row["node_joules"] / row["covered_seconds"]
            for host, row in covered[0].items()
            if row["covered_seconds"]
        }
        hosts = sorted(covered[0])
        found: list[list[Recommendation]] = []
        for first in range(0, len(hosts), HOSTS_AT_ONCE):
            tick(first, len(hosts))
            some = hosts[first : first + HOSTS_AT_ONCE]
            seen = [
                observation
                for facts, of_look in zip(everywhere, covered, strict=True)
                if facts is not None
                for observation in self._observations(facts, of_look, some)
            ]
            found.append(
                recommend(seen, watts, self._playbook, self._settings, lambda: str(uuid7()), now, self._record)
            )
        tick(len(hosts), len(hosts))
        return best_of(found)

    def _restarted(self, tenant: str, now: datetime) -> dict[datetime, frozenset[str]]:
        """Declared workloads that were started within what is looked at, by when they count from: a few moments, so
        that many workloads started together share their queries."""
        parameters = {"tenant": tenant, "start": now - RUNNING, "end": now}
        found: dict[datetime, frozenset[str]] = defaultdict(frozenset)
        for row in rows_of(self._series, series_queries.YOUNGEST_REPLICA, parameters):
            warm = row["started_ms"] / 1000 + WARM_UP.total_seconds()
            since = datetime.fromtimestamp(math.ceil(warm / START_STEP) * START_STEP, UTC)
            if since > now - POINTS * self._span:
                found[since] |= {row["workload"]}
        return found

    def _covered(self, look: Look, worker: Worker) -> dict[str, Row]:
        parameters = look.parameters | {"buckets": worker.buckets}
        return {row["host"]: row for row in rows_of(self._series, series_queries.COVERED_BY_WORKER, parameters)}

    def _everywhere(self, look: Look) -> _Everywhere:
        hot = {row["workload"]: row for row in rows_of(self._series, series_queries.HOTSPOTS, look.parameters)}
        known = self._known_paths(look, hot)
        return _Everywhere(look, hot, known, self._likeness.compared(look.tenant, known, look.start, look.end))

    def _observations(self, facts: _Everywhere, covered: Mapping[str, Row], hosts: list[str]) -> list[Observation]:
        look, parameters = facts.look, facts.look.parameters | {"hosts": hosts}
        spans = [row for row in rows_of(self._series, _WORKLOAD_SPANS, parameters) if look.wanted(row["workload"])]
        known = {
            name: it
            for name in {row["workload"] for row in spans}
            if (it := declared(self._declaration_of, look.tenant, name))
        }
        self._add_points(facts, known)
        joined = self._joined(look, known, parameters)
        groups = self._likeness.groups(look.tenant, {row["workload"] for row in spans})
        observations = []
        taken: dict[str, int] = defaultdict(int)
        for row in spans:
            host, workload = row["host"], row["workload"]
            taken[host] += 1
            seconds = covered.get(host, {}).get("covered_seconds") or 0.0
            if seconds <= 0 or workload in OWN_WORKLOADS or (taken[host] > MAX_WORKLOADS and workload not in known):
                continue
            parts = {name: rows.get((host, workload), {}) for name, rows in joined.items()}
            seen = self._observation(facts, row, parts, seconds, known.get(workload))
            observations.append(replace(seen, group=groups.get(workload)))
        return observations

    def _known_paths(self, look: Look, hot: Mapping[str, Row]) -> dict[str, list[tuple[str, float]]]:
        """Functions of the table of `code_path` with the share of the workload's samples that they are in."""
        found: dict[str, list[tuple[str, float]]] = defaultdict(list)
        for row in rows_of(self._series, series_queries.KNOWN_FUNCTIONS, look.parameters | {"pattern": any_known()}):
            total = hot.get(row["workload"], {}).get("samples") or 0
            if total > 0:
                found[row["workload"]].append((row["function"], row["samples"] / total))
        return found

    def _joined(
        self, look: Look, declarations: Collection[str], parameters: Mapping[str, Any]
    ) -> dict[str, dict[Key, Row]]:
        found = {name: _by_key(self._series.query(query, parameters)) for name, query in _JOINED.items()}
        history = {**parameters, "start": look.end - PEAK_HISTORY, "workloads": sorted(declarations)}
        found["peaks"] = _by_key(self._series.query(_PEAKS, history)) if declarations else {}
        return found

    def _add_points(self, facts: _Everywhere, declarations: Collection[str]) -> None:
        look, missing = facts.look, sorted(set(declarations) - facts.points.keys())
        facts.points.update(dict.fromkeys(missing, ()))
        for workload, windows in self._measurements.windows_of(look.tenant, missing, look.points_from, look.end):
            facts.points[workload] = [_point(window) for window in windows]

    def _observation(
        self, facts: _Everywhere, row: Row, parts: Mapping[str, Row], seconds: float, declaration: Declaration | None
    ) -> Observation:
        look, workload = facts.look, row["workload"]
        behaviour, operations = parts["behaviour"], parts["operations"]
        per_operation, operation = facts.compared.per_operation.get(workload, (None, None))
        watts = Bounded(
            row["active_joules"] / seconds, row["active_joules_lower"] / seconds, row["active_joules_upper"] / seconds
        )
        return Observation(
            tenant=look.tenant,
            host=row["host"],
            workload=workload,
            start=look.end - timedelta(seconds=seconds),
            end=look.end,
            tier=Tier(row["tier"]),
            active_watts=watts,
            cpu_cores=row["cpu_seconds"] / seconds,
            mem_bytes=int(parts["memory"].get("mem_bytes") or 0),
            replicas=declaration.replicas if declaration else 1,
            declaration=declaration,
            points=facts.points.get(workload, ()),
            operations=operations.get("operations"),
            queue_depth=operations.get("queue_depth"),
            queue_depth_max=operations.get("queue_depth_max"),
            threads=behaviour.get("threads"),
            cpus_allowed=behaviour.get("cpus_allowed"),
            involuntary_per_second=behaviour.get("involuntary_per_second"),
            voluntary_per_second=behaviour.get("voluntary_per_second"),
            libraries=parts["inventory"].get("libraries") or (),
            top_functions=facts.hot[workload]["functions"] if workload in facts.hot else (),
            hot_shares=facts.known_paths.get(workload, ()),
            alike=facts.compared.alike.get(workload, ()),
            joules_per_operation=per_operation,
            operation=operation,
            peaks=_peaks(parts["peaks"]),
        )


def _point(window: MeasuredWindow) -> WindowPoint:
    length = (window.window_end - window.window_start).total_seconds()
    return WindowPoint(
        window.cpu_seconds / length, window.operations / length if window.operations is not None else None
    )


def _peaks(row: Row) -> Peaks | None:
    if not row:
        return None
    return Peaks(float(row["history_seconds"]), float(row["cpu_cores_p95"]), int(row["mem_bytes"]))


def _by_key(table: pa.Table) -> dict[Key, Row]:
    return {(row["host"], row["workload"]): row for row in table.to_pylist()}
