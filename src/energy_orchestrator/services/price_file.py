"""Prices of instance types, from a file that the user gives: the shipped catalogue has watts and no prices.

In: CSV with the columns `provider,instance_type,price_per_hour`, in one currency. Out: the catalogue with those prices,
and a note on rows about types that it doesn't have. Pure but for `load_prices`.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from energy_orchestrator.errors import InvalidInputError
from energy_orchestrator.recommend.instance_type import InstanceType

COLUMNS = ("provider", "instance_type", "price_per_hour")
Prices = Mapping[tuple[str, str], float]
"""Provider and type -> price of an hour."""


def load_prices(path: Path) -> Prices:
    """Read the file.

    Raises:
        InvalidInputError: naming the file and the line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(
            f"cannot be read: {getattr(error, 'strerror', None) or error}", where=str(path), next_step="check the path"
        ) from error
    return read_prices(text, str(path))


def read_prices(text: str, where: str) -> Prices:
    """The prices in a text; see `load_prices`."""
    rows = csv.DictReader(io.StringIO(text))
    missing = [name for name in COLUMNS if name not in (rows.fieldnames or ())]
    if missing:
        raise InvalidInputError(
            f"no column {', '.join(missing)}", where=where, next_step=f"write a first line {','.join(COLUMNS)}"
        )
    found: dict[tuple[str, str], float] = {}
    for row in rows:
        line, key = f"{where}: line {rows.line_num}", (row["provider"], row["instance_type"])
        if key in found:
            raise InvalidInputError(f"{' '.join(key)} is there twice", where=line, next_step="leave one of them")
        found[key] = _price(row["price_per_hour"], line)
    return found


def _price(text: str | None, line: str) -> float:
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise InvalidInputError(
            f"price_per_hour {text!r} is no price",
            where=line,
            next_step="write a number above 0, or leave the line out where the price is unknown",
        )
    return value


def priced(catalogue: Sequence[InstanceType], prices: Prices) -> tuple[list[InstanceType], str]:
    """The catalogue with these prices, and what there is to say about the file; empty when nothing."""
    known = {(it.provider, it.name) for it in catalogue}
    strange = sorted(" ".join(key) for key in prices.keys() - known)
    note = f"prices: not in the catalogue, so not used: {', '.join(strange[:5])}" if strange else ""
    if len(strange) > 5:
        note += f" and {len(strange) - 5} more"
    return [replace(it, price_per_hour=prices.get((it.provider, it.name), it.price_per_hour)) for it in catalogue], note
