"""`eo fingerprints`: what workloads do, and which of them do the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Annotated

import typer

from energy_orchestrator.api.control_plane import FingerprintView, NeighbourView
from energy_orchestrator.cli import output
from energy_orchestrator.cli.options import Format, Tenant, Url, connect
from energy_orchestrator.cli.output import Output
from energy_orchestrator.ui import words

fingerprints = typer.Typer(no_args_is_help=True, help="What workloads do, by their stacks, and which do the same.")
EMPTY = "No workload has 20 stack samples yet: see that the agent profiles (`eo doctor`), then wait a minute."
SHOWN = 4
"""Names of members in a line."""
VERY_LIKE = 0.6
"""Below it lie most pairs of different programs (docs/accuracy.md)."""


@fingerprints.command("list")
def listed(
    url: Url = None,
    tenant: Tenant = None,
    form: Format = Output.TABLE,
    group: Annotated[int | None, typer.Option(help="Of one group only.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Show at most so many; JSON has all.")] = 50,
) -> None:
    """Profiled workloads by group; from the stacks of the last hour."""
    found = connect(url, tenant).get("/fingerprints")
    rows = [row for row in found if group is None or row["cluster"] == group]
    if form is Output.JSON:
        output.print_json(rows)
        return
    output.print_table(
        (">Group", "Workload", ">Samples", "Does", "Functions"),
        [_fingerprint(FingerprintView.model_validate(row)) for row in rows[:limit]],
        empty=EMPTY if group is None else f"No workload is in group {group}: see `eo fingerprints groups`.",
    )
    if len(rows) > limit:
        output.say(f"{len(rows) - limit:,} more: --limit, --group, or `eo fingerprints groups`")


def _fingerprint(row: FingerprintView) -> tuple[str, ...]:
    does = ", ".join(row.does) or words.UNKNOWN
    return str(row.cluster or "-"), row.workload, str(row.samples), does, ", ".join(row.functions)


@fingerprints.command("groups")
def groups(
    url: Url = None,
    tenant: Tenant = None,
    form: Format = Output.TABLE,
    limit: Annotated[int, typer.Option(min=1, help="Show at most so many; JSON has all.")] = 50,
) -> None:
    """Groups of workloads that do the same, the largest first, and what most of their members do."""
    members: dict[int, list[FingerprintView]] = {}
    alone = 0
    for view in map(FingerprintView.model_validate, connect(url, tenant).get("/fingerprints")):
        alone += view.cluster is None
        if view.cluster is not None:
            members.setdefault(view.cluster, []).append(view)
    found = sorted(members.items(), key=lambda one: (-len(one[1]), one[0]))
    if form is Output.JSON:
        output.print_json(
            [
                {"group": number, "does": _common(them), "workloads": [it.workload for it in them]}
                for number, them in found
            ]
        )
        return
    output.print_table(
        (">Group", ">Workloads", "Most of them", "Workloads"),
        [(str(number), str(len(them)), ", ".join(_common(them)) or words.UNKNOWN, _names(them))
         for number, them in found[:limit]],
        empty="No three workloads do the same: see `eo fingerprints list`.",
    )  # fmt: skip
    output.say(f"{len(found):,} groups; {alone:,} workloads are in none")


def _common(members: Sequence[FingerprintView]) -> list[str]:
    """What at least half of them do, most first."""
    does = Counter(name for it in members for name in it.does)
    return [name for name, count in does.most_common() if 2 * count >= len(members)]


def _names(members: Sequence[FingerprintView]) -> str:
    more = f" and {len(members) - SHOWN:,} more" if len(members) > SHOWN else ""
    return ", ".join(it.workload for it in members[:SHOWN]) + more


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
    if views and views[0].likeness < VERY_LIKE:
        output.say(f"None is very like it: nearly all runs of one program have {VERY_LIKE} and more.")
