"""JSON merge patch (RFC 7396): the form of every change (docs/adr/0005)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def merge(target: Any, patch: Any) -> Any:
    """The target with the patch applied; neither is changed. None in the patch removes a key."""
    if not isinstance(patch, Mapping):
        return patch
    result = dict(target) if isinstance(target, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge(result.get(key), value)
    return result


def compose(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """One patch that does what `first` and then `second` do: nulls are kept, since they still remove."""
    result = dict(first)
    for key, value in second.items():
        before = result.get(key)
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            result[key] = compose(before, value)
        else:
            result[key] = dict(value) if isinstance(value, Mapping) else value
    return result
