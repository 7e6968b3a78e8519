"""Power of virtual machines by what their host gave them.

A guest without a meter of its own would be estimated as a typical machine. Where its host is watched too, the host's
attribution knows better: the active energy of the process that runs the guest is all that the guest has, and the
guest's own workloads share it by their CPU time in the guest. None of it is idle: the idle of the machine stays with
the host. So what a guest's workloads add up to is what the host says of the guest, and not more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from energy_orchestrator.analyze.node_power import NodePower
from energy_orchestrator.model.units import Bounded, Tier
from energy_orchestrator.services import guest_queries
from energy_orchestrator.services.calibrations import milliseconds
from energy_orchestrator.services.energy_tables import floats
from energy_orchestrator.services.series import Series


def with_hosts_share(
    nodes: pa.Table, powers: list[NodePower], series: Series, during: Mapping[str, Any]
) -> list[NodePower]:
    """`powers` of node-windows, in which guests without a meter have their host's share where it is known."""
    shares = _shares(series.query(guest_queries.GUEST_WINDOWS, during))
    ends = milliseconds(nodes["window_end"]).to_pylist()
    keys = zip(nodes["tenant"].to_pylist(), nodes["host"].to_pylist(), ends, strict=True)
    seconds = floats(nodes, "covered_seconds").tolist()
    return [
        _of_host(shares[key], length) if power.tier is Tier.MODEL and key in shares else power
        for key, power, length in zip(keys, powers, seconds, strict=True)
    ]


def _shares(rows: pa.Table) -> dict[tuple[str, str, int], Mapping[str, Any]]:
    ends = milliseconds(rows["window_end"]).to_pylist()
    return {(row["tenant"], row["guest"], end): row for row, end in zip(rows.to_pylist(), ends, strict=True)}


def _of_host(share: Mapping[str, Any], seconds: float) -> NodePower:
    joules, low, high = (share[name] for name in ("active_joules", "active_joules_lower", "active_joules_upper"))
    watts = Bounded(joules / seconds, low / seconds, high / seconds)
    bounds = (low / joules, high / joules) if joules > 0 else (1.0, 1.0)
    return NodePower(watts, 0.0, Tier(share["tier"]), f"share of the host {share['hosts']} for this guest", *bounds)
