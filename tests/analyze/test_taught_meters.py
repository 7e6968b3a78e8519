"""Nodes with two tiers teach their lesser meter, and like nodes learn from them."""

from __future__ import annotations

import numpy as np
import pytest

from energy_orchestrator.analyze.taught_meters import (
    MeterAnswer,
    Taught,
    learn_node,
    speak,
    taught_by_like_nodes,
)
from energy_orchestrator.model.units import Tier

Windows = list[tuple[float, list[MeterAnswer]]]


def windows(count: int = 100, tiers: tuple[Tier, ...] = (Tier.WALL, Tier.ON_DIE), scale: float = 1.0) -> Windows:
    """RAPL x, wall 80 + 1.1 x, BMC 70 + 1.1 x."""
    random = np.random.default_rng(4)
    made = []
    for place in range(count):
        seen = float(random.uniform(40, 140))
        say = {
            Tier.WALL: MeterAnswer(scale * (80 + 1.1 * seen), Tier.WALL, "snmp: outlet-1"),
            Tier.BMC: MeterAnswer(scale * (70 + 1.1 * seen), Tier.BMC, "redfish: node"),
            Tier.ON_DIE: MeterAnswer(seen, Tier.ON_DIE, "rapl: package-0"),
        }
        made.append((30.0 * place, [say[tier] for tier in tiers]))
    return made


def spoken(taught: Taught | str, watts: float) -> float:
    assert isinstance(taught, Taught), taught
    answer = speak(taught, watts)
    assert answer is not None
    return answer.value


def test_each_lesser_meter_learns_from_the_best_tier() -> None:
    learned = learn_node(windows(tiers=(Tier.WALL, Tier.BMC, Tier.ON_DIE)))
    assert set(learned) == {"rapl: package-0", "redfish: node"}
    assert spoken(learned["rapl: package-0"], 100.0) == pytest.approx(190.0)
    assert spoken(learned["redfish: node"], 180.0) == pytest.approx(190.0)
    assert all(isinstance(taught, Taught) and taught.better is Tier.WALL for taught in learned.values())


def test_a_second_best_teacher_is_better_than_none() -> None:
    few_at_the_wall = windows(10) + windows(tiers=(Tier.BMC, Tier.ON_DIE))
    taught = learn_node(few_at_the_wall)["rapl: package-0"]
    assert isinstance(taught, Taught)
    assert taught.better is Tier.BMC


def test_too_few_windows_leave_a_reason_and_one_tier_nothing() -> None:
    assert "10 pairs" in str(learn_node(windows(10))["rapl: package-0"])
    assert learn_node(windows(tiers=(Tier.ON_DIE,))) == {}


def test_like_nodes_learn_with_a_wider_interval_and_unlike_ones_do_not() -> None:
    nodes = {("t", host): learn_node(windows(scale=scale)) for host, scale in (("a", 1.0), ("b", 1.04), ("c", 0.97))}
    carried = taught_by_like_nodes(nodes, {("t", "a"): ("x",), ("t", "b"): ("x",), ("t", "c"): ("y",)})
    assert set(carried) == {(("x",), "rapl: package-0"), (("y",), "rapl: package-0")}
    like = carried[("x",), "rapl: package-0"]
    assert not like.own
    assert like.calibration.nodes == 2
    assert 190.0 < spoken(like, 100.0) < 1.04 * 190.0
    own = nodes["t", "a"]["rapl: package-0"]
    assert isinstance(own, Taught)
    wide, narrow = speak(like, 100.0), speak(own, 100.0)
    assert wide is not None
    assert narrow is not None
    assert wide.upper / wide.lower > narrow.upper / narrow.lower


def test_a_node_of_unknown_kind_teaches_nobody() -> None:
    assert taught_by_like_nodes({("t", "a"): learn_node(windows())}, {}) == {}
