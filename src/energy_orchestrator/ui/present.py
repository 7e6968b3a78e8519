"""From the views of the API to what a template shows: rows, badges, words, and the bars drawn beside numbers.

Pure functions over the views, so that a test can read what the page would say without a browser. Anything that
needs arithmetic or a choice is here; the templates only place it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from energy_orchestrator.api.control_plane import (
    MetricView,
    NodeView,
    RecommendationView,
    RolloutView,
    WorkloadView,
)
from energy_orchestrator.ui import words

TIER_WORDS = {
    "wall": "measured at the wall",
    "bmc": "measured by the server's BMC",
    "on_die": "measured by on-die counters",
    "model": "estimated by a model",
}
LIVE_STATUSES = ("open", "approved", "executing")
BAR_WIDTH = 160.0


@dataclass(frozen=True, slots=True)
class Setting:
    """One value that a change sets: its name, what it is now, and what it would be."""

    name: str
    now: str
    proposed: str


@dataclass(frozen=True, slots=True)
class PowerSum:
    """All nodes together: node = idle + active + unattributed, with the shares for a bar."""

    node: float
    idle: float
    active: float
    unattributed: float

    def share(self, part: float) -> float:
        """Percent of the whole, for the width of a bar."""
        return round(100 * max(0.0, part) / self.node, 2) if self.node > 0 else 0.0


@dataclass(frozen=True, slots=True)
class IntervalBar:
    """Where an estimate and its interval sit on an axis around zero, in SVG units from 0 to BAR_WIDTH."""

    zero: float
    lower: float
    upper: float
    estimate: float
    tone: str


def settings_of(recommendation: RecommendationView) -> list[Setting]:
    """The patch as rows, nested keys flattened: `BATCH_MAX`, `replicas`, `limits.cpu`."""
    current = _flat(recommendation.current)
    return [
        Setting(name, _text(current.get(name)), _text(value)) for name, value in _flat(recommendation.patch).items()
    ]


def summary(recommendation: RecommendationView) -> str:
    """The change in one line: `declared/inference: BATCH_MAX 1 → 8`."""
    changes = ", ".join(f"{row.name} {row.now} → {row.proposed}" for row in settings_of(recommendation))
    return f"{recommendation.workload}: {changes}" if changes else recommendation.workload


def _flat(patch: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    rows: dict[str, Any] = {}
    for key, value in patch.items():
        if isinstance(value, dict):
            # Environment variables are known by their own names.
            rows |= _flat(value, "" if key == "environment" else f"{prefix}{key}.")
        else:
            rows[f"{prefix}{key}"] = value
    return rows


def _text(value: Any) -> str:
    if value is None:
        return "not set"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def power_sum(nodes: list[NodeView]) -> PowerSum | None:
    """Nodes added up; None while no node has a figure."""
    known = [node for node in nodes if node.node_watts is not None]
    if not known:
        return None
    return PowerSum(
        node=sum(node.node_watts.value for node in known if node.node_watts),
        idle=sum(node.idle_watts or 0.0 for node in known),
        active=sum(node.active_watts or 0.0 for node in known),
        unattributed=sum(node.unattributed_watts or 0.0 for node in known),
    )


def tier_words(tier: str | None, source: str | None = None) -> str:
    """How a number was measured, in words."""
    if tier is None:
        return "not measured yet"
    text = TIER_WORDS.get(tier, tier)
    return f"{text} ({source})" if source else text


def matches(row: WorkloadView, query: str) -> bool:
    """Whether every word of the query is in the row's name, host, kind, language, image or `label=value`."""
    labels = [f"{key}={value}" for key, value in row.labels.items()]
    texts = [row.workload, row.host, row.workload_kind, row.language or "", row.image or "", *labels]
    haystack = " ".join(texts).lower()
    return all(word in haystack for word in query.lower().split())


def why_no_button(recommendation: RecommendationView, paused: bool) -> str | None:
    """Why a recommendation cannot be approved here; None where it can."""
    if recommendation.status != "open":
        return f"It is {recommendation.status}."
    if recommendation.executor == "none":
        return "Advice only: this workload is not declared to an executor, so a person has to apply it."
    if recommendation.decision == "deny":
        return "A policy forbids it: " + ("; ".join(recommendation.decision_reasons) or "no reason was given") + "."
    if paused:
        return "Everything is paused. Resume first."
    return None


def risk_words(score: float) -> str:
    """A risk score as a word; the number stands beside it."""
    return "low" if score < 0.34 else "medium" if score < 0.67 else "high"


def tone_of(phase: str) -> str:
    """Colour family of a phase or a status; the word itself is always shown too."""
    lowered = phase.lower()
    if lowered in {"successful", "allow"}:
        return "good"
    if lowered in {"failed", "error", "reverted", "deny"}:
        return "bad"
    if lowered in {"inconclusive", "paused", "needs_approval", "expired"}:
        return "warn"
    return "live" if lowered in {"running", "executing", "pending", "approved", "open"} else "calm"


def interval_bar(metric: MetricView) -> IntervalBar | None:
    """The interval on an axis that has zero in the middle; None where there is no estimate."""
    if metric.estimate is None or metric.lower is None or metric.upper is None:
        return None
    reach = max(abs(metric.lower), abs(metric.upper), abs(metric.estimate)) * 1.15 or 1.0

    def place(value: float) -> float:
        return round((value / reach + 1) / 2 * BAR_WIDTH, 1)

    lower, upper, estimate = place(metric.lower), place(metric.upper), place(metric.estimate)
    return IntervalBar(place(0), lower, upper, estimate, tone_of(metric.phase))


def metric_value(value: float | None, unit: str) -> str:
    """A metric's value; a share in percent, bytes in binary units, the rest with SI prefixes."""
    if value is None:
        return words.UNKNOWN
    if unit in {"ratio", ""}:
        return f"{words.figures(value)}"
    if unit == "%":
        return f"{words.figures(value)} %"
    return words.scaled(value, unit)


def step_state(rollout: RolloutView, index: int) -> str:
    """done, current or ahead."""
    if index < rollout.step_index or (rollout.phase == "Successful"):
        return "done"
    return "current" if index == rollout.step_index else "ahead"
