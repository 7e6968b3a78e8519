"""Python values as the text of ClickHouse query parameters (`{name:Type}`).

A scalar is read by the server in its tab-separated escaping, an element of an array in its quoted form. Both rules
live here once, for the part in process and for the server, so that a workload's name with a quote, a backslash or a
line break is a value and never a piece of SQL.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime

from energy_orchestrator.errors import InvalidInputError
from energy_orchestrator.store.series.port import Parameter, Parameters

_ESCAPES = str.maketrans({"\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r", "\0": "\\0"})
_QUOTED = str.maketrans({"\\": "\\\\", "'": "\\'", "\n": "\\n", "\t": "\\t", "\r": "\\r", "\0": "\\0"})


def as_text(parameters: Parameters | None) -> dict[str, str]:
    """Each value in the form the server reads."""
    return {name: _scalar_or_array(name, value) for name, value in (parameters or {}).items()}


def _scalar_or_array(name: str, value: Parameter) -> str:
    if value is None:
        return "\\N"
    if isinstance(value, str):
        return value.translate(_ESCAPES)
    if isinstance(value, Collection):
        return "[" + ",".join(_element(name, item) for item in value) + "]"
    return _plain(name, value)


def _element(name: str, value: str | int | float) -> str:
    return f"'{value.translate(_QUOTED)}'" if isinstance(value, str) else _plain(name, value)


def _plain(name: str, value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return _instant(name, value)
    if isinstance(value, int | float):
        return repr(value)
    raise InvalidInputError(
        f"a {type(value).__name__} is no query parameter", where=name, next_step="pass text, a number, a time or a list"
    )


def _instant(name: str, value: datetime) -> str:
    if value.tzinfo is None:
        raise InvalidInputError("a time without a zone", where=name, next_step="pass an aware datetime (UTC)")
    return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
