"""The real agent on a fake NVIDIA driver library that answers NVIDIA's seven mocknvml profiles: boards, processes, MIG.

No GPU is at hand: what the library answers is made, how the agent reads, names and sends it is real.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from energy_orchestrator.analyze.gpu_shares import EMPTY
from energy_orchestrator.model.wire import Kind
from energy_orchestrator.services import series_queries
from energy_orchestrator.services.gpu_energy import gpu_energy
from energy_orchestrator.store.series.chdb_store import ChdbSeriesStore
from energy_orchestrator.store.series.rows import stored_schema

from .fake_nvml import Profile, build, profile, profile_names
from .rig import Row, eventually, missing, printed
from .simulated import agent_program

pytestmark = pytest.mark.slow

HOST_PIDS = "pid:[4026531836]"
ENDED = 2**31 - 1
"""A pid that no process has: beyond what the kernel gives out."""


@dataclass
class Running:
    """An agent and what it printed."""

    folder: Path

    def says(self, text: str) -> None:
        """What the library answers from now on, at one stroke."""
        new = self.folder / "new"
        new.write_text(text)
        new.rename(self.folder / "fake_nvml.txt")

    def rows(self, kind: str) -> list[Row]:
        return [row for row in printed(self.folder / "rows") if row["kind"] == kind]

    def look(self, kind: str, wanted: Callable[[list[Row]], bool]) -> list[Row]:
        """The rows of the first look that is as wanted."""

        def found() -> list[Row] | None:
            looks: dict[int, list[Row]] = {}
            for row in self.rows(kind):
                looks.setdefault(row["timestamp"], []).append(row)
            return next((rows for rows in looks.values() if wanted(rows)), None)

        rows: list[Row] = eventually(found, f"a look with such {kind}")
        return rows


@contextlib.contextmanager
def agent(folder: Path, text: str) -> Iterator[Running]:
    """An agent that finds the fake library."""
    environment = os.environ | build(folder)
    running = Running(folder)
    running.says(text)
    command = [str(agent_program()), "run", "--sink", "stdout", "--host", "node-a", "--profile-hz", "0"]
    with (
        (folder / "rows").open("wb") as out,
        (folder / "log").open("wb") as log,
        subprocess.Popen([*command, "--interval-seconds", "0.5"], stdout=out, stderr=log, env=environment) as process,
    ):
        try:
            yield running
        finally:
            process.terminate()
            process.wait(10)


@contextlib.contextmanager
def workload(name: str) -> Iterator[int]:
    """The pid of a program that says what it is for."""
    command = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, env=os.environ | {"EO_WORKLOAD": name}) as process:
        try:
            yield process.pid
        finally:
            process.kill()


def needs_pids_of_the_host() -> None:
    """Skip where this machine's pids are not the kernel's own: nobody is named there."""
    if os.readlink("/proc/self/ns/pid") != HOST_PIDS:
        missing("pids here are of another namespace, and the agent names nobody on a GPU then")


@pytest.fixture(params=profile_names() or ["none"])
def gpus(request: pytest.FixtureRequest) -> Profile:
    """Each of NVIDIA's profiles."""
    return profile(request.param)


@pytest.fixture(params=[name for name in profile_names() if profile(name).mig_instances] or ["none"])
def divisible(request: pytest.FixtureRequest) -> Profile:
    """Each profile of a GPU that can be under MIG."""
    return profile(request.param)


def test_all_profiles_are_tried() -> None:
    profile("h100")
    assert profile_names() == ["a100", "b200", "gb200", "gb300", "h100", "l40s", "t4"]
    assert [name for name in profile_names() if not profile(name).mig_instances] == ["l40s", "t4"]


def test_each_board_has_its_energy_or_says_why_not(gpus: Profile, tmp_path: Path) -> None:
    with agent(tmp_path, gpus.text()) as running:
        rows = running.look("meters", lambda rows: any(row["meter"] == "nvml" for row in rows))
        boards = [row for row in rows if row["meter"] == "nvml"]
        assert len({row["zone"] for row in boards}) == len(boards) == len(gpus.uuids)
        for row in boards:
            assert (row["tier"], row["temp_c"]) == ("on_die", gpus.celsius)
            if gpus.millijoules is None:
                assert row["energy_joules"] is None
                assert row["power_watts"] == gpus.milliwatts / 1000
                assert row["reason"].startswith("energy: ")
            else:
                assert row["energy_joules"] == gpus.step_millijoules / 1000
                assert row["power_watts"] == pytest.approx(row["energy_joules"] / row["interval_seconds"])
                assert row["reason"] is None
        samples = running.look("samples", lambda rows: rows[0]["gpu_power_watts"] is not None)
        if gpus.millijoules is None:
            assert samples[0]["gpu_power_watts"] == pytest.approx(len(gpus.uuids) * gpus.milliwatts / 1000)
        assert running.rows("gpu_processes") == [], "idle as the profile is, nothing is on it"


def test_processes_on_each_board_are_named_and_measured(gpus: Profile, tmp_path: Path) -> None:
    needs_pids_of_the_host()
    with workload("train") as train, workload("serve") as serve, contextlib.ExitStack() as stack:
        lines = {
            0: [f"compute {train} 4000", f"compute {serve} 3000", f"sample {train} 0 60", f"sample {serve} 0 15"],
            1: [f"compute {train} 500", f"graphics {train} 500", f"sample {ENDED} 0 5"],
        }
        running = stack.enter_context(agent(tmp_path, gpus.text(lines)))
        rows = running.look(
            "gpu_processes", lambda rows: len(rows) == 4 and rows[0]["sm_utilization_ratio"] is not None
        )
    seen = {(row["gpu"], row["pid"]): row for row in rows}
    first, second = gpus.uuids[:2]
    trained, served = seen[first, train], seen[first, serve]
    assert (trained["workload"], trained["workload_kind"], trained["replica"]) == ("declared/train", "declared", None)
    assert (trained["sm_utilization_ratio"], trained["memory_bytes"], trained["reason"]) == (0.6, 4000, None)
    assert (served["workload"], served["sm_utilization_ratio"], served["memory_bytes"]) == (
        "declared/serve",
        0.15,
        3000,
    )
    elsewhere = seen[second, train]
    assert (elsewhere["sm_utilization_ratio"], elsewhere["memory_bytes"]) == (0.0, 500)
    gone = seen[second, ENDED]
    assert (gone["workload"], gone["sm_utilization_ratio"], gone["memory_bytes"]) == (None, 0.05, None)
    assert "memory: " in gone["reason"]
    assert "workload: " in gone["reason"]
    boards = {row["zone"] for row in running.rows("meters") if row["meter"] == "nvml"}
    assert {row["zone"] for row in rows} < boards, "a process is told of a zone that has the energy"
    assert all(row["mig_instance"] is None and row["compute_slices"] is None for row in rows)


def test_under_mig_processes_have_their_instance(divisible: Profile, tmp_path: Path) -> None:
    needs_pids_of_the_host()
    with workload("train") as train, workload("serve") as serve, contextlib.ExitStack() as stack:
        cut = [
            f"mig {divisible.mig_instances}",
            "instance MIG-large 1 0 4 a GPU MIG 4g.40gb",
            "instance MIG-small 5 0 1 a GPU MIG 1g.10gb",
            f"compute {train} 4000 1 0",
            f"compute {serve} 3000 5 0",
        ]
        running = stack.enter_context(agent(tmp_path, divisible.text({0: cut})))
        rows = running.look("gpu_processes", lambda rows: len(rows) == 2)
        check = subprocess.run(
            [str(agent_program()), "check", "--output", "json"],
            env=os.environ | {"LD_LIBRARY_PATH": str(tmp_path)}, capture_output=True, check=True, timeout=60,
        )  # fmt: skip
    told = {row["workload"]: row for row in rows}
    for name, uuid, instance, profile_, slices in (
        ("declared/train", "MIG-large", 1, "4g.40gb", 4), ("declared/serve", "MIG-small", 5, "1g.10gb", 1),
    ):  # fmt: skip
        row = told[name]
        assert (row["gpu"], row["mig_instance"], row["mig_profile"]) == (divisible.uuids[0], uuid, profile_)
        assert (row["gpu_instance_id"], row["compute_instance_id"]) == (instance, 0)
        assert (row["compute_slices"], row["gpu_compute_slices"]) == (slices, divisible.mig_instances)
        assert row["sm_utilization_ratio"] is None
        assert "under MIG" in row["reason"]
    found = {meter["meter"]: meter["finding"] for meter in json.loads(check.stdout)["meters"]}
    assert "4g.40gb MIG-large, 1g.10gb MIG-small" in found["nvml"]


def test_a_gpu_that_fails_costs_its_own_details_only(tmp_path: Path) -> None:
    """And is read again when it answers again."""
    gpus = profile("h100")
    with workload("train") as train, contextlib.ExitStack() as stack:
        working = gpus.text({0: [f"compute {train} 4000", f"sample {train} 0 60"]})
        failing = "fails nvmlDeviceGetProcessUtilization 999\nfails nvmlDeviceGetTemperature 999\n"
        running = stack.enter_context(agent(tmp_path, working))
        running.look("gpu_processes", lambda rows: rows[0]["sm_utilization_ratio"] == 0.6)
        running.says(working + failing)
        rows = running.look("gpu_processes", lambda rows: rows[0]["sm_utilization_ratio"] is None)
        assert rows[0]["memory_bytes"] == 4000
        assert "utilization: " in rows[0]["reason"]
        board = running.look("meters", lambda rows: rows[-1]["meter"] == "nvml" and rows[-1]["temp_c"] is None)[-1]
        assert board["energy_joules"] == gpus.step_millijoules / 1000
        failed = rows[0]["timestamp"]
        running.says(working)
        running.look(
            "gpu_processes", lambda rows: rows[0]["timestamp"] > failed and rows[0]["sm_utilization_ratio"] == 0.6
        )


def stored(store: ChdbSeriesStore, kind: Kind, rows: list[Row]) -> None:
    """Puts what the agent printed where the collector puts what it sent."""
    schema = stored_schema(kind)
    store.insert(kind, pa.Table.from_pylist([{**row, "batch_id": "b"} for row in rows], schema))


def test_the_energy_of_a_board_becomes_that_of_the_workloads_on_it(tmp_path: Path) -> None:
    """From the library to joules: rows of both kinds meet in the store."""
    needs_pids_of_the_host()
    gpus = profile("h100")
    (tmp_path / "agent").mkdir()
    with workload("train") as train, workload("serve") as serve, contextlib.ExitStack() as stack:
        processes = [f"compute {train} 4000", f"compute {serve} 3000", f"sample {train} 0 60", f"sample {serve} 0 20"]
        running = stack.enter_context(agent(tmp_path / "agent", gpus.text({0: processes})))
        running.look("gpu_processes", lambda rows: rows[0]["sm_utilization_ratio"] is not None)
        meters, on_gpus = running.rows("meters"), running.rows("gpu_processes")
    zone = on_gpus[0]["zone"]
    store = ChdbSeriesStore(tmp_path / "series")
    stack.callback(store.close)
    with stack:
        store.migrate()
        stored(store, Kind.METERS, meters)
        stored(store, Kind.GPU_PROCESSES, on_gpus)
        # A window that holds whatever was seen, whenever this runs.
        start, window = datetime(1970, 1, 1, tzinfo=UTC), timedelta(days=36_500)
        end = start + window
        seconds = sum(row["interval_seconds"] for row in meters if row["zone"] == zone)
        nodes = pa.table(
            {
                "tenant": ["local"], "host": ["node-a"], "covered_seconds": [seconds],
                "window_end": pa.array([end], pa.timestamp("ms", "UTC")),
            }
        )  # fmt: skip
        pack = {"tenants": ["local"], "hosts": ["node-a"]}
        during = {"start": start, "end": end, "window_ms": window / timedelta(milliseconds=1), **pack}
        rest = {("local", "node-a", row["zone"]): (20.0, "made") for row in meters}
        windows = store.query(series_queries.METER_WINDOWS, during)
        energy = gpu_energy(store, nodes, windows, during, rest)
    boards = {row["zone"]: row for row in energy.gpus.to_pylist()}
    drawn = sum(row["energy_joules"] for row in meters if row["zone"] == zone)
    assert boards[zone]["gpu_joules"] == pytest.approx(drawn)
    assert boards[zone]["unattributed_joules"] == pytest.approx(0, abs=1e-6)
    shares = {row["workload"]: row["gpu_joules"] for row in energy.workloads.to_pylist()}
    assert shares == pytest.approx(
        {"declared/train": (drawn - 20 * seconds) * 0.75, "declared/serve": (drawn - 20 * seconds) * 0.25}
    )
    others = [row for name, row in boards.items() if name != zone]
    assert len(others) == len(gpus.uuids) - 1
    assert {row["reason"] for row in others} == {EMPTY}
