"""Quantities as people read them: scaled units, three significant figures, intervals beside values.

`412 kJ/day (280 to 530)` and `18.4 mJ/request` instead of `412000.0` and `0.0184`. The page and the CLI share
these words; JSON never passes through here. Unknown is a dash, never a zero.
"""

from __future__ import annotations

import math
import re
from datetime import datetime

from energy_orchestrator.api.control_plane import BoundedView

UNKNOWN = "\N{EN DASH}"
JOULES_PER_KWH = 3_600_000.0
_STEPS = ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"))
NOTHING = 1e-9
"""Below a billionth of the unit is the rounding of sums, not a quantity."""
_LONG_HEX = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{20,}\b")
_MINUS = "\N{MINUS SIGN}"


def figures(value: float) -> str:
    """Three significant figures without an exponent; a true minus sign."""
    if not math.isfinite(value):
        return UNKNOWN
    size = abs(float(f"{value:.3g}")) if abs(value) < 1000 else abs(value)
    decimals = 0 if size >= 100 or size == 0 else min(6, max(0, 2 - math.floor(math.log10(size))))
    text = f"{size:.{decimals}f}"
    if decimals:
        text = text.rstrip("0").rstrip(".") if size < 0.01 else text
    return f"{_MINUS}{text}" if value < 0 and float(text) != 0 else text


def _step(size: float) -> tuple[float, str]:
    if size == 0:
        return 1.0, ""
    return next(((factor, prefix) for factor, prefix in _STEPS if size >= factor * 0.9995), _STEPS[-1])


def scaled(value: float | None, unit: str) -> str:
    """A value with the prefix that suits it: `18.4 mJ`."""
    if value is None:
        return UNKNOWN
    if abs(value) < NOTHING:
        return f"0 {unit}".rstrip()
    factor, prefix = _step(abs(value))
    return f"{figures(value / factor)} {prefix}{unit}".rstrip()


def bounds(bounded: BoundedView | None, unit: str = "") -> str:
    """The interval alone, in the prefix that the value has: `280 to 530`, with a unit `280 to 530 kJ`."""
    if bounded is None:
        return ""
    factor, prefix = _step(abs(bounded.value) or max(abs(bounded.lower), abs(bounded.upper)))
    text = f"{figures(bounded.lower / factor)} to {figures(bounded.upper / factor)}"
    return f"{text} {prefix}{unit}" if unit else text


def with_bounds(bounded: BoundedView | None, unit: str) -> str:
    """Value and interval: `412 kJ/day (280 to 530)`."""
    return UNKNOWN if bounded is None else f"{scaled(bounded.value, unit)} ({bounds(bounded)})"


def watts(value: float | None) -> str:
    """`18.4 W`."""
    return scaled(value, "W")


def kilowatt_hours(joules: float) -> str:
    """`0.114 kWh`."""
    return f"{figures(joules / JOULES_PER_KWH)} kWh"


def per_operation(operation: str | None) -> str:
    """Unit of energy for an operation: `J/request`."""
    return f"J/{operation or 'op'}"


def rate(per_second: float | None, operation: str | None) -> str:
    """`59.8 request/s`, `0.33 run/s`: nobody counts milli-runs."""
    if per_second is None:
        return UNKNOWN
    return f"{figures(per_second) if per_second >= NOTHING else '0'} {operation or 'op'}/s"


def percent(share: float | None) -> str:
    """`82 %` of a share between 0 and 1."""
    return UNKNOWN if share is None else f"{round(share * 100)} %"


def byte_size(value: float | None) -> str:
    """`1.5 GiB`."""
    if value is None:
        return UNKNOWN
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if value < 1024 or unit == "TiB":
            return f"{figures(value)} {unit}"
        value /= 1024
    return UNKNOWN


def seconds(value: float | None) -> str:
    """`42.0 ms`, `3.2 s`, `5 min`."""
    if value is None:
        return UNKNOWN
    if value >= 120:
        return f"{round(value / 60)} min"
    return scaled(value, "s")


def plus_minus(bounded: BoundedView | None, unit: str) -> str:
    """Half the width of the interval: `±3.1 W`."""
    return f"±{scaled((bounded.upper - bounded.lower) / 2, unit)}" if bounded else ""


def clock(at: datetime | None) -> str:
    """Time of day in UTC with the date; the page shows how long ago beside it."""
    return at.strftime("%Y-%m-%d %H:%M:%S UTC") if at else UNKNOWN


def title(identifier: str) -> str:
    """`right_size` as `Right size`."""
    text = identifier.replace("_", " ").strip()
    return text[:1].upper() + text[1:]


def version(name: str) -> str:
    """A digest or checksum by its first twelve digits, `sha256:9f86d081884c…`; another name as it is."""
    return _LONG_HEX.sub("\\1\N{HORIZONTAL ELLIPSIS}", name)


def name(known: str | None, reason: str | None) -> str:
    """A name, digests cut; why it is unknown; a dash where it was not asked for."""
    return version(known) if known else f"unknown: {reason}" if reason else UNKNOWN
