"""Watts of a node that has no meter, from what it is made of: pure prediction from a shipped JSON file.

In goes what the inventory knows of a node (`NodeHardware`), out comes its power curve: watts at rest, dynamic watts
and the share of them at each utilisation, every one with a 90 % interval. The numbers were fitted to SPECpower
servers by `tools/train_node_power_model.py`, which shares `features` below, so that training and prediction cannot
drift apart. Watts are predicted as a ratio to a physical baseline (watts a socket), because trees and plain
regressions on watts do not extrapolate to machines larger than those seen.

Two cases are outside what SPECpower publishes, and say so in `reason`: a virtual machine gets a share of a typical
host by its threads, and a node of which nothing is known gets the middle of all servers. Both intervals are wide.
`analyze/node_power.py` decides whether a meter or this model speaks for a node.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from energy_orchestrator.errors import InvalidInputError
from energy_orchestrator.model.units import Bounded

Floats = NDArray[np.float64]

MODEL_FILE = "node_power_model.json"
MODEL_VERSION = 1
REFERENCE_MHZ = 2500.0
NEWER_WIDENING = 2.5
"""Of the interval's logarithm, for hardware newer than the training data: docs/accuracy.md shows what it covers."""
KNOTS = (2008, 2009, 2010, 2012, 2014, 2017, 2019, 2021, 2023)
"""Years at which the trend of watts a socket may bend."""
_DROPPED = re.compile(r"\(.*?\)|[®™]|@.*|,.*|processor|cpu|\d+-core|\d+(\.\d+)? ?ghz.*")
_LOW_POWER = re.compile(r"\bl\d{4}|\d{4}l\b|\bhe\b|\bee\b")
_HIGH_POWER = re.compile(r"\bx\d{4}|\d{4}f\b|\bse\b|platinum")
_AMD = re.compile(r"amd|epyc|opteron")
_SMALL = re.compile(r"e3-|e-2|core|xeon-d|d-1|epyc 4|pentium")


@dataclass(frozen=True, slots=True)
class NodeHardware:
    """What the inventory says of a node; None is unknown."""

    threads: int | None = None
    cores: int | None = None
    sockets: int | None = None
    mhz: float | None = None
    memory_gb: float | None = None
    cpu_model: str | None = None
    virtual: bool | None = None
    year: int | None = None


@dataclass(frozen=True, slots=True)
class PowerCurve:
    """Watts at rest and dynamic watts (full minus rest), and the share of the latter at each load."""

    idle: Bounded
    dynamic: Bounded
    load: Floats
    share: Floats
    share_lower: Floats
    share_upper: Floats
    reason: str
    """Where the numbers come from and why the interval is what it is."""

    @property
    def full(self) -> Bounded:
        """Watts at 100 % load."""
        return Bounded(
            self.idle.value + self.dynamic.value,
            self.idle.lower + self.dynamic.lower,
            self.idle.upper + self.dynamic.upper,
        )

    def active(self, utilisation: Floats) -> tuple[Floats, Floats, Floats]:
        """Dynamic watts at each utilisation (0 to 1) with bounds.

        The errors of the height and of the shape are unrelated, so their logarithms add as squares.
        """
        at = np.clip(utilisation, 0.0, 1.0)
        shares = [np.interp(at, self.load, curve) for curve in (self.share, self.share_lower, self.share_upper)]
        value = self.dynamic.value * shares[0]
        down = _combined(self.dynamic.lower / self.dynamic.value, shares[1], shares[0])
        up = _combined(self.dynamic.upper / self.dynamic.value, shares[2], shares[0])
        return value, value / down, value * up


def _combined(height: float, shape: Floats, middle: Floats) -> Floats:
    ratio = np.divide(shape, middle, out=np.ones_like(middle), where=middle > 0)
    return np.asarray(np.exp(np.hypot(abs(math.log(height)), np.log(np.maximum(ratio, 1e-3)))))


def canonical_cpu(name: str) -> str:
    """A CPU's name without marks, frequency and core count, so that /proc/cpuinfo and SPEC agree."""
    return " ".join(_DROPPED.sub(" ", name.lower().replace("(r)", "").replace("(tm)", "")).split())


def features(
    *, threads: float, cores: float, sockets: float, mhz: float, memory_gb: float, cpu: str, year: float | None
) -> list[float]:
    """The regressors of one server; with a year there are more of them (two models are shipped)."""
    per_socket, smt = math.log(cores / sockets), math.log(threads / cores)
    clock = math.log(mhz / REFERENCE_MHZ)
    memory = math.log(min(max(memory_gb / threads, 0.125), 16.0))
    kind = [float(bool(found.search(cpu))) for found in (_LOW_POWER, _HIGH_POWER, _AMD, _SMALL)]
    row = [per_socket, per_socket**2, per_socket**3, smt, per_socket * smt, clock, clock**2, per_socket * clock]
    row += [memory, memory**2, math.log(sockets), float(sockets == 1), math.log(max(sockets, 2.0)), *kind]
    if year is not None:
        age = (year - 2015) / 5
        row += [age, age**2, age**3, age * per_socket, age * per_socket**2, age**2 * per_socket, age * clock]
        row += [age * math.log(sockets), *(age * flag for flag in kind), age * kind[2] * per_socket]
        row += [max(0.0, year - knot) / 5 for knot in KNOTS]
    return row


class PowerModel:
    """The fitted model. Make it with `default_model()`."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        if document.get("version") != MODEL_VERSION:
            raise InvalidInputError(
                f"version {document.get('version')!r} of the node power model is not {MODEL_VERSION}",
                where=MODEL_FILE,
                next_step="train it again: tools/train_node_power_model.py",
            )
        self._document = document

    @property
    def typical_threads(self) -> float:
        """Logical CPUs of the server that stands for a node of which nothing is known."""
        return float(self._document["typical"]["threads"])

    def curve(self, hardware: NodeHardware) -> PowerCurve:
        """The power curve of a node; wider, with the reason, the less is known of it."""
        if hardware.threads is None or hardware.threads <= 0:
            return self._unknown()
        too_small = hardware.threads < self._document["range"]["threads"][0]
        if hardware.virtual or too_small:
            what = "virtual machine" if hardware.virtual else f"node of {hardware.threads} threads"
            return self._share_of_host(hardware.threads, what)
        return self._server(hardware, float(hardware.threads))

    def _server(self, hardware: NodeHardware, threads: float) -> PowerCurve:
        typical = self._document["typical"]
        cores = float(hardware.cores or threads / typical["threads_per_core"])
        sockets = float(hardware.sockets or 1)
        cpu = canonical_cpu(hardware.cpu_model or "")
        year = hardware.year or self._document["cpu_years"].get(cpu)
        newer = year is not None and year > self._document["range"]["last_year"]
        named = str(year or "unknown")
        year = None if newer else year
        guessed = [name for name in ("cores", "sockets", "mhz", "memory_gb") if not getattr(hardware, name)]
        row = features(
            threads=threads,
            cores=min(cores, threads),
            sockets=min(sockets, cores),
            mhz=hardware.mhz or typical["mhz"],
            memory_gb=hardware.memory_gb or typical["memory_gb_per_thread"] * threads,
            cpu=cpu,
            year=year,
        )
        fitted = self._document["with_year" if year else "without_year"]
        outside = _outside(row, fitted)
        widen = NEWER_WIDENING if newer else 1.0 + 0.5 * bool(guessed) + 0.5 * (outside or year is None)
        watts = {part: _predict(row, fitted["parts"][part], fitted, sockets, widen) for part in ("idle", "dynamic")}
        reason = f"SPECpower model, hardware year {named}"
        reason += ", newer than all it was trained on, so a much wider interval" if newer else ""
        reason += f"; unknown: {', '.join(guessed)}" if guessed else ""
        reason += "; outside the servers it was trained on, interval widened" if outside else ""
        return self._with_shape(watts["idle"], watts["dynamic"], year, reason)

    def _share_of_host(self, threads: int, what: str) -> PowerCurve:
        """A guest draws what its threads do in a typical host; oversubscription is unknown, hence the width."""
        part = self._document["watts_per_thread"]
        idle, dynamic = (_quantiles(part[name], float(threads), part["widen"]) for name in ("idle", "dynamic"))
        reason = f"{what}: outside the training range, so {threads} threads' share of a typical server, wide interval"
        return self._with_shape(idle, dynamic, None, reason)

    def _unknown(self) -> PowerCurve:
        part = self._document["watts_per_server"]
        idle, dynamic = (_quantiles(part[name], 1.0, 1.0) for name in ("idle", "dynamic"))
        return self._with_shape(idle, dynamic, None, "no inventory of this node yet: the middle of all servers")

    def _with_shape(self, idle: Bounded, dynamic: Bounded, year: int | None, reason: str) -> PowerCurve:
        shapes = self._document["load_curve"]
        name = next((name for name, (first, last) in shapes["years"].items() if year and first <= year <= last), "all")
        curve = {key: np.array(values, dtype=np.float64) for key, values in shapes["curves"][name].items()}
        load = np.array(shapes["load"], dtype=np.float64)
        return PowerCurve(idle, dynamic, load, curve["mean"], curve["p05"], curve["p95"], reason)


def _predict(
    row: list[float], part: Mapping[str, Any], fitted: Mapping[str, Any], sockets: float, widen: float
) -> Bounded:
    low, high = np.array(fitted["lowest"]), np.array(fitted["highest"])
    scaled = (np.clip(np.array(row), low, high) - np.array(fitted["mean"])) / np.array(fitted["scale"])
    log_ratio = part["intercept"] + float(scaled @ np.array(part["coefficients"]))
    value = sockets * math.exp(log_ratio)
    down, up = part["log_error_90"]
    return Bounded(value, value * math.exp(down * widen), value * math.exp(up * widen))


def _outside(row: list[float], fitted: Mapping[str, Any]) -> bool:
    return any(not low <= x <= high for x, low, high in zip(row, fitted["lowest"], fitted["highest"], strict=True))


def _quantiles(three: list[float], times: float, widen: float) -> Bounded:
    low, middle, high = three
    return Bounded(middle * times, low * times / widen, high * times * widen)


@cache
def default_model() -> PowerModel:
    """The model shipped with the package."""
    text = (resources.files("energy_orchestrator.analyze") / MODEL_FILE).read_text(encoding="utf-8")
    return PowerModel(json.loads(text))
