"""Commands that only look: nodes, workloads, recommendations, rollouts, the audit log."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from energy_orchestrator.api.control_plane import (
    AlertView,
    AuditEntryView,
    AuditVerification,
    NodeView,
    RecommendationView,
    RolloutView,
    WorkloadView,
)
from energy_orchestrator.cli import output
from energy_orchestrator.cli.client import Client
from energy_orchestrator.cli.options import Format, Tenant, Url, connect
from energy_orchestrator.cli.output import Output
from energy_orchestrator.errors import NotFoundError
from energy_orchestrator.ui import present, words

APPROVED_SECONDS = 15.0
"""An approved change begins within a second or two, unless another one is under way."""
POLL_SECONDS = 1.0
# Inconclusive is no end, but nothing moves until a person decides: watching on would be waiting for nothing.
SETTLED_PHASES = frozenset({"Successful", "Failed", "Error", "Inconclusive"})
Minutes = Annotated[float, typer.Option("--minutes", help="How far back.")]

workloads = typer.Typer(no_args_is_help=True, help="What runs, and what it costs.")
recommendations = typer.Typer(no_args_is_help=True, help="Proposed changes.")
rollouts = typer.Typer(no_args_is_help=True, help="Changes under way.")
audit = typer.Typer(no_args_is_help=True, help="The append-only log.")


def nodes(url: Url = None, tenant: Tenant = None, form: Format = Output.TABLE) -> None:
    """Nodes with their power and how it was measured."""
    rows = connect(url, tenant).get("/nodes")
    if form is Output.JSON:
        output.print_json(rows)
        return
    output.print_table(
        ("Node", "Tier", ">Power", ">Idle", ">Workloads", ">Unattributed", "CPU"),
        [_node(NodeView.model_validate(row)) for row in rows],
        empty="No node has reported yet; it takes a few seconds after `eo up`.",
    )


def _node(row: NodeView) -> tuple[str, ...]:
    power = words.with_bounds(row.node_watts, "W")
    parts = (words.watts(row.idle_watts), words.watts(row.active_watts), words.watts(row.unattributed_watts))
    return (row.host, row.tier or words.UNKNOWN, power, *parts, row.cpu_model or words.UNKNOWN)


@workloads.command("top")
def workloads_top(
    url: Url = None,
    tenant: Tenant = None,
    form: Format = Output.TABLE,
    minutes: Minutes = 5.0,
    limit: Annotated[int, typer.Option(help="At most so many.")] = 20,
) -> None:
    """Workloads, the most power first."""
    rows = connect(url, tenant).get("/workloads", minutes=minutes, limit=limit)
    if form is Output.JSON:
        output.print_json(rows)
        return
    output.print_table(
        ("Workload", "Node", ">Power", ">Cores", ">Memory", ">Operations", "Energy per operation", ">p95"),
        [_workload(WorkloadView.model_validate(row)) for row in rows],
        empty="No workload has been seen yet; the first window closes about 10 s after `eo up`.",
    )


def _workload(row: WorkloadView) -> tuple[str, ...]:
    rate, energy = words.UNKNOWN, f"unknown: {row.joules_per_operation_reason or 'no reason was given'}"
    if row.operations_per_second is not None:
        rate = words.rate(row.operations_per_second, row.operation)
    if row.joules_per_operation is not None:
        energy = words.with_bounds(row.joules_per_operation, words.per_operation(row.operation))
    power = words.with_bounds(row.active_watts, "W")
    memory, late = words.byte_size(row.mem_bytes), words.seconds(row.latency_p95_seconds)
    return row.workload, row.host, power, f"{row.cpu_cores:.2f}", memory, rate, energy, late


@recommendations.command("list")
def recommendations_list(
    url: Url = None,
    tenant: Tenant = None,
    form: Format = Output.TABLE,
    every: Annotated[bool, typer.Option("--all", help="Also decided and past ones.")] = False,
) -> None:
    """Recommendations, the best rank first."""
    rows = connect(url, tenant).get("/recommendations", all=every)
    if form is Output.JSON:
        output.print_json(rows)
        return
    print_ranked([RecommendationView.model_validate(row) for row in rows])


def print_ranked(rows: list[RecommendationView]) -> None:
    """Recommendations as a ranked table."""
    output.print_table(
        (">#", "Id", "Kind", "Change", ">Saves", ">Confidence", "Risk", "Status"),
        [_recommendation(rank, row) for rank, row in enumerate(rows, 1)],
        empty="No recommendations yet: they need about 30 s of data.",
    )


def _recommendation(rank: int, row: RecommendationView) -> tuple[Any, ...]:
    risk = f"{present.risk_words(row.risk_score)} {row.risk_score:.2f}"
    saves = words.with_bounds(row.expected_savings_j, "J/day")
    change, sure = present.summary(row), words.percent(row.confidence)
    return str(rank), row.id, row.suggestion_type, change, saves, sure, risk, output.toned(row.status)


@workloads.command("alerts")
def alerts(
    url: Url = None,
    tenant: Tenant = None,
    form: Format = Output.TABLE,
    minutes: Annotated[float, typer.Option(help="How far back.")] = 60,
) -> None:
    """Shifts of J/op, the newest first: a deploy that costs energy."""
    rows = connect(url, tenant).get("/alerts", minutes=minutes)
    if form is Output.JSON:
        output.print_json(rows)
        return
    views = [AlertView.model_validate(row) for row in rows]
    output.print_table(
        ("At", "Workload", "Severity", ">Before", ">After", "What"),
        [
            (
                words.clock(v.at),
                v.workload,
                v.severity,
                f"{v.before_joules_per_operation:.3g} J/op",
                f"{v.after_joules_per_operation:.3g} J/op",
                v.message,
            )
            for v in views
        ],
        empty="No shift of J/op: at least 60 windows with operations are needed to see one.",
    )


@recommendations.command("show")
def recommendations_show(
    recommendation_id: Annotated[str, typer.Argument(metavar="ID")],
    url: Url = None,
    tenant: Tenant = None,
    form: Format = Output.TABLE,
) -> None:
    """One recommendation with its evidence. The start of an id is enough."""
    client = connect(url, tenant)
    row = client.get(f"/recommendations/{client.whole_id('recommendations', recommendation_id)}")
    if form is Output.JSON:
        output.print_json(row)
    else:
        output.print_recommendation(RecommendationView.model_validate(row))


@rollouts.command("list")
def rollouts_list(url: Url = None, tenant: Tenant = None, form: Format = Output.TABLE) -> None:
    """Rollouts, the newest first."""
    rows = connect(url, tenant).get("/rollouts")
    if form is Output.JSON:
        output.print_json(rows)
        return
    views = [RolloutView.model_validate(row) for row in rows]
    output.print_table(
        ("Id", "Workload", "Phase", ">Scope", ">Step", "Message"),
        [(v.id, v.workload, output.toned(v.phase), f"{v.scope_percent} %", _step(v), v.message) for v in views],
        empty="No rollout yet: approve a recommendation.",
    )


def _step(view: RolloutView) -> str:
    return f"{min(view.step_index + 1, len(view.steps))}/{len(view.steps)}"


@rollouts.command("watch")
def rollouts_watch(
    rollout_id: Annotated[str | None, typer.Argument(metavar="[ID]", help="Default: the newest.")] = None,
    url: Url = None,
    tenant: Tenant = None,
    form: Format = Output.TABLE,
) -> None:
    """Follow a rollout to its end. Exits 1 unless it was successful."""
    client = connect(url, tenant)
    view = watch(client, rollout_id, quiet=form is Output.JSON)
    if form is Output.JSON:
        output.print_json(view.model_dump(mode="json"))
    else:
        output.print_rollout(view)
    if view.phase != "Successful":
        raise typer.Exit(1)


def watch(client: Client, rollout_id: str | None, *, quiet: bool) -> RolloutView:
    """Print new events until the rollout is over, or waits for a person; gives its last state."""
    whole = client.whole_id("rollouts", rollout_id) if rollout_id else _newest(client)
    told = 0
    while True:
        view = RolloutView.model_validate(client.get(f"/rollouts/{whole}"))
        for event in [] if quiet else view.events[told:]:
            output.say(f"{words.clock(event.at)}  {event.phase}  {event.message}")
        told = len(view.events)
        if view.phase in SETTLED_PHASES or view.finished_at is not None:
            return view
        time.sleep(POLL_SECONDS)


def _newest(client: Client) -> str:
    """The rollout that an approval just asked for, one under way, or the newest; waits a little for the first."""
    deadline = time.monotonic() + APPROVED_SECONDS
    while any(row["status"] == "approved" for row in client.get("/recommendations")) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    rows = client.get("/rollouts")
    if not rows:
        raise NotFoundError("there is no rollout", where="rollouts", next_step="approve a recommendation first")
    return str(next((row for row in rows if row["finished_at"] is None), rows[0])["id"])


@audit.command("list")
def audit_list(
    url: Url = None,
    tenant: Tenant = None,
    form: Format = Output.TABLE,
    after: Annotated[int, typer.Option(help="Entries after this sequence number.")] = 0,
    limit: Annotated[int, typer.Option(help="At most so many.")] = 100,
) -> None:
    """Entries of the log in their order."""
    rows = connect(url, tenant).get("/audit", after=after, limit=limit)
    if form is Output.JSON:
        output.print_json(rows)
        return
    views = [AuditEntryView.model_validate(row) for row in rows]
    output.print_table(
        (">#", "At", "Actor", "Action", "Subject", "Hash"),
        [(str(v.sequence), words.clock(v.at), v.actor, v.action, v.subject, v.hash[:12]) for v in views],
        empty="The log is empty.",
    )


@audit.command("verify")
def audit_verify(url: Url = None, form: Format = Output.TABLE) -> None:
    """Check the whole log. Exits 1 when it was changed."""
    result = AuditVerification.model_validate(connect(url).get("/audit/verify"))
    if form is Output.JSON:
        output.print_json(result.model_dump())
    else:
        output.say(f"{'Intact' if result.ok else 'BROKEN'}: {result.entries} entries, {result.message}")
    if not result.ok:
        raise typer.Exit(1)
