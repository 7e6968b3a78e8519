"""The sections `meters` and `calibration` of docs/accuracy.md are what their command makes of the data."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from benchmarks.calibration import calibration_section, meters_section

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data"


@pytest.mark.parametrize(("name", "made"), [("meters", meters_section), ("calibration", calibration_section)])
def test_the_page_shows_what_the_data_gives(name: str, made: object) -> None:
    if not DATA.is_dir():
        message = f"no measurements in {DATA}"
        pytest.fail(message) if os.environ.get("CI") == "true" else pytest.skip(message)
    assert callable(made)
    page = (ROOT / "docs/accuracy.md").read_text(encoding="utf-8")
    shown = page.split(f"<!-- begin: {name} -->\n")[1].split(f"\n<!-- end: {name} -->")[0]
    assert shown == made(DATA).strip(), "write it again: python -m benchmarks.calibration --write"
