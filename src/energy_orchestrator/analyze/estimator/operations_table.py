"""The table of `eo estimator operations`: rows with joules per operation teach, rows without are answered.

A row is a workload on a type of node. What is known of a type may stand in any of its rows. A row that cannot be right
teaches nothing and says why. Pure: text in, text out; the CLI reads and writes files.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from energy_orchestrator.analyze.estimator import prediction_table
from energy_orchestrator.analyze.estimator.operations import MeasuredOperation, NodeProfile, OperationsModel

Row = Mapping[str, str]

REQUIRED = ("workload", "operation", "node_type", "joules_per_operation")
SIZES = ("cores", "mhz", "memory_gb", "tdp_watts")
OPTIONAL = (*SIZES, "operations_per_watt", "neighbours")
ADDED = ("predicted_joules", "predicted_lower", "predicted_upper", "reason")


def check_columns(names: Sequence[str], where: str) -> None:
    """InvalidInputError unless every required column is there, once, and none would be overwritten."""
    prediction_table.check_columns(names, where, REQUIRED, OPTIONAL, ADDED)


def predict_rows(rows: Sequence[Row]) -> list[dict[str, str]]:
    """The four added cells of each row; a row that was measured is told so and not predicted."""
    faults = [_fault(row) for row in rows]
    good = [row for row, fault in zip(rows, faults, strict=True) if fault is None]
    model = OperationsModel([_measured(row) for row in good if _joules(row)], _profiles(good))
    return [_answer(model, row, fault) for row, fault in zip(rows, faults, strict=True)]


def _answer(model: OperationsModel, row: Row, fault: str | None) -> dict[str, str]:
    if fault or _joules(row):
        return _cells(["", "", ""], fault or "measured")
    neighbours = [(name.strip(), 1.0) for name in (row.get("neighbours") or "").split(";") if name.strip()]
    said = model.predict(row["workload"].strip(), row["operation"].strip(), row["node_type"].strip(), neighbours)
    if said.value is None:
        return _cells(["", "", ""], said.reason)
    return _cells([f"{part:.4g}" for part in (said.value.value, said.value.lower, said.value.upper)], said.reason)


def _cells(numbers: Sequence[str], reason: str) -> dict[str, str]:
    return dict(zip(ADDED, [*numbers, reason], strict=True))


def _joules(row: Row) -> str:
    return (row["joules_per_operation"] or "").strip()


def _measured(row: Row) -> MeasuredOperation:
    return MeasuredOperation(
        row["workload"].strip(), row["operation"].strip(), row["node_type"].strip(), float(_joules(row))
    )


def _fault(row: Row) -> str | None:
    """Why a row cannot be right."""
    ragged = prediction_table.ragged(row, REQUIRED)
    empty = next((name for name in REQUIRED[:3] if not (row.get(name) or "").strip()), None)
    if ragged or empty:
        return ragged or f"{empty} is missing"
    for name in ("joules_per_operation", *SIZES, "operations_per_watt"):
        text = (row.get(name) or "").strip()
        if text and not _above_zero(text):
            return f"{name} is {text[:40]}, not a number above 0"
    return None


def _above_zero(text: str) -> bool:
    try:
        return 0 < float(text) < math.inf
    except ValueError:
        return False


def _profiles(rows: Sequence[Row]) -> dict[str, NodeProfile]:
    """Of each type the first row that says something counts, column by column."""
    told: dict[str, dict[str, float]] = {}
    for row in rows:
        mine = told.setdefault(row["node_type"].strip(), {})
        for name in (*SIZES, "operations_per_watt"):
            if (row.get(name) or "").strip():
                mine.setdefault(name, float(row[name]))
    return {
        node: NodeProfile(
            {name: math.log(value) for name, value in mine.items() if name in SIZES}, mine.get("operations_per_watt")
        )
        for node, mine in told.items()
    }
