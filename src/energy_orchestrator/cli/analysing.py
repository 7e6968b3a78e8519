"""`eo analyze`: the batch over a span of a fleet's telemetry. Needs the series store only, and the records for
fingerprints; changes nothing but derived tables."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from energy_orchestrator.cli import options, output
from energy_orchestrator.cli.options import Format
from energy_orchestrator.cli.output import Output
from energy_orchestrator.errors import InvalidInputError
from energy_orchestrator.model.units import Bounded
from energy_orchestrator.ui import words

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
    records: Annotated[
        Path | None, typer.Option(help="File with the address of the records' Postgres: fingerprints are kept there.")
    ] = None,
    workloads: Annotated[Path | None, typer.Option(help="Declared workloads, of the tenant of the settings.")] = None,
    limit: Annotated[int, typer.Option(min=0, help="Show at most so many recommendations; JSON has all.")] = 20,
    form: Format = Output.TABLE,
) -> None:
    """Energy of every workload, J/op, fingerprints and advice of an hour of a fleet, by one worker or by several."""
    from energy_orchestrator.services.fleet_analysis import Place, Task, analyse
    from energy_orchestrator.services.workload_file import load_workloads

    if (series_url is None) == (series_folder is None):
        raise InvalidInputError(
            "which store?", where="eo analyze", next_step="give either --series-url or --series-folder"
        )
    declared = {}
    if workloads is not None:
        tenant = options.settings().tenant
        declared = {(tenant, key): it for key, it in load_workloads(workloads).by_key.items()}
    last = (end or datetime.now(UTC) - SETTLED).replace(tzinfo=UTC)
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("opening", total=None)
        found = analyse(
            Place(series_url, series_folder, credentials, records),
            Task(last - timedelta(hours=hours), last, window_seconds, declared),
            workers,
            lambda step, done, of: bar.update(task, description=step, completed=done, total=of),
        )
    if form is Output.JSON:
        output.print_json(dataclasses.asdict(found))
        return
    known = sum(it.joules_per_operation is not None for it in found.costs)
    advice = len(found.recommendations)
    output.say(f"{found.node_windows:,} node-windows; J/op of {known:,} workloads; {advice:,} recommendations")
    if found.fingerprints is not None:
        output.say(f"{found.fingerprints:,} fingerprints; the tenants' workloads form {found.groups:,} groups")
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


def _amount(value: Bounded) -> str:
    return f"{value.value:.4g} ({value.lower:.4g} to {value.upper:.4g})"
