"""`eo estimator train` and `evaluate`: read the data, call the pure parts, write what they give."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from energy_orchestrator.analyze.estimator import evaluation, variation
from energy_orchestrator.analyze.estimator.cpu_names import cpu_key, vendor
from energy_orchestrator.analyze.estimator.model import MODEL_FILE
from energy_orchestrator.analyze.estimator.shape import shapes
from energy_orchestrator.analyze.estimator.tdp_list import TdpList
from energy_orchestrator.analyze.estimator.training import (
    Each,
    HeldOut,
    Servers,
    amd_shares,
    development,
    held_out,
    serialised,
    train,
)
from energy_orchestrator.errors import InvalidInputError
from energy_orchestrator.services.dask_cluster import mapping
from energy_orchestrator.services.estimator_files import TrainingData, read_training_data
from energy_orchestrator.services.estimator_report import model_card, node_section
from energy_orchestrator.services.report_sections import replace_section

NEARLY_THE_SAME = 0.1
CARD_FILE = "node_power_model.card.md"
Tick = Callable[[], None]


def train_to(folder: Path, out: Path | None, tick: Tick, workers: int = 1, scheduler: str | None = None) -> list[Path]:
    """Train on the data of a folder; the model and its card beside it. Returns what was written."""
    with mapping(workers, scheduler) as each:
        text, card = trained(read_training_data(folder), tick, each)
    package = resources.files("energy_orchestrator.analyze")
    file = out or Path(str(package / MODEL_FILE))
    beside = file.with_name(CARD_FILE if out is None else f"{file.stem}.card.md")
    try:
        file.write_text(text, encoding="utf-8")
        beside.write_text(card, encoding="utf-8")
    except OSError as fault:
        raise InvalidInputError(
            f"cannot be written: {fault}", where=str(file), next_step="name it: --out FILE"
        ) from fault
    return [file, beside]


def trained(data: TrainingData, tick: Tick = lambda: None, each: Each = map) -> tuple[str, str]:
    """The texts of the model file and of its card."""
    document, out = train(data.servers, data.tdp_watts, data.load_statistics, data.sha256, tick, each)
    text = serialised(document)
    return text, model_card(json.loads(text), _held_out_scores(data, out))


def evaluate_to(folder: Path, report: Path, tick: Tick) -> str:
    """Score on machines held out and write the section `estimator` of the report; returns the section."""
    data = read_training_data(folder)
    text = node_section(node_scores(data, tick))
    replace_section(report, "estimator", text)
    return text


def node_scores(data: TrainingData, tick: Tick) -> dict[str, Any]:
    """Every table of the section."""
    out = held_out(data.servers, data.tdp_watts, tick)
    listed = ~out.known.tdp_guessed
    fresh = ~development(data.servers.machines)
    shape = shapes(data.load_statistics, amd_shares(data.servers.machines))
    servers, statistics = data.servers, data.load_statistics
    return {
        **_held_out_scores(data, out),
        "servers": len(servers.idle),
        "cpus": len(set(map(cpu_key, servers.machines.cpu))),
        "listed": 100 * float(np.mean(listed)),
        **_near_names(data, out),
        "usual_full": _usual_full(servers, out),
        "unseen_listed": evaluation.unseen_cpus(servers, out, listed),
        "untouched": evaluation.unseen_cpus(servers, out, listed & fresh),
        "levels": evaluation.simulated_levels(servers, out, shape, statistics, vendor_matters=True),
        "levels_other": evaluation.simulated_levels(servers, out, shape, statistics, vendor_matters=False),
        "alike": variation.alike(servers),
        "split": variation.split_errors(shape, statistics, amd_shares(servers.machines)),
        "shift": evaluation.shift_in_time(servers, data.tdp_watts, statistics, tick),
    }


def _near_names(data: TrainingData, out: HeldOut) -> dict[str, float]:
    """How many servers have a TDP by a near name, and how right near names are among the listed themselves."""
    ratio = np.abs(TdpList(data.tdp_watts).left_out() - 1)
    right, missed = 100 * float(np.mean(ratio < NEARLY_THE_SAME)), 100 * float(ratio.mean())
    near = int(out.known.tdp_near.sum())
    return {"near": near, "near_right": right, "near_count": len(ratio), "near_mape": missed}


def _usual_full(servers: Servers, out: HeldOut) -> float:
    """MAPE at full load of Intel's and AMD's, in percent."""
    usual = np.array([bool(vendor(name)) for name in servers.machines.cpu])
    return 100 * float(np.abs(np.exp(out.known.log_full) / servers.full - 1)[usual].mean())


def _held_out_scores(data: TrainingData, out: HeldOut) -> dict[str, Any]:
    return {
        "other_vendors": sum(not vendor(name) for name in data.servers.machines.cpu),
        "unseen": evaluation.unseen_cpus(data.servers, out),
        "one_end": evaluation.with_one_end(data.servers, out),
    }
