"""Who works on what: (tenant, name) falls into one of `BUCKETS` by a hash, and each bucket belongs to one worker.

The name is a host for attribution and for advice about what runs on it, and a workload for J/op and alerts. The hash is
ClickHouse's (`series_queries.py`), so that the store hands a worker its rows only. Which worker has a bucket is
rendezvous hashing (Thaler and Ravishankar, "Using name-based mappings to increase hit rates", 1998): all workers know
it without asking each other, and one more worker takes its part from all others and moves nothing else.

A worker keeps nothing that it could not find in the store again. What it takes on at once is cut into packs of hosts,
so that memory does not grow with the fleet.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from energy_orchestrator.errors import InvalidInputError

BUCKETS = 1024
Tick = Callable[[int, int], None]
"""What is done, of how much."""
MOST_HOSTS = 500
"""Of one pack: their names are parameters of a statement, in its address where it goes to a server."""
MOST_WORKERS = 256
"""More would have buckets for a few hosts only."""


@dataclass(frozen=True, slots=True)
class Worker:
    """Worker `number`, counted from 0, of `of`."""

    number: int = 0
    of: int = 1

    def __post_init__(self) -> None:
        if not (1 <= self.of <= MOST_WORKERS and 0 <= self.number < self.of):
            raise InvalidInputError(
                f"worker {self.number} of {self.of}",
                where="workers",
                next_step=f"count workers from 0, and have 1 to {MOST_WORKERS} of them",
            )

    @property
    def alone(self) -> bool:
        """It has all the work."""
        return self.of == 1

    @property
    def buckets(self) -> list[int]:
        """Its own; empty means all."""
        return [] if self.alone else [it for it in range(BUCKETS) if owner(it, self.of) == self.number]


ALONE = Worker()


def silent(done: int, of: int) -> None:
    """For whoever shows no progress."""


def owner(bucket: int, workers: int) -> int:
    """The worker that has a bucket: the one whose hash with it is the highest."""
    return max(range(workers), key=lambda worker: hashlib.sha256(f"{bucket}/{worker}".encode()).digest())


@dataclass(frozen=True, slots=True)
class Pack:
    """Hosts that are worked on together, in the order of the store."""

    tenants: list[str]
    hosts: list[str]

    @property
    def parameters(self) -> dict[str, Any]:
        """For the queries of a pack."""
        return {"tenants": self.tenants, "hosts": self.hosts}


def packs(tenants: Sequence[str], hosts: Sequence[str], rows: Sequence[int], most_rows: int) -> Iterator[Pack]:
    """Packs of at most `MOST_HOSTS` hosts with at most `most_rows` rows together; a host that has more is a pack of its
    own."""
    pack, size = Pack([], []), 0
    for tenant, host, count in zip(tenants, hosts, rows, strict=True):
        if pack.hosts and (size + count > most_rows or len(pack.hosts) == MOST_HOSTS):
            yield pack
            pack, size = Pack([], []), 0
        pack.tenants.append(tenant)
        pack.hosts.append(host)
        size += count
    if pack.hosts:
        yield pack
