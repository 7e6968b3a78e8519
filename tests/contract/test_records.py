"""What the records promise, on the real Postgres that the product starts. Another server: EO_TEST_POSTGRES_URL names
an empty database."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta

import psycopg
import pytest

from energy_orchestrator.errors import ConflictError, EoError, InvalidInputError, NotFoundError, UnavailableError
from energy_orchestrator.model.analysis_run import AnalysisPhase, AnalysisRun, MetricResult
from energy_orchestrator.model.decision import Decision, DecisionOutcome, Mode
from energy_orchestrator.model.recommendation import Recommendation, RecommendationStatus
from energy_orchestrator.model.rollout import RolloutPhase
from energy_orchestrator.model.run import Run
from energy_orchestrator.model.units import Bounded
from energy_orchestrator.store.records import outcomes, pauses, recommendations, rollouts, runs
from energy_orchestrator.store.records.database import Database
from energy_orchestrator.store.records.local_desired import LocalDesiredStore
from records.examples import NOW, advice, rollout_of
from records.shared import new_database

STATUS = RecommendationStatus


@pytest.fixture(scope="module")
def opened() -> Iterator[Database]:
    url = os.environ.get("EO_TEST_POSTGRES_URL")
    if url:
        made = Database(url)
        made.open()
    else:
        made = new_database()
    yield made
    made.close()


def found(database: Database, one: Recommendation, at: datetime = NOW) -> Recommendation | None:
    with database.transaction() as connection:
        return recommendations.upsert_found(connection, one, at)


def moved(database: Database, one: Recommendation, *statuses: STATUS, at: datetime = NOW) -> None:
    before = STATUS.OPEN
    for status in statuses:
        with database.transaction() as connection:
            recommendations.transition(connection, one.target.tenant, one.id, [before], status, at)
        before = status


def listed(database: Database, tenant: str = "local") -> list[Recommendation]:
    with database.transaction() as connection:
        return recommendations.listed(connection, tenant)


def test_a_recommendation_comes_back_as_it_went_in(database: Database) -> None:
    one = advice()
    assert found(database, one) == one
    with database.transaction() as connection:
        assert recommendations.get(connection, "local", one.id) == one


def test_the_same_advice_renews_the_open_one_and_keeps_its_age(database: Database) -> None:
    first = advice()
    found(database, first)
    later = NOW + timedelta(minutes=1)
    again = found(database, advice(at=later, savings=9_000.0), later)
    assert again is not None
    assert (again.id, again.created_at) == (first.id, first.created_at)
    assert (again.expected_savings_j.value, again.expires_at) == (9_000.0, later + timedelta(minutes=2))
    assert len(listed(database)) == 1


def test_many_finders_at_once_still_make_one(database: Database) -> None:
    with ThreadPoolExecutor(8) as pool:
        kept = list(pool.map(lambda _: found(database, advice()), range(24)))
    assert len({it.id for it in kept if it}) == 1
    assert len(listed(database)) == 1


@pytest.mark.parametrize(
    ("path", "cool_down"),
    [
        ([STATUS.REFUSED], timedelta(days=7)),
        ([STATUS.APPROVED, STATUS.EXECUTING, STATUS.REVERTED], timedelta(hours=24)),
        ([STATUS.APPROVED, STATUS.FAILED], timedelta(hours=24)),
    ],
)
def test_what_was_refused_or_reverted_rests(database: Database, path: list[STATUS], cool_down: timedelta) -> None:
    one = advice()
    found(database, one)
    moved(database, one, *path)
    almost, after = NOW + cool_down - timedelta(minutes=1), NOW + cool_down + timedelta(minutes=1)
    assert found(database, advice(at=almost), almost) is None
    assert found(database, advice(at=after), after) is not None


def test_what_is_under_way_is_not_proposed_again(database: Database) -> None:
    one = advice()
    found(database, one)
    moved(database, one, STATUS.APPROVED, STATUS.EXECUTING)
    assert found(database, advice(savings=1.0)) is None
    with database.transaction() as connection:
        assert recommendations.get(connection, "local", one.id).expected_savings_j == one.expected_savings_j


def test_expiry_closes_open_ones_only(database: Database) -> None:
    stale, kept = advice(), advice(workload="declared/poller")
    found(database, stale)
    found(database, kept)
    moved(database, kept, STATUS.APPROVED)
    with database.transaction() as connection:
        expired = recommendations.expire(connection, NOW + timedelta(hours=1))
    assert [it.id for it in expired] == [stale.id]
    assert [it.status for it in listed(database)] == [STATUS.APPROVED]


@pytest.mark.parametrize("present", [status for status in STATUS if status is not STATUS.OPEN])
def test_only_open_ones_can_be_decided_and_the_error_names_the_state(database: Database, present: STATUS) -> None:
    one = replace(advice(), status=present)
    with database.transaction() as connection:
        recommendations.insert(connection, one, NOW)
    with pytest.raises(ConflictError, match=f"it is {present.value}"):
        moved(database, one, STATUS.APPROVED)


def test_of_two_approvals_at_once_one_wins(database: Database) -> None:
    one = advice()
    found(database, one)

    def approve(_: int) -> str:
        try:
            moved(database, one, STATUS.APPROVED)
        except ConflictError:
            return "conflict"
        return "won"

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(approve, range(4))) == ["conflict"] * 3 + ["won"]


def test_the_same_proposal_twice_is_a_conflict(database: Database) -> None:
    with database.transaction() as connection:
        recommendations.insert(connection, advice(source="operator"), NOW)
    with pytest.raises(ConflictError, match="already proposed"), database.transaction() as connection:
        recommendations.insert(connection, advice(source="operator"), NOW)


def test_tenants_do_not_see_each_other(database: Database) -> None:
    mine, theirs = advice(), advice(tenant="other")
    found(database, mine)
    found(database, theirs)
    assert [it.id for it in listed(database, "other")] == [theirs.id]
    with pytest.raises(NotFoundError), database.transaction() as connection:
        recommendations.get(connection, "other", mine.id)
    with pytest.raises(NotFoundError), database.transaction() as connection:
        recommendations.transition(connection, "other", mine.id, [STATUS.OPEN], STATUS.APPROVED, NOW)


@pytest.mark.parametrize("name", ["", "x", "00000000-0000-7000-8000-000000000000", "'; DROP TABLE rollout; --"])
def test_what_does_not_exist_is_not_found(database: Database, name: str) -> None:
    with pytest.raises(NotFoundError), database.transaction() as connection:
        recommendations.get(connection, "local", name)
    with pytest.raises(NotFoundError), database.transaction() as connection:
        rollouts.get(connection, "local", name)


def test_the_newest_decision_counts(database: Database) -> None:
    one = advice()
    found(database, one)
    first = Decision(DecisionOutcome.DENY, Mode.AUTO, ("paused",), ())
    second = Decision(DecisionOutcome.NEEDS_APPROVAL, Mode.APPROVE, ("it's risky",), ("high-risk-needs-a-person",))
    with database.transaction() as connection:
        assert recommendations.last_decision(connection, "local", one.id) is None
        recommendations.add_decision(connection, "local", one.id, first, "policy", NOW)
        recommendations.add_decision(connection, "local", one.id, second, "policy", NOW)
        assert recommendations.last_decision(connection, "local", one.id) == second


def test_a_rollout_comes_back_as_it_went_in(database: Database) -> None:
    one = advice()
    found(database, one)
    rollout = replace(rollout_of(one), paused_at=NOW, failure=RolloutPhase.ERROR, message="it's odd")
    with database.transaction() as connection:
        rollouts.insert(connection, rollout)
        assert rollouts.get(connection, "local", rollout.id) == rollout
        assert rollouts.active(connection) == [rollout]
        assert rollouts.of_recommendation(connection, "local", one.id) == rollout.id


def test_a_state_computed_from_an_older_one_is_refused(database: Database) -> None:
    one = advice()
    found(database, one)
    rollout = rollout_of(one)
    with database.transaction() as connection:
        rollouts.insert(connection, rollout)
        rollouts.save(connection, replace(rollout, phase=RolloutPhase.REVERTING))
    with pytest.raises(ConflictError), database.transaction() as connection:
        rollouts.save(connection, replace(rollout, phase=RolloutPhase.RUNNING))
    with database.transaction() as connection:
        assert rollouts.get(connection, "local", rollout.id).phase is RolloutPhase.REVERTING


def test_a_workload_has_one_change_at_a_time(database: Database) -> None:
    one, two = advice(), advice(patch={"environment": {"BATCH_MAX": "16"}})
    found(database, one)
    found(database, two)
    with database.transaction() as connection:
        rollouts.insert(connection, rollout_of(one))
    with pytest.raises(ConflictError, match="under way"), database.transaction() as connection:
        rollouts.insert(connection, rollout_of(two))


def test_an_intent_is_written_once_and_finished(database: Database) -> None:
    one = advice()
    found(database, one)
    rollout = rollout_of(one)
    with database.transaction() as connection:
        rollouts.insert(connection, rollout)
        for _ in range(2):
            rollouts.intend(connection, rollout, "act-1", "apply", {"percent": 50}, NOW)
        rollouts.finish_action(connection, "local", "act-1", "done", "2 replicas", NOW)
        rollouts.intend(connection, rollout, "act-1", "apply", {"percent": 50}, NOW)
        entry = rollouts.journal_entry(connection, "local", "act-1")
    assert entry is not None
    assert (entry.state, entry.message) == ("done", "2 replicas")


def test_analysis_events_and_savings_are_kept(database: Database) -> None:
    one = advice()
    found(database, one)
    rollout = rollout_of(one)
    metric = MetricResult("joules_per_operation", AnalysisPhase.SUCCESSFUL, "mann_whitney", "J/op", 1.0, 0.5, -0.5)
    run = AnalysisRun(AnalysisPhase.SUCCESSFUL, (metric,), "canary_vs_baseline", "lower")
    watch = AnalysisRun(AnalysisPhase.RUNNING, (), "before_after")
    with database.transaction() as connection:
        rollouts.insert(connection, rollout)
        rollouts.save_analysis(connection, rollout, run, NOW)
        rollouts.save_analysis(connection, replace(rollout, step_index=2), watch, NOW + timedelta(seconds=9))
        rollouts.add_event(connection, rollout, NOW, "started")
        rollouts.save_savings(connection, rollout, Bounded(0.5, 0.4, 0.6))
        assert rollouts.last_analysis(connection, "local", rollout.id) == watch
        assert rollouts.canary_analysis(connection, "local", rollout.id) == run
        assert [event.message for event in rollouts.events(connection, "local", rollout.id)] == ["started"]
        assert rollouts.savings(connection, "local", rollout.id) == Bounded(0.5, 0.4, 0.6)


def test_rate_limits_and_cool_downs_are_read_from_the_records(database: Database) -> None:
    one = advice()
    found(database, one)
    with database.transaction() as connection:
        rollouts.insert(connection, rollout_of(one))
        outcomes.add(connection, one, "reverted", None, NOW)
        outcomes.add(connection, one, "successful", Bounded(0.4, 0.3, 0.5), NOW + timedelta(hours=1))
        outcomes.add(connection, one, "refused", None, NOW + timedelta(hours=2))
        assert rollouts.started_since(connection, "local", NOW - timedelta(hours=1)) == 1
        assert rollouts.started_since(connection, "other", NOW - timedelta(hours=1)) == 0
        assert outcomes.last_revert(connection, "local", one.target.workload) == NOW
        assert outcomes.last_revert(connection, "local", "declared/other") is None
        assert [it.saved_share for it in outcomes.tried(connection, "local", "batching")] == [0.4, None]
        assert outcomes.claims(connection, "local", "batching") == [(one.confidence, True), (one.confidence, False)]


def test_a_pause_holds_until_all_are_lifted(database: Database) -> None:
    with database.transaction() as connection:
        first = pauses.add(connection, "local", "ada", "heat wave", NOW)
        pauses.add(connection, "local", "bob", "audit", NOW + timedelta(seconds=1))
        assert pauses.in_force(connection, "local") == first
        assert pauses.in_force(connection, "other") is None
    assert LocalDesiredStore(database).paused("local")
    with database.transaction() as connection:
        assert {it.lifted_by for it in pauses.lift_all(connection, "local", "eve", NOW)} == {"eve"}
        assert pauses.in_force(connection, "local") is None
        assert len(pauses.listed(connection, "local", active_only=False)) == 2
        assert pauses.listed(connection, "local", active_only=True) == []
    assert not LocalDesiredStore(database).paused("local")


def test_desired_state_is_replaced_as_a_whole(database: Database) -> None:
    store = LocalDesiredStore(database)
    assert store.read("local", "declared/inference") is None
    canary = {"promoted": {}, "canary_patch": {"environment": {"BATCH_MAX": "8"}}, "canary_replicas": 1}
    store.write("local", "declared/inference", canary, NOW)
    assert store.read("local", "declared/inference") == canary
    stable = {"promoted": {"replicas": 0, "environment": {"A": None}}, "canary_patch": None, "canary_replicas": 0}
    store.write("local", "declared/inference", stable, NOW)
    assert store.read("local", "declared/inference") == stable
    assert store.read("other", "declared/inference") is None


def test_importing_runs_again_changes_nothing(database: Database) -> None:
    batch = [Run(f"run-{n}", "resnet50", NOW, None, 100.0, None, "no meter", {"gpu": n}) for n in range(3)]
    with database.transaction() as connection:
        assert runs.insert_new(connection, "local", batch, "log", NOW) == 3
        assert runs.insert_new(connection, "local", batch[:2], "log", NOW) == 0
        assert runs.insert_new(connection, "other", batch, "log", NOW) == 3


def test_an_exception_rolls_everything_back(database: Database) -> None:
    def write_and_fail() -> None:
        with database.transaction() as connection:
            recommendations.insert(connection, advice(), NOW)
            raise InvalidInputError("stop")

    with pytest.raises(InvalidInputError):
        write_and_fail()
    assert listed(database) == []


def test_more_threads_than_connections_can_each_need_the_records_twice(database: Database) -> None:
    store = LocalDesiredStore(database)

    def nested(n: int) -> object:
        with database.transaction() as connection:
            pauses.add(connection, "local", f"p{n}", "r", NOW)
            return store.read("local", "declared/inference")

    with ThreadPoolExecutor(12) as pool:
        assert list(pool.map(nested, range(36))) == [None] * 36
    with database.transaction() as connection:
        assert len(pauses.listed(connection, "local", active_only=True)) == 36


def test_a_part_that_fails_takes_back_only_itself(database: Database) -> None:
    def part() -> None:
        with database.transaction() as connection:
            pauses.add(connection, "local", "bob", "part", NOW)
            raise InvalidInputError("stop")

    with database.transaction() as connection:
        pauses.add(connection, "local", "ada", "whole", NOW)
        with pytest.raises(InvalidInputError):
            part()
    with database.transaction() as connection:
        assert [it.by for it in pauses.listed(connection, "local", active_only=True)] == ["ada"]


def test_a_value_that_postgres_cannot_keep_is_invalid_input(database: Database) -> None:
    with pytest.raises(InvalidInputError, match="NUL"), database.transaction() as connection:
        pauses.add(connection, "local", "ada", "a\x00b", NOW)


def test_every_primary_key_and_unique_index_names_the_tenant(database: Database) -> None:
    """Else one tenant could learn of another's rows, or stand in their way."""
    with database.transaction() as connection:
        rows = connection.execute(
            "SELECT indexrelid::regclass::text AS name, pg_get_indexdef(indexrelid) AS text FROM pg_index"
            " JOIN pg_class c ON c.oid = indrelid WHERE indisunique AND c.relnamespace = 'public'::regnamespace"
            " AND relname !~ '^_?yoyo'"
        ).fetchall()
    without = {row["name"] for row in rows if not any(key in row["text"] for key in ("(tenant,", "(tenant)"))}
    # One log with one sequence for all tenants; its hash covers the tenant.
    assert without == {"audit_entry_pkey", "audit_entry_hash_key", "audit_head_pkey"}
    assert len(rows) > 10


def test_migrating_twice_changes_nothing(database: Database) -> None:
    found(database, advice())
    again = Database(database._url)
    again.open()
    again.close()
    assert len(listed(database)) == 1


def test_a_cut_connection_is_replaced(database: Database) -> None:
    with database.transaction() as connection:
        connection.execute("SELECT 1")
    with psycopg.connect(database._url, autocommit=True) as other:
        other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'energy-orchestrator' AND datname = current_database()"
        )
    assert listed(database) == []


def test_a_missing_server_is_unavailable_and_says_what_to_do() -> None:
    database = Database("postgresql://postgres@127.0.0.1:1/postgres?connect_timeout=1", open_timeout=2)
    with pytest.raises(UnavailableError) as error:
        database.open()
    assert error.value.next_step
    database.close()
    assert isinstance(error.value, EoError)
