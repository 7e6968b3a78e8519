"""`eo judge`: the judge of rollouts, on two columns of numbers from anywhere. Needs no server."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from energy_orchestrator.cli import output
from energy_orchestrator.cli.acting import read_text
from energy_orchestrator.cli.options import Format
from energy_orchestrator.cli.output import Output
from energy_orchestrator.ui import words

if TYPE_CHECKING:
    from energy_orchestrator.verify.judge import Judgement


def judge(
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="CSV with the columns baseline and canary.")],
    form: Format = Output.TABLE,
) -> None:
    """Compare canary with baseline: phase, Hodges-Lehmann estimate, Mann-Whitney interval.

    Exits 1 unless the phase is Successful.
    """
    from energy_orchestrator.verify.judge import judge_columns

    verdict = judge_columns(sys.stdin.read() if file == "-" else read_text(Path(file)))
    if form is Output.JSON:
        output.print_json(dataclasses.asdict(verdict))
    else:
        _print(verdict)
    if verdict.phase != "Successful":
        raise typer.Exit(1)


def _print(verdict: Judgement) -> None:
    output.say(f"Phase     {verdict.phase} (n = {verdict.samples_baseline} and {verdict.samples_canary})")
    if verdict.estimate is not None and verdict.lower is not None and verdict.upper is not None:
        output.say(f"Estimate  {words.figures(verdict.estimate)} (Hodges-Lehmann, canary minus baseline)")
        output.say(f"Interval  {words.figures(verdict.lower)} to {words.figures(verdict.upper)} (Mann-Whitney, 90 %)")
    if verdict.p_value is not None:
        output.say(f"p-value   {verdict.p_value:.3g}")
    output.say(f"Because   {verdict.message}")
