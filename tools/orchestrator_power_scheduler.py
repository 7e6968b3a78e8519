"""One pass of the power scheduler from the command line: look at the ranked recommendations, execute one, wait.

    python tools/orchestrator_power_scheduler.py                    # what it would do (dry run, the default)
    python tools/orchestrator_power_scheduler.py --execute          # the best one, once, and its outcome
    python tools/orchestrator_power_scheduler.py --execute --id 0190a1b2 --output json

Thin on purpose: the API decides, the orchestrator executes and measures. Exit codes are those of `eo --help`; 1 says
that nothing could be executed or that the rollout was not Successful.
"""

from __future__ import annotations

from typing import Annotated

import typer

from energy_orchestrator.api.control_plane import RecommendationView
from energy_orchestrator.cli import output, print_error
from energy_orchestrator.cli.client import Client
from energy_orchestrator.cli.looking import print_ranked, watch
from energy_orchestrator.cli.options import Config, Format, Tenant, Url, settings
from energy_orchestrator.cli.output import Output
from energy_orchestrator.errors import ConflictError, EoError
from energy_orchestrator.ui import present


def schedule(
    execute: Annotated[bool, typer.Option("--execute/--dry-run", help="Execute once; the default only shows.")] = False,
    chosen: Annotated[str | None, typer.Option("--id", help="This one instead of the best; a start is enough.")] = None,
    url: Url = None,
    tenant: Tenant = None,
    config: Config = None,
    form: Format = Output.TABLE,
) -> None:
    """Show ranked recommendations; with --execute, carry one out and wait for its outcome."""
    client = Client(settings(config, url=url).base_url, tenant)
    ranked = [RecommendationView.model_validate(row) for row in client.get("/recommendations")]
    quiet = form is Output.JSON
    if not quiet:
        print_ranked(ranked)
    picked = pick(ranked, client.whole_id("recommendations", chosen) if chosen else None)
    outcome: dict[str, object] = {"dry_run": not execute}
    if execute and picked:
        outcome |= carry_out(client, picked, quiet=quiet)
    if quiet:
        rows = [row.model_dump(mode="json") for row in ranked]
        output.print_json({"recommendations": rows, "picked": picked.id if picked else None} | outcome)
    elif picked is None:
        output.say("Nothing here can be executed.")
    elif not execute:
        output.say(f"Dry run: --execute would carry out {picked.id}, {present.summary(picked)}.")
    if execute and outcome.get("phase") != "Successful":
        raise typer.Exit(1)


def pick(ranked: list[RecommendationView], chosen: str | None) -> RecommendationView | None:
    """The chosen one, or the best that an executor can carry out and no policy denies."""
    if chosen is None:
        return next((row for row in ranked if present.why_no_button(row, paused=False) is None), None)
    found = next((row for row in ranked if row.id == chosen), None)
    if found is None:
        raise ConflictError("it is not open any more", where=chosen, next_step="see `eo recommendations list --all`")
    return found


def carry_out(client: Client, row: RecommendationView, *, quiet: bool) -> dict[str, object]:
    """Approve, wait for the rollout, print and give the outcome."""
    approved = RecommendationView.model_validate(client.post(f"/recommendations/{row.id}/approve"))
    view = watch(client, client.rollout_of(approved.id), quiet=quiet)
    if not quiet:
        output.print_rollout(view)
    return {"phase": view.phase, "rollout": view.model_dump(mode="json")}


def main() -> None:
    """Entry point."""
    try:
        typer.run(schedule)
    except EoError as error:
        print_error(error)
        raise SystemExit(error.exit_code) from None


if __name__ == "__main__":
    main()
