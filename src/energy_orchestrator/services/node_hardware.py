"""Which hardware a node had when: a name may come back as another machine, or the machine may change.

In go the node rows of the inventory of the last day (an agent sends one every five minutes), out comes for each node
the hardware in force at a moment, and since when the present one is in force: what was at rest and what was learned
before that was another machine's. CPU model, sockets, cores, threads and whether it is a guest make a machine; clock
and memory of one machine may be told differently from row to row, the newest counts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pyarrow as pa

from energy_orchestrator.analyze.estimator import NodeHardware
from energy_orchestrator.services.calibrations import NodeKey

UNKNOWN = NodeHardware()


@dataclass(frozen=True, slots=True)
class InForce:
    """One machine under a node's name, from the first row that shows it to the last."""

    hardware: NodeHardware
    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class HardwareHistory:
    """By node, in the order of `since`."""

    machines: Mapping[NodeKey, tuple[InForce, ...]] = field(default_factory=dict)

    def at(self, node: NodeKey, moment: datetime) -> NodeHardware:
        """The machine whose row is nearest before the moment; before all rows the first; unknown without any."""
        machines = self.machines.get(node, ())
        if not machines:
            return UNKNOWN
        begun = [machine for machine in machines if machine.since <= moment]
        newest = max(begun, key=lambda machine: (min(machine.until, moment), machine.since), default=machines[0])
        return newest.hardware

    def present(self) -> dict[NodeKey, NodeHardware]:
        """The newest of each node."""
        return {node: max(machines, key=_last).hardware for node, machines in self.machines.items()}

    def changed(self) -> dict[NodeKey, datetime]:
        """Since when the present machine is there, of the nodes that had another one."""
        return {
            node: max(*(other.until for other in machines if other is not newest), newest.since)
            for node, machines in self.machines.items()
            if len(machines) > 1 and (newest := max(machines, key=_last))
        }


def _last(machine: InForce) -> tuple[datetime, datetime]:
    return machine.until, machine.since


def hardware_history(rows: pa.Table) -> HardwareHistory:
    """Rows of `series_queries.NODE_HARDWARE`."""
    found: dict[NodeKey, list[InForce]] = defaultdict(list)
    for row in rows.to_pylist():
        found[row["tenant"], row["host"]].append(InForce(_hardware(row), row["since"], row["until"]))
    return HardwareHistory({node: tuple(machines) for node, machines in found.items()})


def _hardware(row: Mapping[str, Any]) -> NodeHardware:
    memory = row["memory_bytes"]
    return NodeHardware(
        threads=row["cpu_threads"],
        cores=row["cores"],
        sockets=row["sockets"],
        mhz=row["cpu_mhz"],
        memory_gb=memory / 1e9 if memory else None,
        cpu_model=row["cpu_model"],
        virtual=row["virtual"],
    )
