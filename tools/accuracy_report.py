"""One section of docs/accuracy.md, replaced between its markers and left alone elsewhere."""

from __future__ import annotations

from pathlib import Path


def replace_section(file: Path, name: str, text: str) -> None:
    """Put `text` between `<!-- begin: NAME -->` and `<!-- end: NAME -->`; without markers, at the end."""
    begin, end = f"<!-- begin: {name} -->", f"<!-- end: {name} -->"
    whole = file.read_text(encoding="utf-8") if file.is_file() else ""
    block = f"{begin}\n{text.strip()}\n{end}"
    if begin in whole and end in whole:
        before, rest = whole.split(begin, 1)
        whole = before + block + rest.split(end, 1)[1]
    else:
        whole = f"{whole.rstrip()}\n\n{block}\n".lstrip()
    file.write_text(whole, encoding="utf-8")
