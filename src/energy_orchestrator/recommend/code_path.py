"""Code path: a hot function that is known to have a better implementation.

In: the functions of a workload's stacks with the share of its samples that they are in. Out: advice for a person with
the saving that follows from Amdahl: share x (1 - 1 / speedup). The table is small and measured by
tools/measure_code_paths.py: CPU seconds of the same work both ways; that energy follows CPU time is an assumption of
tier `model`. The lower bound takes half of the share (part of the time under a function may be the caller's data) and
the lowest speed-up measured (nothing, where that was a loss). No executor can carry this
out: code belongs to its owners.
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
from energy_orchestrator.recommend.observation import Finding, Observation, Prior
from energy_orchestrator.recommend.playbook import corrected

TABLE_FILE = Path(__file__).with_name("data") / "code_paths.json"
MINIMUM_SHARE = 0.10
"""Of a workload's samples; below it nobody rewrites code."""


@dataclass(frozen=True, slots=True)
class KnownPath:
    """One line of the table."""

    name: str
    functions: str
    better: str
    caveat: str
    speedup: Bounded


@cache
def known_paths() -> tuple[tuple[KnownPath, ...], str]:
    """The shipped table and where its figures come from."""
    table = json.loads(TABLE_FILE.read_text(encoding="utf-8"))
    return tuple(
        KnownPath(
            it["name"],
            it["functions"],
            it["better"],
            it["caveat"],
            Bounded(it["speedup"], it["speedup_lower"], it["speedup_upper"]),
        )
        for it in table["entries"]
    ), table["source"]


def any_known() -> str:
    """One pattern for all functions of the table, for the query that looks for them."""
    return "|".join(it.functions for it in known_paths()[0])


def code_path(seen: Observation, measured: Sequence[float | None]) -> Finding | None:
    """See the module."""
    paths, source = known_paths()
    found = []
    for path in paths:
        shares = [share for name, share in seen.hot_shares if re.search(path.functions, name)]
        if shares and max(shares) >= MINIMUM_SHARE:
            found.append((max(shares), path))
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
    return Finding(
        strategy="code_path",
        suggestion_type=SuggestionType.CODE_PATH,
        patch={"code": {path.name: path.better}},
        inverse={"code": {path.name: None}},
        saved_watts=Bounded(watts.value * ratio.value, watts.lower * ratio.lower, watts.upper * ratio.upper),
        spent_watts=watts,
        confidence=prior.confidence,
        confidence_reason=prior.source,
        risk_parts={"availability": 0.5, "latency": 0.2, "blast_radius": 0.5, "reversibility": 0.4},
        evidence=[
            ("share of samples", round(100 * share, 1), "%"),
            ("measured speed-up", path.speedup.value, "x"),
            ("lowest and highest", f"{path.speedup.lower:g} to {path.speedup.upper:g}", "x"),
        ],
        explanation=(
            f"{share:.0%} of its CPU samples are in {path.name}. {path.better} took "
            f"{path.speedup.value:g} times less CPU "
            f"({path.speedup.lower:g} to {path.speedup.upper:g}, {source}). Mind: {path.caveat}."
        ),
        restarted_replicas=seen.replicas,
        executor="none",
    )
