"""From rows of the series store to groups and neighbours, as `eo fingerprints` shows them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from energy_orchestrator.analyze.fingerprint import FingerprintModel
from energy_orchestrator.errors import NotFoundError
from energy_orchestrator.model.wire import Kind
from energy_orchestrator.services.fingerprints import Fingerprints
from energy_orchestrator.store.fingerprint_port import MemoryFingerprints

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
