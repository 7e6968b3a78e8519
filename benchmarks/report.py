"""The page that sections of figures go to, docs/accuracy.md, and the one flag that sends them there: `--write`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from energy_orchestrator.services.report_sections import replace_section

ACCURACY = Path(__file__).parents[1] / "docs" / "accuracy.md"
DATA = Path(__file__).parents[2] / "shared/data"


def add_write(parser: argparse.ArgumentParser) -> None:
    """The flag."""
    parser.add_argument("--write", action="store_true", help="renew its part of docs/accuracy.md too")


def tell(name: str, text: str, write: bool) -> None:
    """Print a section, and put it between its markers in the page where asked to."""
    print(f"{text.strip()}\n")
    if write:
        replace_section(ACCURACY, name, text)


def run_simulation(name: str, section: Callable[[int], str], about: str | None) -> None:
    """The command line of a simulation: so many trials make one section."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--trials", type=int, default=2000)
    add_write(parser)
    asked = parser.parse_args()
    tell(name, section(asked.trials), asked.write)
