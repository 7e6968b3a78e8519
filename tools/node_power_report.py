"""How good the estimator is, as Markdown: docs/accuracy.md.

Everything is computed from the data; called by `train_node_power_model.py --report`, which fits the model.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from train_node_power_model import Floats, Servers, folds, out_of_fold, parts_of, robust_ridge, standardised

from energy_orchestrator.analyze.estimator import NEWER_WIDENING

PLATFORM_FILE = "kepler_nx12/preprocess_abs_default_acpi_Basic.csv"
RAPL_FILE = "kepler_nx12/preprocess_abs_default_rapl_Basic.csv"
BLOCK = 10
"""Rows of 3 s: single ones are noisy, since the two meters are not read at the same moment."""
LAST_YEARS = (2016, 2018, 2020, 2022)


def report(data: Path, servers: Servers, held_out: dict[str, dict[str, Floats]]) -> str:
    """Markdown: accuracy with n, split and baseline."""
    actual = {"idle": servers.idle, "dynamic": servers.full - servers.idle, "full": servers.full}
    lines = []
    for name, parts in held_out.items():
        predicted = {**parts, "full": parts["idle"] + parts["dynamic"]}
        for part, watts in actual.items():
            lines.append(_accuracy_row(name, part, watts, predicted[part], servers))
    for part, watts in actual.items():
        lines.append(_accuracy_row("watts a thread (baseline)", part, watts, _per_thread(watts, servers), servers))
    return REPORT.format(
        rapl=rapl_against_platform(data),
        servers=len(servers.cpu),
        cpus=len(set(servers.cpu)),
        rows="\n".join(lines),
        late=_late(servers),
        newer=NEWER_WIDENING,
    )


def _per_thread(watts: Floats, servers: Servers) -> Floats:
    """The simple way: the median watts a thread of the other folds."""
    fold, predicted = folds(servers.cpu), np.empty(len(watts))
    for k in np.unique(fold):
        held = fold == k
        predicted[held] = np.median((watts / servers.threads)[~held]) * servers.threads[held]
    return predicted


def _late(servers: Servers) -> str:
    """Servers of the three years after the last one trained on, as the estimator treats what is newer: the model
    without a year, the interval widened."""
    rows, lines = servers.rows(False), []
    for last in LAST_YEARS:
        old, new = servers.year <= last, (servers.year > last) & (servers.year <= last + 3)
        fold = folds([cpu for cpu, known in zip(servers.cpu, old, strict=True) if known])
        for part, watts in parts_of(servers.idle, servers.full - servers.idle):
            target = np.log(watts / servers.sockets)
            x, mean, scale = standardised(rows[old])
            beta = robust_ridge(x, target[old])
            clipped = np.clip(rows[new], rows[old].min(axis=0), rows[old].max(axis=0))
            error = target[new] - beta[0] - ((clipped - mean) / scale) @ beta[1:]
            low, high = np.quantile(target[old] - out_of_fold(rows[old], target[old], fold), [0.05, 0.95])
            wrong = np.exp(-error) - 1
            figures = f"{100 * np.mean(np.abs(wrong)):.1f} | {100 * np.mean(wrong):+.1f}"
            for widen in (1.0, NEWER_WIDENING):
                figures += f" | {100 * np.mean((error >= low * widen) & (error <= high * widen)):.1f}"
            lines.append(f"| {last} | {part} | {new.sum()} | {figures} |")
    return "\n".join(lines)


def _accuracy_row(name: str, part: str, watts: Floats, predicted: Floats, servers: Servers) -> str:
    error, fold = np.log(watts / predicted), folds(servers.cpu)
    inside = np.empty(len(watts), dtype=bool)
    for k in np.unique(fold):
        held = fold == k
        low, high = np.quantile(error[~held], [0.05, 0.95])
        inside[held] = (error[held] >= low) & (error[held] <= high)
    order = np.argsort(servers.threads, kind="stable")
    worst = min(inside[part_].mean() for part_ in np.array_split(order, 10))
    relative = np.abs(predicted / watts - 1)
    figures = f"{100 * relative.mean():.1f} | {100 * np.median(relative):.1f} | {100 * inside.mean():.1f}"
    return f"| {name} | {part} | {len(watts)} | {figures} | {100 * worst:.1f} |"


def rapl_against_platform(data: Path) -> str:
    """How much of a node its on-die counters show: the interval of that tier."""
    with (data / PLATFORM_FILE).open(encoding="utf-8") as lines:
        platform = {row["timestamp"]: float(row["platform_power"]) for row in csv.DictReader(lines)}
    with (data / RAPL_FILE).open(encoding="utf-8") as lines:
        pairs = [
            (platform[row["timestamp"]], float(row["package_power"]) + float(row["dram_power"]))
            for row in csv.DictReader(lines)
        ]
    whole, seen = np.array(pairs).T
    ratio, beside = np.quantile(whole / seen, [0.05, 0.95]), np.quantile(whole - seen, [0.05, 0.95])
    rest = np.quantile(seen, 0.02)
    at_rest = np.median(whole[seen <= rest])
    blocks = [part[: len(part) // BLOCK * BLOCK].reshape(-1, BLOCK).mean(axis=1) for part in (whole, seen)]
    busy = blocks[1] > 1.2 * rest
    dynamic = np.quantile((blocks[0][busy] - at_rest) / (blocks[1][busy] - rest), [0.05, 0.5, 0.95])
    return RAPL.format(
        rows=len(pairs), ratio=ratio, highest=(whole / seen).max(), beside=beside, dynamic=dynamic, blocks=busy.sum()
    )


RAPL = """What RAPL sees of a node (kepler_nx12, Xeon E5-2667v3, {rows} rows of 3 s): the platform drew
{ratio[0]:.2f} to {ratio[1]:.2f} times package plus DRAM (5 to 95 %, highest {highest:.2f}), most at rest, and
{beside[0]:.0f} to {beside[1]:.0f} W more. Above rest the two go together: dynamic power of the platform was
{dynamic[0]:.2f} to {dynamic[2]:.2f} times RAPL's over blocks of 30 s (median {dynamic[1]:.2f}, {blocks} blocks).
Hence 0.8 to 1.3 for active energy, once the meter has been seen at rest. One machine: a calibration on your own
replaces it."""

REPORT = """# How good the numbers are

Made by `tools/train_node_power_model.py --report docs/accuracy.md` from the SPECpower results of March 2026
({servers} servers, {cpus} CPU models; two chassis of 384 single-chip nodes left out). Do not edit by hand.

## Node power without a meter (tier `model`)

Ten folds; all servers of a CPU model are in one fold, so every figure is for CPUs that the model never saw. The
interval of a fold comes from the errors of the other nine. MAPE = mean of |predicted / measured - 1|. `worst tenth`
= coverage in the worst tenth of servers by number of threads.

| model | watts | n | MAPE % | median % | inside 90 % interval, % | worst tenth, % |
|---|---|---|---|---|---|---|
{rows}

Hardware newer than the training data. Trained on results up to a year, tested on those of the next three. A year
beyond the last one trained on is not extrapolated: the model without a year answers, and its interval is widened by
{newer:g} (of its logarithm). The last column shows what that covers; the figure was chosen on these same splits:

| trained to | watts | n | MAPE % | bias % | inside the interval as fitted, % | as widened, % |
|---|---|---|---|---|---|---|
{late}

For comparison, other methods on such data: a TDP curve 31.6 % MAPE; XGBoost on log(W / TDP) 10.9 % (needs each
CPU's TDP, which no node reports); the same with one wall reading of the node 5.9 %. One reading beats any model.

What these figures do not cover:
- Load between rest and full follows the mean curve of the hardware's year (statistics of 619 servers); the spread
  of real curves (5 to 95 %) is part of the interval, but its coverage was not tested here.
- A virtual machine gets its threads' share of a typical server since 2018, its 5 to 95 % range widened by 1.5 both
  ways. No public data measures guests against the wall; this is an assumption and the tier says `model`.
- SPECpower machines are tuned and lean. Servers with GPUs, many disks or full memory draw more.

## Meters

| tier | interval used until a better meter calibrates it | source |
|---|---|---|
| `wall` | ±2 % | outlet-metered PDUs state ±1 %; twice that for sampling |
| `bmc` | ±10 % | assumed: BMC readings are PSU telemetry, coarse in steps and time |
| `on_die` | -2 % to +150 % | package and DRAM only; see below |

{rapl}

## Attribution

node = idle + sum of active + unattributed holds to rounding (1e-9), by construction and by property tests.
"""
