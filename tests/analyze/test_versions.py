"""Versions of workloads, from what their processes are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energy_orchestrator.analyze.versions import (
    MIXED,
    NO_NAME,
    NOT_SEEN,
    Deployment,
    Program,
    Started,
    deployments,
    naming_kind,
    version_of,
)

START = datetime(2026, 1, 1, tzinfo=UTC)


def started(second: float, name: str | None, *, host: str = "a", command: str = "server", **known: str) -> Started:
    program = Program(command, checksum=name, **known)
    return Started("service/shop", host, START + timedelta(seconds=second), program)


def changes(*processes: Started) -> list[tuple[float, str, str]]:
    found = deployments(processes).get("service/shop", [])
    return [((it.at - START).total_seconds(), it.before, it.after) for it in found]


@pytest.mark.parametrize(
    ("programs", "kind"),
    [
        ([Program("a", "sha256:1", "shop:1", "ff"), Program("a", None, "shop:1", "ff")], "image_digest"),
        ([Program("a", None, "shop:1", "ff"), Program("a", None, None, "ff")], "image"),
        ([Program("a", None, None, None), Program("a", None, None, "ff")], "checksum"),
        ([Program("a")], None),
        ([], None),
    ],
)
def test_the_best_name_that_any_process_has_names_all(programs: list[Program], kind: str | None) -> None:
    assert naming_kind(programs) == kind


def test_the_program_that_uses_most_cpu_names_the_version() -> None:
    ran = [(Program("sh", checksum="s"), 0.2), (Program("server", checksum="v1"), 3.0)]
    assert version_of(ran, "checksum").name == "v1"


def test_two_versions_in_one_window_are_neither_unless_one_hardly_ran() -> None:
    old, new = Program("server", checksum="v1"), Program("server", checksum="v2")
    assert version_of([(old, 2.0), (new, 1.0)], "checksum").reason == MIXED
    assert version_of([(old, 0.04), (new, 1.0)], "checksum").name == "v2"


def test_an_unknown_version_has_a_reason() -> None:
    assert version_of([], "checksum").reason == NOT_SEEN
    assert version_of([(Program("a"), 1.0)], None).reason == NO_NAME
    assert version_of([(Program("a", checksum="ff"), 1.0)], "image_digest").reason == (
        "image digest of its process is not known"
    )


@given(
    st.lists(
        st.tuples(st.sampled_from(["sh", "server"]), st.sampled_from([None, "v1", "v2"]), st.floats(0, 9)), max_size=6
    )
)
def test_a_version_that_is_named_is_one_that_ran(parts: list[tuple[str, str | None, float]]) -> None:
    label = version_of([(Program(command, checksum=name), cpu) for command, name, cpu in parts], "checksum")
    assert (label.name is None) != (label.reason is None)
    assert label.name is None or label.name in {name for _, name, _ in parts}


def test_a_deploy_is_a_process_of_another_version_and_so_is_its_return() -> None:
    assert changes(started(0, "v1"), started(60, "v2"), started(90, "v2"), started(120, "v1")) == [
        (60, "v1", "v2"),
        (120, "v2", "v1"),
    ]


def test_neither_a_helper_nor_a_process_of_unknown_version_is_a_deploy() -> None:
    assert changes(started(0, "v1"), started(5, "backup", command="backup"), started(9, None)) == []


def test_two_hosts_that_stay_on_their_versions_do_not_deploy_at_each_restart() -> None:
    processes = [started(second, f"v{second % 2}", host="ab"[second % 2]) for second in range(6)]
    assert changes(*processes) == [(1, "v0", "v1")]


def test_a_new_version_on_a_host_that_never_ran_it_is_a_deploy() -> None:
    assert changes(started(0, "v1", host="a"), started(9, "v2", host="b")) == [(9, "v1", "v2")]


def test_a_digest_names_deploys_where_one_is_known() -> None:
    old = started(0, "same", image_digest="sha256:1", image="shop:latest")
    new = started(9, "same", image_digest="sha256:2", image="shop:latest")
    assert deployments([new, old])["service/shop"] == [Deployment(new.at, "sha256:1", "sha256:2", "image_digest")]
