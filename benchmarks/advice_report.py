"""Figures of the strategies that are not placement, and of confidence.

    python -m benchmarks.advice_report [--write]

Writes the sections `confidence` (simulated) and `measured-sweeps` (Zeus's real sweeps) of docs/accuracy.md and the
reliability plot docs/images/reliability.svg.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np

from benchmarks.advice_record import Judged, precision_at, replayed, simulate_record
from benchmarks.report import ACCURACY, add_write, tell
from benchmarks.zeus_sweeps import FOLDER, batch_sweeps, power_sweeps
from energy_orchestrator.model.fleet import BatchPoint, PowerSweep
from energy_orchestrator.recommend.batch_sweep import fit_joules
from energy_orchestrator.recommend.confidence import calibration_error, reliability
from energy_orchestrator.recommend.power_cap import best_limit, energy_per_operation

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SEED = 1


def confidence_section(judged: Sequence[Judged]) -> str:
    """Markdown."""
    came = [it.claim.came_true for it in judged]
    claims, sure = [it.claim.claim for it in judged], [it.confidence for it in judged]
    rate = [float(np.mean(came))] * len(came)
    lines = [
        "## Confidence, on a simulated record of advice",
        "",
        f"A simulation (`benchmarks/advice_record.py`): {len(judged)} claims of 18 weeks, each judged "
        "by what came of the "
        "weeks before it only; strategies that believe half of their true error. `python -m benchmarks.advice_report "
        "--write`. Error = expected calibration error; Brier = mean squared distance from the outcome.",
        "",
        "| confidence | calibration error, % | Brier |",
        "|---|---|---|",
    ]
    for name, values in (
        ("as claimed", claims),
        ("rate of all, in hindsight (baseline)", rate),
        ("calibrated on the record", sure),
    ):
        brier = float(np.mean((np.array(values) - np.array(came, float)) ** 2))
        lines.append(f"| {name} | {100 * calibration_error(values, came):.1f} | {brier:.3f} |")
    lines += ["", "| confidence from-to, % | n | mean confidence, % | came true, % |", "|---|---|---|---|"]
    for mean, share, n in reliability(sure, came):
        low = int(min(9, mean * 10)) * 10
        lines.append(f"| {low} to {low + 10} | {n} | {100 * mean:.1f} | {100 * share:.1f} |")
    lines += [
        "",
        "![Reliability: confidence against what came true](images/reliability.svg)",
        "",
        "The best 20 of each week, chosen in three ways; savings against the best 20 that hindsight would choose:",
        "",
        "| ranked by | precision at 20, % | savings reached, % |",
        "|---|---|---|",
    ]
    for by in ("claimed saving", "claimed confidence", "calibrated confidence"):
        precision, reached = precision_at(judged, 20, by)
        what = by if by == "claimed saving" else f"careful saving x {by}"
        lines.append(f"| {what} | {100 * precision:.1f} | {100 * reached:.1f} |")
    return "\n".join(lines)


def sweeps_section(sweeps: Sequence[PowerSweep], batches: dict[tuple[str, ...], list[BatchPoint]]) -> str:
    """Markdown."""
    lines = [
        "## Power caps and batches, on Zeus's measured sweeps",
        "",
        f"{len(sweeps)} sweeps of power limits and {len(batches)} of batch sizes (A40, P100, RTX "
        "6000, V100; GPU power only, "
        "one run each). From the highest limit, at most so much slower. `half seen`: the strategy sees every second "
        "limit; regret is what the best of all limits would save more. Baseline: a cap at 70 % of the highest for all.",
        "",
        "| rule | slow-down allowed | energy an epoch saved, %: median (10 to 90 % of sweeps) | "
        "regret, points | too slow, % |",
        "|---|---|---|---|---|",
    ]
    for allowed in (0.05, 0.10):
        for name in ("all limits seen", "half seen", "70 % for all (baseline)"):
            saved, regret, slow = _caps(sweeps, allowed, name)
            low, middle, high = (100 * float(it) for it in np.quantile(saved, (0.1, 0.5, 0.9)))
            lines.append(
                f"| {name} | {allowed:.0%} | {middle:.1f} ({low:.1f} to {high:.1f}) | {100 * np.mean(regret):.1f} | "
                f"{100 * np.mean(slow):.0f} |"
            )
    curve, flat, nearest = _left_out(batches)
    lines += [
        "",
        "J an epoch at a batch size that was left out (inner sizes, each once), mean of |predicted / measured - 1|:",
        "",
        "| predicted by | MAPE % | n |",
        "|---|---|---|",
        f"| a + b / batch | {100 * np.mean(curve):.1f} | {len(curve)} |",
        f"| the next smaller size (baseline) | {100 * np.mean(nearest):.1f} | {len(nearest)} |",
        f"| mean of the others (baseline) | {100 * np.mean(flat):.1f} | {len(flat)} |",
    ]
    return "\n".join(lines)


def _caps(sweeps: Sequence[PowerSweep], allowed: float, name: str) -> tuple[list[float], list[float], list[bool]]:
    saved, regret, slow = [], [], []
    for it in sweeps:
        now = max(it.points, key=lambda point: point.limit_watts)
        best = best_limit(it.points, now, allowed, 0.0)
        if name == "all limits seen":
            chosen = best
        elif name == "half seen":
            chosen = best_limit(it.points[::-1][::2], now, allowed, 0.0)
        else:
            chosen = min(it.points, key=lambda point: abs(point.limit_watts - 0.7 * now.limit_watts))
        before = energy_per_operation(now, 0.0)
        saved.append(1 - energy_per_operation(chosen, 0.0) / before)
        regret.append((energy_per_operation(chosen, 0.0) - energy_per_operation(best, 0.0)) / before)
        slow.append(chosen.seconds_per_operation > now.seconds_per_operation * (1 + allowed) * (1 + 1e-9))
    return saved, regret, slow


def _left_out(batches: dict[tuple[str, ...], list[BatchPoint]]) -> tuple[list[float], list[float], list[float]]:
    curve, flat, nearest = [], [], []
    for points in batches.values():
        for place in range(1, len(points) - 1):
            seen, truth = points[:place] + points[place + 1 :], points[place].joules_per_operation
            curve.append(abs(fit_joules(seen).joules(points[place].batch) / truth - 1))
            flat.append(abs(float(np.mean([it.joules_per_operation for it in seen])) / truth - 1))
            nearest.append(abs(points[place - 1].joules_per_operation / truth - 1))
    return curve, flat, nearest


def reliability_svg(judged: Sequence[Judged]) -> str:
    """The plot: claimed (open) and calibrated (filled) against what came true; area by number."""
    came = [it.claim.came_true for it in judged]
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 360 340" font-family="sans-serif" font-size="12">',
        '<rect width="360" height="340" fill="#fff"/>',
        '<text x="50" y="18">Reliability on a simulated record of advice</text>',
        '<path d="M50 290H340M50 290V30" stroke="#333" fill="none"/>',
        '<path d="M50 290L340 30" stroke="#999" stroke-dasharray="4 4"/>',
    ]
    for tick in range(0, 101, 25):
        x, y = 50 + 2.9 * tick, 290 - 2.6 * tick
        parts.append(f'<text x="{x:.0f}" y="306" text-anchor="middle">{tick}</text>')
        parts.append(f'<text x="44" y="{y + 4:.0f}" text-anchor="end">{tick}</text>')
    parts.append(
        '<text x="195" y="324" text-anchor="middle">confidence, % (open: as claimed, filled: calibrated)</text>'
    )
    parts.append('<text transform="translate(14 160) rotate(-90)" text-anchor="middle">came true, %</text>')
    for values, style in (
        ([it.claim.claim for it in judged], 'fill="none" stroke="#b5482a"'),
        ([it.confidence for it in judged], 'fill="#1f6f8b" fill-opacity="0.8"'),
    ):
        for mean, share, n in reliability(values, came):
            radius = 3 + 9 * (n / len(judged)) ** 0.5
            parts.append(f'<circle cx="{50 + 290 * mean:.1f}" cy="{290 - 260 * share:.1f}" r="{radius:.1f}" {style}/>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def main() -> None:
    """Print the sections; `--write` puts them into docs/."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_write(options)
    chosen = options.parse_args()
    judged, missing = replayed(simulate_record(SEED)), ""
    sections = {"confidence": confidence_section(judged)}
    if FOLDER.is_dir():
        sections["measured-sweeps"] = sweeps_section(power_sweeps(), batch_sweeps())
    else:
        missing = f"no data: {FOLDER}; the section `measured-sweeps` stays as it is"
    for name, text in sections.items():
        tell(name, text, chosen.write)
    if chosen.write:
        (ACCURACY.parent / "images/reliability.svg").write_text(reliability_svg(judged), encoding="utf-8")
    if missing:
        raise SystemExit(missing)


if __name__ == "__main__":
    main()
