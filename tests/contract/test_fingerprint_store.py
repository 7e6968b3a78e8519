"""What the store of fingerprints promises, in memory and on the real Postgres with pgvector."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from energy_orchestrator.model.fingerprint import Fingerprint
from energy_orchestrator.store.fingerprint_port import SHARDS, FingerprintStore, MemoryFingerprints, shard_of
from energy_orchestrator.store.records import fingerprints
from energy_orchestrator.store.records.database import Database
from energy_orchestrator.store.records.fingerprints import PostgresFingerprints

NOW = datetime(2026, 11, 24, tzinfo=UTC)


@pytest.fixture(params=["memory", "postgres", "postgres with its index"])
def store(
    request: pytest.FixtureRequest, database: Database, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FingerprintStore]:
    if request.param == "memory":
        yield MemoryFingerprints()
        return
    if request.param.endswith("index"):
        monkeypatch.setattr(fingerprints, "EXACT_ROWS", 0)
    yield PostgresFingerprints(database)


def unit(seed: int) -> np.ndarray:
    values = np.random.default_rng(seed).normal(size=256)
    return (values / np.linalg.norm(values)).astype(np.float32)


def fingerprint(workload: str, seed: int, tenant: str = "local", model: str = "m1") -> Fingerprint:
    return Fingerprint(
        tenant, workload, model, unit(seed), 100, NOW, {"sorting": 0.5}, {"zeta": 0.4, "alpha": 0.2},
        bare=unit(seed + 1000), nameless=seed % 2 == 1,
    )  # fmt: skip


def test_it_comes_back_as_it_went_in(store: FingerprintStore) -> None:
    one = fingerprint("a", 1)
    store.put([one])
    [kept] = store.listed("local", "m1")
    assert np.array_equal(kept.vector, one.vector)
    assert kept.vector.dtype == np.float32
    assert kept.bare is not None
    assert np.array_equal(kept.bare, unit(1001))
    assert kept.nameless
    assert (kept.workload, kept.samples, kept.at, kept.cluster) == ("a", 100, NOW, None)
    assert (dict(kept.does), list(kept.functions)) == ({"sorting": 0.5}, ["zeta", "alpha"])


def test_the_nearest_come_first(store: FingerprintStore) -> None:
    store.put([fingerprint(f"w{n}", n) for n in range(200)])
    query = unit(17) + 0.05 * unit(999)
    query /= np.linalg.norm(query)
    found = store.nearest("local", "m1", query, 3)
    assert found[0][0].workload == "w17"
    assert found[0][1] == pytest.approx(float(unit(17) @ query), abs=1e-5)
    assert [likeness for _, likeness in found] == sorted((likeness for _, likeness in found), reverse=True)


def test_the_nearest_without_own_names_are_found_by_the_other_vector(store: FingerprintStore) -> None:
    store.put([fingerprint(f"w{n}", n) for n in range(200)])
    store.put([replace(fingerprint("made-before", 17), bare=None)])
    [(found, likeness)] = store.nearest("local", "m1", unit(1017), 1, bare=True)
    assert (found.workload, likeness) == ("w17", pytest.approx(1.0, abs=1e-5))
    assert [row.workload for row, _ in store.nearest("local", "m1", unit(17), 2)] in (
        ["w17", "made-before"], ["made-before", "w17"],
    )  # fmt: skip


def test_nothing_of_another_tenant_or_model_is_seen(store: FingerprintStore) -> None:
    crowd = [fingerprint(f"other{n}", n, tenant="other") for n in range(300)]
    store.put([*crowd, fingerprint("mine", 7), fingerprint("old", 7, model="m0")])
    assert [row.workload for row, _ in store.nearest("local", "m1", unit(7), 5)] == ["mine"]
    assert [row.workload for row in store.listed("local", "m1")] == ["mine"]


def test_the_newest_stands_and_keeps_its_group(store: FingerprintStore) -> None:
    store.put([fingerprint("a", 1)])
    store.set_clusters("local", {"a": 4}, 5)
    store.put([replace(fingerprint("a", 2), at=NOW + timedelta(minutes=1))])
    store.put([replace(fingerprint("a", 3), at=NOW - timedelta(minutes=1))])
    [kept] = store.listed("local", "m1")
    assert np.array_equal(kept.vector, unit(2))
    assert kept.cluster == 4


def test_an_id_of_a_group_is_never_given_twice(store: FingerprintStore) -> None:
    assert store.next_cluster_id("local") == 1
    store.set_clusters("local", {}, 9)
    store.set_clusters("local", {}, 2)
    assert store.next_cluster_id("local") == 9
    assert store.next_cluster_id("other") == 1


def test_what_was_seen_again_is_younger_and_else_as_it_was(store: FingerprintStore) -> None:
    store.put([fingerprint("a", 1), fingerprint("b", 2), fingerprint("a", 1, tenant="other")])
    store.seen("local", ["a", "unknown"], NOW + timedelta(hours=1))
    store.seen("local", ["a"], NOW - timedelta(hours=1))
    store.seen("local", [], NOW + timedelta(hours=9))
    ages = {row.workload: row.at for row in store.listed("local", "m1")}
    assert ages == {"a": NOW + timedelta(hours=1), "b": NOW}
    [other] = store.listed("other", "m1")
    assert other.at == NOW


def test_shards_are_parts_of_the_whole(store: FingerprintStore) -> None:
    store.put([fingerprint(f"w{n}", n) for n in range(60)] + [fingerprint("theirs", 1, tenant="other")])
    whole = store.vectors("local", "m1")
    assert whole.workloads == sorted(f"w{n}" for n in range(60))
    assert np.array_equal(whole.rows[whole.workloads.index("w7")], unit(7))
    parts = [store.vectors("local", "m1", [shard]) for shard in range(SHARDS)]
    assert sorted(name for part in parts for name in part.workloads) == whole.workloads
    assert all(shard_of(name) == shard for shard, part in enumerate(parts) for name in part.workloads)
    assert store.vectors("nobody", "m1").rows.shape == (0, 256)
    assert (store.count("local", "m1"), store.count("local", "m0")) == (60, 0)


def test_groups_are_found_by_shard_and_by_name(store: FingerprintStore) -> None:
    store.put([fingerprint(f"w{n}", n) for n in range(20)])
    store.set_clusters("local", {f"w{n}": n % 3 for n in range(10)}, 4)
    assert store.clusters("local") == {f"w{n}": n % 3 for n in range(10)}
    some = {name: cluster for name, cluster in store.clusters("local").items() if shard_of(name) in (2, 7)}
    assert store.clusters("local", [2, 7]) == some
    assert store.clusters_of("local", ["w4", "w15", "unknown"]) == {"w4": 1}
    assert store.clusters_of("local", []) == {}


def test_one_is_found_by_its_name(store: FingerprintStore) -> None:
    store.put([fingerprint("a", 1)])
    found = store.one("local", "m1", "a")
    assert found is not None
    assert np.array_equal(found.vector, unit(1))
    assert store.one("local", "m0", "a") is store.one("other", "m1", "a") is store.one("local", "m1", "b") is None


def test_ended_ones_expire_and_the_table_is_bounded(store: FingerprintStore) -> None:
    ages = {"old": 48, "b": 3, "c": 2, "d": 1}
    store.put([replace(fingerprint(name, n), at=NOW - timedelta(hours=ages[name])) for n, name in enumerate(ages)])
    store.put([replace(fingerprint("theirs", 1, tenant="other"), at=NOW - timedelta(hours=99))])
    store.set_clusters("local", {"old": 6, "d": 2}, 7)
    assert store.expire("local", NOW - timedelta(hours=24), 2) == 2
    assert [row.workload for row in store.listed("local", "m1")] == ["c", "d"]
    assert store.clusters("local") == {"d": 2}
    assert store.next_cluster_id("local") == 7
    assert store.count("other", "m1") == 1


def test_ids_are_given_by_one_at_a_time(store: FingerprintStore) -> None:
    given: list[int] = []

    def give() -> None:
        with store.grouping("local"):
            mine = store.next_cluster_id("local")
            given.append(mine)
            store.set_clusters("local", {}, mine + 1)

    with ThreadPoolExecutor(4) as pool:
        for task in [pool.submit(give) for _ in range(12)]:
            task.result()
    assert sorted(given) == list(range(1, 13))


@pytest.mark.parametrize(
    ("column", "index"), [("vector", "fingerprint_by_likeness"), ("bare", "fingerprint_by_bare_likeness")]
)
def test_pgvector_is_really_there_and_its_index_is_used(database: Database, column: str, index: str) -> None:
    store = PostgresFingerprints(database)
    store.put([fingerprint(f"w{n}", n) for n in range(50)])
    with database.transaction() as connection:
        connection.execute("SET LOCAL enable_seqscan = off")
        connection.execute("SET LOCAL enable_sort = off")
        plan = connection.execute(
            f"EXPLAIN SELECT workload FROM fingerprint ORDER BY {column}::vector(256)"
            " <=> %s::real[]::vector(256) LIMIT 3",
            (unit(1).tolist(),),
        ).fetchall()
    assert index in str(plan)
