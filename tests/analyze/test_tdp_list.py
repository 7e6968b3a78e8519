"""The TDP of a CPU that no list names, from those whose names are near; and slips of a list put right."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from energy_orchestrator.analyze.estimator import NodeHardware, default_model
from energy_orchestrator.analyze.estimator.cpu_names import cpu_key, vendor
from energy_orchestrator.analyze.estimator.hardware import one_machine, righted
from energy_orchestrator.analyze.estimator.tdp_list import TdpList

LIST = TdpList(
    {
        "intel:ultra 7 155h": 28.0,
        "intel:ultra 7 265h": 28.0,
        "intel:ultra 9 255h": 45.0,
        "amd:6168": 115.0,
        "amd:6176": 105.0,
        "amd:6180se": 140.0,
    }
)


@pytest.mark.parametrize(
    ("name", "watts"),
    [
        ("Intel(R) Core(TM) Ultra 7 255H", 28.0),
        ("AMD Opteron 6170", 115.0),
        ("AMD Opteron 6172", (115.0 * 105.0) ** 0.5),
        ("AMD Opteron 6174 HE", None),
        ("AMD Opteron 9174", None),
        ("some CPU without a number", None),
    ],
)
def test_a_cpu_gets_the_watts_of_the_nearest_number_of_its_own_kind(name: str, watts: float | None) -> None:
    found = LIST.near([name])[0]
    assert np.isnan(found) if watts is None else found == pytest.approx(watts)


@given(st.lists(st.tuples(st.integers(1000, 9999), st.floats(10, 500)), min_size=1, max_size=8), st.integers(0, 9999))
def test_neighbours_never_say_less_or_more_than_some_cpu_of_the_list(
    listed: list[tuple[int, float]], number: int
) -> None:
    table = {f"intel:{each}": watts for each, watts in listed}
    found = TdpList(table).near([f"Intel Xeon {number:04d}"])[0]
    assert np.isnan(found) or min(table.values()) * 0.999 <= found <= max(table.values()) * 1.001


def test_a_cpu_is_no_neighbour_of_its_own() -> None:
    assert TdpList({"amd:6168": 115.0}).left_out().size == 0
    assert TdpList({"amd:6168": 100.0, "amd:6170": 200.0}).left_out() == pytest.approx([2.0, 0.5])


def test_the_reason_says_that_a_near_name_stood_in() -> None:
    node = NodeHardware(16, 16, 1, 2000.0, 16.0, "Intel(R) Core(TM) Ultra 7 255H", False, 2025)
    curve = default_model().curve(node)
    assert "TDP taken as 28 W, of the CPU nearest by name" in curve.reason
    # SPECpower: six machines of 44 to 49 W a socket at full load.
    assert curve.full.lower < 46 < curve.full.upper


def test_terabytes_that_came_as_gigabytes_and_threads_that_the_cores_cannot_have_are_put_right() -> None:
    node = NodeHardware(1024, 240, 4, 2000.0, 1.0, "Intel Xeon Platinum 8490H", False, 2023)
    made = righted(one_machine(node))
    assert made.memory_gb[0] == 1024
    assert made.threads[0] == 480


@given(st.integers(1, 512), st.floats(0.5, 64))
def test_a_machine_that_can_be_is_left_as_it_is(cores: int, gigabytes_a_thread: float) -> None:
    node = NodeHardware(2 * cores, cores, 1, 2000.0, 2 * cores * gigabytes_a_thread, "AMD EPYC 9654", False)
    made = righted(one_machine(node))
    assert (made.memory_gb[0], made.threads[0]) == (node.memory_gb, node.threads)


@pytest.mark.parametrize(
    ("name", "maker"),
    [
        ("Ampere Altra Max 64-Bit Multi-Core Processor M128-30", ""),
        ("Intel Core i7 610E", "intel"),
        ("Core 2 Duo E8400", "intel"),
    ],
)
def test_a_core_in_the_name_makes_no_intel(name: str, maker: str) -> None:
    assert vendor(name) == maker


def test_a_desktop_cpu_has_one_key_with_a_hyphen_or_a_space() -> None:
    assert cpu_key("Intel Core i7 610E") == cpu_key("Intel(R) Core(TM) i7-610E @ 2.53GHz")
