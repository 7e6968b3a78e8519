"""Run the benchmarks of speed, CPU and memory and, with --write, renew the results page.

    python -m benchmarks.run [--short] [--write]

Each benchmark is a command of its own that prints JSON lines; this module runs them one after another, checks the
bars below against what they printed, and renders `benchmarks/RESULTS.md`. A missed bar is shown as missed. One that
cannot run does not stop the others; the page and the end of the run say so, and the exit code is 1. How right the
figures of the product are is another page: `benchmarks.accuracy`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.machine import describe

RESULTS = Path(__file__).with_name("RESULTS.md")


@dataclass(frozen=True)
class Bar:
    """What a figure should reach: `at_most` or at least `limit`. `scenario` picks the line that it speaks of."""

    benchmark: str
    figure: str
    limit: float
    at_most: bool
    text: str
    scenario: Mapping[str, float] = field(default_factory=dict)

    def speaks_of(self, result: Mapping[str, Any]) -> bool:
        """Whether a printed line has the figure, in the scenario."""
        fits = all(result.get(key) == value for key, value in self.scenario.items())
        return result["benchmark"] == self.benchmark and self.figure in result and fits

    def reached(self, value: float) -> bool:
        """Whether a value meets the bar."""
        return value <= self.limit if self.at_most else value >= self.limit


BARS = (
    Bar("ingest", "ratio", 0.5, False, "ingest from JetStream to queryable rows / chDB taking the same batches"),
    *(
        Bar(
            "agent",
            "cpu_pct_of_one_core",
            limit,
            True,
            f"agent CPU, {processes} processes, {f'profiles at {hz} Hz' if hz else 'no profiles'} (% of one core)",
            {"processes": processes, "hz": hz},
        )
        for processes, hz, limit in ((200, 0, 0.15), (2000, 0, 1.0), (200, 19, 0.5), (200, 99, 1.0), (2000, 19, 1.5))
    ),
    Bar("agent", "peak_rss_mb", 60.0, True, "agent memory, 2000 processes (MB)", {"processes": 2000, "hz": 19}),
    Bar("stack", "first_recommendation_after_ready_seconds", 60.0, True, "first recommendation after ready (s)"),
    Bar("stack", "sample_to_api_seconds_worst", 10.0, True, "sample to page, worst (s)"),
    Bar("stack", "stack_memory_mb_peak_pss", 1500.0, True, "memory of the embedded stack (MB)"),
)


def commands(short: bool) -> list[list[str]]:
    """The benchmarks in order."""
    if short:
        return [
            ["benchmarks.ingest", "--batches", "60"],
            ["benchmarks.agent", "--seconds", "20"],
            ["benchmarks.stack", "--seconds", "20"],
        ]
    return [
        ["benchmarks.ingest"],
        ["benchmarks.agent", "--seconds", "120"],
        ["benchmarks.agent", "--seconds", "60", "--table"],
        ["benchmarks.agent_cost"],
        ["benchmarks.agent_peers"],
        ["benchmarks.stack", "--seconds", "120"],
    ]


def run(module: str, *arguments: str) -> tuple[list[dict[str, Any]], str]:
    """Run one benchmark; its JSON lines, and why it failed (empty when it did not)."""
    words = " ".join(["python", "-m", module, *arguments])
    print(f"-- {words}", flush=True)
    done = subprocess.run([sys.executable, "-m", module, *arguments], stdout=subprocess.PIPE, text=True, check=False)
    print(done.stdout, end="", flush=True)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return lines, f"`{words}` ended with {done.returncode}" if done.returncode else ""


def verdicts(results: list[dict[str, Any]]) -> list[tuple[Bar, float, bool]]:
    """Every bar with the first figure that speaks of it."""
    found = []
    for bar in BARS:
        value = next((result[bar.figure] for result in results if bar.speaks_of(result)), None)
        if value is not None:
            found.append((bar, float(value), bar.reached(float(value))))
    return found


def page(results: list[dict[str, Any]], short: bool, failed: Sequence[str] = ()) -> str:
    """The results page in Markdown."""
    machine = describe()
    lines = [
        "# Results",
        "",
        f"Made by `python -m benchmarks.run{' --short' if short else ''} --write` on {machine['date']}: "
        f"{machine['cpus']} CPUs ({machine['cpu']}), {machine['memory_gb']} GB, Linux {machine['kernel']}, "
        f"Python {machine['python']}. No power meter, no hardware counters.",
        "",
        "| what | bar | measured | |",
        "|---|---|---|---|",
    ]
    for bar, value, reached in verdicts(results):
        sign = "<=" if bar.at_most else ">="
        lines.append(f"| {bar.text} | {sign} {bar.limit:g} | {value:g} | {'reached' if reached else '**missed**'} |")
    lines += [line for reason in failed for line in ("", f"**Did not run to its end**: {reason}.")]
    lines += ["", "Everything that was printed:", "", "```json"]
    for result in results:
        lines.append(json.dumps({key: value for key, value in result.items() if key != "machine"}))
    return "\n".join([*lines, "```", ""])


def main() -> None:
    """Run all, say how each bar fares."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--short", action="store_true", help="a few minutes, as CI runs it")
    parser.add_argument("--write", action="store_true", help="renew benchmarks/RESULTS.md")
    given = parser.parse_args()
    parts = [run(module, *arguments) for module, *arguments in commands(given.short)]
    results, failed = [it for lines, _ in parts for it in lines], [reason for _, reason in parts if reason]
    for bar, value, reached in verdicts(results):
        print(f"{'reached' if reached else 'MISSED '}  {bar.text}: {value:g} (bar {bar.limit:g})")
    if given.write:
        RESULTS.write_text(page(results, given.short, failed), encoding="utf-8")
        print(f"wrote {RESULTS.name}")
    for reason in failed:
        print(f"FAILED  {reason}; what it said is above")
    if failed:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
