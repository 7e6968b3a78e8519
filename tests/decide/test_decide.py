"""Modes, policies, pause and budget: what may happen, and what it is said to depend on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energy_orchestrator.decide.decision import (
    AUTO_ENVIRONMENTS,
    Budget,
    Circumstances,
    chosen_mode,
    decide,
    policy_context,
)
from energy_orchestrator.decide.policy import Policies, Verdict, load_policies
from energy_orchestrator.errors import InvalidInputError
from energy_orchestrator.model.decision import Decision, DecisionOutcome, Mode
from energy_orchestrator.model.pause import Pause
from energy_orchestrator.model.recommendation import Recommendation, SuggestionType
from energy_orchestrator.model.workload import Declaration
from records.examples import advice

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
ALLOW, ASK, DENY = DecisionOutcome.ALLOW, DecisionOutcome.NEEDS_APPROVAL, DecisionOutcome.DENY
DEFAULTS = load_policies(None)


def declared(environment: str = "demo", **changes: object) -> Declaration:
    base = {
        "name": "inference",
        "command": ["true"],
        "replicas": 2,
        "environment": {"BATCH_MAX": "1"},
        "knobs": {"BATCH_MAX": {"allowed": ["1", "8"]}},
        "labels": {"environment": environment},
    }
    return Declaration.model_validate(base | changes)


def outcome(
    it: Recommendation,
    declaration: Declaration | None,
    mode: Mode = Mode.AUTO,
    *,
    policies: Policies = DEFAULTS,
    circumstances: Circumstances = Circumstances(),  # noqa: B008 - frozen
) -> Decision:
    verdicts = policies.evaluate(policy_context(it, declaration))
    return decide(it, declaration, mode, verdicts, circumstances, Budget(), NOW)


@pytest.mark.parametrize("environment", sorted(AUTO_ENVIRONMENTS))
def test_auto_runs_alone_where_it_may(environment: str) -> None:
    assert outcome(advice(), declared(environment)).outcome is ALLOW


@pytest.mark.parametrize("environment", ["production", "", "prod", "Demo"])
def test_auto_asks_everywhere_else(environment: str) -> None:
    assert outcome(advice(), declared(environment)).outcome is ASK
    assert outcome(advice(), declared(labels={})).outcome is ASK


def test_modes_bound_what_may_happen() -> None:
    assert outcome(advice(), declared(), Mode.ADVISORY).outcome is DENY
    assert outcome(advice(), declared(), Mode.APPROVE).outcome is ASK


@pytest.mark.parametrize(
    ("it", "policy"),
    [
        (advice(risk=0.61), "high-risk-needs-a-person"),
        (advice(confidence=0.29), "low-confidence-needs-a-person"),
        (advice(patch={"replicas": 0}, kind=SuggestionType.IDLE_SHUTDOWN), "stopping-needs-a-person"),
    ],
)
def test_default_policies_ask_a_person(it: Recommendation, policy: str) -> None:
    decision = outcome(it, declared())
    assert decision.outcome is ASK
    assert policy in decision.policies
    assert any(policy in reason for reason in decision.reasons)


def test_what_no_executor_owns_is_denied_and_says_how_to_change_that() -> None:
    none = outcome(advice(executor="none", workload="process/postgres"), None)
    assert none.outcome is DENY
    assert any("declare it" in reason for reason in none.reasons)
    own_file = Policies([], "own")
    assert outcome(advice(executor="none"), declared(), policies=own_file).outcome is DENY


@given(st.lists(st.booleans(), max_size=4), st.sampled_from(Mode), st.sampled_from(["demo", "production"]))
def test_deny_wins_and_no_verdict_ever_loosens(denials: list[bool], mode: Mode, environment: str) -> None:
    strictness = [ALLOW, ASK, DENY]

    def with_verdicts(verdicts: Sequence[Verdict]) -> DecisionOutcome:
        return decide(advice(), declared(environment), mode, verdicts, Circumstances(), Budget(), NOW).outcome

    without = with_verdicts([])
    found = with_verdicts([Verdict(f"p{n}", denies, "m") for n, denies in enumerate(denials)])
    assert strictness.index(found) >= strictness.index(without)
    if any(denials):
        assert found is DENY


@pytest.mark.parametrize(
    ("circumstances", "word"),
    [
        (Circumstances(pause=Pause("1", "local", "ada", "heat wave", NOW)), "paused by ada: heat wave"),
        (Circumstances(active_rollouts=1), "under way"),
        (Circumstances(rollouts_last_hour=12), "last hour"),
        (Circumstances(last_revert_of_target=NOW - timedelta(minutes=59)), "cooling down"),
    ],
)
@pytest.mark.parametrize("mode", [Mode.APPROVE, Mode.AUTO])
def test_pause_and_budget_deny_for_now(circumstances: Circumstances, word: str, mode: Mode) -> None:
    decision = outcome(advice(), declared(), mode, circumstances=circumstances)
    assert decision.outcome is DENY
    assert word in "; ".join(decision.reasons)


def test_savings_below_the_minimum_are_not_worth_a_restart() -> None:
    assert outcome(advice(savings=99.0), declared()).outcome is DENY
    assert outcome(advice(savings=100.0), declared()).outcome is ALLOW


def test_a_person_who_proposes_knows_of_the_cool_down() -> None:
    reverted = Circumstances(last_revert_of_target=NOW)
    proposal = replace(advice(savings=0.0), source="operator")
    assert outcome(proposal, declared(), Mode.APPROVE, circumstances=reverted).outcome is ASK


CAREFUL = (Mode.ADVISORY, Mode.APPROVE, Mode.AUTO)


@given(
    st.sampled_from([None, "advisory", "approve", "auto"]),
    st.sampled_from([None, *CAREFUL]),
    st.sampled_from(CAREFUL),
)
def test_the_more_careful_mode_counts(declared_mode: str | None, rule: Mode | None, default: Mode) -> None:
    said = ([Mode(declared_mode)] if declared_mode else []) + ([rule] if rule else [])
    mode = chosen_mode(declared_mode, rule, default)
    assert mode is (default if not said else min(said, key=CAREFUL.index))


def own(tmp_path: Path, text: str) -> Policies:
    path = tmp_path / "policies.yaml"
    path.write_text(text)
    return load_policies(path)


def test_modes_by_tenant_namespace_and_kind_take_the_first_that_fits(tmp_path: Path) -> None:
    policies = own(
        tmp_path,
        "policies: []\nmodes:\n"
        "  - {tenant: a, suggestion_type: idle_shutdown, mode: advisory}\n"
        "  - {tenant: a, namespace: shop, mode: auto}\n"
        "  - {tenant: a, mode: approve}\n",
    )
    kind = SuggestionType
    assert policies.mode_for("a", "shop", kind.IDLE_SHUTDOWN) is Mode.ADVISORY
    assert policies.mode_for("a", "shop", kind.BATCHING) is Mode.AUTO
    assert policies.mode_for("a", None, kind.BATCHING) is Mode.APPROVE
    assert policies.mode_for("b", "shop", kind.BATCHING) is None


def test_a_policy_of_ones_own_sees_recommendation_and_workload(tmp_path: Path) -> None:
    policies = own(
        tmp_path,
        """
policies:
  - name: no-thread-changes-in-shop
    when: workload.labels.environment == "demo" && recommendation.patch.environment.BATCH_MAX == "8"
    deny: recommendation.risk_parts.latency >= 0.2 && workload.replicas == 2
    message: not here
""",
    )
    assert outcome(advice(), declared(), policies=policies).outcome is DENY
    assert outcome(advice(risk=0.1), declared(), policies=policies).outcome is ALLOW


@pytest.mark.parametrize(
    "expression",
    ["recommendation.no_such_field", "1 / 0 == 1", '"text"', "workload.labels.missing == 'x'", "nobody.knows"],
)
@pytest.mark.parametrize("effect", ["deny", "require_approval", "when"])
def test_an_error_in_a_policy_denies_and_names_it(tmp_path: Path, expression: str, effect: str) -> None:
    other = '    deny: "true"\n' if effect == "when" else ""
    policies = own(
        tmp_path,
        f"policies:\n  - name: broken\n    {effect}: {expression!r}\n{other}    message: m\n".replace("\\'", "'"),
    )
    decision = outcome(advice(), declared(), policies=policies)
    assert decision.outcome is DENY
    assert any(reason.startswith("broken: the policy could not be evaluated") for reason in decision.reasons)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("policies: [{name: a, deny: '1 +', message: m}]", "is not CEL"),
        ("policies: [{name: a, message: m}]", "exactly one of"),
        ("policies: [{name: a, deny: 'true', require_approval: 'true', message: m}]", "exactly one of"),
        ("policies: [{name: a, denny: 'true', message: m}]", "denny"),
        ("policies: [{name: A b, deny: 'true', message: m}]", "name"),
        ("policies: [{name: a, deny: 'true', message: m}, {name: a, deny: 'true', message: m}]", "named twice: a"),
        ("policies: []\nmodes: [{mode: yolo}]", "modes"),
        ("polices: []", "polices"),
        ("- a\n- b", "valid dictionary"),
        ("a: [", "not YAML"),
    ],
)
def test_a_wrong_file_is_refused_and_the_field_named(tmp_path: Path, text: str, word: str) -> None:
    with pytest.raises(InvalidInputError, match=r"policies\.yaml") as error:
        own(tmp_path, text)
    assert word in str(error.value)
    assert error.value.next_step


def test_a_missing_file_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="No such file"):
        load_policies(Path("no-such-policies.yaml"))
