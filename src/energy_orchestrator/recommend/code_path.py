"""Code path: a hot function that is known to have a better implementation.

In: the functions of a workload's stacks with the share of its samples that they are in, and the same of the workloads
that are like it by fingerprint. Out: advice for a person with the saving that follows from Amdahl: share x (1 - 1 /
speedup). The table is small and measured by tools/measure_code_paths.py: CPU seconds of the same work both ways; that
energy follows CPU time is an assumption of tier `model`. The lower bound takes half of the share (part of the time
under a function may be the caller's data) and the lowest speed-up measured (nothing, where that was a loss).

What is told of the like ones (`in_its_group`) is evidence for the reader: who has the same hot path, so that one change
may serve them all, and who runs the better way already. It changes no figure: another program's share is no measurement
of this one. No executor can carry this out: code belongs to its owners.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from energy_orchestrator.model.recommendation import SuggestionType
from energy_orchestrator.model.units import Bounded
from energy_orchestrator.recommend.observation import Alike, Finding, Observation, Prior
from energy_orchestrator.recommend.playbook import Measured, corrected

TABLE_FILE = Path(__file__).with_name("data") / "code_paths.json"
MINIMUM_SHARE = 0.10
"""Of a workload's samples; below it nobody rewrites code."""
LEAST_BETTER = 0.01
"""Of the samples of one that runs the better way: it is quick, so there are few."""
SHOWN = 5
"""Names in a sentence."""


@dataclass(frozen=True, slots=True)
class KnownPath:
    """One line of the table."""

    name: str
    functions: str
    better: str
    better_functions: str
    caveat: str
    speedup: Bounded


@dataclass(frozen=True, slots=True)
class LikeIt:
    """What is told of the workloads that are like the target."""

    evidence: Sequence[tuple[str, float | str, str]] = ()
    text: str = ""


@cache
def known_paths() -> tuple[tuple[KnownPath, ...], str]:
    """The shipped table and where its figures come from."""
    table = json.loads(TABLE_FILE.read_text(encoding="utf-8"))
    return tuple(
        KnownPath(
            it["name"],
            it["functions"],
            it["better"],
            it["better_functions"],
            it["caveat"],
            Bounded(it["speedup"], it["speedup_lower"], it["speedup_upper"]),
        )
        for it in table["entries"]
    ), table["source"]


def any_known() -> str:
    """One pattern for all functions of the table, slow and better, for the query that looks for them."""
    return "|".join(f"{it.functions}|{it.better_functions}" for it in known_paths()[0])


def code_path(seen: Observation, measured: Measured) -> Finding | None:
    """See the module."""
    paths, source = known_paths()
    found = []
    for path in paths:
        most = share_of(path.functions, seen.hot_shares)
        if most >= MINIMUM_SHARE:
            found.append((most, path))
    if not found:
        return None
    share, path = max(found, key=lambda pair: pair[0] * (1 - 1 / pair[1].speedup.value))
    share = min(1.0, share)
    ratio = Bounded(
        share * (1 - 1 / path.speedup.value),
        share / 2 * max(0.0, 1 - 1 / path.speedup.lower),
        share * (1 - 1 / path.speedup.upper),
    )
    prior = corrected(Prior(ratio, 0.6, f"{source}; not tried here yet"), measured)
    watts, ratio = seen.active_watts, prior.ratio
    like_it = in_its_group(seen, path, share)
    return Finding(
        strategy="code_path",
        suggestion_type=SuggestionType.CODE_PATH,
        patch={"code": {path.name: path.better}},
        inverse={"code": {path.name: None}},
        saved_watts=watts.times(ratio),
        spent_watts=watts,
        confidence=prior.confidence,
        confidence_reason=prior.source,
        risk_parts={"availability": 0.5, "latency": 0.2, "blast_radius": 0.5, "reversibility": 0.4},
        evidence=[
            ("share of samples", round(100 * share, 1), "%"),
            ("measured speed-up", path.speedup.value, "x"),
            ("lowest and highest", f"{path.speedup.lower:g} to {path.speedup.upper:g}", "x"),
            *like_it.evidence,
        ],
        explanation=(
            f"{share:.0%} of its CPU samples are in {path.name}. {path.better} took "
            f"{path.speedup.value:g} times less CPU "
            f"({path.speedup.lower:g} to {path.speedup.upper:g}, {source}). Mind: {path.caveat}.{like_it.text}"
        ),
        restarted_replicas=seen.replicas,
        executor="none",
        labels={"fingerprint_group": str(seen.group)} if seen.group is not None else {},
    )


def share_of(functions: str, hot_shares: Sequence[tuple[str, float]]) -> float:
    """The greatest share of any function that the pattern names; they may be on the same stacks, so no sum."""
    return min(1.0, max((share for name, share in hot_shares if re.search(functions, name)), default=0.0))


def in_its_group(seen: Observation, path: KnownPath, share: float) -> LikeIt:
    """Who has the same hot path, and who runs the better way already, among those that are like it."""
    same = [it for it in seen.alike if it.same_group and share_of(path.functions, it.hot_shares) >= MINIMUM_SHARE]
    evidence: list[tuple[str, float | str, str]] = []
    text = ""
    if same:
        names = _names([it.workload for it in same])
        evidence.append((f"same hot path in its group: {names}", len(same), "workloads"))
        text += f" {len(same)} more of its fingerprint group {_have(len(same))} the same hot path: {names}."
    there = next((it for it in seen.alike if _runs_better(it, path)), None)
    if there is not None:
        better = share_of(path.better_functions, there.hot_shares)
        evidence += [
            ("like it, and runs the better way", there.workload, ""),
            ("its likeness", round(there.likeness, 2), "cosine"),
            ("its share of samples there", round(100 * better, 1), "%"),
        ]
        text += f" {there.workload}, which is like it, runs the better way already: {better:.0%} of its samples there"
        compared = _per_operation(seen, there)
        evidence += compared.evidence
        text += f", here {share:.0%}{compared.text}."
    return LikeIt(evidence, text)


def _runs_better(other: Alike, path: KnownPath) -> bool:
    better = share_of(path.better_functions, other.hot_shares)
    return better >= LEAST_BETTER and better > share_of(path.functions, other.hot_shares)


def _per_operation(seen: Observation, there: Alike) -> LikeIt:
    """J/op side by side, where both count the same kind of operation; else nothing can be compared."""
    mine, theirs = seen.joules_per_operation, there.joules_per_operation
    if mine is None or theirs is None or seen.operation is None or seen.operation != there.operation:
        return LikeIt()
    unit = f"J/{seen.operation}"
    text = f"; {theirs:.3g} {unit} there, {mine:.3g} here (one {seen.operation} of each need not be the same work)"
    return LikeIt([("energy there", theirs, unit), ("energy here", mine, unit)], text)


def _names(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(sorted(names)[:SHOWN]) + more


def _have(count: int) -> str:
    return "has" if count == 1 else "have"
