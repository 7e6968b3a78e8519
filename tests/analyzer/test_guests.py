"""A virtual machine has what its host gave it, and its workloads share that."""

from __future__ import annotations

import pytest

from energy_orchestrator.analyze.estimator import default_model
from energy_orchestrator.model.wire import Kind
from energy_orchestrator.services.analyzer import Analyzer

from .world import Clock, World

UUID = "4C4C4544-0000-2010-8020-80C04F202020"
GUEST = "vm/shop"


def run(world: World, *, guest_tenant: str = "local", own_meter: bool = False, host: bool = True) -> None:
    """A host with a guest and another workload; in the guest one workload uses three times the CPU of the other."""
    world.add(Kind.INVENTORY, 0, virtual=False)
    world.add(Kind.INVENTORY, 0, host="guest-a", tenant=guest_tenant, vm_uuid=UUID.lower())
    if host:
        world.add(
            Kind.INVENTORY, 0, scope="process", workload=GUEST, pid=100, process_started_ms=1, vm_uuid=UUID,
        )  # fmt: skip
    for second in range(1, 11):
        for pid, (workload, cores) in enumerate({GUEST: 1.0, "declared/other": 0.5}.items(), start=100):
            world.add(Kind.SAMPLES, second, workload=workload, cpu_seconds=cores, pid=pid)
        world.add(Kind.METERS, second, busy_cpu_seconds=1.5)
        world.add(Kind.METERS, second, meter="rapl", zone="package-0", tier="on_die", energy_joules=60.0)
        inside = {"host": "guest-a", "tenant": guest_tenant}
        for pid, (workload, cores) in enumerate({"systemd/web": 0.75, "systemd/db": 0.25}.items(), start=7):
            world.add(Kind.SAMPLES, second, workload=workload, cpu_seconds=cores, pid=pid, **inside)
        world.add(Kind.METERS, second, busy_cpu_seconds=1.0, **inside)
        if own_meter:
            world.add(
                Kind.METERS, second, meter="rapl", zone="package-0", tier="on_die", energy_joules=9.0, **inside
            )  # fmt: skip
    world.put()
    Analyzer(world.store, default_model(), 5.0, Clock(13)).run_once()


def joules(world: World, workload: str) -> float:
    (row,) = world.query(
        f"SELECT sum(active_joules) AS joules FROM workload_energy FINAL WHERE workload = '{workload}'"
    )
    return float(row["joules"])


def node(world: World, host: str) -> dict[str, object]:
    return world.query(f"SELECT * FROM node_energy FINAL WHERE host = '{host}' ORDER BY timestamp")[-1]


def test_a_guests_workloads_share_what_the_host_gave_the_guest(world: World) -> None:
    run(world)
    given = joules(world, GUEST)
    assert given > 0
    assert joules(world, "systemd/web") + joules(world, "systemd/db") == pytest.approx(given)
    assert joules(world, "systemd/web") == pytest.approx(3 * joules(world, "systemd/db"))
    guest = node(world, "guest-a")
    assert (guest["tier"], guest["idle_joules"]) == ("on_die", 0.0)
    assert "node-a" in str(guest["power_source"])


@pytest.mark.parametrize(
    ("case", "tier"),
    [({"guest_tenant": "other"}, "model"), ({"host": False}, "model"), ({"own_meter": True}, "on_die")],
)
def test_a_guest_of_another_tenant_or_an_unwatched_host_or_with_a_meter_speaks_for_itself(
    world: World, case: dict[str, object], tier: str
) -> None:
    run(world, **case)  # type: ignore[arg-type]
    guest = node(world, "guest-a")
    assert guest["tier"] == tier
    assert "share of the host" not in str(guest["power_source"])
