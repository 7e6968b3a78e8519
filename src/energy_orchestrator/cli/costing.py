"""`eo workloads cost`: J/op of one workload by version and node type."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from energy_orchestrator.api.control_plane import CostRowView, WorkloadCostView
from energy_orchestrator.cli import output
from energy_orchestrator.cli.options import Format, Tenant, Url, connect
from energy_orchestrator.cli.output import Output
from energy_orchestrator.ui import words


class By(StrEnum):
    """What J/op is told apart by."""

    VERSION = "version"
    NODE_TYPE = "node_type"
    BOTH = "both"


def cost(
    workload: Annotated[str, typer.Argument(help="As in `eo workloads top`; a name alone is a declared one.")],
    by: Annotated[By, typer.Option(help="What to tell apart.")] = By.VERSION,
    url: Url = None,
    tenant: Tenant = None,
    form: Format = Output.TABLE,
    minutes: Annotated[float, typer.Option(help="How far back.")] = 60,
) -> None:
    """J/op of a workload by version and node type, with intervals, and by how much they differ."""
    row = connect(url, tenant).get("/workloads/cost", workload=workload, by=by.value, minutes=minutes)
    if form is Output.JSON:
        output.print_json(row)
        return
    view = WorkloadCostView.model_validate(row)
    output.print_table(
        ("Version", "Node type", "Energy per operation", ">Operations", ">Windows", "Tier", "Note"),
        [_cells(it, view) for it in view.rows],
        empty="Operations were counted in this span, but no energy is known.",
    )
    for comparison in view.comparisons:
        where = f" on {comparison.node_type}" if comparison.node_type else ""
        output.say(f"{comparison.message}{where}")


def _cells(row: CostRowView, view: WorkloadCostView) -> tuple[str, ...]:
    energy = f"unknown: {row.joules_per_operation_reason}"
    if row.joules_per_operation is not None:
        energy = words.with_bounds(row.joules_per_operation, words.per_operation(view.operation))
    gaps = f"; {row.windows_without_operations} without operations" if row.windows_without_operations else ""
    return (
        words.name(row.version, row.version_reason),
        words.name(row.node_type, row.node_type_reason),
        energy,
        words.figures(row.operations) if row.operations is not None else words.UNKNOWN,
        f"{row.windows}{gaps}",
        row.tier or words.UNKNOWN,
        row.note or "",
    )
