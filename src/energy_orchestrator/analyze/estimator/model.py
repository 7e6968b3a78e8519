"""Watts of a node from what it is made of and, where there are any, one or two wall readings: pure prediction.

`default_model()` reads the shipped file. `PowerModel.curve` is the live path's small interface (a node in, its curve
out, always an answer, wider the less is known). `PowerModel.estimate` is the wide one: columns of machines, loads
and readings in; watts with 90 % intervals and a reason out.

Outside what SPECpower publishes, `reason` says so: a virtual machine gets a share of a typical host by its threads, a
node of which nothing is known gets the middle of all servers, and a machine newer than, or unlike, all those trained
on gets a wider interval. `analyze/node_power.py` decides whether a meter or this model speaks for a node.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from energy_orchestrator.analyze.estimator.cpu_names import generation, vendor
from energy_orchestrator.analyze.estimator.curve import PowerCurve
from energy_orchestrator.analyze.estimator.hardware import (
    Machines,
    NodeHardware,
    complete,
    generations,
    kinds,
    one_machine,
)
from energy_orchestrator.analyze.estimator.intervals import Intervals
from energy_orchestrator.analyze.estimator.readings import Z_90, Belief, after_all, prior
from energy_orchestrator.analyze.estimator.regression import NEWER_BY_YEARS, Prediction, Regression
from energy_orchestrator.analyze.estimator.shape import LOADS, Shapes, family_of
from energy_orchestrator.errors import InvalidInputError
from energy_orchestrator.model.units import Bounded

Floats = NDArray[np.float64]
Reading = tuple[Floats, Floats]

MODEL_FILE = "node_power_model.json"
MODEL_VERSION = 3
NEWER_AFTER_YEARS, NEWER_PER_YEAR = 3.0, 0.1
"""The width for newer machines is measured on so many years ahead; how much it grows for each year after is assumed."""
GUESSED_WIDENING = 1.5
"""The same where clock, memory, cores or sockets had to be guessed; assumed."""
OUTSIDE_WIDENING = 1.5
"""The same where a machine is unlike, or outside the range of, those trained on; assumed."""
RETRAIN = "train it again: eo estimator train"


@dataclass(frozen=True, slots=True)
class Estimate:
    """Watts of each machine at its load, the 90 % interval, and why it is what it is."""

    watts: Floats
    lower: Floats
    upper: Floats
    reason: list[str]


class PowerModel:
    """The fitted model. Make it with `default_model()` or `of_text`."""

    def __init__(self, document: Mapping[str, Any], where: str = MODEL_FILE) -> None:
        """InvalidInputError names `where` if it is of another version or damaged."""
        if document.get("version") != MODEL_VERSION:
            raise InvalidInputError(
                f"the node power model is of version {document.get('version')!r}, this program reads {MODEL_VERSION}",
                where=where,
                next_step=_retrain(where),
            )
        if document.get("sha256") != digest(document):
            raise _damaged("its content does not match its checksum", where)
        try:
            self._regression = Regression.of_document(document["regression"], document["tdp_watts"])
            self._intervals = Intervals.of_document(document["intervals"])
            self._shapes = Shapes.of_document(document["shapes"])
            self._typical: dict[str, float] = dict(document["typical"])
            self._guest: Mapping[str, Any] = document["watts_per_thread"]
            self._server: Mapping[str, Any] = document["watts_per_server"]
            self._least_threads = float(document["range"]["threads"][0])
            self._last_year = float(document["range"]["last_year"])
        except (KeyError, TypeError, ValueError) as fault:
            raise _damaged(f"it lacks or garbles {fault}", where) from fault

    @property
    def typical_threads(self) -> float:
        """Logical CPUs of the server that stands for a node of which nothing is known."""
        return self._typical["threads"]

    def curve(self, hardware: NodeHardware) -> PowerCurve:
        """The power curve of a node; wider, with the reason, the less is known of it."""
        if hardware.threads is None or hardware.threads <= 0:
            reason = "no inventory of this node yet: the middle of all servers"
            return self._rough(self._server, 1.0, 1.0, reason)
        if hardware.virtual or hardware.threads < self._least_threads:
            what = "virtual machine" if hardware.virtual else f"node of {hardware.threads} threads"
            reason = f"{what}: outside the training range, so {hardware.threads} threads' share of a typical server"
            return self._rough(self._guest, float(hardware.threads), self._guest["widen"], reason + ", wide interval")
        return self._of_server(one_machine(hardware))

    def estimate(self, machines: Machines, load: Floats, readings: Sequence[Reading] = ()) -> Estimate:
        """Watts of each machine at its load (0 to 1). A reading is a load and watts for each row, NaN for none."""
        belief, _, reason = self.belief(machines, readings)
        watts, sigma = belief.watts(load)
        half = np.exp(Z_90 * sigma)
        return Estimate(watts, watts / half, watts * half, reason)

    def belief(self, machines: Machines, readings: Sequence[Reading] = ()) -> tuple[Belief, Prediction, list[str]]:
        """The curves of machines after their readings, with what they rest on."""
        whole, guessed = complete(machines, self._typical)
        prediction = self._regression.predict(whole)
        widen, newer, reason = self._widening(whole, prediction, guessed)
        some = self._intervals
        idle, full = (
            np.where(newer, np.maximum(width, ahead), width) * widen
            for width, ahead in zip(some.half_widths(prediction), some.newer, strict=True)
        )
        state, covariance = prior(prediction.log_idle, prediction.log_full, idle, full, some.together)
        before = Belief(state, covariance, self._share_at(whole))
        given = np.sum([np.isfinite(load) & np.isfinite(watts) for load, watts in readings], axis=0, dtype=np.intp)
        after = after_all(before, readings)
        counts = np.broadcast_to(given, (len(whole),))
        scale = np.where(counts == 1, self._intervals.after_reading**2, 1.0)
        scaled = Belief(after.state, after.covariance * scale[:, None, None], after.share_at)
        for index in np.flatnonzero(counts):
            reason[index] += f"; calibrated on {counts[index]} reading{'s' if counts[index] > 1 else ''}"
        return scaled, prediction, reason

    def _share_at(self, machines: Machines) -> Any:
        born, _ = generations(machines, self._regression.latest)
        amd, _, _ = kinds(machines)
        known = np.array([float(bool(vendor(name))) for name in machines.cpu])
        family = family_of(amd, known, born)
        return lambda load: self._shapes.at(load, born, family)

    def _widening(
        self, machines: Machines, prediction: Prediction, guessed: list[list[str]]
    ) -> tuple[Floats, NDArray[np.bool_], list[str]]:
        """What the interval's logarithm is times, which machines are newer than all trained on, and the reasons."""
        named = [generation(name) for name in machines.cpu]
        born, _ = generations(machines, self._regression.latest)
        newer = (born > self._regression.latest + NEWER_BY_YEARS) | (machines.year > self._last_year)
        unlike = (prediction.beyond > 0) | (prediction.likeness < self._intervals.least_likeness)
        ageless = np.array([year is None for year in named]) & ~np.isfinite(machines.year)
        beyond = np.maximum(np.nan_to_num(machines.year - self._last_year), born - self._regression.latest)
        widen = 1.0 + NEWER_PER_YEAR * np.clip(beyond - NEWER_AFTER_YEARS, 0.0, 20.0)
        widen *= np.where([bool(names) for names in guessed], GUESSED_WIDENING, 1.0)
        widen *= np.where(unlike & ~newer, OUTSIDE_WIDENING, 1.0) * np.where(ageless, GUESSED_WIDENING, 1.0)
        reasons = []
        for index in range(len(machines)):
            year = machines.year[index] if np.isfinite(machines.year[index]) else named[index]
            parts = [f"SPECpower model, hardware year {'unknown' if year is None else int(year)}"]
            parts += [_tdp_said(prediction, index)]
            parts += [f"unknown: {', '.join(guessed[index])}"] if guessed[index] else []
            parts += ["newer than all it was trained on, interval widened"] if newer[index] else []
            parts += ["unlike the servers it was trained on, interval widened"] if unlike[index] else []
            reasons.append("; ".join(parts))
        return widen, newer, reasons

    def _of_server(self, machine: Machines) -> PowerCurve:
        belief, _, reason = self.belief(machine)
        low, high = np.exp(belief.state[0, 0]), np.exp(belief.state[0, 1])
        covariance = belief.covariance[0]
        view = np.array([-low, high, 0.0]) / (high - low)
        half_dynamic = float(np.exp(Z_90 * np.sqrt(view @ covariance @ view)))
        half_idle = float(np.exp(Z_90 * np.sqrt(covariance[0, 0])))
        idle = Bounded(float(low), float(low) / half_idle, float(low) * half_idle)
        watts = float(high - low)
        dynamic = Bounded(watts, watts / half_dynamic, watts * half_dynamic)
        share, spread = (part for part in belief_shape(belief))
        return _curve(idle, dynamic, share, spread, reason[0])

    def _rough(self, part: Mapping[str, Any], times: float, widen: float, reason: str) -> PowerCurve:
        """Quantiles of all servers; of a guest: what its threads do in a typical host, oversubscription unknown."""
        idle, dynamic = (
            Bounded(middle * times, low * times / widen, high * times * widen)
            for low, middle, high in (part["idle"], part["dynamic"])
        )
        year = np.full(len(LOADS), self._regression.latest)
        share, spread = self._shapes.at(LOADS, year, np.full(len(LOADS), 2))
        return _curve(idle, dynamic, share, spread, reason)


def _tdp_said(prediction: Prediction, index: int) -> str:
    watts = f"{prediction.tdp[index]:.0f} W"
    if prediction.tdp_near[index]:
        return f"TDP taken as {watts}, of the CPU nearest by name"
    return f"TDP guessed as {watts}" if prediction.tdp_guessed[index] else f"TDP {watts} a socket"


def belief_shape(belief: Belief) -> tuple[Floats, Floats]:
    """Share and its deviation at each of `LOADS`, of a belief about one machine."""
    parts = [belief.share_at(np.array([load])) for load in LOADS]
    return np.array([part[0][0] for part in parts]), np.array([part[1][0] for part in parts])


def _curve(idle: Bounded, dynamic: Bounded, share: Floats, spread: Floats, reason: str) -> PowerCurve:
    lower, upper = (np.clip(share + side * Z_90 * spread, 0.0, 1.0) for side in (-1, 1))
    return PowerCurve(idle, dynamic, LOADS, share, lower, upper, reason)


def digest(document: Mapping[str, Any]) -> str:
    """Checksum of a model's content, itself left out."""
    rest = {key: value for key, value in document.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def of_text(text: str, where: str = MODEL_FILE) -> PowerModel:
    """A model from the text of its file; an error that names the file where it is damaged or of another version."""
    try:
        document = json.loads(text)
    except ValueError as fault:
        raise _damaged("it is not JSON", where) from fault
    if not isinstance(document, dict):
        raise _damaged("it holds no model", where)
    return PowerModel(document, where)


def _damaged(why: str, where: str = MODEL_FILE) -> InvalidInputError:
    return InvalidInputError(f"the node power model is damaged: {why}", where=where, next_step=_retrain(where))


def _retrain(where: str) -> str:
    return RETRAIN if where == MODEL_FILE else f"{RETRAIN} --out {where}"


@cache
def default_model() -> PowerModel:
    """The model shipped with the package."""
    text = (resources.files("energy_orchestrator.analyze") / MODEL_FILE).read_text(encoding="utf-8")
    return of_text(text)
