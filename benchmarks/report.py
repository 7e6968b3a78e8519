"""Where a benchmark's section goes: to the terminal, or between its markers in a page."""

from __future__ import annotations

from pathlib import Path

from energy_orchestrator.services.report_sections import replace_section


def tell(page: Path | None, name: str, text: str) -> None:
    """Replace the section `name` of the page, or print it where none is given."""
    if page:
        replace_section(page, name, text)
    else:
        print(text)
