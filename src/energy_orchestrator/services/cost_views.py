"""J/op by version and node type as the API tells it: one function per view, no I/O."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise

from energy_orchestrator.analyze.cost_groups import Group
from energy_orchestrator.analyze.operation_cost import NO_SOURCE, NOT_COUNTED, OperationCost, compare, operation_cost
from energy_orchestrator.analyze.versions import Label
from energy_orchestrator.api.control_plane import CostComparisonView, CostRowView, WorkloadCostView
from energy_orchestrator.model.units import Bounded
from energy_orchestrator.services.operation_costs import By, CostsFound, tier_of
from energy_orchestrator.services.views import bounded
from energy_orchestrator.ui import words

Costed = tuple[Group, OperationCost]


def cost_view(tenant: str, workload: str, by: By, found: CostsFound, problem: str | None) -> WorkloadCostView:
    """`problem` is what is wrong with the source of operations, where something is."""
    costed = [(group, operation_cost(group.series())) for group in found.groups]
    return WorkloadCostView(
        tenant=tenant,
        workload=workload,
        by=by.value,
        version_named_by=found.kind,
        operation=found.operation,
        window_seconds=found.window / timedelta(seconds=1),
        rows=[_row(group, cost, found.operation is not None, problem) for group, cost in costed],
        comparisons=[_comparison(base, other, by) for base, other in _pairs(costed, by)],
    )


def _row(group: Group, cost: OperationCost, counted: bool, problem: str | None) -> CostRowView:
    version, node_type = group.version or Label(None), group.node_type or Label(None)
    tier, seconds = tier_of(group), sum(group.seconds.values())
    reason = cost.reason
    if not group.windows:
        reason = problem or (NOT_COUNTED if counted else NO_SOURCE)
    return CostRowView(
        version=version.name,
        version_reason=version.reason,
        node_type=node_type.name,
        node_type_reason=node_type.reason,
        first_seen=group.first,
        last_seen=group.last,
        hosts=sorted(group.hosts),
        tier=tier.value if tier else None,
        windows=len(group.windows),
        windows_without_operations=len(group.gaps),
        operations=cost.operations if group.windows else None,
        operations_per_second=cost.operations / seconds if seconds > 0 else None,
        active_joules=group.joules,
        joules_per_operation=bounded(cost.value),
        joules_per_operation_reason=reason,
        joules_per_operation_by_meter=bounded(cost.by_meter),
        note=cost.note,
    )


def _pairs(costed: list[Costed], by: By) -> Iterator[tuple[Costed, Costed]]:
    """A version with the one first seen before it, on the same node type; a node type with that of most operations."""
    named = [
        (group, cost)
        for group, cost in costed
        if (by == By.NODE_TYPE or (group.version and group.version.name))
        and (by == By.VERSION or (group.node_type and group.node_type.name))
    ]
    if by == By.NODE_TYPE:
        base = max(named, key=lambda it: it[1].operations, default=None)
        yield from ((base, other) for other in named if base is not None and other is not base)
        return
    for node_type in dict.fromkeys(group.node_type for group, _ in named):
        yield from pairwise(it for it in named if it[0].node_type == node_type)


def _comparison(base: Costed, other: Costed, by: By) -> CostComparisonView:
    same_meter = base[0].meters == other[0].meters and len(base[0].tiers) == 1
    found = compare(base[1], other[1], same_meter=same_meter)
    names = [_name(group, by) for group, _ in (base, other)]
    node_type = base[0].node_type.name if by == By.BOTH and base[0].node_type else None
    return CostComparisonView(
        base=names[0],
        other=names[1],
        node_type=node_type,
        ratio=bounded(found.ratio),
        reason=found.reason,
        same_meter=same_meter,
        differs=found.differs,
        message=in_words(names[0], names[1], found.ratio, found.reason),
    )


def _name(group: Group, by: By) -> str:
    label = group.node_type if by == By.NODE_TYPE else group.version
    assert label is not None
    assert label.name is not None
    return label.name


def in_words(base: str, other: str, ratio: Bounded | None, reason: str | None) -> str:
    """`v2 costs 12 % (8 to 16) more than v1`."""
    base, other = words.version(base), words.version(other)
    if ratio is None:
        return f"{other} against {base}: {reason}"
    less = ratio.value < 1
    ends = [(1 - it if less else it - 1) * 100 for it in (ratio.value, ratio.lower, ratio.upper)]
    value, low, high = ends[0], min(ends[1:]), max(ends[1:])
    told = f"{other} costs {value:.3g} % ({low:.3g} to {high:.3g}) {'less' if less else 'more'} than {base}"
    return told if low > 0 else f"{told}, which can't be told from none"
