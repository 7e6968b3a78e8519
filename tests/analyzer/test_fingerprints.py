"""From rows of the series store to groups and neighbours, as `eo fingerprints` shows them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest

from energy_orchestrator.analyze.fingerprint import FingerprintModel
from energy_orchestrator.errors import NotFoundError
from energy_orchestrator.model.fingerprint import Fingerprint
from energy_orchestrator.model.wire import Kind
from energy_orchestrator.services import fingerprint_groups, fingerprinting
from energy_orchestrator.services import fingerprints as fingerprints_module
from energy_orchestrator.services.fingerprint_groups import regroup
from energy_orchestrator.services.fingerprinting import KEPT, Fingerprinter, packed
from energy_orchestrator.services.fingerprints import Fingerprints
from energy_orchestrator.services.fleet_fingerprints import reduced, settled
from energy_orchestrator.services.shards import Worker
from energy_orchestrator.store.fingerprint_port import FingerprintStore, MemoryFingerprints

from .world import Clock, World

DECODING = ["main (app)", "serve (app)", "encoding/json.Unmarshal (app)", "encoding/json.(*decodeState).object (app)"]
SORTING = ["main (app)", "batch (app)", "std::sort<int*> (app)", "std::__introsort_loop<int*> (app)"]


@pytest.fixture
def profiled(world: World) -> World:
    work = {f"declared/api-{n}": DECODING for n in range(4)} | {f"declared/batch-{n}": SORTING for n in range(4)}
    for pid, (workload, stack) in enumerate(work.items(), 100):
        for second in range(1, 31):
            world.add(Kind.SAMPLES, second, workload=workload, pid=pid, cpu_seconds=0.5)
        for leaf in range(3):
            world.add(
                Kind.PROFILES, 10 + leaf, workload=workload, workload_kind="declared", pid=pid, process_started_ms=1,
                stack=[*stack, f"step{leaf} (app)"], sample_count=20 + leaf, frequency_hz=49.0,
            )  # fmt: skip
    few = {"workload": "declared/quiet", "workload_kind": "declared", "pid": 99, "process_started_ms": 1}
    world.add(Kind.PROFILES, 10, **few, stack=SORTING, sample_count=2, frequency_hz=49.0)
    world.put()
    return world


@pytest.fixture
def fingerprints(profiled: World) -> Fingerprints:
    return Fingerprints(profiled.store, MemoryFingerprints(), Clock(60), FingerprintModel.shipped())


def test_those_that_do_the_same_are_one_group(fingerprints: Fingerprints) -> None:
    rows = fingerprints.listed("local")
    groups = {row.workload: row.cluster for row in rows}
    assert len(groups) == 8
    assert len({groups[f"declared/api-{n}"] for n in range(4)}) == 1
    assert len(set(groups.values())) == 2
    assert {row.does[0] for row in rows} == {"json decoding", "sorting"}


def test_neighbours_come_with_the_reason(fingerprints: Fingerprints) -> None:
    near = fingerprints.neighbours("local", "declared/api-0", 3)
    assert {row.workload for row in near} == {"declared/api-1", "declared/api-2", "declared/api-3"}
    assert near[0].likeness == pytest.approx(1.0, abs=1e-3)
    assert near[0].reason == "same hot path: json decoding (100 % and 100 % of the samples)"


def test_groups_keep_their_ids(profiled: World) -> None:
    store, model = MemoryFingerprints(), FingerprintModel.shipped()
    first = {row.workload: row.cluster for row in Fingerprints(profiled.store, store, Clock(60), model).listed("local")}
    later = Fingerprints(profiled.store, store, lambda: Clock(60)() + timedelta(minutes=2), model)
    assert {row.workload: row.cluster for row in later.listed("local")} == first


def test_a_workload_of_too_few_samples_and_another_tenants_have_none(fingerprints: Fingerprints) -> None:
    with pytest.raises(NotFoundError, match="20 stack samples"):
        fingerprints.neighbours("local", "declared/quiet", 3)
    assert fingerprints.listed("other") == []


def test_a_stripped_build_finds_its_like_with_names(world: World) -> None:
    """Among others that came stripped, with which all it shows has more in common."""
    libc = "[93ac61ec5a8eb139+0x27249] (libc.so.6)"
    bare = {"0": "[ab12cd34ef560000+0x1040] (pack)", "1": "[ab12cd34ef560000+0x2040] (pack)"}
    leaf = "crc32_z (libz.so.1)"
    seen = {
        "process/pack": [libc, "main (pack)", "squeeze (pack)", "token (pack)", leaf],
        "process/pack-stripped": [libc, bare["0"], bare["1"], bare["0"], leaf],
        "process/tool": [libc, *[bare["0"]] * 4, "memmove (libc.so.6)"],
        "process/other": [libc, "main (other)", "walk (other)", "qsort_r (libc.so.6)"],
    }
    for pid, (workload, stack) in enumerate(seen.items(), 100):
        world.add(
            Kind.PROFILES, 10, workload=workload, workload_kind="process", pid=pid, process_started_ms=1,
            stack=stack, sample_count=50, frequency_hz=49.0,
        )  # fmt: skip
    world.put()
    found = Fingerprints(world.store, MemoryFingerprints(), Clock(60), MODEL)
    near = found.neighbours("local", "process/pack-stripped", 3)
    assert near[0].workload == "process/pack"
    assert near[0].likeness == pytest.approx(1.0, abs=1e-3)
    assert "shows no names of its own" in near[0].reason
    named = found.neighbours("local", "process/pack", 3)
    assert "shows no names" not in named[0].reason


MODEL = FingerprintModel.shipped()
NOW = Clock(60)()


def made(world: World, workers: int = 1) -> MemoryFingerprints:
    store = MemoryFingerprints()
    for number in range(workers):
        Fingerprinter(world.store, store, MODEL).make("local", NOW, Worker(number, workers))
    return store


def vectors(store: FingerprintStore) -> dict[str, list[float]]:
    return {row.workload: row.vector.tolist() for row in store.listed("local", MODEL.version)}


def partition(store: FingerprintStore) -> set[frozenset[str]]:
    groups: dict[int, set[str]] = {}
    for workload, cluster in store.clusters("local").items():
        groups.setdefault(cluster, set()).add(workload)
    return {frozenset(names) for names in groups.values()}


def test_in_packs_and_by_workers_the_same_are_made(profiled: World, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = vectors(made(profiled))
    assert len(whole) == 8
    assert vectors(made(profiled, workers=3)) == whole
    monkeypatch.setattr(fingerprinting, "ROWS_AT_ONCE", 1)
    assert vectors(made(profiled)) == whole


def test_what_did_not_change_is_not_written_again(profiled: World) -> None:
    written: list[str] = []

    class Watched(MemoryFingerprints):
        def put(self, rows: Sequence[Fingerprint]) -> None:
            written.extend(row.workload for row in rows)
            super().put(rows)

    store = Watched()
    maker = Fingerprinter(profiled.store, store, MODEL)
    assert maker.make("local", NOW) == 8
    assert len(written) == 8
    later = NOW + timedelta(minutes=3)
    profiled.add(
        Kind.PROFILES, 55, workload="declared/api-0", workload_kind="declared", pid=100, process_started_ms=1,
        stack=SORTING, sample_count=200, frequency_hz=49.0,
    )  # fmt: skip
    profiled.put()
    assert maker.make("local", later) == 8
    assert written[8:] == ["declared/api-0"]
    assert {row.at for row in store.listed("local", MODEL.version)} == {later}


def test_packs_hold_no_more_rows_than_asked_for() -> None:
    assert list(packed([(1, 3), (5, 3), (6, 9), (9, 1), (11, 2)], 6)) == [[1, 5], [6], [9, 11]]
    assert list(packed([], 6)) == []


def test_a_large_tenant_has_the_groups_of_a_small_one_whoever_reduces(
    profiled: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    small, large, shared = made(profiled), made(profiled), made(profiled, workers=2)
    assert regroup(small, "local", MODEL.version) == 2
    monkeypatch.setattr(fingerprint_groups, "WHOLE_UP_TO", 3)
    assert regroup(large, "local", MODEL.version) == 2
    parts = [reduced(shared, ["local"], Worker(number, 2)) for number in (1, 0)]
    assert settled(shared, [{"local": 8}], NOW, parts) == (8, 2)
    assert partition(small) == partition(large) == partition(shared)
    assert large.clusters("local") == shared.clusters("local")


def test_growing_beyond_what_goes_at_once_keeps_the_ids(profiled: World, monkeypatch: pytest.MonkeyPatch) -> None:
    store = made(profiled)
    regroup(store, "local", MODEL.version)
    before, next_id = store.clusters("local"), store.next_cluster_id("local")
    monkeypatch.setattr(fingerprint_groups, "WHOLE_UP_TO", 3)
    regroup(store, "local", MODEL.version)
    assert (store.clusters("local"), store.next_cluster_id("local")) == (before, next_id)


def test_the_loop_makes_them_and_looking_at_a_large_tenant_does_not(
    profiled: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = MemoryFingerprints()
    kept = Fingerprints(profiled.store, store, Clock(60), MODEL)
    kept.run_once(["local", "other"])
    assert store.count("local", MODEL.version) == 8
    monkeypatch.setattr(fingerprints_module, "MADE_AT_SIGHT", 3)
    later = Fingerprints(profiled.store, store, Clock(600), MODEL)
    assert {row.made_at for row in later.listed("local")} == {NOW}
    later.run_once(["local"])
    assert {row.made_at for row in later.listed("local")} == {Clock(600)()}


def test_ended_workloads_keep_their_group_for_a_while_and_are_then_forgotten(profiled: World) -> None:
    store = made(profiled)
    regroup(store, "local", MODEL.version)
    before, next_id = store.clusters("local"), store.next_cluster_id("local")
    maker = Fingerprinter(profiled.store, store, MODEL)
    assert maker.renew("local", NOW + KEPT) == 0
    assert store.clusters("local") == before
    maker.renew("local", NOW + KEPT + timedelta(seconds=1))
    assert store.count("local", MODEL.version) == 0
    maker.renew("local", NOW)
    assert set(store.clusters("local").values()) == {next_id, next_id + 1}
