"""`eo recommendations plan`: advice for a fleet that a file describes. Needs no server and changes nothing."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress

from energy_orchestrator.cli import options, output
from energy_orchestrator.cli.options import Format
from energy_orchestrator.cli.output import Output
from energy_orchestrator.ui import present, words

if TYPE_CHECKING:
    from energy_orchestrator.recommend.selection import Candidate

ADVISORY = "a person"


def plan(
    fleet: Annotated[Path, typer.Option("--fleet", metavar="FILE", help="Description of the fleet, JSON or YAML.")],
    form: Format = Output.TABLE,
    seconds: Annotated[float, typer.Option(min=0.1, max=3600, help="Time for the search of placements.")] = 60.0,
    minimum: Annotated[float, typer.Option("--minimum-joules", min=0, help="Say nothing that saves less a day.")] = 0.0,
    moves: Annotated[int, typer.Option("--moves-per-day", min=0, help="At most so many replicas moved.")] = 1000,
    cool_down: Annotated[
        float, typer.Option("--cool-down-hours", min=0, max=168, help="Leave alone what was changed since.")
    ] = 1.0,
    records: options.Records = None,
) -> None:
    """Advice from a file: placement, instance types, power caps, batches, shifted jobs, images."""
    from energy_orchestrator.recommend.selection import ChurnLimits
    from energy_orchestrator.services.fleet_advice import advise, load_fleet
    from energy_orchestrator.services.past import past_at

    described = load_fleet(fleet)
    limits = ChurnLimits(minimum_savings_j_per_day=minimum, moves_per_day=moves, cool_down=timedelta(hours=cool_down))
    now = datetime.now(UTC)
    before = past_at(records, [described.tenant], now)
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("reading", total=None)
        found = advise(
            described,
            now,
            seconds,
            limits,
            lambda what, done, of: bar.update(task, description=what, completed=done, total=of),
            before,
        )
    kept, withheld = found.selection.kept, found.selection.withheld
    if form is Output.JSON:
        output.print_json(
            {
                "recommendations": [_as_dict(it) for it in kept],
                "withheld": [_as_dict(it) | {"reason": reason} for it, reason in withheld],
                "notes": list(found.notes),
            }
        )
        return
    output.print_table(
        (">#", "Kind", "Target", ">Saves", ">Money/day", ">gCO2e/day", ">Confidence", "Risk", "Done by"),
        [_row(rank, it) for rank, it in enumerate(kept, 1)],
        empty="Nothing to advise on in this file.",
    )
    for rank, it in enumerate(kept, 1):
        output.say(f"{rank}. {it.recommendation.explanation}")
    for it, reason in withheld:
        output.say(
            f"Withheld: {it.recommendation.suggestion_type.value} of {it.recommendation.target.workload}: {reason}"
        )
    for note in found.notes:
        output.say(f"Note: {note}")


def _row(rank: int, it: Candidate) -> tuple[str, ...]:
    made = it.recommendation
    return (
        str(rank),
        made.suggestion_type.value,
        made.target.workload,
        words.with_bounds(_view(made.expected_savings_j), "J/day"),
        _amount(made.expected_savings_cost),
        _amount(made.expected_savings_gco2e),
        words.percent(made.confidence),
        f"{present.risk_words(made.risk_score)} {made.risk_score:.2f}",
        ADVISORY if made.change.executor == "none" else made.change.executor,
    )


def _view(value: Any) -> Any:
    from energy_orchestrator.api.control_plane import BoundedView

    return BoundedView(value=value.value, lower=value.lower, upper=value.upper)


def _amount(value: Any) -> str:
    return words.UNKNOWN if value is None else f"{value.value:.4g} ({value.lower:.4g} to {value.upper:.4g})"


def _as_dict(it: Candidate) -> dict[str, Any]:
    made = dataclasses.asdict(it.recommendation)
    return made | {"advisory": it.recommendation.change.executor == "none"}
