"""What `/metrics` tells of energy, on a real series store: whether the parts of each node add up."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from energy_orchestrator.analyze.estimator import default_model
from energy_orchestrator.model.wire import Kind
from energy_orchestrator.services.analyzer import Analyzer
from energy_orchestrator.services.energy_metrics import EnergyMetrics
from energy_orchestrator.store.series.port import DERIVED_TABLES, TABLES

from .world import Clock, World

NAME = "eo_attribution_conservation_error_ratio"
LIMIT = 0.01
LOADS = st.dictionaries(st.sampled_from(["a", "b", "c"]), st.floats(0, 4), min_size=1)


def worst(world: World, host: str = "node-a") -> float | None:
    """The metric of one node, as Prometheus would read it."""
    registry = CollectorRegistry()
    registry.register(EnergyMetrics(world.store, ["local"]))
    return registry.get_sample_value(NAME, {"tenant": "local", "host": host})


def analysed(world: World, seconds: float = 13) -> None:
    """Store what was collected, and attribute it."""
    world.put()
    Analyzer(world.store, default_model(), 5.0, Clock(seconds)).run_once()


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(LOADS, st.floats(0, 8), st.none() | st.floats(0, 500))
def test_whatever_runs_the_parts_are_the_node(
    world: World, cpu: dict[str, float], busy: float, joules: float | None
) -> None:
    """Workloads of any size, a kernel that counted more or less than the rows, with a meter and without."""
    for table in (*TABLES.values(), *DERIVED_TABLES):
        world.store.query(f"TRUNCATE TABLE {table}")
    world.add(Kind.INVENTORY, 0)
    world.steady(10, {f"declared/{name}": cores for name, cores in cpu.items()}, busy=busy)
    if joules is not None:
        for second in range(1, 11):
            world.add(Kind.METERS, second, meter="rapl", zone="psys", tier="on_die", energy_joules=joules)
    analysed(world)
    found = worst(world)
    # A node without energy has nothing to add up.
    assert found is None if joules == 0 else found is not None and found <= LIMIT


def test_energy_that_was_lost_or_counted_twice_shows(world: World) -> None:
    """So that the metric can alarm: a workload's row is spoilt behind the analyzer's back."""
    world.add(Kind.INVENTORY, 0)
    world.steady(10, {"declared/a": 0.5, "declared/b": 0.5})
    analysed(world)
    before = worst(world)
    assert before is not None
    assert before <= LIMIT
    node = world.query("SELECT max(node_joules) AS joules FROM node_energy FINAL")[0]["joules"]
    stored = world.store.query("SELECT * FROM workload_energy FINAL WHERE workload = 'declared/a'")
    ghost = max(stored["active_joules"].to_pylist())
    place = stored.schema.get_field_index("workload")
    names = pa.array(["declared/ghost"] * stored.num_rows)
    world.store.insert_derived("workload_energy", stored.set_column(place, "workload", names))
    assert worst(world) == pytest.approx(ghost / node, rel=0.05)


def test_a_tenant_sees_its_own_nodes_only(world: World) -> None:
    """Rows of another tenant are not summed, and a node that nobody knows has no figure."""
    world.add(Kind.INVENTORY, 0)
    world.steady(10, {"declared/a": 0.5})
    analysed(world)
    assert worst(world, "node-b") is None
