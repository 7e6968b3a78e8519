"""The fleet file of what really runs: from a real store, read by the planner itself."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from energy_orchestrator.analyze.estimator import default_model
from energy_orchestrator.errors import NotFoundError
from energy_orchestrator.model.fleet import FleetFile
from energy_orchestrator.model.wire import Kind
from energy_orchestrator.recommend.selection import ChurnLimits
from energy_orchestrator.services.analyzer import Analyzer
from energy_orchestrator.services.fleet_advice import advise
from energy_orchestrator.services.live_fleet import live_fleet

from .world import START, Clock, World

SECONDS = 60
HOSTS = ("node-a", "node-b")
IDLE, A_CORE = 50.0, 10.0


def told(world: World) -> FleetFile:
    """Two nodes of eight CPUs, each half empty: a pod of two replicas spread over both, a daemon set, a process."""
    for host in HOSTS:
        kind = "m5.large" if host == "node-a" else None
        world.add(Kind.INVENTORY, 0, host=host, cpu_threads=8, virtual=False, instance_type=kind)
        for name, owner in (("pod/shop", "Deployment/shop"), ("pod/logs", "DaemonSet/logs")):
            world.add(
                Kind.INVENTORY, 0, host=host, scope="process", workload=name, owner=owner, pid=1, process_started_ms=1
            )  # fmt: skip
        for second in range(1, SECONDS + 1):
            uses = {"pod/shop": 1.0, "pod/logs": 0.1, "process/own": 0.2}
            for pid, (workload, cores) in enumerate(uses.items(), start=100):
                kind_of, pod = workload.partition("/")[0], f"{workload}-{host}" if workload.startswith("pod") else None
                world.add(
                    Kind.SAMPLES, second, host=host, workload=workload, workload_kind=kind_of, pod_id=pod,
                    cpu_seconds=cores, pid=pid, mem_bytes=500_000_000,
                )  # fmt: skip
            world.add(Kind.METERS, second, host=host, busy_cpu_seconds=sum(uses.values()))
            watts = IDLE + A_CORE * sum(uses.values())
            world.add(Kind.METERS, second, host=host, meter="snmp", zone="outlet-1", tier="wall", power_watts=watts)
    world.put()
    Analyzer(world.store, default_model(), 5.0, Clock(SECONDS + 3)).run_once()
    return live_fleet(world.store, "local", START, START + timedelta(seconds=SECONDS))


def test_nodes_and_workloads_are_told_as_they_run(world: World) -> None:
    fleet = told(world)
    assert [node.name for node in fleet.nodes] == list(HOSTS)
    for node in fleet.nodes:
        assert (node.cpu_cores, node.may_sleep) == (8, False)
        assert node.full_watts > node.idle_watts > 0
        drawn = node.idle_watts + (node.full_watts - node.idle_watts) / 8 * 1.3
        assert drawn == pytest.approx(IDLE + A_CORE * 1.3, rel=0.01)
    by_name = {it.name: it for it in fleet.workloads}
    shop = by_name["pod/shop"]
    assert (shop.on, shop.max_moves) == ({"node-a": 1, "node-b": 1}, None)
    assert (shop.cpu_cores, shop.mean_cores) == (pytest.approx(1.0), pytest.approx(1.0))
    assert shop.memory_gb == pytest.approx(0.5)
    assert {name: it.max_moves for name, it in by_name.items()} == {"pod/shop": None, "pod/logs": 0, "process/own": 0}
    assert [it.node for it in fleet.instances] == ["node-a"]


def test_the_planner_reads_it_and_plans_once_a_person_allows_a_node_to_sleep(world: World) -> None:
    written = json.loads(told(world).model_dump_json(exclude_defaults=True))
    movable = [it for it in written["workloads"] if it["name"] == "pod/shop"]
    now = datetime(2026, 11, 28, tzinfo=UTC)
    for may_sleep in (False, True):
        nodes = [node | {"may_sleep": may_sleep} for node in written["nodes"]]
        file = FleetFile.model_validate(written | {"nodes": nodes, "workloads": movable, "instances": []})
        kept = advise(file, now, 2.0, ChurnLimits(), lambda what, done, of: None).selection.kept
        assert bool(kept) is may_sleep


def test_a_fleet_that_nobody_watches_is_an_error_that_says_so(world: World) -> None:
    with pytest.raises(NotFoundError, match="no node"):
        live_fleet(world.store, "local", START, START + timedelta(seconds=SECONDS))


def test_another_tenants_fleet_is_not_told(world: World) -> None:
    told(world)
    with pytest.raises(NotFoundError):
        live_fleet(world.store, "other", START, START + timedelta(seconds=SECONDS))
