"""The analyzer: every few seconds it turns the newest windows into energy, and now and then into advice.

`run_once` finds its place from what it has already written, so a restart goes on where it stopped, and does the last
windows again, so that late rows count (the derived tables replace a row of the same key). The arithmetic is in
`analyze/`, the advice in `recommend/`; here it is only fetched, joined and stored.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from energy_orchestrator.analyze.attribution import Attribution, attribute
from energy_orchestrator.analyze.estimator import NodePowerEstimate, NodeProfile, PowerModel
from energy_orchestrator.analyze.node_power import NodePower, ZoneReading, node_power
from energy_orchestrator.model.units import Tier
from energy_orchestrator.services import series_queries

SETTLE = timedelta(seconds=2.5)
"""A window is worked on when it has been over for so long: time for samples to travel."""
AGAIN = timedelta(seconds=10)
"""Windows that young are worked on again for late rows."""
AT_ONCE = timedelta(minutes=10)
"""The longest span of one run: bounds the memory when much has piled up."""
REST_HISTORY = timedelta(hours=24)

NodeKey = tuple[str, str]
WindowKey = tuple[str, str, datetime]


class Series(Protocol):
    """What is needed of the series store."""

    def query(self, sql: str, parameters: Any = None) -> pa.Table:
        """Run one statement."""
        ...

    def insert_derived(self, table_name: str, table: pa.Table) -> None:
        """Store rows of a derived table."""
        ...


class Analyzer:
    """See the module."""

    def __init__(self, series: Series, model: PowerModel, window_seconds: float, clock: Callable[[], datetime]) -> None:
        self._series = series
        self._model = model
        self._window = timedelta(seconds=window_seconds)
        self._clock = clock

    def run_once(self) -> int:
        """Work on the windows that are over; how many node-windows were written."""
        now = self._clock()
        span = self._span(now)
        if span is None:
            return 0
        parameters = {"start": span[0], "end": span[1], "window_ms": self._window.total_seconds() * 1000}
        nodes = self._series.query(series_queries.NODE_WINDOWS, parameters)
        if nodes.num_rows == 0:
            return 0
        powers = self._powers(nodes, parameters, now)
        workloads = self._series.query(series_queries.WORKLOAD_WINDOWS, parameters)
        node_table, workload_table = energy_tables(nodes, powers, workloads)
        self._series.insert_derived("workload_energy", workload_table)
        self._series.insert_derived("node_energy", node_table)
        return int(nodes.num_rows)

    def _span(self, now: datetime) -> tuple[datetime, datetime] | None:
        last = _floor(now - SETTLE, self._window)
        done = self._series.query(series_queries.WATERMARK).to_pylist()[0]
        if done["n"]:
            first = _floor(done["newest"] - AGAIN, self._window)
        else:
            oldest = self._series.query(series_queries.OLDEST_SAMPLE).to_pylist()[0]
            if not oldest["n"]:
                return None
            first = _floor(oldest["oldest"], self._window)
        return (first, min(last, first + AT_ONCE)) if last > first else None

    def _powers(self, nodes: pa.Table, parameters: Mapping[str, Any], now: datetime) -> list[NodePower]:
        readings: dict[WindowKey, list[ZoneReading]] = defaultdict(list)
        for row in self._series.query(series_queries.METER_WINDOWS, parameters).to_pylist():
            readings[row["tenant"], row["host"], row["window_end"]].append(
                ZoneReading(
                    row["meter"],
                    row["zone"],
                    Tier(row["tier"]),
                    row["energy_joules"],
                    row["power_watts"],
                    row["covered_seconds"],
                )
            )
        profiles = self._profiles()
        rest = self._rest(now)
        powers = []
        for row in nodes.to_pylist():
            key = (row["tenant"], row["host"])
            profile, estimate = profiles.get(key) or self._unknown()
            threads = profile.cpu_threads or 1
            load = (row["busy_cpu_seconds"] or 0.0) / max(1e-9, row["covered_seconds"] * threads)
            powers.append(node_power(readings[*key, row["window_end"]], estimate, load, rest.get(key)))
        return powers

    def _unknown(self) -> tuple[NodeProfile, NodePowerEstimate]:
        profile = NodeProfile()
        return profile, self._model.estimate(profile)

    def _profiles(self) -> dict[NodeKey, tuple[NodeProfile, NodePowerEstimate]]:
        found = {}
        for row in self._series.query(series_queries.NODE_PROFILES).to_pylist():
            profile = NodeProfile(
                row["cpu_threads"], row["cores"], row["sockets"], row["cpu_mhz"], row["memory_bytes"], row["virtual"]
            )
            found[row["tenant"], row["host"]] = (profile, self._model.estimate(profile))
        return found

    def _rest(self, now: datetime) -> dict[NodeKey, float]:
        rows = self._series.query(series_queries.IDLE_AT_REST, {"start": now - REST_HISTORY}).to_pylist()
        return {(row["tenant"], row["host"]): row["idle_watts"] for row in rows}


def energy_tables(nodes: pa.Table, powers: list[NodePower], workloads: pa.Table) -> tuple[pa.Table, pa.Table]:
    """The rows of `node_energy` and `workload_energy`. Workload rows of a window without a node row are left out:
    they come again when the node's row has arrived."""
    seconds = _floats(nodes, "covered_seconds")
    watts, low, high = (
        np.array([getattr(power.watts, end) for power in powers], dtype=np.float64)
        for end in ("value", "lower", "upper")
    )
    idle = np.array([power.idle_watts for power in powers], dtype=np.float64)
    place = {
        key: index
        for index, key in enumerate(
            zip(nodes["tenant"].to_pylist(), nodes["host"].to_pylist(), nodes["window_end"].to_pylist(), strict=True)
        )
    }
    keys = zip(
        workloads["tenant"].to_pylist(), workloads["host"].to_pylist(), workloads["window_end"].to_pylist(), strict=True
    )
    at = np.array([place.get(key, -1) for key in keys], dtype=np.intp)
    workloads = workloads.filter(pa.array(at >= 0))
    at = at[at >= 0]
    split = attribute(
        watts * seconds, idle * seconds, _floats(nodes, "busy_cpu_seconds"), at, _floats(workloads, "cpu_seconds")
    )
    tiers = [power.tier.value for power in powers]
    node_table = _node_table(nodes, powers, tiers, seconds, (watts, low, high), split)
    return node_table, _workload_table(workloads, at, tiers, seconds, (watts, low, high), split)


def _node_table(
    nodes: pa.Table,
    powers: list[NodePower],
    tiers: list[str],
    seconds: np.ndarray,
    bounds: tuple[np.ndarray, np.ndarray, np.ndarray],
    split: Attribution,
) -> pa.Table:
    watts, low, high = bounds
    return pa.table(
        {
            "timestamp": nodes["window_end"],
            "tenant": nodes["tenant"],
            "host": nodes["host"],
            "window_seconds": seconds,
            "tier": tiers,
            "node_joules": watts * seconds,
            "node_joules_lower": low * seconds,
            "node_joules_upper": high * seconds,
            "idle_joules": split.idle,
            "active_joules": split.active,
            "unattributed_joules": split.unattributed,
            "busy_cpu_seconds": np.nan_to_num(_floats(nodes, "busy_cpu_seconds")),
            "power_source": [power.source for power in powers],
        }
    )


def _workload_table(
    workloads: pa.Table,
    at: np.ndarray,
    tiers: list[str],
    seconds: np.ndarray,
    bounds: tuple[np.ndarray, np.ndarray, np.ndarray],
    split: Attribution,
) -> pa.Table:
    watts, low, high = bounds
    return pa.table(
        {
            "timestamp": workloads["window_end"],
            "tenant": workloads["tenant"],
            "host": workloads["host"],
            "window_seconds": seconds[at],
            "workload": workloads["workload"],
            "workload_kind": workloads["workload_kind"],
            "replica": workloads["replica"],
            "tier": [tiers[index] for index in at],
            "cpu_seconds": _floats(workloads, "cpu_seconds"),
            "mem_bytes": workloads["mem_bytes"],
            "active_joules": split.workload_active,
            "active_joules_lower": split.workload_active * (low / watts)[at],
            "active_joules_upper": split.workload_active * (high / watts)[at],
        }
    )


def _floats(table: pa.Table, name: str) -> np.ndarray:
    return np.asarray(table[name].to_numpy(zero_copy_only=False), dtype=np.float64)


def _floor(moment: datetime, window: timedelta) -> datetime:
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    return epoch + (moment - epoch) // window * window
