"""Energy of GPUs out of real rows: whose it is, over the seconds of the node, and what of it nobody has."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from energy_orchestrator.analyze.gpu_shares import ALONE, BY_SLICES, BY_USE, EMPTY, UNKNOWN_USE, UNUSED
from energy_orchestrator.model.wire import Kind
from energy_orchestrator.services import series_queries
from energy_orchestrator.services.gpu_energy import (
    NEVER_AT_REST,
    NO_HISTORY,
    REST_SEEN,
    GpuEnergy,
    gpu_energy,
    gpus_at_rest,
)

from .world import START, World

WINDOW = 5
REST = {("local", "node-a", "gpu-a"): (20.0, REST_SEEN), ("local", "node-a", "gpu-b"): (20.0, REST_SEEN)}


def during(seconds: int = WINDOW) -> dict[str, Any]:
    pack = {"tenants": ["local"], "hosts": ["node-a"], "buckets": []}
    return {"start": START, "end": START + timedelta(seconds=seconds), "window_ms": WINDOW * 1000.0, **pack}


def board(world: World, joules: float, zone: str = "gpu-a", first: int = 1, seconds: int = WINDOW, **more: Any) -> None:
    """A GPU's rows of each second."""
    for second in range(first, first + seconds):
        row = {"meter": "nvml", "zone": zone, "tier": "on_die", "energy_joules": joules, "power_watts": joules}
        world.add(Kind.METERS, second, **row | {"busy_cpu_seconds": None, "steal_cpu_seconds": None} | more)


def on_gpu(
    world: World, workload: str | None, use: float | None, first: int = 1, seconds: int = WINDOW, **more: Any
) -> None:
    """A process on a GPU, in each second."""
    for second in range(first, first + seconds):
        world.add(Kind.GPU_PROCESSES, second, workload=workload, sm_utilization_ratio=use, **more)


def asked(world: World, seconds: int = WINDOW, rest: Any = None) -> GpuEnergy:
    """Of one node, whose windows cover all of their time."""
    world.put()
    ends = [START + timedelta(seconds=end) for end in range(WINDOW, seconds + 1, WINDOW)]
    nodes = pa.table(
        {
            "tenant": ["local"] * len(ends), "host": ["node-a"] * len(ends),
            "window_end": pa.array(ends, pa.timestamp("ms", "UTC")), "covered_seconds": [float(WINDOW)] * len(ends),
        }
    )  # fmt: skip
    meters = world.store.query(series_queries.METER_WINDOWS, during(seconds))
    return gpu_energy(world.store, nodes, meters, during(seconds), REST if rest is None else rest)


def joules(energy: GpuEnergy) -> dict[str, float | None]:
    rows = energy.workloads.to_pylist()
    return {row["workload"]: row["gpu_joules"] for row in rows}


def test_what_lies_above_rest_is_the_workloads_by_their_time_on_the_gpu(world: World) -> None:
    board(world, 100.0)
    on_gpu(world, "train", 0.6, pid=1)
    on_gpu(world, "train", 0.0, pid=2)
    on_gpu(world, "serve", 0.2, pid=3)
    got = asked(world)
    assert joules(got) == pytest.approx({"train": 300.0, "serve": 100.0})
    gpu = got.gpus.to_pylist()[0]
    assert (gpu["gpu_joules"], gpu["idle_joules"], gpu["unattributed_joules"]) == pytest.approx((500.0, 100.0, 0.0))
    assert (gpu["reason"], gpu["rest_source"]) == ("", REST_SEEN)
    assert set(got.workloads["method"].to_pylist()) == {BY_USE}
    assert (got.of_nodes("idle_joules", 1)[0], got.of_nodes("active_joules", 1)[0]) == pytest.approx((100.0, 400.0))


def test_a_process_that_was_there_for_a_part_counts_for_that_part(world: World) -> None:
    board(world, 100.0)
    on_gpu(world, "whole", 0.5, pid=1)
    on_gpu(world, "late", 0.5, first=4, seconds=2, pid=2)
    # Not known in its first second: the others stand for it.
    on_gpu(world, "new", None, seconds=1, pid=3)
    on_gpu(world, "new", 0.5, first=2, seconds=4, pid=3)
    assert joules(asked(world)) == pytest.approx({"whole": 400 * 5 / 12, "late": 400 * 2 / 12, "new": 400 * 5 / 12})


def test_use_that_is_not_known_is_not_nought(world: World) -> None:
    board(world, 100.0)
    board(world, 100.0, "gpu-b")
    on_gpu(world, "train", None, pid=1)
    on_gpu(world, "serve", 0.5, pid=2)
    on_gpu(world, "alone", None, pid=3, zone="gpu-b", gpu="GPU-b")
    got = asked(world)
    assert joules(got) == {"train": None, "serve": None, "alone": 400.0}
    told = {row["zone"]: (row["unattributed_joules"], row["reason"]) for row in got.gpus.to_pylist()}
    assert told == {"gpu-a": (400.0, UNKNOWN_USE), "gpu-b": (0.0, "")}
    assert {row["workload"]: row["method"] for row in got.workloads.to_pylist()}["alone"] == ALONE


def test_a_gpu_that_nobody_uses_is_unattributed(world: World) -> None:
    board(world, 100.0)
    board(world, 100.0, "gpu-b")
    on_gpu(world, "holds memory", 0.0, zone="gpu-b", gpu="GPU-b")
    got = asked(world)
    assert {row["zone"]: row["reason"] for row in got.gpus.to_pylist()} == {"gpu-a": EMPTY, "gpu-b": UNUSED}
    assert got.of_nodes("unattributed_joules", 1)[0] == 800.0
    assert joules(got) == {"holds memory": 0.0}


def test_who_is_not_known_by_name_keeps_the_part(world: World) -> None:
    board(world, 100.0)
    on_gpu(world, "train", 0.25, pid=1)
    on_gpu(world, None, 0.75, pid=2, workload_kind=None, reason="workload: no such process here")
    got = asked(world)
    assert joules(got) == pytest.approx({"train": 100.0})
    assert got.of_nodes("unattributed_joules", 1)[0] == pytest.approx(300.0)


def test_under_mig_instances_share_by_their_slices(world: World) -> None:
    board(world, 100.0)
    for pid, (workload, slices) in enumerate({"large": 3, "small": 1}.items(), start=1):
        on_gpu(world, workload, None, pid=pid, mig_instance=f"MIG-{pid}", compute_slices=slices, gpu_compute_slices=7)
    got = asked(world)
    assert joules(got) == {"large": 300.0, "small": 100.0}
    assert set(got.workloads["method"].to_pylist()) == {BY_SLICES}


def test_rows_that_are_longer_than_a_window_count_in_each_that_they_touch(world: World) -> None:
    """An agent that looks every ten seconds, windows of five."""
    board(world, 1000.0, first=10, seconds=1, interval_seconds=10.0, power_watts=100.0)
    on_gpu(world, "train", 0.5, first=10, seconds=1, pid=1, interval_seconds=10.0)
    on_gpu(world, "serve", 0.5, first=10, seconds=1, pid=2, interval_seconds=10.0)
    got = asked(world, 10)
    assert got.gpus["gpu_joules"].to_pylist() == [500.0, 500.0]
    assert sorted(got.workload_node.tolist()) == [0, 0, 1, 1]
    assert got.workloads["gpu_joules"].to_pylist() == [200.0] * 4


def test_rows_of_workloads_get_their_joules_and_what_has_none_is_handed_back(world: World) -> None:
    world.steady(WINDOW, {"train": 0.5, "web": 0.1})
    board(world, 100.0)
    board(world, 100.0, "gpu-b")
    on_gpu(world, "train", 0.5, pid=100)
    on_gpu(world, "train", 0.5, pid=100, zone="gpu-b", gpu="GPU-b")
    on_gpu(world, "waits", 0.5, pid=7, replica="r1")
    got = asked(world)
    rows = world.store.query(series_queries.WORKLOAD_WINDOWS, during())
    sums, without = got.of_workloads(rows)
    assert dict(zip(rows["workload"].to_pylist(), sums.tolist(), strict=True)) == {"train": 600.0, "web": 0.0}
    assert [(row["workload"], row["replica"], row["gpu_joules"]) for row in without.to_pylist()] == [
        ("waits", "r1", 200.0)
    ]
    parts = sum(got.of_nodes(part, 1)[0] for part in ("idle_joules", "active_joules", "unattributed_joules"))
    assert parts == pytest.approx(got.of_nodes("gpu_joules", 1)[0])
    assert sums.sum() + 200.0 == pytest.approx(got.of_nodes("active_joules", 1)[0])


def test_a_board_without_a_figure_has_no_energy_to_share(world: World) -> None:
    board(world, 100.0)
    silent = {"energy_joules": None, "power_watts": None, "reason": "the GPU does not answer"}
    board(world, 0.0, "gpu-b", **silent)
    on_gpu(world, "train", 0.5)
    on_gpu(world, "train", 0.5, zone="gpu-b", gpu="GPU-b")
    got = asked(world)
    assert (got.gpus["zone"].to_pylist(), joules(got)) == (["gpu-a"], {"train": 400.0})


def test_a_node_without_a_gpu_costs_one_question(world: World) -> None:
    world.steady(WINDOW, {"train": 0.5})
    got = asked(world)
    assert (got.gpus.num_rows, got.workloads.num_rows) == (0, 0)
    assert got.of_nodes("active_joules", 1).tolist() == [0.0]
    sums, without = got.of_workloads(world.store.query(series_queries.WORKLOAD_WINDOWS, during()))
    assert (sums.tolist(), without.num_rows) == ([0.0], 0)


def test_rest_is_what_a_gpu_draws_while_nobody_uses_it(world: World) -> None:
    board(world, 30.0, seconds=70)
    on_gpu(world, "holds memory", 0.0, seconds=70)
    board(world, 20.0, first=71, seconds=70)
    on_gpu(world, "caps its power", 0.9, first=71, seconds=70)
    board(world, 80.0, "gpu-b", seconds=70)
    on_gpu(world, "always", None, seconds=70, zone="gpu-b", gpu="GPU-b")
    board(world, 50.0, "gpu-c", seconds=20)
    world.put()
    found = gpus_at_rest(world.store, START)
    assert found == {
        ("local", "node-a", "gpu-a"): (30.0, REST_SEEN), ("local", "node-a", "gpu-b"): (80.0, NEVER_AT_REST),
    }  # fmt: skip
    got = asked(world, rest=found).gpus.to_pylist()
    assert {row["zone"]: row["rest_source"] for row in got}["gpu-c"] == NO_HISTORY


def test_rows_stored_twice_count_once(world: World) -> None:
    for _ in range(2):
        board(world, 100.0)
        on_gpu(world, "train", 0.5, pid=1)
        on_gpu(world, "serve", 0.5, pid=2)
        world.put()
    got = asked(world)
    assert joules(got) == {"train": 200.0, "serve": 200.0}
    assert np.isclose(got.of_nodes("gpu_joules", 1)[0], 500.0)
