"""The best meter speaks for a node; the model where there is none."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from energy_orchestrator.analyze.calibration import Calibration
from energy_orchestrator.analyze.estimator import NodeHardware, default_model
from energy_orchestrator.analyze.meter_answers import ZoneReading, meter_answers
from energy_orchestrator.analyze.node_power import NodePower, node_power
from energy_orchestrator.analyze.taught_meters import Taught
from energy_orchestrator.model.units import Tier

SERVER = default_model().curve(NodeHardware(64, 32, 1, 2200.0, 128.0, "Intel(R) Xeon(R) Gold 6454S", False))


def reading(meter: str, zone: str, tier: Tier, watts: float | None) -> ZoneReading:
    return ZoneReading(meter, zone, tier, watts * 5 if watts is not None else None, None, 5.0)


def measured_power(readings: Iterable[ZoneReading]) -> tuple[float, Tier, str] | None:
    """Watts, tier and source of the best meter that has an answer."""
    return next(((it.watts, it.tier, it.source) for it in meter_answers(readings)), None)


@pytest.mark.parametrize("tier", [tier for tier in Tier if tier is not Tier.MODEL])
def test_a_better_tier_hides_all_worse_ones(tier: Tier) -> None:
    readings = [reading(f"meter-{t}", "node", t, 100.0 + t.rank) for t in Tier if t.rank >= tier.rank]
    found = measured_power(readings)
    assert found is not None
    assert (found[0], found[1]) == (100.0 + tier.rank, tier)


def test_a_meter_that_fails_leaves_the_word_to_the_next() -> None:
    readings = [reading("snmp", "outlet-1", Tier.WALL, None), reading("rapl", "package-0", Tier.ON_DIE, 40.0)]
    assert measured_power(readings) == (40.0, Tier.ON_DIE, "rapl: package-0")


def test_two_supplies_are_summed_and_one_silent_pdu_makes_the_sum_unknown() -> None:
    package = reading("rapl", "package-0", Tier.ON_DIE, 40.0)
    both = [reading("snmp", f"pdu-{pdu}/outlet-1", Tier.WALL, 100.0) for pdu in "ab"]
    found = measured_power([*both, package])
    assert found is not None
    assert found[:2] == (200.0, Tier.WALL)
    silent = reading("snmp", "pdu-b/outlet-1", Tier.WALL, None)
    assert measured_power([both[0], silent, package]) == (40.0, Tier.ON_DIE, "rapl: package-0")


def test_a_silent_package_or_accelerator_makes_the_sum_unknown_and_a_broken_extra_zone_does_not() -> None:
    first, dram = reading("rapl", "package-0", Tier.ON_DIE, 40.0), reading("rapl", "dram", Tier.ON_DIE, None)
    board = reading("nvml", "gpu-0", Tier.ON_DIE, 200.0)
    assert measured_power([first, dram, board]) == (240.0, Tier.ON_DIE, "rapl: package-0 + nvml: gpu-0")
    assert measured_power([first, reading("rapl", "package-1", Tier.ON_DIE, None), board]) is None
    assert measured_power([first, board, reading("nvml", "gpu-1", Tier.ON_DIE, None)]) is None
    psys = reading("rapl", "psys", Tier.ON_DIE, 90.0)
    assert measured_power([psys, reading("rapl", "package-1", Tier.ON_DIE, None), board]) == (
        90.0, Tier.ON_DIE, "rapl: psys",
    )  # fmt: skip
    wall = reading("snmp", "outlet-1", Tier.WALL, 400.0)
    silent = reading("nvml", "gpu-0", Tier.ON_DIE, None)
    assert measured_power([wall, first, silent]) == (400.0, Tier.WALL, "snmp: outlet-1")


def test_accelerators_alone_are_added_to_what_the_model_says_of_the_rest() -> None:
    model = default_model()
    curve = model.curve(NodeHardware(threads=8))
    plain = node_power([], curve, 0.5)
    board = reading("nvml", "gpu-0", Tier.ON_DIE, 200.0)
    with_board = node_power([board], curve, 0.5, boards_at_rest=30.0)
    assert with_board.tier is Tier.MODEL
    assert with_board.source.endswith("+ nvml: gpu-0")
    assert with_board.watts.value == pytest.approx(plain.watts.value + 200.0)
    assert with_board.idle_watts == pytest.approx(plain.idle_watts + 30.0)
    assert with_board.watts.upper - with_board.watts.lower > plain.watts.upper - plain.watts.lower
    silent = node_power([reading("nvml", "gpu-0", Tier.ON_DIE, None)], curve, 0.5)
    assert silent.watts == plain.watts
    assert "not in it" in silent.source


def test_before_a_rest_was_seen_an_accelerators_power_is_not_idle_by_the_cpus_share() -> None:
    curve = default_model().curve(NodeHardware(threads=8))
    package, board = reading("rapl", "package-0", Tier.ON_DIE, 40.0), reading("nvml", "gpu-0", Tier.ON_DIE, 300.0)
    alone = node_power([package], curve, 0.5)
    both = node_power([package, board], curve, 0.5, boards_at_rest=25.0)
    assert both.idle_watts == pytest.approx(alone.idle_watts + 25.0)


@pytest.mark.parametrize(
    ("zones", "watts"),
    [
        ({"package-0": 40, "core": 30, "uncore": 5, "dram": 6}, 46),
        ({"package-0": 40, "package-1": 41, "package-0/core": 30, "package-1/dram": 6}, 87),
        ({"psys": 90, "package-0": 40, "dram": 6}, 90),
        ({"outlet-1": 100, "outlet-2": 110}, 210),
    ],
)
def test_zones_inside_one_another_are_not_added(zones: dict[str, float], watts: float) -> None:
    found = measured_power(reading("rapl", zone, Tier.ON_DIE, value) for zone, value in zones.items())
    assert found is not None
    assert found[0] == watts


def test_energy_counters_beat_gauges() -> None:
    both = ZoneReading("nvml", "gpu-0", Tier.ON_DIE, energy_joules=500.0, power_watts=40.0, seconds=5.0)
    assert both.watts == 100.0


@pytest.mark.parametrize("load", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("tier", list(Tier))
def test_idle_and_bounds_enclose_at_every_tier_and_load(tier: Tier, load: float) -> None:
    readings = [] if tier is Tier.MODEL else [reading("meter", "node", tier, 150.0)]
    power = node_power(readings, SERVER, load)
    assert power.tier is tier
    assert 0 < power.idle_watts <= power.watts.value
    assert power.watts.lower < power.watts.value < power.watts.upper
    assert power.active_low <= 1 <= power.active_high


def test_a_better_tier_has_a_narrower_interval() -> None:
    def width(tier: Tier) -> float:
        readings = [] if tier is Tier.MODEL else [reading("meter", "node", tier, 150.0)]
        power = node_power(readings, SERVER, 0.5)
        return (power.watts.upper - power.watts.lower) / power.watts.value

    assert width(Tier.WALL) < width(Tier.BMC) < width(Tier.MODEL)


def test_power_grows_with_load_between_rest_and_full() -> None:
    loads = np.linspace(0, 1, 21)
    watts = [node_power([], SERVER, load).watts.value for load in loads]
    assert watts == sorted(watts)
    assert watts[0] == pytest.approx(SERVER.idle.value)
    assert watts[-1] == pytest.approx(SERVER.full.value)


def test_what_rapl_cannot_see_widens_the_node_more_than_the_work() -> None:
    power = node_power([reading("rapl", "package-0", Tier.ON_DIE, 100.0)], SERVER, 0.5, {Tier.ON_DIE: (40.0, 0.0)})
    assert power.watts.upper == 250.0
    assert power.active_high < 1.5


def test_until_rest_was_seen_the_active_part_is_as_uncertain_as_the_model() -> None:
    readings = [reading("snmp", "outlet-1", Tier.WALL, 150.0)]
    guessed, seen = node_power(readings, SERVER, 0.5), node_power(readings, SERVER, 0.5, {Tier.WALL: (80.0, 0.0)})
    assert guessed.active_low < seen.active_low
    assert guessed.active_high > seen.active_high


def test_rest_seen_by_another_tier_says_nothing_of_this_one() -> None:
    readings = [reading("snmp", "outlet-1", Tier.WALL, 150.0)]
    alone = node_power(readings, SERVER, 0.5)
    assert node_power(readings, SERVER, 0.5, {Tier.ON_DIE: (20.0, 0.0)}) == alone
    assert node_power(readings, SERVER, 0.5, {Tier.WALL: (80.0, 0.0)}).idle_watts == 80.0


PACKAGE = "rapl: package-0"
TAUGHT = Taught(Calibration((60.0, 1.2, 0.0), 30.0, 130.0, -0.03, 0.03, 0.0, np.inf, 0.0, 500), Tier.WALL)


def calibrated(
    watts: float, taught: Taught | str = TAUGHT, at_rest: dict[Tier, tuple[float, float]] | None = None
) -> NodePower:
    readings = [reading("rapl", "package-0", Tier.ON_DIE, watts)]
    return node_power(readings, SERVER, 0.5, at_rest, {PACKAGE: taught})


def test_a_meter_that_was_taught_speaks_for_the_better_one() -> None:
    power = calibrated(100.0)
    assert power.watts.value == pytest.approx(180.0)
    assert (power.watts.lower, power.watts.upper) == (pytest.approx(180 * 0.97), pytest.approx(180 * 1.03))
    assert power.tier is Tier.ON_DIE
    assert power.source.startswith("rapl: package-0, on_die calibrated on wall")


def test_the_better_meter_still_speaks_for_itself() -> None:
    readings = [reading("rapl", "package-0", Tier.ON_DIE, 100.0), reading("snmp", "outlet-1", Tier.WALL, 150.0)]
    power = node_power(readings, SERVER, 0.5, None, {PACKAGE: TAUGHT})
    assert (power.tier, power.watts.value) == (Tier.WALL, 150.0)


@pytest.mark.parametrize(
    ("watts", "taught", "reason"),
    [
        (100.0, "12 pairs of readings, 30 are needed", "not calibrated: 12 pairs"),
        (900.0, TAUGHT, "far beyond"),
        (100.0, Taught(replace(TAUGHT.calibration, residual_upper=2.0), Tier.WALL), "no narrower"),
    ],
)
def test_where_the_calibration_does_not_help_the_meter_keeps_its_own_word(
    watts: float, taught: Taught | str, reason: str
) -> None:
    power = calibrated(watts, taught)
    assert (power.watts.value, power.watts.upper) == (watts, watts * 2.5)
    assert reason in power.source


def test_beyond_what_was_learned_the_source_says_so() -> None:
    assert "beyond the readings learned on" in calibrated(150.0).source
    assert "beyond" not in calibrated(120.0).source


def test_rest_of_a_taught_meter_is_the_better_ones_else_its_own_translated() -> None:
    assert calibrated(100.0, at_rest={Tier.WALL: (110.0, 0.0), Tier.ON_DIE: (40.0, 0.0)}).idle_watts == 110.0
    power = calibrated(100.0, at_rest={Tier.ON_DIE: (40.0, 0.0)})
    assert power.idle_watts == pytest.approx(60 + 1.2 * 40)
    assert 0.8 < power.active_low < 1 < power.active_high < 1.3


def test_what_like_nodes_taught_keeps_the_wide_bounds_of_active_power() -> None:
    power = calibrated(100.0, replace(TAUGHT, own=False), {Tier.ON_DIE: (40.0, 0.0)})
    assert (power.active_low, power.active_high) == (0.8, 1.3)
    assert "of 1 like node" in power.source


CALIBRATIONS = st.builds(
    lambda offset, slope, square, lowest, width, low, high, own: Taught(
        Calibration((offset, slope, square), lowest, lowest + width, -low, high, 0.0, np.inf, 0.0, 100), Tier.WALL, own
    ),
    *(st.floats(-50, 500), st.floats(0.1, 3), st.floats(-0.002, 0.002), st.floats(5, 200), st.floats(5, 300)),
    *(st.floats(0, 0.9), st.floats(0, 1.5), st.booleans()),
)


@settings(deadline=None)
@given(CALIBRATIONS, st.floats(0.5, 2000), st.floats(0, 1), st.floats(0.5, 300), st.booleans())
def test_whatever_was_taught_idle_and_bounds_enclose(
    taught: Taught, watts: float, load: float, rest: float, rest_seen: bool
) -> None:
    readings = [reading("rapl", "package-0", Tier.ON_DIE, watts)]
    at_rest = {Tier.ON_DIE: (rest, 0.0)} if rest_seen else None
    power = node_power(readings, SERVER, load, at_rest, {PACKAGE: taught})
    assert 0 < power.idle_watts <= power.watts.value
    assert 0 <= power.watts.lower <= power.watts.value <= power.watts.upper
    assert power.watts.upper / max(power.watts.lower, 1e-9) <= 2.5 / 0.98 * (1 + 1e-9)
    assert power.active_low <= 1 <= power.active_high
