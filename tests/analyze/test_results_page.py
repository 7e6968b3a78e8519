"""benchmarks/RESULTS.md: bars against what was printed, and what did not run."""

from __future__ import annotations

import importlib.util

from benchmarks.run import BARS, commands, page, run, verdicts

PRINTED = [
    {"benchmark": "agent", "processes": 2000, "hz": 19, "cpu_pct_of_one_core": 1.6, "peak_rss_mb": 20.0, "machine": {}},
    {"benchmark": "ingest", "ratio": 0.7, "machine": {}},
]


def test_every_bar_is_about_a_benchmark_that_both_forms_run() -> None:
    for short in (True, False):
        modules = {module.removeprefix("benchmarks.") for module, *_ in commands(short)}
        assert {bar.benchmark for bar in BARS} <= modules
        assert all(importlib.util.find_spec(f"benchmarks.{name}") for name in modules)


def test_a_missed_bar_is_shown_as_missed_and_one_without_a_figure_is_left_out() -> None:
    found = {bar.text: reached for bar, _, reached in verdicts(PRINTED)}
    assert found == {
        "ingest from JetStream to queryable rows / chDB taking the same batches": True,
        "agent CPU, 2000 processes, profiles at 19 Hz (% of one core)": False,
        "agent memory, 2000 processes (MB)": True,
    }
    made = page(PRINTED, short=True)
    assert "python -m benchmarks.run --short --write" in made
    assert made.count("**missed**") == 1
    assert "Did not run" not in made


def test_what_did_not_run_is_said_on_the_page() -> None:
    lines, failed = run("benchmarks.agent_cost", "--no-such-flag")
    assert lines == []
    assert "ended with 2" in failed
    assert f"**Did not run to its end**: {failed}." in page(PRINTED, short=False, failed=[failed])
