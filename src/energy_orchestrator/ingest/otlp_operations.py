"""What senders of OTLP metrics did between their exports: senders in, activities out. No I/O, no clock.

- A resource is one process. It counts for the workload that its attribute `eo.workload` names, or that declares its
  `service.name` (`operations.otlp`, or a workload of that name without any source). `eo.replica`, else
  `service.instance.id`, is the replica.
- What is its operation is told as for a Prometheus endpoint: by the declaration's `metric`, or from the catalogue.
- An interval reaches from export to export, by the sender's clock. Delta points are what was done; cumulative ones
  are compared with those before: a start time that moved, or a fall, is a restart. The first export of a process that
  was there before us is a baseline; of one that began later it counts whole.
- A point that is not newer than the one before is a repetition (a retry) and counts nothing.

`prepare` changes nothing: what it found is kept by `commit`, once the rows are on the bus. So an export that could
not be passed on can be sent again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from energy_orchestrator.errors import InvalidInputError
from energy_orchestrator.ingest.counters import Labels, buckets_increase, increase, labels_of
from energy_orchestrator.ingest.exposition import Exposition, Names, Sample
from energy_orchestrator.ingest.known_servers import recognise
from energy_orchestrator.ingest.operations import Activity, Target
from energy_orchestrator.ingest.otlp_points import Point, Sender
from energy_orchestrator.ingest.prometheus import Reading, activity_between, names_of, reading_of
from energy_orchestrator.model.workload import Counted, Declaration, OperationSource

MAX_SERIES = 100_000
MAX_RESOURCES = 10_000
MAX_GAP_NS = 600 * 10**9
MAX_AHEAD_NS = 300 * 10**9
"""What comes from further ahead is refused: its rows would join with the energy of other windows."""
FORGET_NS = 3600 * 10**9
"""A resource that was silent for so long is forgotten, and what is older (a sender kept it) is refused."""
WORKLOAD = re.compile(r"[a-z]+/[^\x00-\x1f]{1,250}")
IDENTITY = (
    "service.namespace", "service.name", "service.instance.id", "eo.workload", "eo.replica", "host.name",
    "process.pid", "k8s.pod.uid", "container.id",
)  # fmt: skip
"""Attributes that tell processes apart."""

Resource = tuple[tuple[str, str], ...]
Done = tuple[Target, Activity]
_Told = tuple[OperationSource, Activity]
NOTHING = Reading(operations={}, errors={})


@dataclass(frozen=True, slots=True)
class _Seen:
    """What is remembered of a resource. `series` are the newest points of those that count."""

    until_ns: int
    names: frozenset[str] = frozenset()
    counters: frozenset[str] = frozenset()
    series: Mapping[Labels, Point] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Prepared:
    """What an export says. `refused` data points are told back to the sender with `messages`."""

    done: Sequence[Done]
    refused: int
    messages: Sequence[str]
    seen: Mapping[Resource, _Seen]
    problems: Mapping[str, str]
    now_ns: int


class OtlpOperations:
    """`declarations`, and which workloads are `labelled` to be read otherwise, are asked for at each export.
    `since_ns` is when we began to listen."""

    def __init__(
        self,
        declarations: Callable[[], Mapping[str, Declaration]],
        since_ns: int,
        labelled: Callable[[], Collection[str]] = frozenset,
    ) -> None:
        self._declarations = declarations
        self._labelled = labelled
        self._since_ns = since_ns
        self._seen: dict[Resource, _Seen] = {}
        self._problems: dict[str, str] = {}

    def prepare(self, senders: Sequence[Sender], now_ns: int) -> Prepared:
        """The activities of an export. Senders of one resource may come in parts."""
        done, refused, messages, seen, problems = (
            list[Done](),
            0,
            list[str](),
            dict[Resource, _Seen](),
            dict[str, str](),
        )
        room = MAX_SERIES - sum(len(it.series) for it in self._seen.values())
        for resource, sender in _by_resource(senders).items():
            refused += sender.left_out
            workload = None
            try:
                workload, source = self._workload_of(sender.attributes)
                _check_clock(sender.points, now_ns)
                before = self._seen.get(resource)
                if before is None and len(self._seen) + len(seen) >= MAX_RESOURCES:
                    raise InvalidInputError(f"more than {MAX_RESOURCES} processes", next_step="send from fewer")
                one, seen[resource] = self._read(before, sender, source)
                room -= len(seen[resource].series) - (len(before.series) if before else 0)
                if room < 0:
                    raise InvalidInputError(f"more than {MAX_SERIES} series", next_step="send fewer attributes")
            except InvalidInputError as error:
                seen.pop(resource, None)
                refused += len(sender.points)
                messages.append(str(error))
                if workload is not None:
                    problems[workload] = str(error)
                continue
            if one is not None:
                replica = sender.attributes.get("eo.replica") or sender.attributes.get("service.instance.id")
                done.append((Target(workload, replica, None, one[0]), one[1]))
        return Prepared(done, refused, messages, seen, problems, now_ns)

    def commit(self, prepared: Prepared) -> None:
        """Remember what was prepared; its activities are on the bus."""
        self._seen |= prepared.seen
        self._seen = {name: it for name, it in self._seen.items() if prepared.now_ns - it.until_ns < FORGET_NS}
        for target, _ in prepared.done:
            self._problems.pop(target.workload, None)
        self._problems |= prepared.problems

    def problem_of(self, workload: str) -> str | None:
        """What was wrong with the last export for a workload."""
        return self._problems.get(workload)

    def _workload_of(self, attributes: Mapping[str, str]) -> tuple[str, OperationSource]:
        declared, service = self._declarations(), attributes.get("service.name", "")
        workload = attributes.get("eo.workload")
        if workload is None:
            named = (key for key, it in declared.items() if it.operations is not None and it.operations.otlp == service)
            workload = next(named, f"declared/{service}" if f"declared/{service}" in declared else None)
        if workload is None:
            raise InvalidInputError(
                f"no workload is declared for service.name {service!r}",
                next_step="declare `operations: {otlp: ...}`, or set the resource attribute eo.workload",
            )
        if not WORKLOAD.fullmatch(workload):
            raise InvalidInputError(f"eo.workload {workload!r} is no key", next_step="write it as `container/3f2a`")
        source = declared[workload].operations if workload in declared else None
        if source is not None and source.otlp is None:
            raise InvalidInputError(
                f"operations of {workload} come from its {source.kind} source, and would be counted twice",
                next_step=f"declare `operations: {{otlp: {service or workload}}}` instead of it",
            )
        if workload in self._labelled():
            raise InvalidInputError(
                f"operations of {workload} come from the endpoint that its labels name, and would be counted twice",
                next_step="take either the labels or the attribute away",
            )
        return workload, source or OperationSource(otlp=service or workload)

    def _read(self, before: _Seen | None, sender: Sender, source: OperationSource) -> tuple[_Told | None, _Seen]:
        old = before or _Seen(0)
        names = old.names.union(name for point in sender.points for name in point.names)
        counters = old.counters.union(it.name for it in sender.points if it.counts and not it.buckets)
        if source.metric is None:
            source = recognise(Names(names, counters), source).source
        # What is shown below are increases: they began at nought, whoever keeps the counter.
        source = source.model_copy(update={"counted": Counted.PROCESS, "own_operations": 0.0})
        wanted = names_of(source)
        used = [point for point in sender.points if wanted.intersection(point.names)]
        series, shown = dict(old.series), dict[str, list[Sample]]()
        for point in used:
            key = labels_of(point.name, point.labels)
            grown = self._grown(series.get(key), point, known=before is not None) if point.counts else point
            if point.counts:
                series[key] = max(series.get(key, point), point, key=lambda it: it.time_ns)
            if grown is not None:
                _show(grown, shown)
        until_ns = max((point.time_ns for point in used if point.counts), default=old.until_ns)
        seen = _Seen(max(until_ns, old.until_ns), names, counters, series)
        begin_ns = self._begin(used, before)
        if begin_ns is None or not 0 < until_ns - begin_ns <= MAX_GAP_NS:
            return None, seen
        reading = reading_of(Exposition(shown, names & wanted), source)
        activity = activity_between(NOTHING, reading, (until_ns - begin_ns) / 1e9, source)
        if activity is None:
            return None, seen
        return (source, replace(activity, at=datetime.fromtimestamp(until_ns / 1e9, UTC))), seen

    def _begin(self, used: Sequence[Point], before: _Seen | None) -> int | None:
        """When the interval began; None where that was before we listened."""
        last = before.until_ns if before else 0
        deltas = [point.start_ns for point in used if point.counts and point.delta]
        if deltas:
            return max(min(deltas), last)
        if last:
            return last
        starts = [point.start_ns for point in used if point.counts]
        return min(starts) if starts and min(starts) >= self._since_ns else None

    def _grown(self, old: Point | None, point: Point, *, known: bool) -> Point | None:
        """What a series grew by; None where that can't be told."""
        if old is not None and point.time_ns <= old.time_ns:
            return None
        if point.delta:
            return point
        if old is None:
            return point if known or point.start_ns >= self._since_ns else None
        restarted = point.start_ns > old.time_ns
        total = None if point.sum is None else increase(old.sum or 0.0, point.sum, restarted=restarted)
        # An exponential histogram gets coarser as its range grows; at the bounds that stay its counts are exact.
        shared = old.buckets.keys() & point.buckets.keys()
        earlier, later = ({bound: it.buckets[bound] for bound in shared} for it in (old, point))
        return replace(
            point,
            value=increase(old.value, point.value, restarted=restarted),
            buckets=buckets_increase(earlier, later, restarted=restarted),
            count=increase(old.count, point.count, restarted=restarted),
            sum=total,
        )


def _check_clock(points: Sequence[Point], now_ns: int) -> None:
    ahead = [(point.time_ns - now_ns) / 1e9 for point in points if point.counts]
    if ahead and (max(ahead) * 1e9 > MAX_AHEAD_NS or -min(ahead) * 1e9 > FORGET_NS):
        furthest = max(ahead, key=abs)
        raise InvalidInputError(
            f"points of a time that is {abs(furthest):.0f} s {'ahead' if furthest > 0 else 'ago'}",
            next_step="set the sender's clock",
        )


def _by_resource(senders: Sequence[Sender]) -> dict[Resource, Sender]:
    found: dict[Resource, Sender] = {}
    for sender in senders:
        resource = tuple((name, sender.attributes[name]) for name in IDENTITY if name in sender.attributes)
        old = found.get(resource)
        both = (old.points if old else ()) + sender.points
        found[resource] = Sender(sender.attributes, both, sender.left_out + (old.left_out if old else 0))
    return found


def _show(point: Point, shown: dict[str, list[Sample]]) -> None:
    if not point.buckets:
        shown.setdefault(point.name, []).append(Sample(point.labels, point.value))
        return
    for bound, count in point.buckets.items():
        le = "+Inf" if bound == float("inf") else repr(bound)
        shown.setdefault(f"{point.name}_bucket", []).append(Sample({**point.labels, "le": le}, count))
    shown.setdefault(f"{point.name}_count", []).append(Sample(point.labels, point.count))
    if point.sum is not None:
        shown.setdefault(f"{point.name}_sum", []).append(Sample(point.labels, point.sum))
