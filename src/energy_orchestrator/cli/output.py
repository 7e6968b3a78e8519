"""What commands print: a table for people, JSON for programs; never both, and errors never here.

Tables scale their units (`W`, `kJ/day`, `mJ/request`) with the words of `ui/words.py`. JSON is what the API
gave, unchanged, so that a script sees the same fields as a client of the API.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from energy_orchestrator.api.control_plane import RecommendationView, RolloutView, SavingView
from energy_orchestrator.ui import present, words


class Output(StrEnum):
    """How a result is printed."""

    TABLE = "table"
    JSON = "json"


TONES = {"good": "green", "bad": "red", "warn": "yellow", "live": "blue", "calm": ""}


def console() -> Console:
    """A console on standard output as it is now. Piped, tables are as wide as they need, so nothing is cut."""
    return Console(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else 160)


def json_text(value: Any) -> str:
    """JSON with stable indentation."""
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)


def print_json(value: Any) -> None:
    """The same, printed."""
    print(json_text(value))


def hint(line: str) -> None:
    """A remark beside what is printed: on standard error, so that a pipe gets the result alone."""
    Console(stderr=True, highlight=False, soft_wrap=True).print(Text(line))


def print_table(headings: Sequence[str], rows: Iterable[Sequence[str | Text]], *, empty: str) -> None:
    """A table; a heading that starts with `>` is a column of numbers. Without rows, the sentence `empty`."""
    made = list(rows)
    if not made:
        console().print(empty)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading.removeprefix(">"), justify="right" if heading.startswith(">") else "left")
    for row in made:
        # Text never reads markup, so a workload named `[red]` prints as it is.
        table.add_row(*(cell if isinstance(cell, Text) else Text(cell) for cell in row))
    console().print(table)


def say(line: str) -> None:
    """One line for people."""
    console().print(Text(line))


def toned(word: str) -> Text:
    """A phase or a status in its colour."""
    return Text(word, style=TONES[present.tone_of(word)])


def print_recommendation(row: RecommendationView) -> None:
    """Everything about one recommendation."""
    say(f"{words.title(row.suggestion_type)} of {row.workload} ({row.status}), id {row.id}")
    print_table(
        ("Setting", "Now", "Proposed"),
        [(item.name, item.now, item.proposed) for item in present.settings_of(row)],
        empty="It sets nothing.",
    )
    say(f"Saves       {words.with_bounds(row.expected_savings_j, 'J/day')} of {_spend(row)}")
    say(f"Confidence  {words.percent(row.confidence)}: {row.confidence_reason}")
    parts = ", ".join(f"{name} {part:.2f}" for name, part in row.risk_parts.items())
    say(f"Risk        {present.risk_words(row.risk_score)} ({row.risk_score:.2f}): {parts}")
    say(f"Decision    {': '.join([row.decision or 'none yet', *row.decision_reasons])}")
    say(f"Why         {row.explanation}")
    for item in row.evidence:
        note = f" ({item['note']})" if item.get("note") else ""
        say(f"  {item.get('name')}: {item.get('value')} {item.get('unit') or ''}{note}")
    say(f"Expires     {words.clock(row.expires_at)}")


def _spend(row: RecommendationView) -> str:
    return f"{words.with_bounds(row.target_spend_j, 'J/day')}, {present.tier_words(row.tier)}"


def print_rollout(row: RolloutView) -> None:
    """A rollout with its metrics."""
    step = row.steps[min(row.step_index, len(row.steps) - 1)] if row.steps else words.UNKNOWN
    place = f"step {min(row.step_index + 1, len(row.steps))} of {len(row.steps)}"
    say(f"{row.workload}: {row.phase}, {row.scope_percent} %, {place} ({step})")
    if row.message:
        say(row.message)
    if row.metrics:
        headings = ("Metric", ">Baseline", ">Canary", "Change (interval)", "Judged", "Because")
        print_table(headings, map(_metric, row.metrics), empty="")
    if row.verified_savings_j_per_operation:
        say(f"Verified saving: {words.with_bounds(row.verified_savings_j_per_operation, 'J per operation')}")
    if row.measured_saving:
        print_saving(row.measured_saving)


def print_saving(saving: SavingView) -> None:
    """What was measured and how; or why it could not be."""
    if saving.method is None or saving.ratio is None:
        say(f"Saving not measured: {saving.reason}")
        return
    ratio = saving.ratio
    share = f"{ratio.value:.1%} ({ratio.lower:.1%} to {ratio.upper:.1%})"
    verdict = "a saving" if saving.found else "no saving can be told from the noise"
    say(f"Measured by {saving.method.replace('_', ' ')}: {share} less energy, {verdict}")
    say(f"  {words.with_bounds(saving.joules_per_day, 'J/day')} at this load; {saving.reason}")


def _metric(metric: Any) -> tuple[str | Text, ...]:
    def value(number: float | None) -> str:
        return present.metric_value(number, metric.unit)

    known = metric.estimate is not None
    change = f"{value(metric.estimate)} ({value(metric.lower)} to {value(metric.upper)})" if known else words.UNKNOWN
    return metric.name, value(metric.baseline), value(metric.canary), change, toned(metric.phase), metric.message
