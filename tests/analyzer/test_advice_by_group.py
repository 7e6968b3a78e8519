"""Advice that stands on fingerprints, with the records in a real Postgres: who has the same hot path, who runs the
better way already, and what worked for a neighbour."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from energy_orchestrator.analyze.estimator import default_model
from energy_orchestrator.analyze.fingerprint import FingerprintModel
from energy_orchestrator.model.fingerprint import Fingerprint
from energy_orchestrator.model.recommendation import Recommendation, Tried
from energy_orchestrator.model.units import Bounded
from energy_orchestrator.model.wire import Kind
from energy_orchestrator.recommend.ranking import RankingSettings
from energy_orchestrator.services.advisor import Advisor
from energy_orchestrator.services.analyzer import Analyzer
from energy_orchestrator.services.fingerprinting import Fingerprinter
from energy_orchestrator.services.measurements import SeriesMeasurements
from energy_orchestrator.store.records import outcomes, recommendations
from energy_orchestrator.store.records.database import Database
from energy_orchestrator.store.records.fingerprints import PostgresFingerprints
from records.examples import NOW, advice

from .test_advisor import declaration_of
from .world import Clock, World

MODEL = FingerprintModel.shipped()
SLOW = [["_start", "main", "archive", "longest_match"], ["_start", "main", "archive", "deflate_slow"]]
QUICK = [["_start", "main", "archive", "ZSTD_compressBlock_fast"], ["_start", "main", "archive", "pack"]]


def archives(world: World) -> None:
    """Three programs that deflate, one that is like them but uses zstd, and three that sort."""
    work = {f"process/archive-{n}": SLOW for n in range(3)} | {"process/quick": QUICK}
    work |= {f"process/sort-{n}": [["_start", "batch", "std::__introsort_loop<int*>"]] for n in range(3)}
    for pid, (workload, stacks) in enumerate(work.items(), 100):
        for second in range(1, 61):
            world.add(
                Kind.SAMPLES, second, workload=workload, workload_kind="process", pid=pid, cpu_seconds=0.2,
            )  # fmt: skip
            if "archive" in workload or "quick" in workload:
                done = 10.0 if "quick" in workload else 4.0
                world.add(Kind.OPERATIONS, second, workload=workload, operations=done, operation="file")
        hot = 80 if stacks is SLOW else 6
        counts = [hot, 90 - hot] if len(stacks) > 1 else [90]
        for stack, count in zip(stacks, counts, strict=True):
            world.add(
                Kind.PROFILES, 30, workload=workload, workload_kind="process", pid=pid, process_started_ms=1,
                stack=[f"{name} (prog)" for name in stack], sample_count=count, frequency_hz=49.0,
            )  # fmt: skip
    for second in range(1, 61):
        world.add(Kind.METERS, second, busy_cpu_seconds=1.4)
    world.put()


def advised(world: World, database: Database) -> dict[str, Recommendation]:
    Analyzer(world.store, default_model(), 5.0, Clock(63)).run_once()
    store = PostgresFingerprints(database)
    Fingerprinter(world.store, store, MODEL).renew("local", Clock(63)())

    def playbook(tenant: str, kind: str) -> list[Tried]:
        with database.transaction() as connection:
            return outcomes.tried(connection, tenant, kind)

    measurements = SeriesMeasurements(world.store, 5.0)
    advisor = Advisor(world.store, measurements, declaration_of, playbook, RankingSettings(), fingerprints=store)
    return {it.target.workload: it for it in advisor.recommend("local", Clock(63)())}


def test_a_hot_path_is_told_with_its_group_and_with_who_does_it_better(world: World, database: Database) -> None:
    archives(world)
    found = advised(world, database)
    it = found["process/archive-0"]
    assert it.suggestion_type.value == "code_path"
    assert "2 more of its fingerprint group have the same hot path: process/archive-1, process/archive-2." in (
        it.explanation
    )
    assert "process/quick, which is like it, runs the better way already: 7% of its samples there" in it.explanation
    evidence = {row.name: row.value for row in it.evidence}
    assert evidence["energy there"] < evidence["energy here"]  # type: ignore[operator]
    assert it.labels["fingerprint_group"] == str(PostgresFingerprints(database).clusters("local")["process/archive-0"])
    assert "process/quick" not in found


def test_without_fingerprints_the_same_is_advised_without_the_group(world: World, database: Database) -> None:
    archives(world)
    with_group = advised(world, database)["process/archive-0"]
    advisor = Advisor(
        world.store, SeriesMeasurements(world.store, 5.0), declaration_of, lambda t, k: [], RankingSettings()
    )
    alone = {it.target.workload: it for it in advisor.recommend("local", Clock(63)())}["process/archive-0"]
    assert alone.expected_savings_j == with_group.expected_savings_j
    assert "group" not in alone.explanation
    assert len(alone.evidence) == 3


def test_an_outcome_keeps_the_group_its_target_was_in(database: Database) -> None:
    store, one = PostgresFingerprints(database), advice()
    store.put([_fingerprint(one.target.workload)])
    store.set_clusters("local", {one.target.workload: 4}, 5)
    with database.transaction() as connection:
        recommendations.insert(connection, one, NOW)
        outcomes.add(connection, one, "successful", Bounded(0.3, 0.2, 0.4), NOW)
    store.set_clusters("local", {one.target.workload: 9}, 10)
    with database.transaction() as connection:
        assert outcomes.tried(connection, "local", "batching") == [Tried(one.target.workload, 4, 0.3)]


def test_a_target_without_a_group_then_counts_with_the_one_it_has_now(database: Database) -> None:
    store, one = PostgresFingerprints(database), advice()
    with database.transaction() as connection:
        recommendations.insert(connection, one, NOW)
        outcomes.add(connection, one, "reverted", None, NOW)
        assert outcomes.tried(connection, "local", "batching") == [Tried(one.target.workload, None, None)]
    store.put([_fingerprint(one.target.workload), replace(_fingerprint(one.target.workload), tenant="other")])
    store.set_clusters("local", {one.target.workload: 9}, 10)
    with database.transaction() as connection:
        assert outcomes.tried(connection, "local", "batching") == [Tried(one.target.workload, 9, None)]


def _fingerprint(workload: str) -> Fingerprint:

    return Fingerprint("local", workload, MODEL.version, np.full(256, 1 / 16, np.float32), 100, NOW)
