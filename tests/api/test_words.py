from __future__ import annotations

import pytest

from api.simulator import Simulator, bounded, measured
from energy_orchestrator.api.control_plane import BoundedView
from energy_orchestrator.ui import present, words


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (412_000.0, "J/day", "412 kJ/day"),
        (0.0184, "J/request", "18.4 mJ/request"),
        (0.0, "W", "0 W"),
        (999.7, "W", "1.00 kW"),
        (-0.0121, "J", "\N{MINUS SIGN}12.1 mJ"),
        (None, "W", "\N{EN DASH}"),
    ],
)
def test_values_are_scaled_for_people(value: float | None, unit: str, text: str) -> None:
    assert words.scaled(value, unit) == text


def test_bounds_share_the_prefix_of_their_value() -> None:
    assert words.with_bounds(BoundedView(value=1200, lower=900, upper=1500), "W") == "1.20 kW (0.900 to 1.50)"


def test_nested_patches_become_rows_with_what_is_now() -> None:
    row = Simulator()._advice()
    assert present.settings_of(row) == [present.Setting("limits.cpu", "4.0", "1.0")]


def test_nodes_add_up_and_unknown_ones_are_left_out() -> None:
    nodes = Simulator().nodes("local")
    nodes[1].node_watts = None
    total = present.power_sum(nodes)
    assert total is not None
    assert total.node == nodes[0].node_watts.value if nodes[0].node_watts else False
    assert present.power_sum([nodes[1]]) is None


def test_an_interval_below_zero_is_drawn_left_of_zero() -> None:
    saving, unsure, unknown = (present.interval_bar(metric) for metric in measured())
    assert saving is not None
    assert unsure is not None
    assert saving.lower < saving.estimate < saving.upper < saving.zero
    assert unsure.lower < unsure.zero < unsure.upper
    assert unknown is None


@pytest.mark.parametrize("status", ["approved", "executing", "refused", "expired", "successful"])
def test_only_open_advice_has_a_button(status: str) -> None:
    row = Simulator()._batching()
    assert present.why_no_button(row, paused=False) is None
    assert present.why_no_button(row, paused=True)
    assert present.why_no_button(row.model_copy(update={"status": status}), paused=False)
    assert present.why_no_button(row.model_copy(update={"decision": "deny"}), paused=False)


def test_half_the_interval_is_said_as_plus_minus() -> None:
    assert words.plus_minus(bounded(50.0, 0.1), "W") == "±5.00 W"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("9f86d081884c7d65" * 4, "9f86d081884c…"),
        ("sha256:" + "9f86d081884c7d65" * 4, "sha256:9f86d081884c…"),
        ("shop/inference:1.2", "shop/inference:1.2"),
        ("sha256:old", "sha256:old"),
    ],
)
def test_digests_are_cut_for_people_and_other_names_are_not(name: str, shown: str) -> None:
    assert words.version(name) == words.name(name, None) == shown


def test_a_name_that_is_unknown_has_its_reason_and_one_not_asked_for_a_dash() -> None:
    assert words.name(None, "no image") == "unknown: no image"
    assert words.name(None, None) == words.UNKNOWN
