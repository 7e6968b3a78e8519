"""What a change to whole nodes saved, from the energy of nodes with their idle, on a real store."""

from __future__ import annotations

import random
from datetime import timedelta

import pyarrow as pa
import pytest

from energy_orchestrator.errors import InvalidInputError, NotFoundError
from energy_orchestrator.model.saving import Saving, SavingMethod
from energy_orchestrator.model.wire import Kind
from energy_orchestrator.services.node_savings import CPU_SECONDS, STANDBY, NodeChange, NodeSavings

from .world import START, World

WINDOWS, CHANGED_AT, SECONDS = 240, 120, 1.0
AT = START + timedelta(seconds=CHANGED_AT)
IDLE, PER_CPU_SECOND = 100.0, 50.0


def node_rows(
    world: World, host: str, *, saves: float = 0.0, asleep: bool = False, tier: str = "wall", drift: float = 0.0,
    gap: range = range(0),
) -> None:  # fmt: skip
    """A node whose load wavers as all nodes' does; its power falls by a share at the change, or altogether."""
    noise, load = random.Random(host), random.Random(7)
    rows = []
    for window in range(1, WINDOWS + 1):
        cores = 1.0 + load.uniform(-0.5, 0.5)
        changed = window > CHANGED_AT
        if window in gap or (asleep and changed):
            continue
        watts = (IDLE + PER_CPU_SECOND * cores) * (1 - (saves if changed else 0.0)) * (1 + (drift if changed else 0.0))
        watts *= noise.uniform(0.98, 1.02)
        rows.append(
            {
                "timestamp": START + timedelta(seconds=window * SECONDS), "tenant": "local", "host": host,
                "window_seconds": SECONDS, "tier": tier, "node_joules": watts, "node_joules_lower": watts,
                "node_joules_upper": watts, "idle_joules": IDLE, "active_joules": watts - IDLE,
                "unattributed_joules": 0.0, "busy_cpu_seconds": cores, "power_source": "snmp: outlet-1",
            }
        )  # fmt: skip
    world.store.insert_derived("node_energy", pa.Table.from_pylist(rows))


def saving(world: World, *changed: str, **how: object) -> Saving:
    end = START + timedelta(seconds=WINDOWS)
    change = NodeChange(changed=changed, at=AT, start=START, end=end, **how)  # type: ignore[arg-type]
    return NodeSavings(world.store, SECONDS).of("local", change)


def test_what_all_nodes_did_is_no_saving_of_the_changed_ones(world: World) -> None:
    """All fall by 10 % (a cooler night), the changed ones by another 20 %."""
    for host, saves in (("a", 0.2), ("b", 0.2), ("c", 0.0), ("d", 0.0)):
        node_rows(world, host, saves=saves, drift=-0.1)
    found = saving(world, "a", "b", control=("c", "d"))
    assert found.method is SavingMethod.DIFFERENCE_IN_DIFFERENCES
    assert found.ratio is not None
    assert found.ratio.lower <= 0.2 <= found.ratio.upper
    assert found.ratio.value == pytest.approx(0.2, abs=0.02)
    assert found.found
    assert CPU_SECONDS in found.reason


def test_a_change_that_does_nothing_is_no_saving(world: World) -> None:
    for host in "abcd":
        node_rows(world, host, drift=-0.1)
    assert not saving(world, "a", "b", control=("c", "d")).found


def test_groups_that_are_alike_are_compared_side_by_side(world: World) -> None:
    for host, saves in (("a", 0.2), ("c", 0.0)):
        node_rows(world, host, saves=saves)
    found = saving(world, "a", control=("c",), alike=True)
    assert found.method is SavingMethod.SIDE_BY_SIDE
    assert found.ratio is not None
    assert found.ratio.value == pytest.approx(0.2, abs=0.02)


def test_a_node_put_to_sleep_saves_its_idle_and_one_that_fell_silent_is_unknown(world: World) -> None:
    """Two nodes half loaded, then one of them with the work of one: no more than the idle of one can be saved."""
    for host, asleep in (("a", False), ("b", True), ("c", False), ("d", False)):
        node_rows(world, host, asleep=asleep)
    slept = saving(world, "a", "b", control=("c", "d"), asleep=frozenset({"b"}))
    assert slept.method is SavingMethod.DIFFERENCE_IN_DIFFERENCES
    assert STANDBY in slept.reason
    silent = saving(world, "a", "b", control=("c", "d"))
    assert silent.method is None
    assert "0 windows" in silent.reason


def test_operations_of_a_workload_are_the_work_where_one_is_named(world: World) -> None:
    """The same power for twice the operations: half of the energy of each is saved."""
    for host in ("a", "c"):
        node_rows(world, host)
        for window in range(1, WINDOWS + 1):
            done = 20.0 if host == "a" and window > CHANGED_AT else 10.0
            world.add(Kind.OPERATIONS, window, host=host, workload="declared/shop", operations=done)
    world.put()
    found = saving(world, "a", control=("c",), workload="declared/shop")
    assert found.ratio is not None
    assert found.ratio.value == pytest.approx(0.5, abs=0.02)
    assert CPU_SECONDS not in found.reason
    assert saving(world, "a", control=("c",), workload="declared/unknown").method is None


def test_what_the_model_told_is_no_measurement(world: World) -> None:
    for host in ("a", "c"):
        node_rows(world, host, saves=0.2 if host == "a" else 0.0, tier="model")
    assert saving(world, "a", control=("c",)).method is None


def test_windows_that_a_node_lacks_do_not_count(world: World) -> None:
    node_rows(world, "a", saves=0.2)
    node_rows(world, "b", saves=0.2, gap=range(10, 40))
    node_rows(world, "c")
    found = saving(world, "a", "b", control=("c",))
    assert found.ratio is not None
    assert found.ratio.value == pytest.approx(0.2, abs=0.03)


def test_a_node_of_another_tenant_is_unknown(world: World) -> None:
    node_rows(world, "a")
    change = NodeChange(changed=("a",), at=AT, start=START, end=AT + timedelta(seconds=9))
    with pytest.raises(NotFoundError):
        NodeSavings(world.store, SECONDS).of("other", change)


@pytest.mark.parametrize(
    ("wrong", "where"),
    [
        ({"changed": ()}, "changed"),
        ({"control": ("a",)}, "control"),
        ({"asleep": frozenset({"z"})}, "asleep"),
        ({"asleep": frozenset({"a"})}, "asleep"),
        ({"at": START}, "at"),
    ],
)
def test_a_change_that_cannot_be_is_an_error_that_names_the_field(wrong: dict[str, object], where: str) -> None:
    right: dict[str, object] = {
        "changed": ("a",), "at": AT, "start": START, "end": AT + timedelta(seconds=9),
    }  # fmt: skip
    with pytest.raises(InvalidInputError) as error:
        NodeChange(**right | wrong)  # type: ignore[arg-type]
    assert error.value.where == where
