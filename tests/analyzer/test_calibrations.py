"""What nodes were taught is kept while their better meter is silent, and learning never holds up the windows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from energy_orchestrator.analyze.estimator import NodeHardware
from energy_orchestrator.analyze.taught_meters import Taught
from energy_orchestrator.services.calibrations import AGAIN, AT_A_TIME, Calibrations

NOW = datetime(2026, 11, 23, tzinfo=UTC)
KNOWN = NodeHardware(threads=64, cpu_model="AMD EPYC 9654", virtual=False)


class Fleet:
    """Nodes with a plug and RAPL, as the series would tell them; `silent` ones have RAPL alone."""

    def __init__(self, hosts: int) -> None:
        self.hosts, self.silent, self.asked = hosts, False, 0

    def query(self, sql: str, parameters: Any = None) -> pa.Table:
        if "uniqExact(tier)" in sql:
            return pa.table({"tenant": ["t"] * self.hosts, "host": [f"n{place}" for place in range(self.hosts)]})
        self.asked += 1
        rows = []
        for place in range(60):
            end, seen = parameters["end"] - timedelta(seconds=30 * place), 60.0 + place
            rows.append(self._row(end, "rapl", "package-0", "on_die", seen))
            if not self.silent:
                rows.append(self._row(end, "snmp", "outlet-1", "wall", 100.0 + seen))
        return pa.Table.from_pylist(rows)

    def _row(self, end: datetime, meter: str, zone: str, tier: str, watts: float) -> dict[str, Any]:
        own = {"tenant": "t", "host": "n0", "window_end": end, "meter": meter, "zone": zone, "tier": tier}
        return {**own, "energy_joules": None, "power_watts": watts, "covered_seconds": 30.0}


def test_what_was_learned_stays_while_the_better_meter_is_silent() -> None:
    fleet = Fleet(1)
    calibrations = Calibrations(fleet)
    calibrations.refresh(NOW, {})
    fleet.silent = True
    calibrations.refresh(NOW + timedelta(days=2), {})
    assert fleet.asked == 2
    assert isinstance(calibrations.of(("t", "n0"), NodeHardware())["rapl: package-0"], Taught)


def test_a_large_fleet_is_learned_in_turn_and_again_after_a_while() -> None:
    fleet = Fleet(5)
    calibrations = Calibrations(fleet)
    for call in range(1, 5):
        calibrations.refresh(NOW, {})
        assert fleet.asked == min(5, call * AT_A_TIME)
    calibrations.refresh(NOW + AGAIN, {})
    assert fleet.asked == 5 + AT_A_TIME


def test_guests_and_other_tenants_are_like_nobody() -> None:
    calibrations = Calibrations(Fleet(1))
    calibrations.refresh(NOW, {("t", "n0"): KNOWN})
    assert calibrations.of(("t", "other"), KNOWN)
    assert not calibrations.of(("u", "other"), KNOWN)
    assert not calibrations.of(("t", "guest"), NodeHardware(threads=64, cpu_model="AMD EPYC 9654", virtual=True))
