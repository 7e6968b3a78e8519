"""The local executor on real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest
from pydantic import ValidationError

from energy_orchestrator.execute.local.cgroups import CgroupLimiter
from energy_orchestrator.execute.local.desired import MemoryDesiredStore
from energy_orchestrator.execute.local.processes import RunningReplica
from energy_orchestrator.execute.local.supervisor import FAILED_STARTS
from energy_orchestrator.model.workload import Limits
from execute.programs import KEY, TENANT, Bench, bench, declaration

NOW = datetime(2026, 11, 23, tzinfo=UTC)


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Bench]:
    with bench(tmp_path, declaration(tmp_path)) as made:
        made.converge()
        yield made


def change(value: str) -> dict[str, object]:
    return {"environment": {"BATCH_MAX": value}}


def test_what_is_declared_runs_with_nothing_but_what_is_declared(two: Bench) -> None:
    assert sorted(two.starts()) == [("echo-0", "1"), ("echo-1", "1")]
    environment = psutil.Process(two.pids()["echo-1"]).environ()
    assert environment["EO_REPLICA"] == "echo-1"
    assert environment["EO_INSTANCE"] == two.instance
    assert environment["PORT"] == str(two.declared and two.declared.base_port and two.declared.base_port + 1)
    allowed = {"PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "PORT", "BATCH_MAX"}
    assert {name for name in environment if not name.startswith("EO_")} <= allowed


def test_a_canary_is_the_last_replica_restarted_alone(two: Bench) -> None:
    before = two.pids()["echo-0"]
    pre_image = two.executor.pre_image(TENANT, KEY)
    two.executor.apply(TENANT, KEY, change("8"), pre_image, 50)
    assert not two.executor.observe(TENANT, KEY).converged
    two.converge()
    state = two.executor.observe(TENANT, KEY)
    assert (state.canary, state.baseline) == (("echo-1",), ("echo-0",))
    assert two.pids()["echo-0"] == before
    assert two.starts()[2:] == [("echo-1", "8")]
    two.executor.apply(TENANT, KEY, change("8"), pre_image, 100)
    two.converge()
    assert two.starts()[3:] == [("echo-0", "8")]
    assert two.executor.declaration(KEY).environment["BATCH_MAX"] == "8"
    two.executor.revert(TENANT, KEY, pre_image)
    two.converge()
    assert sorted(two.starts()[4:]) == [("echo-0", "1"), ("echo-1", "1")]


def test_replicas_are_replaced_one_at_a_time(two: Bench) -> None:
    two.executor.apply(TENANT, KEY, change("8"), {"promoted": {}}, 100)
    before, fewest = set(two.pids().values()), 2

    def done() -> bool:
        nonlocal fewest
        fewest = min(fewest, len(two.pids()))
        return two.executor.observe(TENANT, KEY).converged

    two.until(done)
    assert fewest == 1
    assert before.isdisjoint(two.pids().values())
    assert sorted(two.starts()[2:]) == [("echo-0", "8"), ("echo-1", "8")]


def test_a_program_that_dies_is_started_again(two: Bench) -> None:
    os.kill(two.pids()["echo-0"], signal.SIGKILL)
    two.until(lambda: len(two.starts()) == 3)
    two.converge()
    assert two.starts()[-1] == ("echo-0", "1")


def test_a_program_that_keeps_dying_backs_off_and_fails_the_step(tmp_path: Path) -> None:
    clock = [0.0]
    with bench(tmp_path, declaration(tmp_path, replicas=1)) as one:
        one.converge()
        one.executor._clock = lambda: clock[0]
        one.executor.apply(TENANT, KEY, change("crash"), {"promoted": {}}, 100)

        def failed() -> bool:
            clock[0] += 0.5
            return one.executor.observe(TENANT, KEY).failed

        one.until(failed)
        crashes = len(one.starts()) - 1
        assert crashes == FAILED_STARTS
        assert "right after its start" in one.executor.observe(TENANT, KEY).message
        one.executor.reconcile()  # the clock stands still: it waits
        assert len(one.starts()) - 1 == crashes
        one.executor.revert(TENANT, KEY, {"promoted": {}})
        one.until(lambda: one.executor.observe(TENANT, KEY).converged)
        assert one.starts()[-1] == ("echo-0", "1")


def test_a_program_that_cannot_start_is_told_with_the_reason(tmp_path: Path) -> None:
    with bench(tmp_path, declaration(tmp_path, replicas=1, command=["no-such-program"], base_port=None)) as one:
        one.executor.reconcile()
        assert not one.executor.observe(TENANT, KEY).converged
        assert "can't start 'no-such-program'" in one.executor._starts["echo-0"].error


def test_one_that_does_not_end_is_killed(tmp_path: Path) -> None:
    clock = [0.0]
    with bench(tmp_path, declaration(tmp_path, replicas=1, environment={"BATCH_MAX": "deaf"})) as one:
        one.converge()
        one.executor._clock = lambda: clock[0]
        one.executor.apply(TENANT, KEY, change("1"), {"promoted": {}}, 100)
        for _ in range(5):
            one.executor.reconcile()
        assert len(one.starts()) == 1
        clock[0] += 11
        one.converge()
        assert one.starts() == [("echo-0", "deaf"), ("echo-0", "1")]


def test_after_a_kill_the_same_processes_are_found_and_nothing_starts_twice(two: Bench) -> None:
    before = two.pids()
    two.again()
    for _ in range(3):
        two.executor.reconcile()
    assert two.executor.observe(TENANT, KEY).converged
    assert two.pids() == before
    assert len(two.starts()) == 2


def test_after_a_kill_in_the_middle_of_a_change_it_goes_on(two: Bench) -> None:
    two.executor.apply(TENANT, KEY, change("8"), {"promoted": {}}, 50)
    two.executor.reconcile()  # echo-1 was told to end
    two.again()
    two.converge()
    assert two.starts()[2:] == [("echo-1", "8")]


def test_a_stranger_is_never_ended(two: Bench) -> None:
    """Same pid, other start time: the process that we knew is gone."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as stranger:
        ours = RunningReplica("echo-0", "echo", "", stranger.pid, psutil.Process(stranger.pid).create_time() - 5)
        two.table.end(ours, force=True)
        with pytest.raises(subprocess.TimeoutExpired):
            stranger.wait(0.3)
        stranger.kill()


def test_another_instance_is_left_alone(two: Bench, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("other")
    with bench(folder, declaration(folder, replicas=1)) as other:
        other.converge()
        assert len(two.pids()) == 2
    assert len(two.pids()) == 2
    two.executor.reconcile()
    assert len(two.starts()) == 2


def test_a_pause_leaves_everything_as_it_runs_but_alive(two: Bench) -> None:
    assert isinstance(two.store, MemoryDesiredStore)
    before = two.pids()
    two.executor.apply(TENANT, KEY, change("8"), {"promoted": {}}, 100)
    two.store.paused_tenants.add(TENANT)
    for _ in range(5):
        two.executor.reconcile()
    assert two.pids() == before
    os.kill(before["echo-0"], signal.SIGKILL)
    two.until(lambda: two.pids().get("echo-0", before["echo-0"]) != before["echo-0"])
    assert two.pids()["echo-1"] == before["echo-1"]
    two.store.paused_tenants.clear()
    two.converge()
    assert {value for _, value in two.starts()[-2:]} == {"8"}


def test_what_is_not_declared_any_more_is_ended_and_can_be_reverted(two: Bench) -> None:
    two.executor.apply(TENANT, KEY, change("8"), {"promoted": {}}, 50)
    renamed = declaration(two.folder, replicas=0, name="other")
    two.again(renamed)
    state = two.executor.observe(TENANT, KEY)
    assert (state.failed, state.converged) == (True, False)
    two.executor.revert(TENANT, KEY, {"promoted": {}})
    two.until(lambda: two.executor.observe(TENANT, KEY).converged)
    assert two.pids() == {}


def test_stopping_and_starting_again(two: Bench) -> None:
    two.executor.apply(TENANT, KEY, {"replicas": 0}, {"promoted": {}}, 100)
    two.converge()
    assert two.pids() == {}
    two.executor.revert(TENANT, KEY, {"promoted": {}})
    two.converge()
    assert len(two.pids()) == 2


def test_a_value_outside_the_knob_is_refused_before_anything_changes(two: Bench) -> None:
    with pytest.raises(ValidationError, match="outside the knob's range"):
        two.executor.apply(TENANT, KEY, change("999"), {"promoted": {}}, 50)
    assert two.executor.observe(TENANT, KEY).converged


def test_smoke_asks_the_changed_replicas_only(two: Bench) -> None:
    two.executor.apply(TENANT, KEY, change("sick"), {"promoted": {}}, 50)
    two.converge()
    passed, message = two.executor.smoke(TENANT, KEY)
    assert not passed
    assert "echo-1: answered 503" in message
    two.executor.revert(TENANT, KEY, {"promoted": {}})
    two.converge()
    assert two.executor.smoke(TENANT, KEY) == (True, "2 replica(s) answered")


def test_helpers_end_with_their_replica_even_if_it_was_killed(tmp_path: Path) -> None:
    with bench(tmp_path, declaration(tmp_path, replicas=1, environment={"BATCH_MAX": "helper"})) as one:
        one.converge()
        main = psutil.Process(one.pids()["echo-0"])
        helper = main.children()[0]
        assert one.pids() == {"echo-0": main.pid}
        main.kill()
        one.until(lambda: not psutil.pid_exists(helper.pid) or helper.status() == psutil.STATUS_ZOMBIE)
        one.until(lambda: len(one.starts()) == 2)


def test_logs_are_kept_and_bounded(tmp_path: Path) -> None:
    with bench(tmp_path, declaration(tmp_path, replicas=1), max_log_bytes=20) as one:
        one.converge()
        log = tmp_path / "logs" / "echo-0.log"
        assert one.executor.smoke(TENANT, KEY)[0]
        one.until(lambda: "served" in log.read_text())
        for _ in range(5):
            one.executor.smoke(TENANT, KEY)
        one.until(lambda: (tmp_path / "logs" / "echo-0.log.1").exists())
        assert log.stat().st_size <= 20


def test_stop_all_leaves_nothing(two: Bench) -> None:
    pids = two.pids().values()
    two.executor.stop_all()
    assert two.pids() == {}
    assert not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie" for pid in pids)


@pytest.mark.parametrize("version", [1, 2])
def test_limits_are_written_where_the_kernel_reads_them(tmp_path: Path, version: int) -> None:
    limits = Limits(cpu=0.5, memory_bytes=64 * 2**20)
    if version == 2:
        (tmp_path / "cgroup.controllers").write_text("cpu memory")
    assert CgroupLimiter("abc", tmp_path).limit("echo-0", 42, limits) is None
    written = {
        str(path.relative_to(tmp_path)): path.read_text()
        for path in tmp_path.rglob("*")
        if path.parent.name == "echo-0"
    }
    assert written == (
        {
            "eo/abc/echo-0/cpu.max": "50000 100000",
            "eo/abc/echo-0/memory.max": "67108864",
            "eo/abc/echo-0/cgroup.procs": "42",
        }
        if version == 2
        else {
            "cpu/eo/abc/echo-0/cpu.cfs_period_us": "100000",
            "cpu/eo/abc/echo-0/cpu.cfs_quota_us": "50000",
            "cpu/eo/abc/echo-0/cgroup.procs": "42",
            "memory/eo/abc/echo-0/memory.limit_in_bytes": "67108864",
            "memory/eo/abc/echo-0/cgroup.procs": "42",
        }
    )


def test_a_limit_that_is_not_in_force_is_said(tmp_path: Path) -> None:
    (tmp_path / "cpu").write_text("not a folder")
    message = CgroupLimiter("abc", tmp_path).limit("echo-0", os.getpid(), Limits(cpu=1))
    assert message is not None
    assert "not in force" in message
