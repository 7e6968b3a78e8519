"""`eo estimator`: watts from hardware, load and a reading or two; joules per operation elsewhere; training."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress

from energy_orchestrator.cli import output
from energy_orchestrator.cli.acting import read_text
from energy_orchestrator.errors import InvalidInputError

estimator = typer.Typer(
    name="estimator",
    help="Watts of machines without a meter, from their hardware and a reading or two.",
    no_args_is_help=True,
)
Data = Annotated[Path, typer.Option("--data", metavar="DIR", help="The folder of the measurements (shared/data).")]
DATA = Path("../shared/data")


@estimator.command()
def predict(
    file: Annotated[str, typer.Argument(metavar="FILE.csv|-", help="Columns: see docs/estimator.md.")],
    out: Annotated[Path | None, typer.Option("--out", help="Write here; default: standard output.")] = None,
    model: Annotated[Path | None, typer.Option("--model", help="A model file; default: the shipped one.")] = None,
) -> None:
    """Add watts, watts_lower, watts_upper (90 %) and reason to each row."""
    from energy_orchestrator.analyze.estimator.prediction_table import ADDED, check_columns, predict_rows
    from energy_orchestrator.services.estimator_files import read_model

    names, rows = _read_table(file, check_columns)
    with _progress("predicting", len(rows)) as tick:
        answers = predict_rows(read_model(model), rows, tick)
    _write_table([*names, *ADDED], [{**row, **answer} for row, answer in zip(rows, answers, strict=True)], out)


@estimator.command()
def operations(
    file: Annotated[str, typer.Argument(metavar="FILE.csv|-", help="Columns: see docs/estimator.md.")],
    out: Annotated[Path | None, typer.Option("--out", help="Write here; default: standard output.")] = None,
) -> None:
    """Joules per operation where none were measured, from the rows of the same table that have them."""
    from energy_orchestrator.analyze.estimator import operations_table as table

    names, rows = _read_table(file, table.check_columns)
    answers = table.predict_rows(rows)
    _write_table([*names, *table.ADDED], [{**row, **answer} for row, answer in zip(rows, answers, strict=True)], out)


def _read_table(file: str, check: Callable[[list[str], str], None]) -> tuple[list[str], list[dict[str, str]]]:
    """Names of the columns and the rows; surplus cells are under ""."""
    text = sys.stdin.read() if file == "-" else read_text(Path(file))
    reader = csv.DictReader(io.StringIO(text.removeprefix("\ufeff")), restkey="", strict=True)
    try:
        names = [name.strip() for name in reader.fieldnames or []]
        check(names, file)
        reader.fieldnames = names
        return names, list(reader)
    except csv.Error as fault:
        raise InvalidInputError(f"line {reader.line_num} is no CSV: {fault}", where=file) from fault


def _write_table(names: list[str], rows: list[dict[str, str]], out: Path | None) -> None:
    made = io.StringIO()
    writer = csv.DictWriter(made, names, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    if not out:
        print(made.getvalue(), end="")
        return
    try:
        out.write_text(made.getvalue(), encoding="utf-8")
    except OSError as fault:
        step = "name a file in a folder that is there: --out FILE"
        raise InvalidInputError(f"cannot be written: {fault.strerror}", where=str(out), next_step=step) from fault


@estimator.command()
def train(
    data: Data = DATA,
    out: Annotated[Path | None, typer.Option("--out", help="Default: the file that the package ships.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes of a Dask cluster on this machine.")] = 1,
    scheduler: Annotated[
        str | None, typer.Option("--dask-scheduler", metavar="tcp://HOST:PORT", help="A Dask cluster that is there.")
    ] = None,
) -> None:
    """Fit the model again and write it with its model card. The same data gives the same bytes, by however many
    workers."""
    from energy_orchestrator.services.estimator_runs import train_to

    with _progress("training", None) as tick:
        written = train_to(data, out, lambda: tick(1), workers, scheduler)
    for path in written:
        output.say(f"Wrote {path}")


@estimator.command()
def evaluate(
    data: Data = DATA,
    report: Annotated[Path, typer.Option("--report", help="The Markdown file whose sections are replaced.")] = Path(
        "docs/accuracy.md"
    ),
) -> None:
    """Score it on machines held out, beside simple baselines, and write its sections of the report."""
    from energy_orchestrator.services.estimator_runs import evaluate_to

    with _progress("evaluating", None) as tick:
        text = evaluate_to(data, report, lambda: tick(1))
    output.say(text)
    output.say(f"Wrote {report}")


@contextmanager
def _progress(what: str, total: int | None) -> Iterator[Callable[[int], None]]:
    from rich.console import Console

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda steps: bar.advance(task, steps)
