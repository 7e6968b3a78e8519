"""Whose the energy of a GPU is: gpu = idle + sum of workloads' + unattributed, exactly, for many GPUs and windows at
once.

A GPU's energy is measured for the board, never for a process. What the board draws at rest belongs to nobody. What
lies above it is shared by the best that is known of each GPU in each window; a row is what one workload (and replica)
did on one GPU or MIG instance, all its processes together:

1. `utilization`: the time for which the row's kernels were on the GPU, where it is known of all rows. Nobody there
   for any time: unattributed, whoever holds memory.
2. `only workload`: without that, the one row there is gets all.
3. `mig slices`: under MIG, where NVML tells no use, by the compute slices of the instances that have a process. It
   says how large an instance is and not what it did, so it is an assumption and named as such. An instance of
   several workloads is not split.
4. Else nothing is known: the shares are NaN, and what lies above rest is unattributed with the reason.

A row without a name (a pid of another namespace, processes beyond the agent's limit) counts in the whole, and its
share is unattributed: it does not fall to the others. Memory held says nothing of joules and is not asked for.

Columns in, columns out; no loop over rows. `services/gpu_energy.py` asks the series and calls this.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from energy_orchestrator.analyze.attribution import Floats, Indexes, by_node

Flags = NDArray[np.bool_]
Words = NDArray[np.str_]

BY_USE = "utilization"
ALONE = "only workload"
BY_SLICES = "mig slices"

EMPTY = "no process on the GPU"
UNUSED = "no process used the GPU"
UNKNOWN_USE = "several workloads on the GPU, and their use of it is not known"
NAMELESS = "used by processes that are not known by name"
SHARED_INSTANCE = "several workloads on one MIG instance, and their use of it is not known"


@dataclass(frozen=True, slots=True)
class GpuRows:
    """What was seen on GPUs; one value per row.

    Attributes:
        gpu: index of the row's GPU and window.
        busy_seconds: time for which its kernels were on the GPU; NaN where not known.
        slices: compute slices of its MIG instance; NaN where there is none.
        instance: number of its MIG instance, no two GPUs or windows having one in common; -1 where there is none.
        named: whether its workload is known.
    """

    gpu: Indexes
    busy_seconds: Floats
    slices: Floats
    instance: Indexes
    named: Flags


@dataclass(frozen=True, slots=True)
class GpuShares:
    """Joules. `idle`, `active`, `unattributed` and `reason` (of what is unattributed, "" for nothing) have one value
    per GPU and window; `row_joules` (NaN: not known) and `row_method` ("" likewise) one per row."""

    idle: Floats
    active: Floats
    unattributed: Floats
    reason: Words
    row_joules: Floats
    row_method: Words


def share(gpu_joules: Floats, rest_joules: Floats, rows: GpuRows) -> GpuShares:
    """Split the energy of each GPU in each window.

    Args:
        gpu_joules: energy of each GPU in each window.
        rest_joules: what it would have spent at rest; more than gpu_joules counts as gpu_joules.
        rows: what was seen on them.

    Raises:
        ValueError: on negative or non-finite energies, and on negative or infinite times.
    """
    for name, values in (("gpu_joules", gpu_joules), ("rest_joules", rest_joules)):
        if values.size and (not np.isfinite(values).all() or values.min() < 0):
            raise ValueError(f"{name}: every value must be finite and not negative")
    if np.isinf(rows.busy_seconds).any() or (rows.busy_seconds < 0).any():
        raise ValueError("busy_seconds: every value must be NaN, or finite and not negative")
    idle = np.minimum(rest_joules, gpu_joules)
    above = gpu_joules - idle
    weight, method, why = _weights(rows, gpu_joules.size)
    row_joules = np.where(rows.named, weight, np.nan) * above[rows.gpu]
    active = by_node(np.nan_to_num(row_joules), rows.gpu, gpu_joules.size)
    # Parts that make a whole may add up to a last digit more than it.
    left = np.maximum(above - active, 0.0)
    reason = np.where(above > 0, why, "")
    return GpuShares(idle, active, left, reason, row_joules, np.where(rows.named, method, ""))


def _weights(rows: GpuRows, gpus: int) -> tuple[Floats, Words, Words]:
    """The part of what lies above rest that is each row's, how it was found, and why a GPU's parts do not fill it."""
    count = by_node(np.ones(rows.gpu.size), rows.gpu, gpus)
    busy = by_node(np.nan_to_num(rows.busy_seconds), rows.gpu, gpus)
    use_known = (count > 0) & (by_node(np.isnan(rows.busy_seconds), rows.gpu, gpus) == 0)
    by_use = use_known & (busy > 0)
    alone = ~use_known & (count == 1)
    cut = ~use_known & (count > 1) & (by_node(~(rows.slices > 0) | (rows.instance < 0), rows.gpu, gpus) == 0)
    parts, split = _by_slices(rows, gpus)
    at = rows.gpu
    weight = np.select(
        [use_known[at], alone[at], cut[at]],
        [np.divide(rows.busy_seconds, busy[at], out=np.zeros(at.size), where=by_use[at]), np.ones(at.size), parts],
        np.nan,
    )
    method = np.select([np.isnan(weight), use_known[at], alone[at]], ["", BY_USE, ALONE], BY_SLICES)
    nameless = by_node(~rows.named & ~(weight == 0), at, gpus) > 0
    why = np.select(
        [count == 0, use_known & ~by_use, ~(use_known | alone | cut), nameless, cut & split],
        [EMPTY, UNUSED, UNKNOWN_USE, NAMELESS, SHARED_INSTANCE],
        "",
    )
    return weight, method, why


def _by_slices(rows: GpuRows, gpus: int) -> tuple[Floats, Flags]:
    """Each row's part of the slices that have a process (NaN on an instance of several rows), and the GPUs that have
    such an instance."""
    place = np.where(rows.instance >= 0, rows.instance, rows.instance.max(initial=-1) + 1)
    together = np.bincount(place, minlength=1)[place] if place.size else np.zeros(0)
    slices = np.nan_to_num(rows.slices)
    # An instance counts once, however many rows are on it.
    whole = by_node(slices / np.maximum(together, 1), rows.gpu, gpus)[rows.gpu]
    part = np.divide(slices, whole, out=np.zeros(slices.size), where=whole > 0)
    return np.where(together == 1, part, np.nan), by_node(together > 1, rows.gpu, gpus) > 0
