"""Machines as columns: from what an inventory, a CSV row or SPEC says to the numbers that the model reads.

`NodeHardware` is one node as the live path knows it. `Machines` is many as columns; NaN is unknown. `complete` fills
what is unknown with what is typical and says which, and `design` makes the matrix that training and prediction share,
so that they cannot drift apart.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from energy_orchestrator.analyze.estimator.cpu_names import cpu_key, generation, vendor

Floats = NDArray[np.float64]

_LOW_POWER = re.compile(r"\bl\d{4}|\d{4}l\b|\d{4} ?[he]e\b")
_SMALL = re.compile(r"e3-|e-2|core|xeon-d|\bd-\d|epyc 4|pentium")
NUMBERS = ("sockets", "cores", "threads", "mhz", "memory_gb")
COLUMNS = (
    *("tdp", "tdp_core", "cores", "smt", "mhz", "memory_tdp", "memory_thread", "sockets"),
    *("generation", "lag", "amd", "low_power", "small"),
)
MOST_TERABYTES_READ_AS_GB = 1 / 16
"""GB a thread. SPEC's list has the memory of its largest machines in TB (1 for 480 threads), and so may others."""
TYPICAL_LAG_YEARS = 0.7
"""Between a CPU's generation and its servers' results: the median of SPECpower's."""


@dataclass(frozen=True, slots=True)
class NodeHardware:
    """What the inventory says of a node; None is unknown."""

    threads: int | None = None
    cores: int | None = None
    sockets: int | None = None
    mhz: float | None = None
    memory_gb: float | None = None
    cpu_model: str | None = None
    virtual: bool | None = None
    year: int | None = None
    tdp_watts: float | None = None


@dataclass(frozen=True, slots=True)
class Machines:
    """Columns of machines; NaN is unknown. `year` is when the machine came out, `tdp_watts` is of one socket."""

    cpu: Sequence[str]
    sockets: Floats
    cores: Floats
    threads: Floats
    mhz: Floats
    memory_gb: Floats
    year: Floats
    tdp_watts: Floats

    def __len__(self) -> int:
        return len(self.cpu)

    def take(self, rows: NDArray[np.bool_] | NDArray[np.intp]) -> Machines:
        """Some of them."""
        where = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
        columns = {name: getattr(self, name)[where] for name in (*NUMBERS, "year", "tdp_watts")}
        return Machines(cpu=[self.cpu[index] for index in where], **columns)


def one_machine(node: NodeHardware) -> Machines:
    """A node as columns of length one."""
    columns = {name: np.array([getattr(node, name) or np.nan], dtype=np.float64) for name in NUMBERS}
    year, tdp = (np.array([value or np.nan], dtype=np.float64) for value in (node.year, node.tdp_watts))
    return Machines(cpu=[node.cpu_model or ""], year=year, tdp_watts=tdp, **columns)


def righted(machines: Machines) -> Machines:
    """Machines without two slips that SPEC's own list has: memory in TB, and threads that the cores cannot have."""
    tiny = machines.memory_gb < MOST_TERABYTES_READ_AS_GB * machines.threads
    doubled = np.array([bool(vendor(name)) and "phi" not in name.lower() for name in machines.cpu])
    most = np.where(doubled, 2 * machines.cores, np.inf)
    threads = np.where(machines.threads > most, most, machines.threads)
    return replace(machines, threads=threads, memory_gb=np.where(tiny, 1024 * machines.memory_gb, machines.memory_gb))


def complete(machines: Machines, typical: Mapping[str, float]) -> tuple[Machines, list[list[str]]]:
    """Machines without gaps but for year and TDP, and what of each was guessed."""
    machines = righted(machines)
    guessed: list[list[str]] = [[] for _ in range(len(machines))]

    def filled(name: str, instead: Floats | float) -> Floats:
        value: Floats = getattr(machines, name)
        unknown = ~np.isfinite(value)
        for index in np.flatnonzero(unknown):
            guessed[index].append(name)
        return np.where(unknown, instead, value)

    sockets = filled("sockets", 1.0)
    known = np.where(np.isfinite(machines.threads), machines.threads, machines.cores * typical["threads_per_core"])
    cores = filled("cores", np.maximum(known / typical["threads_per_core"], 1.0))
    threads = filled("threads", cores * typical["threads_per_core"])
    cores = np.minimum(cores, threads)
    mhz = filled("mhz", typical["mhz"])
    memory = filled("memory_gb", typical["memory_gb_per_thread"] * threads)
    whole = replace(
        machines, sockets=np.minimum(sockets, cores), cores=cores, threads=threads, mhz=mhz, memory_gb=memory
    )
    return whole, guessed


def generations(machines: Machines, latest: float) -> tuple[Floats, Floats]:
    """Year of each CPU's generation and the machine's lag behind it; what neither name nor year tell is `latest`."""
    named = np.array([generation(name) or np.nan for name in machines.cpu], dtype=np.float64)
    year = machines.year
    from_year = np.where(np.isfinite(year), year - TYPICAL_LAG_YEARS, latest)
    born = np.where(np.isfinite(named), named, from_year)
    lag = np.where(np.isfinite(year), np.clip(year - born, -1.0, 5.0), TYPICAL_LAG_YEARS)
    return born, lag


def kinds(machines: Machines) -> tuple[Floats, Floats, Floats]:
    """Flags by name: AMD, a low-power part, a small server or desktop part."""
    lower = [name.lower() for name in machines.cpu]
    amd = np.array([float(vendor(name) == "amd") for name in machines.cpu])
    low = np.array([float(bool(_LOW_POWER.search(name))) for name in lower])
    small = np.array([float(bool(_SMALL.search(name))) for name in lower])
    return amd, low, small


def design(machines: Machines, tdp: Floats, latest: float) -> Floats:
    """The matrix, `COLUMNS` wide; machines must be complete and `tdp` known for all."""
    per_socket = machines.cores / machines.sockets
    born, lag = generations(machines, latest)
    memory = machines.memory_gb
    columns = (
        np.log(tdp),
        np.log(tdp / per_socket),
        np.log(per_socket),
        machines.threads / machines.cores,
        np.log(machines.mhz),
        np.log(memory / machines.sockets / tdp),
        np.log(memory / machines.threads),
        np.log(machines.sockets),
        born,
        lag,
        *kinds(machines),
    )
    return np.column_stack(columns)


def tdp_design(machines: Machines, latest: float) -> Floats:
    """What the TDP of a socket is guessed from, where no list has it."""
    per_socket = np.log(machines.cores / machines.sockets)
    born, _ = generations(machines, latest)
    age = (born - 2015) / 5
    amd, low, small = kinds(machines)
    columns = (per_socket, per_socket**2, np.log(machines.mhz / 2500), age, age**2, age * per_socket, amd, low, small)
    return np.column_stack(columns)


def known_tdp(machines: Machines, table: Mapping[str, float]) -> Floats:
    """TDP of a socket: as given, else from the table, else NaN."""
    listed = np.array([table.get(cpu_key(name), np.nan) for name in machines.cpu], dtype=np.float64)
    return np.where(np.isfinite(machines.tdp_watts), machines.tdp_watts, listed)
