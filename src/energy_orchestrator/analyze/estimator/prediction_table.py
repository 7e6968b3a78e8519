"""The table of `eo estimator predict`: columns of text in, the same with watts, interval and reason out.

A row that cannot be right (a load of 140, more cores than threads, idle above full) gets a reason and no watts. A cell
left empty is unknown: clock, memory, year and CPU are then guessed with a wider interval, and the reason says so. A
number outside `LIMITS` cannot be a server's and gets no watts; a machine within them but unlike all trained on gets
watts with a wider interval and the reason. Pure: text in, text out; the CLI reads and writes files.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from energy_orchestrator.analyze.estimator.hardware import NUMBERS, Machines
from energy_orchestrator.analyze.estimator.model import PowerModel
from energy_orchestrator.errors import InvalidInputError

Floats = NDArray[np.float64]
Row = Mapping[str, str]

REQUIRED = ("cpu_model", "sockets", "cores", "threads", "mhz", "memory_gb", "year", "load_pct")
OPTIONAL = ("tdp_watts", "idle_watts", "full_watts", "one_reading_load_pct", "one_reading_watts")
ADDED = ("watts", "watts_lower", "watts_upper", "reason")
LIMITS = {
    "sockets": (1, 64),
    "cores": (1, 8192),
    "threads": (1, 16384),
    "mhz": (200, 8000),
    "memory_gb": (0.25, 131072),
    "year": (1995, 2060),
    "load_pct": (0, 100),
    "tdp_watts": (3, 2000),
    "idle_watts": (0.5, 100000),
    "full_watts": (1, 100000),
    "one_reading_load_pct": (0, 100),
    "one_reading_watts": (0.5, 100000),
}
"""What can be a server; outside it a row is refused."""
WHOLE_NUMBERS = ("sockets", "cores", "threads", "year")
MOST_MISFIT = 3.0
"""Readings that are so many times higher or lower than predicted belong to another machine than described."""


def check_columns(
    names: Sequence[str],
    where: str,
    required: Sequence[str] = REQUIRED,
    optional: Sequence[str] = OPTIONAL,
    added: Sequence[str] = ADDED,
) -> None:
    """InvalidInputError unless every required column is there, once, and none would be overwritten."""
    if not any(names):
        step = f"the first line names the columns: {','.join(required)}"
        raise InvalidInputError("it is empty", where=where, next_step=step)
    if len(names) == 1 and (";" in names[0] or "\t" in names[0]):
        raise InvalidInputError(
            "its columns are separated by semicolons or tabs", where=where, next_step="save it separated by commas"
        )
    missing = [name for name in required if name not in names]
    twice = sorted({name for name in names if names.count(name) > 1})
    taken = [name for name in added if name in names]
    fault = (
        f"it lacks the columns {', '.join(missing)}"
        if missing
        else f"it has the columns {', '.join(twice)} twice"
        if twice
        else f"it has the columns {', '.join(taken)} already"
        if taken
        else None
    )
    if fault:
        step = f"the header needs {','.join(required)} and may have {','.join(optional)}"
        step += ", in lower case" if any(name.lower() in missing for name in names) else ""
        raise InvalidInputError(fault, where=where, next_step=step)


def predict_rows(
    model: PowerModel, rows: Sequence[Row], tick: Callable[[int], None] = lambda _: None
) -> list[dict[str, str]]:
    """The four added cells of each row."""
    read = [_read(row) if not (fault := ragged(row)) else ({}, fault) for row in rows]
    good = [index for index, (_, fault) in enumerate(read) if fault is None]
    answers = [{"watts": "", "watts_lower": "", "watts_upper": "", "reason": fault or ""} for _, fault in read]
    for start in range(0, len(good), 1000):
        some = good[start : start + 1000]
        cells = _answer(model, [read[index][0] for index in some], [rows[index]["cpu_model"] or "" for index in some])
        for index, cell in zip(some, cells, strict=True):
            answers[index] = cell
        tick(len(some))
    return answers


def ragged(row: Row, required: Sequence[str] = REQUIRED) -> str | None:
    """Why a row cannot be read by its header; None where it can. `csv.DictReader` keeps surplus cells under ""."""
    if row.get(""):
        return "more cells than the header: a comma in a name or number needs quotes around it"
    return "fewer cells than the header" if any(row.get(name, "") is None for name in required) else None


def _read(row: Row) -> tuple[dict[str, float], str | None]:
    """The numbers of a row, NaN where unknown, and what is wrong with it."""
    values: dict[str, float] = {}
    for name, (low, high) in LIMITS.items():
        text = (row.get(name) or "").strip()
        if not text:
            values[name] = math.nan
            continue
        try:
            value = float(text)
        except ValueError:
            return {}, f"{name} is no number: {text[:40]}"
        if not low <= value <= high:
            return {}, f"{name} is {text[:40]}, outside {low} to {high}"
        if name in WHOLE_NUMBERS and value != round(value):
            return {}, f"{name} is {text[:40]}, not a whole number"
        values[name] = value
    return values, _contradiction(values, bool((row.get("cpu_model") or "").strip()))


def _contradiction(values: Mapping[str, float], named: bool) -> str | None:
    """Why the numbers of a row cannot be right together; None where they can. Comparisons with NaN are false."""
    one, idle, full = values["one_reading_watts"], values["idle_watts"], values["full_watts"]
    checks = (
        (math.isnan(values["load_pct"]), "load_pct is missing"),
        (math.isnan(values["cores"]) and math.isnan(values["threads"]), "cores and threads are both missing"),
        (values["cores"] > values["threads"], "more cores than threads"),
        (values["sockets"] > values["cores"], "more sockets than cores"),
        (values["sockets"] > values["threads"], "more sockets than threads"),
        (values["threads"] > 8 * values["cores"], "more than 8 threads a core"),
        (full <= idle, "full_watts is not above idle_watts"),
        (
            math.isnan(one) != math.isnan(values["one_reading_load_pct"]),
            "half a reading: its load or watts are missing",
        ),
        (one < 0.9 * idle, "one_reading_watts is below idle_watts"),
        (one > 1.1 * full, "one_reading_watts is above full_watts"),
        (
            not named and math.isnan(values["tdp_watts"]) and math.isnan(values["year"]),
            "cpu_model, tdp_watts and year are all missing",
        ),
    )
    return next((reason for wrong, reason in checks if wrong), None)


def _answer(model: PowerModel, values: Sequence[Mapping[str, float]], cpus: Sequence[str]) -> list[dict[str, str]]:
    column = {name: np.array([row[name] for row in values], dtype=np.float64) for name in LIMITS}
    machines = Machines(
        cpu=list(cpus),
        year=column["year"],
        tdp_watts=column["tdp_watts"],
        **{name: column[name] for name in NUMBERS},
    )
    readings = [
        (np.zeros(len(values)), column["idle_watts"]),
        (np.ones(len(values)), column["full_watts"]),
        (column["one_reading_load_pct"] / 100, column["one_reading_watts"]),
    ]
    found = model.estimate(machines, column["load_pct"] / 100, readings)
    blind = [model.estimate(machines, np.nan_to_num(load, nan=0.5)).watts for load, _ in readings]
    odd = np.zeros(len(values), dtype=bool)
    for (_, watts), expected in zip(readings, blind, strict=True):
        odd |= np.abs(np.log(np.where(np.isfinite(watts), watts, expected) / expected)) > math.log(MOST_MISFIT)
    return [
        _cells(found.watts[index], found.lower[index], found.upper[index], found.reason[index], bool(odd[index]))
        for index in range(len(values))
    ]


def _cells(watts: float, lower: float, upper: float, reason: str, odd: bool) -> dict[str, str]:
    if not (math.isfinite(watts) and math.isfinite(lower) and math.isfinite(upper)):
        return {"watts": "", "watts_lower": "", "watts_upper": "", "reason": f"no finite answer; {reason}"}
    if odd:
        reason += f"; a reading is more than {MOST_MISFIT:g} times off what such a machine draws: is it this machine?"
    return {"watts": f"{watts:.2f}", "watts_lower": f"{lower:.2f}", "watts_upper": f"{upper:.2f}", "reason": reason}
