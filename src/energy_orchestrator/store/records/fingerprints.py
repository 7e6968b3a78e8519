"""Fingerprints in Postgres, searched by pgvector's HNSW index (Malkov and Yashunin, 2016), or exactly without it.

The index knows nothing of tenants: pgvector filters what it walks over, and walks on (`iterative_scan`) until enough
of the tenant's are found. A small tenant among many is searched exactly instead, over its own rows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime

import numpy as np
from numpy.typing import NDArray
from psycopg.types.json import Jsonb

from energy_orchestrator.model.fingerprint import Fingerprint
from energy_orchestrator.store.fingerprint_port import ALL_SHARDS, DIMENSIONS, Near, Vectors, exact
from energy_orchestrator.store.records.database import Connection, Database

_COLUMNS = "tenant, workload, model, vector, samples, at, does, functions, cluster_id, bare, nameless"
EXACT_ROWS = 5_000
"""A tenant with fewer is searched exactly: some milliseconds, and nothing is missed."""
AT_ONCE = 2_000
"""Rows on their way: a vector is ten times its size until it is in an array."""
_OF_SHARDS = "left(md5(workload), 1) = ANY(%s)"


class PostgresFingerprints:
    """See `store/fingerprint_port.py`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, rows: Sequence[Fingerprint]) -> None:
        """See the port."""
        values = [
            (it.tenant, it.workload, it.model, it.vector.tolist(), it.samples, it.at, Jsonb(dict(it.does)),
             Jsonb(list(it.functions.items())), it.bare.tolist() if it.bare is not None else None, it.nameless)
            for it in rows
        ]  # fmt: skip
        with self._database.transaction() as connection, connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO fingerprint"
                " (tenant, workload, model, vector, samples, at, does, functions, bare, nameless) VALUES"
                " (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (tenant, workload) DO UPDATE SET"
                " model = EXCLUDED.model, vector = EXCLUDED.vector, samples = EXCLUDED.samples, at = EXCLUDED.at,"
                " does = EXCLUDED.does, functions = EXCLUDED.functions,"
                " bare = EXCLUDED.bare, nameless = EXCLUDED.nameless WHERE fingerprint.at <= EXCLUDED.at",
                values,
            )

    def seen(self, tenant: str, workloads: Sequence[str], at: datetime) -> None:
        """See the port."""
        if not workloads:
            return
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE fingerprint SET at = greatest(at, %s) WHERE tenant = %s AND workload = ANY(%s)",
                (at, tenant, list(workloads)),
            )

    def listed(self, tenant: str, model: str) -> list[Fingerprint]:
        """See the port."""
        with self._database.transaction() as connection:
            rows = connection.execute(
                f"SELECT {_COLUMNS} FROM fingerprint WHERE tenant = %s AND model = %s"  # noqa: S608 (a constant)
                ' ORDER BY workload COLLATE "C"',
                (tenant, model),
            ).fetchall()
        return [_fingerprint(row) for row in rows]

    def nearest(
        self, tenant: str, model: str, vector: NDArray[np.float32], count: int, bare: bool = False
    ) -> list[Near]:
        """See the port."""
        which = "bare" if bare else "vector"
        with self._database.transaction() as connection:
            if not _has_pgvector(connection) or _rows_of(connection, tenant) <= EXACT_ROWS:
                return exact(self.listed(tenant, model), vector, count, bare)
            connection.execute("SET LOCAL hnsw.iterative_scan = strict_order")
            connection.execute("SET LOCAL hnsw.ef_search = 100")
            rows = connection.execute(
                f"SELECT {_COLUMNS}, 1 - ({which}::vector(256) <=> %s::real[]::vector(256)) AS likeness"  # noqa: S608
                f" FROM fingerprint WHERE tenant = %s AND model = %s AND {which} IS NOT NULL"
                f" ORDER BY {which}::vector(256) <=> %s::real[]::vector(256) LIMIT %s",
                (vector.tolist(), tenant, model, vector.tolist(), count),
            ).fetchall()
        return [(_fingerprint(row), float(row["likeness"])) for row in rows]

    def one(self, tenant: str, model: str, workload: str) -> Fingerprint | None:
        """See the port."""
        found = self.some(tenant, model, [workload])
        return found[0] if found else None

    def some(self, tenant: str, model: str, workloads: Collection[str]) -> list[Fingerprint]:
        """See the port."""
        with self._database.transaction() as connection:
            rows = connection.execute(
                f"SELECT {_COLUMNS} FROM fingerprint WHERE tenant = %s AND model = %s"  # noqa: S608 (a constant)
                ' AND workload = ANY(%s) ORDER BY workload COLLATE "C"',
                (tenant, model, sorted(workloads)),
            ).fetchall()
        return [_fingerprint(row) for row in rows]

    def count(self, tenant: str, model: str) -> int:
        """See the port."""
        with self._database.transaction() as connection:
            row = connection.execute(
                "SELECT count(*) AS n FROM fingerprint WHERE tenant = %s AND model = %s", (tenant, model)
            ).fetchone()
        return int(row["n"]) if row else 0

    def vectors(self, tenant: str, model: str, shards: Collection[int] = ALL_SHARDS) -> Vectors:
        """See the port."""
        workloads: list[str] = []
        parts: list[NDArray[np.float32]] = [np.empty((0, DIMENSIONS), np.float32)]
        with (
            self._database.transaction() as connection,
            connection.cursor(name="fingerprint_vectors") as cursor,
        ):
            cursor.execute(
                f"SELECT workload, vector FROM fingerprint WHERE tenant = %s AND model = %s AND {_OF_SHARDS}"  # noqa: S608
                ' ORDER BY workload COLLATE "C"',
                (tenant, model, _digits(shards)),
            )
            while rows := cursor.fetchmany(AT_ONCE):
                workloads += [row["workload"] for row in rows]
                parts.append(np.array([row["vector"] for row in rows], np.float32))
        return Vectors(workloads, np.concatenate(parts))

    def clusters(self, tenant: str, shards: Collection[int] = ALL_SHARDS) -> dict[str, int]:
        """See the port."""
        return self._clusters(tenant, _OF_SHARDS, _digits(shards))

    def clusters_of(self, tenant: str, workloads: Collection[str]) -> dict[str, int]:
        """See the port."""
        return self._clusters(tenant, "workload = ANY(%s)", sorted(workloads)) if workloads else {}

    def _clusters(self, tenant: str, which: str, values: list[str]) -> dict[str, int]:
        with self._database.transaction() as connection:
            rows = connection.execute(
                "SELECT workload, cluster_id FROM fingerprint"  # noqa: S608 (constants)
                f" WHERE tenant = %s AND cluster_id IS NOT NULL AND {which}",
                (tenant, values),
            ).fetchall()
        return {row["workload"]: row["cluster_id"] for row in rows}

    @contextmanager
    def grouping(self, tenant: str) -> Iterator[None]:
        """See the port."""
        with self._database.transaction() as connection:
            connection.execute("SELECT pg_advisory_xact_lock(hashtext('fingerprint groups'), hashtext(%s))", (tenant,))
            yield

    def expire(self, tenant: str, before: datetime, most: int) -> int:
        """See the port."""
        with self._database.transaction() as connection:
            old = connection.execute("DELETE FROM fingerprint WHERE tenant = %s AND at < %s", (tenant, before))
            beyond = connection.execute(
                "DELETE FROM fingerprint WHERE tenant = %s AND workload IN (SELECT workload FROM fingerprint"
                " WHERE tenant = %s ORDER BY at DESC, workload DESC OFFSET %s)",
                (tenant, tenant, most),
            )
        return old.rowcount + beyond.rowcount

    def set_clusters(self, tenant: str, of: Mapping[str, int | None], next_id: int) -> None:
        """See the port."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE fingerprint SET cluster_id = given.cluster FROM unnest(%s::text[], %s::bigint[])"
                " AS given (workload, cluster) WHERE tenant = %s AND fingerprint.workload = given.workload",
                (list(of), list(of.values()), tenant),
            )
            connection.execute(
                "INSERT INTO fingerprint_next_cluster (tenant, next_id) VALUES (%s, %s) ON CONFLICT (tenant)"
                " DO UPDATE SET next_id = greatest(fingerprint_next_cluster.next_id, EXCLUDED.next_id)",
                (tenant, next_id),
            )

    def next_cluster_id(self, tenant: str) -> int:
        """See the port."""
        with self._database.transaction() as connection:
            row = connection.execute(
                "SELECT next_id FROM fingerprint_next_cluster WHERE tenant = %s", (tenant,)
            ).fetchone()
        return int(row["next_id"]) if row else 1


def _digits(shards: Collection[int]) -> list[str]:
    return [f"{shard:x}" for shard in sorted(shards)]


def _has_pgvector(connection: Connection) -> bool:
    return connection.execute("SELECT 1 FROM pg_extension WHERE extname = 'vector'").fetchone() is not None


def _rows_of(connection: Connection, tenant: str) -> int:
    row = connection.execute(
        "SELECT count(*) AS n FROM (SELECT 1 FROM fingerprint WHERE tenant = %s LIMIT %s) AS counted",
        (tenant, EXACT_ROWS + 1),
    ).fetchone()
    return int(row["n"]) if row else 0


def _fingerprint(row: Mapping[str, object]) -> Fingerprint:
    values = dict(row)
    return Fingerprint(
        tenant=str(values["tenant"]),
        workload=str(values["workload"]),
        model=str(values["model"]),
        vector=np.asarray(values["vector"], dtype=np.float32),
        samples=int(str(values["samples"])),
        at=values["at"],  # type: ignore[arg-type]
        does=values["does"],  # type: ignore[arg-type]
        functions=dict(values["functions"]),  # type: ignore[call-overload]
        cluster=values["cluster_id"],  # type: ignore[arg-type]
        bare=np.asarray(values["bare"], dtype=np.float32) if values["bare"] is not None else None,
        nameless=bool(values["nameless"]),
    )
