"""Share of dynamic power, (watts - idle) / (full - idle), at each load, by when the machine came out and who made it.

Made from published statistics (mean and quantiles by load and hardware year over 619 servers), not from the servers:
between the years' groups the curve is interpolated. Since 2018 the spread has two humps; that AMD's curves are the
upper one (they rise early, Intel's late) is inferred, with the help of remembered SPEC results of single servers, not
measured here: AMD is taken from the quantiles 75 and 95 %, Intel from 25 and 50 %. Mixed by the AMD share among
SPECpower's servers of those years they give back about the published mean (`variation.split_errors`; docs/accuracy.md
has the figures), which many another split would do as well. What it explains of the variance is taken off the spread
within a vendor, in part only (`TRUST`), since nothing here can measure it. docs/accuracy.md simulates both cases: that
it is true, and that it is not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

GROUPS = {"<=2012": 2010.5, "2013-2017": 2015.5, "2018-2020": 2019.0, ">=2021": 2022.5}
"""Hardware years of the statistics, and the middle of the servers in each."""
SPLIT_SINCE = 2017.0
FAMILIES = ("intel", "amd", "other")
LOADS = np.linspace(0.0, 1.0, 11)
SIGMA_5_95 = 3.29
LEAST_SPREAD = 0.01
UNSPLIT = "other"
TRUST = 0.65
"""How much of the narrower spread within a vendor is taken; assumed."""


@dataclass(frozen=True, slots=True)
class Shapes:
    """Curves by family and year: arrays of (families, years, loads)."""

    years: Floats
    share: Floats
    spread: Floats

    def at(self, load: Floats, year: Floats, family: NDArray[np.intp]) -> tuple[Floats, Floats]:
        """Share and its standard deviation for each row; 0 at rest and 1 at full load by definition."""
        left = np.clip(np.searchsorted(self.years, year) - 1, 0, len(self.years) - 2)
        part = np.clip((year - self.years[left]) / (self.years[left + 1] - self.years[left]), 0.0, 1.0)
        step = np.clip((np.clip(load, 0.0, 1.0) * 10).astype(np.intp), 0, 9)
        within = np.clip(load, 0.0, 1.0) * 10 - step

        def read(table: Floats) -> Floats:
            by_year = [
                table[family, index, step] * (1 - within) + table[family, index, step + 1] * within
                for index in (left, left + 1)
            ]
            return np.asarray(by_year[0] * (1 - part) + by_year[1] * part)

        return read(self.share), read(self.spread)

    def document(self) -> dict[str, Any]:
        """For the model file."""
        return {"years": self.years.tolist(), "share": self.share.tolist(), "spread": self.spread.tolist()}

    @staticmethod
    def of_document(document: Mapping[str, Any]) -> Shapes:
        """From the model file."""
        return Shapes(*(np.array(document[name], dtype=np.float64) for name in ("years", "share", "spread")))


def family_of(amd: Floats, known: Floats, year: Floats) -> NDArray[np.intp]:
    """Index into `FAMILIES`; before the humps, and where the vendor is unknown, all are one family."""
    split = (year >= SPLIT_SINCE) & (known > 0)
    return np.where(split, np.where(amd > 0, FAMILIES.index("amd"), FAMILIES.index("intel")), FAMILIES.index(UNSPLIT))


def shapes(statistics: Sequence[Mapping[str, str]], amd_share: Mapping[str, float]) -> Shapes:
    """Curves from the rows of the statistics' file and the share of AMD in each group of years."""
    share = np.zeros((len(FAMILIES), len(GROUPS), len(LOADS)))
    spread = np.zeros_like(share)
    for place, group in enumerate(GROUPS):
        rows = sorted((row for row in statistics if row["hardware_year"] == group), key=lambda r: int(r["load_pct"]))
        mean, p05, p25, p50, p75, p95 = (
            np.array([0.0, *(float(row[name]) for row in rows), 1.0])
            for name in ("mean", "p05", "p25", "p50", "p75", "p95")
        )
        total = (p95 - p05) / SIGMA_5_95
        share[:, place], spread[:, place] = mean, total
        if GROUPS[group] >= SPLIT_SINCE:
            intel, amd = (p25 + p50) / 2, (p75 + p95) / 2
            between = amd_share[group] * (1 - amd_share[group]) * (amd - intel) ** 2
            within = np.sqrt(np.maximum(total**2 - between, LEAST_SPREAD**2)) * (total > 0)
            for family, curve in (("intel", intel), ("amd", amd)):
                share[FAMILIES.index(family), place] = np.where(LOADS % 1 == 0, mean, curve)
                spread[FAMILIES.index(family), place] = TRUST * within + (1 - TRUST) * total
    return Shapes(np.array(list(GROUPS.values())), share, spread)
