"""Commands that change something: approve, refuse, propose, pause, resume, import-runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from energy_orchestrator.api.control_plane import PauseView, RecommendationView, RolloutView
from energy_orchestrator.cli import output
from energy_orchestrator.cli.options import Format, Reason, Tenant, Url, connect
from energy_orchestrator.cli.output import Output
from energy_orchestrator.errors import InvalidInputError
from energy_orchestrator.ui import present

Id = Annotated[str, typer.Argument(metavar="ID", help="The start of an id is enough.")]


def approve(recommendation_id: Id, url: Url = None, tenant: Tenant = None, form: Format = Output.TABLE) -> None:
    """Approve a recommendation: it is tried, measured, and kept or reverted."""
    client = connect(url, tenant)
    whole = client.whole_id("recommendations", recommendation_id)
    row = RecommendationView.model_validate(client.post(f"/recommendations/{whole}/approve"))
    if form is Output.JSON:
        output.print_json(row.model_dump(mode="json"))
        return
    output.say(f"Approved: {present.summary(row)} ({row.status})")
    output.say(f"Follow it with: eo rollouts watch {row.rollout_id or ''}".rstrip())


def refuse(
    recommendation_id: Id, reason: Reason, url: Url = None, tenant: Tenant = None, form: Format = Output.TABLE
) -> None:
    """Refuse a recommendation and say why."""
    client = connect(url, tenant)
    whole = client.whole_id("recommendations", recommendation_id)
    row = RecommendationView.model_validate(client.post(f"/recommendations/{whole}/refuse", {"reason": reason}))
    if form is Output.JSON:
        output.print_json(row.model_dump(mode="json"))
    else:
        output.say(f"Refused: {present.summary(row)}")


def propose(
    workload: Annotated[str, typer.Argument(help="A declared workload, e.g. declared/inference.")],
    assignments: Annotated[list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A knob.")] = None,
    replicas: Annotated[int | None, typer.Option(help="New number of replicas.")] = None,
    reason: Reason = "",
    url: Url = None,
    tenant: Tenant = None,
    form: Format = Output.TABLE,
) -> None:
    """Propose a change yourself; it takes the same way as the system's own advice."""
    body = {
        "workload": workload if "/" in workload else f"declared/{workload}",
        "environment": _pairs(assignments or []),
        "replicas": replicas,
        "reason": reason,
    }
    row = RecommendationView.model_validate(connect(url, tenant).post("/recommendations", body))
    if form is Output.JSON:
        output.print_json(row.model_dump(mode="json"))
        return
    output.say(f"Proposed: {present.summary(row)} (id {row.id})")
    output.say(f"Approve it with: eo approve {row.id}")


def _pairs(assignments: list[str]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for assignment in assignments:
        name, sign, value = assignment.partition("=")
        if not sign or not name:
            raise InvalidInputError(f"{assignment!r} is not NAME=VALUE", where="--set", next_step="e.g. BATCH_MAX=8")
        if name in pairs:
            raise InvalidInputError(f"{name} is given twice", where="--set", next_step="give it once")
        pairs[name] = value
    return pairs


def abort(rollout_id: Id, url: Url = None, tenant: Tenant = None, form: Format = Output.TABLE) -> None:
    """End a rollout that is under way: the old values come back."""
    _decide_rollout(rollout_id, "abort", "Aborted", url, tenant, form)


def retry(rollout_id: Id, url: Url = None, tenant: Tenant = None, form: Format = Output.TABLE) -> None:
    """Repeat the inconclusive step of a rollout with fresh measurements."""
    _decide_rollout(rollout_id, "retry", "Repeated", url, tenant, form)


def _decide_rollout(rollout_id: str, verb: str, done: str, url: str | None, tenant: str | None, form: Output) -> None:
    client = connect(url, tenant)
    whole = client.whole_id("rollouts", rollout_id)
    row = RolloutView.model_validate(client.post(f"/rollouts/{whole}/{verb}"))
    if form is Output.JSON:
        output.print_json(row.model_dump(mode="json"))
    else:
        output.say(f"{done}: {row.workload} is {row.phase}")


def pause(reason: Reason, url: Url = None, tenant: Tenant = None, form: Format = Output.TABLE) -> None:
    """Stop every executor within a second, until someone resumes."""
    row = PauseView.model_validate(connect(url, tenant).post("/pauses", {"reason": reason}))
    if form is Output.JSON:
        output.print_json(row.model_dump(mode="json"))
    else:
        output.say(f"Paused by {row.by}: {row.reason}. Lift it with: eo resume")


def resume(url: Url = None, tenant: Tenant = None, form: Format = Output.TABLE) -> None:
    """Lift every pause in force."""
    rows = connect(url, tenant).post("/pauses/resume")
    if form is Output.JSON:
        output.print_json(rows)
    else:
        output.say(f"Resumed: {len(rows)} lifted." if rows else "Nothing was paused.")


def import_runs(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A log of benchmark runs.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check only; store nothing.")] = False,
    url: Url = None,
    tenant: Tenant = None,
    form: Format = Output.TABLE,
) -> None:
    """Import benchmark runs. Importing a file twice changes nothing."""
    body = {"name": file.name, "text": read_text(file), "dry_run": dry_run}
    result = connect(url, tenant).post("/runs", body)
    if form is Output.JSON:
        output.print_json(result)
    else:
        output.say(", ".join(f"{name.replace('_', ' ')}: {value}" for name, value in result.items()))


def read_text(file: Path) -> str:
    """The text of a file the user named."""
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"cannot be read: {error}", where=str(file), next_step="check the path") from error
