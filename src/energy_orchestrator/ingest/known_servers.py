"""Which server answers, told from the names that it exposes: no metric has to be named by hand. Pure.

`known_servers.json` is the catalogue: for each server the counter of what it is for, its errors, latency and queue,
with the page of the project's own documentation that says so. Names in, an `OperationSource` out:

- An entry matches where all names that it needs are exposed. Of those the lowest rank wins: a server (1) says more
  of a program than the framework that it is built with (2), or than a histogram alone (3).
- Two servers of that rank are no answer: the caller is told both, and to say which (`server`).
- `operation` chooses among the entries of one server: tokens or requests.
- What the declaration itself names (errors, latency, ...) stays as it is named there.

A counter that nobody knows is never taken for operations, however it is called: the caller is told which were seen.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import resources

from energy_orchestrator.errors import InvalidInputError
from energy_orchestrator.ingest.counters import Series
from energy_orchestrator.ingest.exposition import Names
from energy_orchestrator.model.selector import parse_selector
from energy_orchestrator.model.workload import Counted, OperationSource

SHOWN = 12
OF_THE_RUNTIME = ("process_", "python_", "go_", "jvm_", "promhttp_", "scrape_", "otel_", "target_")
"""What client libraries count of themselves and of their scrapes, never a program's work."""


@dataclass(frozen=True, slots=True)
class KnownServer:
    """An entry of the catalogue."""

    server: str
    operation: str
    rank: int
    metric: tuple[str, ...]
    needs: tuple[str, ...]
    documented: str
    error_metric: tuple[str, ...] = ()
    latency_histogram: tuple[str, ...] = ()
    latency_unit: str = "s"
    queue_gauge: tuple[str, ...] = ()
    counted: str = "process"
    own_operations: float = 0.0
    apart: str | None = None
    """A label that must have one value: what it tells apart are workloads of their own."""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Recognised:
    """The source as if it had been written by hand."""

    server: str
    source: OperationSource
    apart: str | None


@cache
def catalogue() -> tuple[KnownServer, ...]:
    """All entries."""
    text = (resources.files("energy_orchestrator.ingest") / "known_servers.json").read_text(encoding="utf-8")
    return tuple(_entry(**item) for item in json.loads(text))


def recognise(names: Names, source: OperationSource) -> Recognised:
    """The source with the metrics of the server that shows these names; InvalidInputError where that is not clear."""
    fitting = [entry for entry in catalogue() if names.all.issuperset(entry.needs)]
    if source.server is not None:
        fitting = [entry for entry in fitting if entry.server == source.server]
        if not fitting:
            raise _unknown_server(source.server, names)
    best = min((entry.rank for entry in fitting), default=0)
    fitting = [entry for entry in fitting if entry.rank == best]
    if not fitting:
        raise InvalidInputError(
            f"no counter of operations that is known by name; counters seen: {_counters_seen(names)}",
            next_step="name the one that counts its work: `operations.metric`",
        )
    servers = sorted({entry.server for entry in fitting})
    if len(servers) > 1:
        shown = "; ".join(f"{entry.server} by `{entry.metric[0]}`" for entry in fitting)
        raise InvalidInputError(
            f"several known servers answer here: {shown}",
            next_step="say which counts its work: `operations.server`, or `operations.metric`",
        )
    entry = next((it for it in fitting if source.operation in (None, it.operation)), None)
    if entry is None:
        kinds = ", ".join(f"`{it.operation}`" for it in fitting)
        raise InvalidInputError(
            f"{servers[0]} counts {kinds}, not `{source.operation}`",
            next_step="take one of these as `operations.operation`, or name `operations.metric`",
        )
    return Recognised(entry.server, _filled(entry, names, source), entry.apart)


def only_one(operations: Series, apart: str | None) -> None:
    """InvalidInputError where the series are of several workloads."""
    if apart is None:
        return
    values = sorted({dict(labels).get(apart, "") for labels in operations})
    if len(values) > 1:
        raise InvalidInputError(
            f"speaks for several workloads, by `{apart}`: {_listed(values)}",
            next_step=f'say which is this one: `operations.matching: {apart}="{values[0]}"`',
        )


def _filled(entry: KnownServer, names: Names, source: OperationSource) -> OperationSource:
    found = {
        "metric": entry.metric,
        "error_metric": entry.error_metric or None,
        "latency_histogram": _first_shown(entry.latency_histogram, names, "_bucket"),
        "queue_gauge": _first_shown(entry.queue_gauge, names, ""),
        "operation": entry.operation,
    }
    kept = {name: value for name, value in found.items() if getattr(source, name) is None}
    if source.latency_histogram is None:
        kept["latency_unit"] = entry.latency_unit
    return source.model_copy(update={**kept, "counted": Counted(entry.counted), "own_operations": entry.own_operations})


def _first_shown(selectors: Iterable[str], names: Names, suffix: str) -> str | None:
    return next((it for it in selectors if parse_selector(it).name + suffix in names.all), None)


def _entry(**item: object) -> KnownServer:
    texts = {name: tuple(value) if isinstance(value, list) else value for name, value in item.items()}
    metric: tuple[str, ...] = texts["metric"]  # type: ignore[assignment]
    texts.setdefault("needs", tuple(parse_selector(it).name for it in metric))
    return KnownServer(**texts)  # type: ignore[arg-type]


def _unknown_server(server: str, names: Names) -> InvalidInputError:
    known = sorted({entry.server for entry in catalogue()})
    if server in known:
        needed = sorted({name for entry in catalogue() if entry.server == server for name in entry.needs})
        return InvalidInputError(
            f"{server} shows one of {_listed(needed)}, this does not; counters seen: {_counters_seen(names)}",
            next_step="correct `operations.server`, or leave it out",
        )
    return InvalidInputError(
        f"no known server is called {server!r}", next_step=f"take one of: {', '.join(known)}, as `operations.server`"
    )


def _counters_seen(names: Names) -> str:
    seen = sorted(name for name in names.counters if not name.startswith(OF_THE_RUNTIME))
    return _listed(seen) if seen else "none"


def _listed(values: Iterable[str]) -> str:
    shown = list(values)
    more = f" and {len(shown) - SHOWN} more" if len(shown) > SHOWN else ""
    return ", ".join(f"`{value}`" for value in shown[:SHOWN]) + more
