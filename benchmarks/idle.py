"""How near the idle of a node comes that was never seen at rest, on one real node.

    python -m benchmarks.idle [--data ../shared/data] [--write]

kepler_nx12 was at rest for a third of its time, so its true idle is known. Shown are only its windows above some load,
and its idle is told from those in three ways: the fit that the analyzer uses, the lowest power seen scaled by the
model, and the lowest power seen. Load is CPU cycles over the most cycles of a row.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks import kepler_nx12
from benchmarks.report import DATA, add_write, tell
from energy_orchestrator.analyze.estimator import PowerCurve, default_model
from energy_orchestrator.analyze.idle_fit import LoadBin, fitted_idle

Floats = NDArray[np.float64]
ABOVE = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
REST = 0.02
"""Quantile, as in the analyzer."""


def rows(data: Path) -> tuple[Floats, Floats]:
    """Load, as a share of the most cycles, and platform watts."""
    found = [(row["cpu_cycles"], row["platform_power"]) for row in kepler_nx12.rows(data, "acpi")]
    cycles, watts = np.array(found).T
    return cycles / cycles.max(), watts


def bins(load: Floats, watts: Floats, threads: float) -> list[LoadBin]:
    """As `series_queries.IDLE_AT_REST` makes them."""
    cores = load * threads
    place = np.round(4 * np.log2(np.maximum(cores, 0.01)))
    return [
        LoadBin(float(cores[place == it].mean()), float(watts[place == it].mean()), int((place == it).sum()))
        for it in np.unique(place)
    ]


def told(load: Floats, watts: Floats, curve: PowerCurve) -> tuple[float | None, float, float]:
    """Idle by the fit, by the model from the lowest power, and the lowest power."""
    threads = float(kepler_nx12.NODE.threads or 1)
    lowest, quietest = float(np.quantile(watts, REST)), float(np.quantile(load, REST))
    above = float(curve.active(np.array([quietest]))[0][0])
    fit = fitted_idle(bins(load, watts, threads), lowest, threads, lambda at: curve.active(at)[0])
    return fit, lowest * curve.idle.value / (curve.idle.value + above), lowest


def section(data: Path) -> str:
    """The table."""
    load, watts = rows(data)
    curve, truth = default_model().curve(kepler_nx12.NODE), float(np.quantile(watts, REST))
    lines = [
        "## Idle of a node that is never at rest",
        "",
        "Made by `python -m benchmarks.idle --write`. kepler_nx12: one node with an ACPI meter, "
        f"{watts.size} rows of 3 s, {truth:.0f} W at rest. Only rows above the load given are shown to each way; error "
        "is of the idle told. One node: how the fit does on others is not known.",
        "",
        "| load at least, % | rows | fit of watts on the curve's shape (used) "
        "| lowest power, scaled by the model (where no fit can be made) | lowest power (baseline) |",
        "|---|---|---|---|---|",
    ]
    for least in ABOVE:
        shown = load >= least
        ways = told(load[shown], watts[shown], curve)
        errors = ["no answer" if it is None else f"{it / truth - 1:+.0%}" for it in ways]
        lines.append(f"| {least:.0%} | {int(shown.sum())} | {' | '.join(errors)} |".replace("%", " %"))
    return "\n".join(lines)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    add_write(parser)
    given = parser.parse_args()
    tell("idle", section(given.data), given.write)


if __name__ == "__main__":
    main()
