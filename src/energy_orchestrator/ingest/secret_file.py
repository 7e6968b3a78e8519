"""Files that hold a password, a token, a key or a certificate: settings name them and never carry what is in them."""

from __future__ import annotations

from pathlib import Path

from energy_orchestrator.errors import InvalidInputError


def read_secret(file: Path) -> str:
    """The text without white space around it; InvalidInputError where it cannot be read."""
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        raise InvalidInputError(
            f"cannot be read: {why}", where=str(file), next_step="give the path of a readable file"
        ) from error
