"""The analyzer on a real series store: windows become energy that adds up, whatever comes late or twice."""

from __future__ import annotations

from datetime import timedelta

import pytest

from energy_orchestrator.analyze.estimator import default_model
from energy_orchestrator.model.wire import Kind
from energy_orchestrator.services.analyzer import Analyzer

from .world import START, Clock, World

NODES = "SELECT * FROM node_energy FINAL ORDER BY tenant, host, timestamp"
WORKLOADS = "SELECT * FROM workload_energy FINAL ORDER BY tenant, host, timestamp, workload"
LOAD = {"declared/inference": 0.6, "declared/poller": 0.9}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def analyzer(world: World, clock: Clock) -> Analyzer:
    return Analyzer(world.store, default_model(), 5.0, clock)


def test_a_node_without_a_meter_is_estimated_and_its_energy_adds_up(
    world: World, clock: Clock, analyzer: Analyzer
) -> None:
    world.add(Kind.INVENTORY, 0)
    world.steady(10, LOAD, busy=1.8)
    world.put()
    clock.second = 13
    assert analyzer.run_once() == 2
    nodes, workloads = world.query(NODES), world.query(WORKLOADS)
    assert [row["timestamp"] for row in nodes] == [START + timedelta(seconds=5), START + timedelta(seconds=10)]
    for node in nodes:
        active = [row["active_joules"] for row in workloads if row["timestamp"] == node["timestamp"]]
        assert sum(active) == pytest.approx(node["active_joules"])
        whole = node["idle_joules"] + node["active_joules"] + node["unattributed_joules"]
        assert whole == pytest.approx(node["node_joules"], rel=1e-9)
        assert node["unattributed_joules"] == pytest.approx(node["active_joules"] * 0.3 / 1.5)
        assert node["node_joules_lower"] < node["node_joules"] < node["node_joules_upper"]
        assert node["tier"] == "model"
        assert "virtual machine" in node["power_source"]
    by_name = {row["workload"]: row for row in workloads}
    ratio = by_name["declared/poller"]["active_joules"] / by_name["declared/inference"]["active_joules"]
    assert ratio == pytest.approx(1.5)
    assert all(row["active_joules_lower"] < row["active_joules"] < row["active_joules_upper"] for row in workloads)


def test_the_best_meter_wins_and_no_zone_is_counted_twice(world: World, clock: Clock, analyzer: Analyzer) -> None:
    world.steady(5, LOAD)
    for second in range(1, 6):
        for zone, joules in (("package-0", 40.0), ("package-0/core", 30.0), ("dram", 5.0)):
            world.add(Kind.METERS, second, meter="rapl", zone=zone, tier="on_die", energy_joules=joules)
        world.add(Kind.METERS, second, meter="nvml", zone="gpu-0", tier="on_die", energy_joules=100.0)
    world.put()
    clock.second = 8
    analyzer.run_once()
    (node,) = world.query(NODES)
    assert (node["tier"], node["node_joules"]) == ("on_die", pytest.approx(145.0 * 5))
    for second in range(1, 6):
        world.add(Kind.METERS, second, meter="snmp", zone="outlet-3", tier="wall", power_watts=230.0)
    world.put()
    clock.second = 13
    analyzer.run_once()
    (node,) = world.query(NODES)
    assert (node["tier"], node["node_joules"]) == ("wall", pytest.approx(230.0 * 5))


def test_a_gateways_rows_make_the_node_power_in_every_window_that_they_cover(
    world: World, clock: Clock, analyzer: Analyzer
) -> None:
    """Two supplies on two PDUs, asked every ten seconds, in batches of their own; windows are of five seconds."""
    world.steady(15, LOAD)
    for second in range(1, 16):
        world.add(Kind.METERS, second, meter="rapl", zone="package-0", tier="on_die", energy_joules=40.0)
    for zone, watts in (("pdu-a/outlet-1", 110.0), ("pdu-b/outlet-7", 90.0)):
        world.add(
            Kind.METERS,
            10,
            meter="snmp",
            zone=zone,
            tier="wall",
            power_watts=watts,
            interval_seconds=10.0,
            batch_id=zone,
        )
    world.put()
    clock.second = 13
    analyzer.run_once()
    nodes = world.query(NODES)
    assert [(node["tier"], node["node_joules"]) for node in nodes] == [("wall", pytest.approx(200.0 * 5))] * 2
    assert "pdu-a/outlet-1 + pdu-b/outlet-7" in nodes[0]["power_source"]
    for zone, answer in (("pdu-a/outlet-1", 110.0), ("pdu-b/outlet-7", None)):
        world.add(
            Kind.METERS, 15, meter="snmp", zone=zone, tier="wall", power_watts=answer, interval_seconds=5.0,
            reason="no answer", batch_id=zone + "-2",
        )  # fmt: skip
    world.put()
    clock.second = 18
    analyzer.run_once()
    assert world.query(NODES)[-1]["tier"] == "on_die", "one supply alone is not the node"


@pytest.mark.parametrize("interval", [4, 5, 8])
def test_no_window_stays_without_the_reading_of_a_slow_pdu(
    world: World, clock: Clock, analyzer: Analyzer, interval: int
) -> None:
    """As time passes: each row arrives when its interval is over, and the analyzer looks every second."""
    for second in range(1, 41):
        world.steady(1, LOAD, first=second)
        world.add(Kind.METERS, second, meter="rapl", zone="package-0", tier="on_die", energy_joules=40.0)
        if second % interval == 0:
            outlet = {"meter": "snmp", "zone": "pdu/outlet-1", "tier": "wall", "power_watts": 200.0}
            world.add(Kind.METERS, second, **outlet, interval_seconds=float(interval))
        world.put()
        clock.second = second + 0.1
        analyzer.run_once()
    tiers = [node["tier"] for node in world.query(NODES)]
    assert tiers[:5] == ["wall"] * 5


def test_power_and_energy_of_one_zone_are_not_mixed(world: World, clock: Clock, analyzer: Analyzer) -> None:
    """A PDU's counter is too coarse in one interval and good in the next: its joules are of that one's seconds."""
    world.steady(5, LOAD)
    outlet = {"meter": "snmp", "zone": "pdu/outlet-1", "tier": "wall", "power_watts": 500.0}
    world.add(Kind.METERS, 2, **outlet, interval_seconds=2.0)
    world.add(Kind.METERS, 4, **outlet, interval_seconds=2.0, energy_joules=1000.0)
    world.put()
    clock.second = 8
    analyzer.run_once()
    (node,) = world.query(NODES)
    assert node["node_joules"] == pytest.approx(500.0 * 5)


def test_idle_is_the_power_at_rest_once_the_meter_has_shown_it(world: World, clock: Clock, analyzer: Analyzer) -> None:
    for second in range(1, 306):
        at_rest = second <= 300
        world.add(Kind.METERS, second - 300, busy_cpu_seconds=0.0 if at_rest else 1.5)
        power = 100.0 if at_rest else 180.0
        world.add(Kind.METERS, second - 300, meter="snmp", zone="outlet-3", tier="wall", power_watts=power)
    world.steady(5, LOAD)
    world.put()
    clock.second = 3
    analyzer.run_once()
    clock.second = 8
    analyzer.run_once()
    node = world.query(NODES)[-1]
    assert node["node_joules"] == pytest.approx(900.0)
    assert node["idle_joules"] == pytest.approx(500.0, rel=0.05)


def test_a_window_waits_until_its_samples_have_travelled(world: World, clock: Clock, analyzer: Analyzer) -> None:
    world.steady(10, LOAD)
    world.put()
    clock.second = 11
    analyzer.run_once()
    assert len(world.query(NODES)) == 1


def test_late_rows_of_the_last_windows_count(world: World, clock: Clock, analyzer: Analyzer) -> None:
    world.steady(5, {"declared/inference": 0.6}, busy=1.5)
    world.put()
    clock.second = 8
    analyzer.run_once()
    for second in range(1, 6):
        world.add(Kind.SAMPLES, second, workload="declared/poller", cpu_seconds=0.9, pid=7)
    world.put()
    clock.second = 13
    analyzer.run_once()
    (node,) = world.query(NODES)
    assert node["unattributed_joules"] == pytest.approx(0.0, abs=1e-9)
    assert len(world.query(WORKLOADS)) == 2


def test_between_two_windows_nothing_is_done(world: World, clock: Clock, analyzer: Analyzer) -> None:
    world.steady(10, LOAD)
    world.put()
    written = []
    for clock.second in range(8, 14):
        written.append(analyzer.run_once())
    assert [count > 0 for count in written] == [True, False, False, False, False, True]


def test_a_batch_stored_twice_counts_once(world: World, clock: Clock, analyzer: Analyzer) -> None:
    for _ in range(2):
        world.steady(5, LOAD)
        world.put()
    clock.second = 8
    analyzer.run_once()
    assert sum(row["cpu_seconds"] for row in world.query(WORKLOADS)) == pytest.approx(7.5)


def test_a_restart_goes_on_where_it_stopped(world: World, clock: Clock, analyzer: Analyzer) -> None:
    world.steady(60, LOAD)
    world.put()
    clock.second = 33
    analyzer.run_once()
    clock.second = 63
    again = Analyzer(world.store, default_model(), 5.0, clock)
    assert again.run_once() <= 8
    assert len(world.query(NODES)) == 12


def test_a_long_gap_is_stepped_over(world: World, clock: Clock, analyzer: Analyzer) -> None:
    world.steady(5, LOAD, first=-1799)
    world.steady(5, LOAD)
    world.put()
    clock.second = 8
    for _ in range(3):
        analyzer.run_once()
    assert [row["timestamp"] for row in world.query(NODES)][-1] == START + timedelta(seconds=5)
    assert len(world.query(NODES)) == 2


def test_a_spool_that_was_emptied_late_is_caught_up_within_a_minute(
    world: World, clock: Clock, analyzer: Analyzer
) -> None:
    world.steady(60, LOAD, first=-59)
    world.put()
    clock.second = 8
    analyzer.run_once()
    for second in range(-39, -29):
        world.add(Kind.METERS, second, host="node-late")
    world.put()
    late = [clock.second for clock.second in range(10, 75, 5) if analyzer.run_once() and _hosts(world) > 1]
    assert late
    assert late[0] <= 70
    assert len([row for row in world.query(NODES) if row["host"] == "node-late"]) == 2
    assert analyzer.catch_up() == 0


def _hosts(world: World) -> int:
    return len({row["host"] for row in world.query(NODES)})


def test_without_the_kernels_meter_the_process_rows_stand_for_it(
    world: World, clock: Clock, analyzer: Analyzer
) -> None:
    for second in range(1, 6):
        world.add(Kind.SAMPLES, second, workload="declared/poller", cpu_seconds=0.9)
    world.put()
    clock.second = 8
    analyzer.run_once()
    (node,) = world.query(NODES)
    assert node["busy_cpu_seconds"] == pytest.approx(4.5)
    assert node["unattributed_joules"] == pytest.approx(0.0, abs=1e-9)
    assert "process rows" in node["power_source"]


def test_tenants_on_nodes_of_one_name_are_kept_apart(world: World, clock: Clock, analyzer: Analyzer) -> None:
    world.steady(5, LOAD)
    for second in range(1, 6):
        world.add(Kind.SAMPLES, second, tenant="other", workload="declared/inference", cpu_seconds=0.1)
        world.add(Kind.METERS, second, tenant="other", busy_cpu_seconds=0.1)
    world.put()
    clock.second = 8
    analyzer.run_once()
    cpu = {(row["tenant"], row["workload"]): pytest.approx(row["cpu_seconds"]) for row in world.query(WORKLOADS)}
    assert cpu["other", "declared/inference"] == 0.5
    assert cpu["local", "declared/inference"] == 3.0
    assert len(cpu) == 3


def test_an_empty_store_gives_nothing(clock: Clock, analyzer: Analyzer) -> None:
    assert analyzer.run_once() == 0
    assert analyzer.catch_up() == 0


SERVER = {"cpu_model": "Intel(R) Xeon(R) Gold 6454S", "cpu_threads": 64, "cores": 32, "virtual": False}


def _two_meters(world: World, minutes: int, host: str = "node-a", wall: bool = True) -> None:
    """Half a minute each: RAPL 60 to 120 W, the plug 90 W + 1.1 times that; one row a window, until START."""
    for place in range(2 * minutes):
        seen, second = 60.0 + 6.0 * (place % 11), -30.0 * place
        common = {"host": host, "interval_seconds": 30.0, "batch_id": f"{host}{place}"}
        world.add(Kind.METERS, second, meter="rapl", zone="package-0", tier="on_die", energy_joules=30 * seen, **common)
        if wall:
            outlet = {"meter": "snmp", "zone": "outlet-3", "tier": "wall", "power_watts": 90 + 1.1 * seen}
            world.add(Kind.METERS, second, **outlet, **common)


def test_when_the_plug_falls_silent_rapl_speaks_for_it_here_and_on_like_nodes(
    world: World, clock: Clock, analyzer: Analyzer
) -> None:
    _two_meters(world, 30)
    for host in ("node-a", "node-b", "node-c"):
        threads = 32 if host == "node-c" else 64
        world.add(Kind.INVENTORY, -10, host=host, **{**SERVER, "cpu_threads": threads})
        for second in range(1, 6):
            rapl = {"meter": "rapl", "zone": "package-0", "tier": "on_die", "energy_joules": 100.0}
            world.add(Kind.METERS, second, host=host, **rapl)
            world.add(Kind.METERS, second, host=host, busy_cpu_seconds=10.0)
    world.put()
    clock.second = 8
    analyzer.run_once()
    own, like, unlike = (row for row in world.query(NODES) if row["timestamp"] == START + timedelta(seconds=5))
    assert own["node_joules"] == pytest.approx(5 * 200.0, rel=0.01)
    assert like["node_joules"] == pytest.approx(5 * 200.0, rel=0.01)
    assert unlike["node_joules"] == pytest.approx(5 * 100.0)
    assert {row["tier"] for row in (own, like, unlike)} == {"on_die"}
    assert "on_die calibrated on wall" in own["power_source"]
    assert "calibrated on wall of 1 like node" in like["power_source"]
    assert "calibrated" not in unlike["power_source"]
    widths = [row["node_joules_upper"] / row["node_joules_lower"] for row in (own, like, unlike)]
    assert widths == sorted(widths)
    assert widths[0] < 1.1
    assert widths[1] > 1.3


def test_when_the_only_meter_falls_silent_the_nodes_own_load_speaks(
    world: World, clock: Clock, analyzer: Analyzer
) -> None:
    """A node that draws 150 W and 4 W a busy core, unlike any of its kind: ten minutes of a plug, then none."""
    world.add(Kind.INVENTORY, -10, **SERVER)
    for second in range(-595, 6):
        cores = 5.0 * ((second + 595) // 5 % 11)
        world.add(Kind.METERS, second, busy_cpu_seconds=cores)
        if second <= 0:
            world.add(Kind.METERS, second, meter="snmp", zone="outlet-3", tier="wall", power_watts=150 + 4 * cores)
    world.put()
    for clock.second in (3, 8):
        analyzer.run_once()
    *_, node = world.query(NODES)
    cores = 5.0 * (595 // 5 % 11)
    assert node["timestamp"] == START + timedelta(seconds=5)
    assert node["node_joules"] == pytest.approx(5 * (150 + 4 * cores), rel=0.05)
    assert node["node_joules_lower"] <= 5 * (150 + 4 * cores) <= node["node_joules_upper"]
    assert (node["tier"], node["power_source"]) == ("model", "load, model calibrated on wall")
    assert node["idle_joules"] == pytest.approx(5 * 150, rel=0.05)


def test_too_few_pairs_leave_rapl_as_it_is_and_say_why(world: World, clock: Clock, analyzer: Analyzer) -> None:
    _two_meters(world, 5)
    world.steady(5, LOAD)
    world.add(Kind.METERS, 5, meter="rapl", zone="package-0", tier="on_die", energy_joules=500.0, interval_seconds=5.0)
    world.put()
    clock.second = 8
    analyzer.run_once()
    node = world.query(NODES)[-1]
    assert node["node_joules"] == pytest.approx(500.0)
    assert "pairs of readings, 30 are needed" in node["power_source"]


def test_rest_told_by_a_calibrated_meter_counts_as_rest_at_the_plug(
    world: World, clock: Clock, analyzer: Analyzer
) -> None:
    """A node that never had a plug, taught by a like one: after five minutes its rest is told in the plug's watts."""
    _two_meters(world, 30)
    world.add(Kind.INVENTORY, -10, **SERVER)
    world.add(Kind.INVENTORY, -10, host="node-b", **SERVER)
    for second in range(-400, 6):
        watts = 60.0 if second <= 0 else 110.0
        world.add(Kind.METERS, second, host="node-b", busy_cpu_seconds=0.0 if second <= 0 else 20.0)
        rapl = {"meter": "rapl", "zone": "package-0", "tier": "on_die", "energy_joules": watts}
        world.add(Kind.METERS, second, host="node-b", **rapl)
    world.put()
    for clock.second in (3, 8):
        analyzer.run_once()
    node = [row for row in world.query(NODES) if row["host"] == "node-b"][-1]
    assert node["node_joules"] == pytest.approx(5 * (90 + 1.1 * 110), rel=0.01)
    assert node["idle_joules"] == pytest.approx(5 * (90 + 1.1 * 60), rel=0.01)
    assert "no rest seen" not in node["power_source"]
