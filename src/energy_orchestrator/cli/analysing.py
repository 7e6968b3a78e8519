"""`eo analyze`: the batch over a span of a fleet's telemetry. Needs the series store only; changes nothing but its
derived tables, and with `--records` makes fingerprints and keeps what it advises."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from energy_orchestrator.cli import options, output
from energy_orchestrator.cli.options import Format
from energy_orchestrator.cli.output import Output
from energy_orchestrator.errors import InvalidInputError
from energy_orchestrator.model.units import Bounded
from energy_orchestrator.services.shards import Worker
from energy_orchestrator.ui import words

if TYPE_CHECKING:
    from energy_orchestrator.services.fleet_analysis import Cost, Found, Task

SETTLED = timedelta(seconds=10)
"""Time for samples to travel."""


def analyze(
    series_url: Annotated[str | None, typer.Option(help="A ClickHouse server (HTTP).")] = None,
    series_folder: Annotated[Path | None, typer.Option(help="Or a chDB folder that no process has open.")] = None,
    credentials: Annotated[Path | None, typer.Option(help="File with one line, user:password, of the server.")] = None,
    end: Annotated[datetime | None, typer.Option(help="Of the span, UTC; default: ten seconds ago.")] = None,
    hours: Annotated[float, typer.Option(min=0.01, max=24, help="Length of the span.")] = 1.0,
    window_seconds: Annotated[float, typer.Option(min=1, max=3600, help="Width of an attribution window.")] = 60.0,
    workers: Annotated[int, typer.Option(min=1, max=256, help="Processes that share the hosts and workloads.")] = 1,
    worker: Annotated[
        str | None,
        typer.Option(metavar="K/N", help="Be worker K, counted from 0, of N that run on machines of their own."),
    ] = None,
    patience: Annotated[
        float, typer.Option("--patience-seconds", min=0, help="Of one worker: how long it waits for the others.")
    ] = 600.0,
    records: options.Records = None,
    workloads: Annotated[Path | None, typer.Option(help="Declared workloads, of the tenant of the settings.")] = None,
    limit: Annotated[int, typer.Option(min=0, help="Show at most so many of each; JSON has all.")] = 20,
    form: Format = Output.TABLE,
) -> None:
    """Energy of every workload, J/op and advice (with --records fingerprints) of a span, by one worker or several."""
    from energy_orchestrator.services import past
    from energy_orchestrator.services.fleet_analysis import Place, Task, analyse, analyse_share
    from energy_orchestrator.services.workload_file import load_workloads

    if (series_url is None) == (series_folder is None):
        raise InvalidInputError(
            "which store?", where="eo analyze", next_step="give either --series-url or --series-folder"
        )
    alone = None if worker is None else _worker(worker, workers, series_folder)
    declared = {}
    if workloads is not None:
        tenant = options.settings().tenant
        declared = {(tenant, key): it for key, it in load_workloads(workloads).by_key.items()}
    last = (end or datetime.now(UTC) - SETTLED).replace(tzinfo=UTC)
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("opening", total=None)
        place = Place(series_url, series_folder, credentials, records)
        before = past.past_at(records, sorted(options.settings().known_tenants), last)
        span = Task(last - timedelta(hours=hours), last, window_seconds, declared, past=before)

        def progress(step: str, done: int, of: int) -> None:
            bar.update(task, description=step, completed=done, total=of)

        if alone is None:
            found = analyse(place, span, workers, progress)
        else:
            with place.records() as database, place.open() as series:
                found = analyse_share(series, span, alone, patience, progress, database)
        kept = None if records is None else _keep(records, found, span, alone)
    if form is Output.JSON:
        output.print_json(dataclasses.asdict(found) | {"kept": kept})
        return
    known = sum(it.joules_per_operation is not None for it in found.costs)
    advice = len(found.recommendations)
    output.say(f"{found.node_windows:,} node-windows; J/op of {known:,} workloads; {advice:,} recommendations")
    if found.fingerprints is not None:
        groups = "" if found.groups is None else f"; the tenants' workloads form {found.groups:,} groups"
        output.say(f"{found.fingerprints:,} fingerprints{groups}")
    if kept is not None:
        output.say(f"{kept:,} kept in the records; the orchestrator decides about them")
    output.print_table(
        ("Tenant", "Workload", ">J/op", ">Operations", "Note"),
        [
            (it.tenant, it.workload, _per_operation(it), words.figures(it.operations), it.reason or it.note or "")
            for it in sorted(found.costs, key=lambda it: it.operations, reverse=True)[:limit]
        ],
        empty="No workload whose operations are counted.",
    )
    output.print_table(
        ("Kind", "Tenant", "Workload", "Host", ">Saves J/day", ">Confidence"),
        [
            (
                it.suggestion_type.value,
                it.target.tenant,
                it.target.workload,
                it.target.host or "wherever it runs",
                _amount(it.expected_savings_j),
                words.percent(it.confidence),
            )
            for it in found.recommendations[:limit]
        ],
        empty="Nothing to advise.",
    )


def _worker(text: str, workers: int, folder: Path | None) -> Worker:
    number, slash, of = text.partition("/")
    if not (slash and number.isdecimal() and of.isdecimal()):
        raise InvalidInputError(f"{text!r} is not K/N", where="--worker", next_step="write --worker 0/4")
    if workers > 1 or folder is not None:
        raise InvalidInputError(
            "a worker among others is one process that asks a server",
            where="--worker",
            next_step="give --series-url, and leave --workers and --series-folder out",
        )
    return Worker(int(number), int(of))


def _keep(file: Path, found: Found, task: Task, worker: Worker | None) -> int:
    from energy_orchestrator.services import batch, past

    now, length = datetime.now(UTC), task.end - task.start
    since = None if worker is None else max(task.end, now - length)
    with past.records(file) as database:
        return batch.keep(database, found.recommendations, now, 2 * length, since)


def _per_operation(cost: Cost) -> str:
    value, lower, upper = cost.joules_per_operation, cost.joules_per_operation_lower, cost.joules_per_operation_upper
    if value is None or lower is None or upper is None:
        return words.UNKNOWN
    return _amount(Bounded(value, lower, upper))


def _amount(value: Bounded) -> str:
    return f"{value.value:.4g} ({value.lower:.4g} to {value.upper:.4g})"
