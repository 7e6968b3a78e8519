"""`eo judge`: the judge of rollouts, on two columns of numbers from anywhere. Needs no server."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from energy_orchestrator.cli import output
from energy_orchestrator.cli.acting import read_text
from energy_orchestrator.cli.options import Format
from energy_orchestrator.cli.output import Output
from energy_orchestrator.ui import words


def judge(
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="CSV with the columns baseline and canary.")],
    form: Format = Output.TABLE,
) -> None:
    """Compare canary with baseline: phase, Hodges-Lehmann estimate, Mann-Whitney interval.

    Exits 1 unless the phase is Successful.
    """
    from energy_orchestrator.verify.judge import judge_columns

    text = sys.stdin.read() if file == "-" else read_text(Path(file))
    result = _fields(judge_columns(text))
    if form is Output.JSON:
        output.print_json(result)
    else:
        _print(result)
    if str(result["phase"]) != "Successful":
        raise typer.Exit(1)


def _fields(verdict: Any) -> dict[str, Any]:
    if dataclasses.is_dataclass(verdict) and not isinstance(verdict, type):
        return dataclasses.asdict(verdict)
    return dict(verdict.model_dump()) if hasattr(verdict, "model_dump") else dict(verdict)


def _print(result: dict[str, Any]) -> None:
    output.say(f"Phase     {result['phase']}")
    if result.get("estimate") is not None:
        output.say(f"Estimate  {words.figures(result['estimate'])} (Hodges-Lehmann, canary minus baseline)")
        output.say(f"Interval  {words.figures(result['lower'])} to {words.figures(result['upper'])} (Mann-Whitney)")
    if result.get("message"):
        output.say(f"Because   {result['message']}")
