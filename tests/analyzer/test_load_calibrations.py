"""A node whose meters are all silent draws what its own load drew before; the model of its kind otherwise."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from energy_orchestrator.analyze.estimator import NodeHardware, default_model
from energy_orchestrator.analyze.node_power import node_power
from energy_orchestrator.analyze.taught_meters import LOAD_SOURCE, Taught
from energy_orchestrator.model.units import Tier
from energy_orchestrator.services.calibrations import AGAIN
from energy_orchestrator.services.load_calibrations import LoadCalibrations

NOW = datetime(2026, 11, 23, tzinfo=UTC)
NODE = NodeHardware(64, 32, 1, 2200.0, 128.0, "Intel(R) Xeon(R) Gold 6454S", False)
CURVE = default_model().curve(NODE)
KEY = ("t", "n0")


def drawn(load: float) -> float:
    """What this node draws: far more than its kind, as one with many disks does."""
    return 180.0 + 1.4 * float(CURVE.active(np.array([load]))[0][0])


class History:
    """Windows of a node at a plug, its load between rest and half, as `node_energy` would tell them."""

    def __init__(self, windows: int = 120, most_load: float = 0.5) -> None:
        self.windows, self.most_load, self.asked = windows, most_load, 0

    def query(self, sql: str, parameters: Any = None) -> pa.Table:
        self.asked += 1
        random = np.random.default_rng(1)
        loads = random.permutation(np.linspace(0.02, self.most_load, max(self.windows, 1)))[: self.windows]
        noise = np.exp(random.normal(0, 0.01, self.windows))
        ends = [parameters["start"] + timedelta(hours=1, seconds=30 * place) for place in range(self.windows)]
        return pa.table(
            {
                "timestamp": pa.array(ends, pa.timestamp("ms", "UTC")),
                "watts": pa.array([drawn(load) * err for load, err in zip(loads, noise, strict=True)], pa.float64()),
                "busy_cores": pa.array(64 * loads, pa.float64()),
            }
        )


def power(history: History, load: float, at_rest: bool = True) -> Any:
    taught = LoadCalibrations(history).of(KEY, Tier.WALL, CURVE, 64, NOW)
    rest = {Tier.WALL: (drawn(0.02), 0.02)} if at_rest else {}
    return node_power([], CURVE, load, rest, {LOAD_SOURCE: taught}, NOW.timestamp())


@pytest.mark.parametrize("load", [0.05, 0.2, 0.45])
def test_a_silent_node_gets_the_watts_its_own_load_drew(load: float) -> None:
    found = power(History(), load)
    assert found.watts.value == pytest.approx(drawn(load), rel=0.03)
    assert found.watts.lower <= drawn(load) <= found.watts.upper
    assert found.tier is Tier.MODEL
    assert "calibrated on wall" in found.source
    assert 0 < found.idle_watts <= found.watts.value
    assert found.idle_watts == pytest.approx(180, rel=0.1)
    above = found.watts.value - found.idle_watts
    assert found.active_low * above + found.idle_watts == pytest.approx(found.watts.lower, rel=1e-6)


def test_beyond_what_it_has_seen_the_interval_is_wider_and_far_beyond_the_model_speaks() -> None:
    within, beyond = power(History(), 0.3), power(History(), 0.7)
    assert beyond.watts.upper / beyond.watts.lower > within.watts.upper / within.watts.lower
    assert "beyond the readings learned on" in beyond.source
    assert power(History(most_load=0.15), 1.0).source.startswith("model: ")


@pytest.mark.parametrize("history", [History(windows=10), History(most_load=0.021), History(windows=0)])
def test_too_little_history_leaves_the_model_of_its_kind(history: History) -> None:
    found = power(history, 0.3)
    assert found.source.startswith("model: SPECpower")
    assert found.watts.value == pytest.approx(CURVE.idle.value + CURVE.active(np.array([0.3]))[0][0])


def test_what_was_learned_is_asked_again_after_a_while_and_kept_when_nothing_new_teaches_it() -> None:
    history = History()
    loads = LoadCalibrations(history)
    assert isinstance(loads.of(KEY, Tier.WALL, CURVE, 64, NOW), Taught)
    loads.of(KEY, Tier.WALL, CURVE, 64, NOW + AGAIN / 2)
    assert history.asked == 1
    history.windows = 0
    assert isinstance(loads.of(KEY, Tier.WALL, CURVE, 64, NOW + 2 * AGAIN), Taught)
    assert history.asked == 2
