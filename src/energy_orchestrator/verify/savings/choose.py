"""The best method that the data allow, and why the better ones were not taken."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from energy_orchestrator.model.sample import MeasuredWindow
from energy_orchestrator.model.saving import Saving, SavingMethod
from energy_orchestrator.verify.savings.difference import difference_in_differences
from energy_orchestrator.verify.savings.load_adjusted import load_adjusted
from energy_orchestrator.verify.savings.series import CannotTellError, columns
from energy_orchestrator.verify.savings.side_by_side import side_by_side

Control = tuple[Sequence[MeasuredWindow], Sequence[MeasuredWindow]]
"""Of a workload that did not change: its windows before and after."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that was measured around a change; what is empty was not."""

    baseline: Sequence[MeasuredWindow] = ()
    canary: Sequence[MeasuredWindow] = ()
    before: Sequence[MeasuredWindow] = ()
    after: Sequence[MeasuredWindow] = ()
    controls: Sequence[Control] = ()


def measure(evidence: Evidence) -> Saving:
    """Try the methods, best first. A saving without a method says why none could."""
    before, after = columns(evidence.before), columns(evidence.after)
    methods: dict[SavingMethod, Callable[[], Saving]] = {
        SavingMethod.SIDE_BY_SIDE: lambda: side_by_side(columns(evidence.baseline), columns(evidence.canary)),
        SavingMethod.DIFFERENCE_IN_DIFFERENCES: lambda: difference_in_differences(
            before, after, [(columns(then), columns(now)) for then, now in evidence.controls]
        ),
        SavingMethod.LOAD_ADJUSTED: lambda: load_adjusted(before, after),
    }
    refused: list[str] = []
    for method, attempt in methods.items():
        try:
            found = attempt()
        except CannotTellError as why:
            refused.append(f"not {method.value}: {why}")
            continue
        return replace(found, reason="; ".join([found.reason, *refused]))
    return Saving(None, "; ".join(refused))
