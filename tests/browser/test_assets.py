"""The vendored files are the ones that VENDORED.md names, small, and let in by the policy for what they do."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

import energy_orchestrator.ui
from energy_orchestrator.api.guard import FLAME_STYLE

UI = Path(energy_orchestrator.ui.__file__).parent
VENDOR = UI / "static" / "vendor"
ROW = re.compile(r"^\| `(?P<file>[^`]+)` \| .* \| `(?P<licence>[^`]+)` \| `(?P<sum>[0-9a-f]{64})` \|$", re.MULTILINE)


def test_every_vendored_file_is_listed_with_its_sum_and_licence() -> None:
    listed = {row["file"]: row for row in ROW.finditer((VENDOR / "VENDORED.md").read_text(encoding="utf-8"))}
    present = {str(path.relative_to(VENDOR)) for path in VENDOR.rglob("*") if path.suffix in {".js", ".css"}}
    assert set(listed) == present
    for file, row in listed.items():
        assert hashlib.sha256((VENDOR / file).read_bytes()).hexdigest() == row["sum"]
        assert (VENDOR / row["licence"]).is_file()


def test_all_that_a_reader_downloads_stays_below_300_kilobytes() -> None:
    assert sum(path.stat().st_size for path in (UI / "static").rglob("*") if path.suffix in {".js", ".css"}) < 300_000


def test_the_one_style_a_library_adds_is_let_in_by_its_hash() -> None:
    library = (VENDOR / "d3-flamegraph.umd.min.js").read_text(encoding="utf-8")
    style = re.search(r"\.textContent=`(.*?)`", library, re.DOTALL)
    assert style
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert f"'sha256-{digest}'" == FLAME_STYLE


def test_templates_hold_no_script_style_or_other_host() -> None:
    for template in (UI / "templates").glob("*.html"):
        text = template.read_text(encoding="utf-8")
        assert not re.search(r"<script(?![^>]*\bsrc=)|\sstyle=|\son[a-z]+=|https?://|//[a-z]+\.", text), template.name
