"""`eo fingerprints`: what workloads do, and which of them do the same."""

from __future__ import annotations

from typing import Annotated

import typer

from energy_orchestrator.api.control_plane import FingerprintView, NeighbourView
from energy_orchestrator.cli import output
from energy_orchestrator.cli.options import Format, Tenant, Url, connect
from energy_orchestrator.cli.output import Output
from energy_orchestrator.ui import words

fingerprints = typer.Typer(no_args_is_help=True, help="What workloads do, by their stacks, and which do the same.")


@fingerprints.command("list")
def listed(url: Url = None, tenant: Tenant = None, form: Format = Output.TABLE) -> None:
    """Profiled workloads by group; from the stacks of the last hour."""
    rows = connect(url, tenant).get("/fingerprints")
    if form is Output.JSON:
        output.print_json(rows)
        return
    output.print_table(
        (">Group", "Workload", ">Samples", "Does", "Functions"),
        [_fingerprint(FingerprintView.model_validate(row)) for row in rows],
        empty="No workload has 20 stack samples yet: see that the agent profiles (`eo doctor`), then wait a minute.",
    )


def _fingerprint(row: FingerprintView) -> tuple[str, ...]:
    does = ", ".join(row.does) or words.UNKNOWN
    return str(row.cluster or "-"), row.workload, str(row.samples), does, ", ".join(row.functions)


@fingerprints.command("neighbours")
def neighbours(
    workload: Annotated[str, typer.Argument(help="As `eo fingerprints list` shows it.")],
    url: Url = None,
    tenant: Tenant = None,
    form: Format = Output.TABLE,
    limit: Annotated[int, typer.Option(help="At most so many.")] = 5,
) -> None:
    """Workloads that do the same, the most alike first, and why."""
    rows = connect(url, tenant).get("/fingerprints/neighbours", workload=workload, limit=limit)
    if form is Output.JSON:
        output.print_json(rows)
        return
    views = [NeighbourView.model_validate(row) for row in rows]
    output.print_table(
        ("Workload", ">Likeness", ">Group", "Why"),
        [(view.workload, f"{view.likeness:.2f}", str(view.cluster or "-"), view.reason) for view in views],
        empty="No other workload has a fingerprint yet.",
    )
