"""`eo savings nodes`: what a change to whole nodes saved."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from energy_orchestrator.api.control_plane import SavingView
from energy_orchestrator.cli import output
from energy_orchestrator.cli.options import Format, Tenant, Url, connect
from energy_orchestrator.cli.output import Output

savings = typer.Typer(help="What changes saved that a person carried out.", no_args_is_help=True)

Names = Annotated[list[str], typer.Argument(help="Nodes that were changed.")]
MOMENTS = ["%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M"]


@savings.command("nodes")
def nodes(
    changed: Names,
    at: Annotated[datetime, typer.Option(formats=MOMENTS, help="When they were changed, UTC.")],
    control: Annotated[list[str] | None, typer.Option(help="Nodes that nobody changed; again for more.")] = None,
    asleep: Annotated[list[str] | None, typer.Option(help="Changed nodes that are off since; again for more.")] = None,
    workload: Annotated[str | None, typer.Option(help="Whose operations are the work. Without: CPU seconds.")] = None,
    hours: Annotated[float, typer.Option(min=0.05, max=168, help="How much before and after is compared.")] = 2.0,
    alike: Annotated[
        bool, typer.Option("--alike", help="Both groups did the same kind of work: compare them side by side.")
    ] = False,
    url: Url = None,
    tenant: Tenant = None,
    form: Format = Output.TABLE,
) -> None:
    """What a change to whole nodes saved, their idle included: per unit of work and per day, with the interval."""
    body = {
        "changed": changed, "at": at.replace(tzinfo=UTC).isoformat(), "control": control or [],
        "asleep": asleep or [], "workload": workload, "hours": hours, "alike": alike,
    }  # fmt: skip
    row = connect(url, tenant).post("/savings/nodes", body)
    if form is Output.JSON:
        output.print_json(row)
        return
    output.print_saving(SavingView.model_validate(row))
