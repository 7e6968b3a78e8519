"""What an executor promises, on each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from energy_orchestrator.execute.dry_run import DryRunExecutor
from energy_orchestrator.execute.port import Executor
from execute.programs import KEY, TENANT, bench, declaration

PATCH: dict[str, Any] = {"environment": {"BATCH_MAX": "8"}}
OTHER: dict[str, Any] = {"environment": {"BATCH_MAX": "16"}}


@dataclass
class Subject:
    executor: Executor
    settle: Callable[[], None]
    """Let it do what was asked."""


@pytest.fixture(params=["dry_run", "local"])
def subject(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Subject]:
    if request.param == "dry_run":
        yield Subject(DryRunExecutor(2), lambda: None)
        return
    with bench(tmp_path, declaration(tmp_path)) as made:
        made.converge()
        yield Subject(made.executor, made.converge)


def scope(subject: Subject) -> tuple[int, int]:
    subject.settle()
    state = subject.executor.observe(TENANT, KEY)
    assert (state.converged, state.failed) == (True, False)
    assert not set(state.canary) & set(state.baseline)
    return len(state.canary), len(state.baseline)


def test_a_share_has_the_change_and_the_rest_has_not(subject: Subject) -> None:
    assert subject.executor.replicas(TENANT, KEY) == 2
    before = subject.executor.pre_image(TENANT, KEY)
    subject.executor.apply(TENANT, KEY, PATCH, before, 50)
    assert scope(subject) == (1, 1)
    subject.executor.apply(TENANT, KEY, PATCH, before, 100)
    assert scope(subject) == (2, 0)


@pytest.mark.parametrize("percent", [1, 50, 100])
def test_doing_it_again_changes_nothing(subject: Subject, percent: int) -> None:
    before = subject.executor.pre_image(TENANT, KEY)
    subject.executor.apply(TENANT, KEY, PATCH, before, percent)
    once, image = scope(subject), subject.executor.pre_image(TENANT, KEY)
    subject.executor.apply(TENANT, KEY, PATCH, before, percent)
    assert (scope(subject), subject.executor.pre_image(TENANT, KEY)) == (once, image)


@pytest.mark.parametrize("percent", [50, 100])
def test_a_revert_restores_the_pre_image_exactly(subject: Subject, percent: int) -> None:
    subject.executor.apply(TENANT, KEY, OTHER, subject.executor.pre_image(TENANT, KEY), 100)
    subject.settle()
    before = subject.executor.pre_image(TENANT, KEY)
    subject.executor.apply(TENANT, KEY, PATCH, before, percent)
    subject.settle()
    for _ in range(2):
        subject.executor.revert(TENANT, KEY, before)
        subject.settle()
        assert subject.executor.pre_image(TENANT, KEY) == before


def test_a_canary_is_not_the_state_to_return_to(subject: Subject) -> None:
    before = subject.executor.pre_image(TENANT, KEY)
    subject.executor.apply(TENANT, KEY, PATCH, before, 50)
    assert subject.executor.pre_image(TENANT, KEY) == before


def test_what_runs_answers_its_smoke_test(subject: Subject) -> None:
    passed, message = subject.executor.smoke(TENANT, KEY)
    assert passed
    assert message
