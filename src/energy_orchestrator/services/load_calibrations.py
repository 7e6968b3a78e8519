"""What a node's meters taught of its load, for the windows in which all of them are silent.

A node whose plug falls silent and that has no other meter would go back to the model of its kind, though the last day
has its own watts at many loads. They are in `node_energy`: asked for when a node that had a meter has none, and kept
for a while. The model's watts for each load are then calibrated on them as a lesser meter would be
(`analyze/calibration.py`: a curve, an interval, no answer far beyond what was seen).
"""

from __future__ import annotations

from datetime import datetime

import numpy as np

from energy_orchestrator.analyze.calibration import Calibration, learn
from energy_orchestrator.analyze.estimator import PowerCurve
from energy_orchestrator.analyze.taught_meters import Taught
from energy_orchestrator.model.units import Tier
from energy_orchestrator.services import series_queries
from energy_orchestrator.services.calibrations import AGAIN, HISTORY, NodeKey, milliseconds
from energy_orchestrator.services.energy_tables import floats
from energy_orchestrator.services.series import Series

MOST_WINDOWS = 2880


class LoadCalibrations:
    """See the module."""

    def __init__(self, series: Series) -> None:
        self._series = series
        self._known: dict[tuple[NodeKey, datetime | None], tuple[datetime, Taught | str]] = {}

    def of(
        self,
        node: NodeKey,
        tier: Tier,
        curve: PowerCurve,
        threads: float,
        now: datetime,
        since: datetime | None = None,
    ) -> Taught | str:
        """What the meter of a tier taught of a node's load, or why nothing. What was learned stays when its windows
        are too old to teach it again. `since` when the node is the machine that it is, where it was another one."""
        asked, known = self._known.get((node, since), (None, "nothing asked yet"))
        if asked is None or not asked <= now < asked + AGAIN:
            start = max(now - HISTORY, since or now - HISTORY)
            found = self._learned(node, tier, curve, threads, start)
            known = known if isinstance(known, Taught) and isinstance(found, str) else found
            self._known[node, since] = (now, known)
        return known

    def _learned(self, node: NodeKey, tier: Tier, curve: PowerCurve, threads: float, start: datetime) -> Taught | str:
        asked = {"tenant": node[0], "host": node[1], "tier": tier.value, "start": start, "most": MOST_WINDOWS}
        rows = self._series.query(series_queries.LOAD_HISTORY, asked)
        seconds = milliseconds(rows["timestamp"]).to_numpy() / 1000
        watts, cores = (floats(rows, name) for name in ("watts", "busy_cores"))
        model = curve.idle.value + curve.active(cores / threads)[0]
        order = np.argsort(seconds)
        made = learn(watts[order], model[order], seconds[order])
        return Taught(made, tier) if isinstance(made, Calibration) else made
