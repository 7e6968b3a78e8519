"""The shipped model: what it says where it knows, where it does not, and that it is what the data gives."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from energy_orchestrator.analyze.estimator import (
    MODEL_FILE,
    NodeHardware,
    PowerModel,
    canonical_cpu,
    default_model,
)
from energy_orchestrator.analyze.estimator.cpu_names import generation
from energy_orchestrator.analyze.estimator.hardware import Machines, one_machine
from energy_orchestrator.analyze.estimator.model import digest, of_text
from energy_orchestrator.analyze.estimator.training import Servers
from energy_orchestrator.analyze.estimator.variation import alike
from energy_orchestrator.errors import InvalidInputError, UnavailableError
from energy_orchestrator.services import dask_cluster
from energy_orchestrator.services.dask_cluster import mapping
from energy_orchestrator.services.estimator_files import read_training_data
from energy_orchestrator.services.estimator_report import node_section
from energy_orchestrator.services.estimator_runs import CARD_FILE, node_scores, trained

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data"
SERVER = NodeHardware(64, 32, 1, 2200.0, 128.0, "Intel(R) Xeon(R) Gold 6454S", False)


def shipped() -> str:
    return (resources.files("energy_orchestrator.analyze") / MODEL_FILE).read_text(encoding="utf-8")


def test_a_server_of_spec_is_found_within_its_interval() -> None:
    curve = default_model().curve(SERVER)
    # SPECpower: Xeon Gold 6454S, 64 threads, 128 GB: 98.2 W at rest, 304 W at full load.
    assert curve.idle.lower < 98.2 < curve.idle.upper
    assert curve.full.lower < 304 < curve.full.upper
    assert "2023" in curve.reason


HARDWARE = st.builds(
    NodeHardware,
    threads=st.one_of(st.none(), st.integers(1, 4096)),
    cores=st.one_of(st.none(), st.integers(1, 2048)),
    sockets=st.one_of(st.none(), st.integers(1, 64)),
    mhz=st.one_of(st.none(), st.floats(100, 9000)),
    memory_gb=st.one_of(st.none(), st.floats(0.1, 1e5)),
    cpu_model=st.one_of(st.none(), st.text(max_size=40), st.just("AMD EPYC 9654 96-Core Processor")),
    virtual=st.one_of(st.none(), st.booleans()),
    year=st.one_of(st.none(), st.integers(1990, 2050)),
)


@given(HARDWARE)
@settings(deadline=None)
def test_whatever_the_inventory_says_the_answer_is_usable(hardware: NodeHardware) -> None:
    curve = default_model().curve(hardware)
    assert 0 < curve.idle.lower <= curve.idle.value <= curve.idle.upper
    assert 0 < curve.dynamic.lower <= curve.dynamic.value <= curve.dynamic.upper
    assert curve.reason
    value, lower, upper = curve.active(np.linspace(-0.5, 1.5, 9))
    assert (np.diff(value) >= 0).all()
    assert (lower <= value).all()
    assert (value <= upper).all()


@pytest.mark.parametrize("missing", ["cores", "mhz", "memory_gb"])
def test_the_less_is_known_the_wider_the_interval_and_the_reason_says_so(missing: str) -> None:
    model = default_model()
    known, less = model.curve(SERVER), model.curve(replace(SERVER, **{missing: None}))
    assert less.idle.upper / less.idle.lower > known.idle.upper / known.idle.lower
    assert missing in less.reason


def test_hardware_newer_than_the_data_gets_the_width_that_earlier_models_needed_and_more_each_year() -> None:
    known, newer, far = (default_model().curve(replace(SERVER, year=year)) for year in (2023, 2028, 2040))
    spread = [curve.full.upper / curve.full.lower for curve in (known, newer, far)]
    assert spread[0] < spread[1] < spread[2]
    assert "newer" in newer.reason


def test_a_cpu_newer_than_all_keeps_the_newest_ratio_to_its_tdp_whatever_the_year() -> None:
    nodes = [replace(SERVER, cpu_model="x", tdp_watts=300.0, year=year) for year in (2030, 2040)]
    newer, later = (default_model().curve(node).full.value for node in nodes)
    assert newer == pytest.approx(later, rel=1e-6)


def test_a_cpu_nobody_published_gets_a_wider_interval() -> None:
    known, other = default_model().curve(SERVER), default_model().curve(replace(SERVER, cpu_model="Intel Foo 1"))
    assert other.full.upper / other.full.lower > known.full.upper / known.full.lower
    assert "unknown" in other.reason


def test_a_guest_gets_its_threads_share_of_a_host() -> None:
    model = default_model()
    small, large = (model.curve(NodeHardware(threads=threads, virtual=True)) for threads in (2, 8))
    assert large.idle.value == pytest.approx(4 * small.idle.value)
    assert "virtual machine" in small.reason
    assert small.full.upper / small.full.lower > 4


def test_a_node_without_inventory_says_so() -> None:
    assert "no inventory" in default_model().curve(NodeHardware()).reason


@pytest.mark.parametrize(
    ("node", "spec"),
    [
        ("Intel(R) Xeon(R) Gold 6454S", "Intel Xeon Gold 6454S"),
        ("AMD EPYC 9654 96-Core Processor", "AMD EPYC 9654"),
        ("Intel(R) Xeon(R) CPU E5-2660 v4 @ 2.00GHz", "Intel Xeon E5-2660 v4"),
    ],
)
def test_a_cpu_has_one_name_in_proc_and_in_spec(node: str, spec: str) -> None:
    assert canonical_cpu(node) == canonical_cpu(spec)


def test_a_model_of_another_version_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="version 99"):
        PowerModel({**json.loads(shipped()), "version": 99})


@pytest.mark.parametrize("damage", [lambda t: t[:5000], lambda t: t.replace("0.1", "0.2", 1), lambda t: "[]"])
def test_a_damaged_model_is_refused_with_what_to_do(damage: Callable[[str], str]) -> None:
    with pytest.raises(InvalidInputError, match=r"damaged.*eo estimator train"):
        of_text(damage(shipped()))


def test_a_model_without_a_part_is_damaged_though_its_checksum_is_right() -> None:
    document = {key: value for key, value in json.loads(shipped()).items() if key != "shapes"}
    document["sha256"] = digest(document)
    with pytest.raises(InvalidInputError, match="shapes"):
        PowerModel(document)


@given(HARDWARE, st.floats(0, 1), st.floats(5, 3000))
@settings(max_examples=60, deadline=None)
def test_a_reading_is_taken_to_heart_and_the_curve_still_rises(
    hardware: NodeHardware, load: float, watts: float
) -> None:
    loads = np.linspace(0, 1, 11)
    machines = one_machine(replace(hardware, threads=hardware.threads or 8))
    reading = (np.array([load]), np.array([watts]))
    belief, _, _ = default_model().belief(machines, [reading])
    blind, _, _ = default_model().belief(machines)
    after = np.array([belief.watts(np.array([at]))[0][0] for at in loads])
    assert (np.diff(after) >= -1e-9).all()
    before = blind.watts(np.array([load]))[0][0]
    assert abs(np.log(belief.watts(np.array([load]))[0][0] / watts)) <= abs(np.log(before / watts)) + 1e-6


def test_both_ends_known_leave_only_the_shape_uncertain() -> None:
    machines, ends = one_machine(SERVER), [(np.zeros(1), np.array([98.2])), (np.ones(1), np.array([304.0]))]
    at_rest, half = (default_model().estimate(machines, np.array([load]), ends) for load in (0.0, 0.5))
    assert at_rest.watts[0] == pytest.approx(98.2, rel=0.01)
    assert 98.2 < half.lower[0] < half.watts[0] < half.upper[0] < 304
    assert half.upper[0] / half.lower[0] < 1.3
    assert "calibrated on 2 readings" in half.reason[0]


def test_watts_rise_with_the_tdp_that_is_given() -> None:
    watts = [
        default_model().estimate(one_machine(replace(SERVER, cpu_model="x", tdp_watts=tdp, year=2023)), np.ones(1))
        for tdp in (120.0, 180.0, 250.0, 350.0)
    ]
    values = [float(estimate.watts[0]) for estimate in watts]
    assert values == sorted(values)


@pytest.mark.parametrize(
    ("name", "year"),
    [
        ("AMD EPYC 9654 96-Core Processor", 2022.8),
        ("Intel(R) Xeon(R) CPU E5-2660 v4 @ 2.00GHz", 2016.2),
        ("Intel Xeon Gold 6454S", 2023.0),
        ("AMD Opteron 6276", 2011.9),
        ("Intel Xeon X5670", 2010.2),
        ("foo", None),
    ],
)
def test_the_name_of_a_cpu_tells_its_generation(name: str, year: float | None) -> None:
    assert generation(name) == year


def test_the_live_path_needs_no_training_library() -> None:
    code = "import sys; from energy_orchestrator.analyze.estimator import default_model, NodeHardware; "
    code += (
        "default_model().curve(NodeHardware(threads=8)); print([m for m in ('xgboost', 'sklearn') if m in sys.modules])"
    )
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert made.stdout.strip() == "[]"


def need_data() -> None:
    if not DATA.is_dir():
        message = f"no training data in {DATA}"
        pytest.fail(message) if os.environ.get("CI") == "true" else pytest.skip(message)


@pytest.mark.slow
def test_training_again_gives_the_shipped_bytes_and_card() -> None:
    need_data()
    text, card = trained(read_training_data(DATA))
    assert text == shipped()
    assert card == (resources.files("energy_orchestrator.analyze") / CARD_FILE).read_text(encoding="utf-8")


@pytest.mark.slow
def test_two_dask_workers_train_the_same_bytes() -> None:
    """Processes of a real cluster on this machine; one worker is `map`, which the test before this one takes."""
    need_data()

    def process_id(number: int) -> int:
        time.sleep(0.05)
        return os.getpid()

    with mapping(2) as each:
        assert len(set(each(process_id, range(20)))) == 2
        text, _ = trained(read_training_data(DATA), each=each)
    assert text == shipped()


def test_a_dask_scheduler_that_is_not_there_is_an_error_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask_cluster, "CONNECT_SECONDS", 0.5)
    with pytest.raises(UnavailableError, match="does not answer"), mapping(2, "tcp://127.0.0.1:1"):
        pass


@pytest.mark.slow
def test_the_page_shows_what_an_evaluation_gives() -> None:
    need_data()
    page = (ROOT / "docs/accuracy.md").read_text(encoding="utf-8")
    shown = page.split("<!-- begin: estimator -->\n")[1].split("\n<!-- end: estimator -->")[0]
    made = node_section(node_scores(read_training_data(DATA), lambda: None))
    assert shown == made.strip(), "write it again: eo estimator evaluate"


def test_servers_of_one_kind_that_draw_the_same_leave_nothing_unknown() -> None:
    count = 6
    columns = {name: np.ones(count) for name in ("sockets", "cores", "threads", "mhz", "memory_gb", "year")}
    machines = Machines(cpu=["AMD EPYC 9654"] * 4 + ["Intel Xeon X5670"] * 2, tdp_watts=np.ones(count), **columns)
    watts = np.array([100.0, 100.0, 100.0, 100.0, 50.0, 100.0])
    idle, full = alike(Servers(machines, watts, np.full(count, 300.0)))
    assert (full.deviation, full.mape, full.servers) == (0.0, 0.0, 6)
    assert idle.deviation == pytest.approx(np.log(2) / np.sqrt(2) / 2)
    assert idle.mape == pytest.approx((100 + 50) / 6)
