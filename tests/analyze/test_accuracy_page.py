"""docs/accuracy.md is made by commands: each section has one, each command has its sections, failures are told."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from benchmarks import accuracy, attribution, report
from benchmarks.accuracy import GENERATORS, Generator, chosen, run

PAGE = report.ACCURACY.read_text(encoding="utf-8")


def section(page: str, name: str) -> str:
    return page.split(f"<!-- begin: {name} -->\n")[1].split(f"\n<!-- end: {name} -->")[0]


def test_every_section_of_the_page_has_a_command_and_every_command_its_sections() -> None:
    marked = re.findall(r"<!-- begin: (.+) -->", PAGE)
    assert sorted(marked) == sorted(name for it in GENERATORS for name in it.sections)
    assert marked == re.findall(r"<!-- end: (.+) -->", PAGE)


def test_no_heading_of_the_page_is_outside_of_the_markers() -> None:
    rest = re.sub(r"<!-- begin: (.+?) -->.*?<!-- end: \1 -->", "", PAGE, flags=re.DOTALL)
    assert re.findall(r"^#+ .*", rest, flags=re.MULTILINE) == ["# How good the numbers are"]


@pytest.mark.parametrize("generator", GENERATORS, ids=lambda it: it.name)
def test_sections_name_the_command_that_made_them(generator: Generator) -> None:
    made = "\n".join(section(PAGE, name) for name in generator.sections)
    assert ("eo estimator evaluate" if generator.module else f"python -m benchmarks.{generator.name}") in made


@pytest.mark.parametrize("generator", GENERATORS, ids=lambda it: it.name)
def test_every_command_is_in_the_list_of_benchmarks(generator: Generator) -> None:
    told = Path(report.__file__).with_name("README.md").read_text(encoding="utf-8")
    assert ("`eo estimator evaluate`" if generator.module else f"`python -m benchmarks.{generator.name}") in told


def test_a_command_that_fails_says_so_and_one_that_does_not_is_silent() -> None:
    assert run(Generator("attribution", (), 0, ("--help",)), "1/1") == ""
    assert "ended with 2" in run(Generator("attribution", (), 0, ("--no-such-flag",)), "1/1")


def test_failures_are_listed_at_the_end_after_everything_else_was_tried(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong, right = (Generator("attribution", (), 0, (flag,)) for flag in ("--no-such-flag", "--help"))
    monkeypatch.setattr(accuracy, "GENERATORS", (wrong, Generator("attribution", (), 0, ("--help",), True), right))
    monkeypatch.setattr(accuracy, "DATA", Path("no-such-folder"))
    monkeypatch.setattr(sys, "argv", ["accuracy"])
    with pytest.raises(SystemExit, match="1"):
        accuracy.main()
    told = capsys.readouterr().out.splitlines()
    assert told[-1].startswith("FAILED attribution")
    assert any("[3/3]" in line for line in told)


def test_only_some_and_the_list(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["accuracy", "--list", "--only", "savings", "calibration"])
    accuracy.main()
    assert [line.partition(":")[0] for line in capsys.readouterr().out.splitlines()] == ["calibration", "savings"]
    assert chosen([]) == list(GENERATORS)


def test_a_command_renews_its_section_and_leaves_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "accuracy.md"
    page.write_text(PAGE.replace(section(PAGE, "attribution"), "stale"), encoding="utf-8")
    monkeypatch.setattr(report, "ACCURACY", page)
    monkeypatch.setattr(sys, "argv", ["attribution", "--fleets", "1", "--write"])
    attribution.main()
    made = page.read_text(encoding="utf-8")
    assert section(made, "attribution").startswith("## Attribution (simulation)")
    assert all(section(made, it) == section(PAGE, it) for it in ("savings", "mlperf", "fleet scale"))


def test_attribution_gives_back_the_truth_where_nothing_is_wrong() -> None:
    gap, missed, no_idle, a_head = attribution.measured(attribution.Fleet(0.0, 0.0, 0.3), 5, 1)
    assert max(gap, missed) < 1e-12
    assert min(no_idle, a_head) > 0.3
