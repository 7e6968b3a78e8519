"""The shipped model: what it says where it knows, where it does not, and that it is what the data gives."""

from __future__ import annotations

import importlib
import json
import os
from dataclasses import replace
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from energy_orchestrator.analyze.estimator import MODEL_FILE, NodeHardware, PowerModel, canonical_cpu, default_model
from energy_orchestrator.errors import InvalidInputError

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


def test_hardware_newer_than_the_data_gets_a_much_wider_interval() -> None:
    known, newer = default_model().curve(SERVER), default_model().curve(replace(SERVER, year=2031))
    assert newer.full.upper / newer.full.lower > 2 * known.full.upper / known.full.lower
    assert "newer" in newer.reason


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


def test_training_again_gives_the_shipped_file_and_report(monkeypatch: pytest.MonkeyPatch) -> None:
    if not DATA.is_dir():
        message = f"no training data in {DATA}"
        pytest.fail(message) if os.environ.get("CI") == "true" else pytest.skip(message)
    monkeypatch.syspath_prepend(ROOT / "tools")
    tool = importlib.import_module("train_node_power_model")
    document, servers, held_out = tool.train(DATA)
    assert tool.serialised(document) == shipped()
    text = importlib.import_module("node_power_report").report(DATA, servers, held_out)
    # Other parts keep sections of their own behind it (tools/accuracy_report.py).
    assert (ROOT / "docs/accuracy.md").read_text(encoding="utf-8").startswith(text)
