"""Which offset of a Kafka partition may be committed: all before it is settled, in whatever order that happened.

Kafka remembers one number for a consumer group and partition; messages here are settled one by one and out of order.
No I/O, no clock: `kafka_bus.py` tells what was taken and settled and commits what this says.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

Partition = tuple[str, int]
"""Topic and number."""


@dataclass(slots=True)
class _Progress:
    next: int
    committed: int
    open: OrderedDict[int, None] = field(default_factory=OrderedDict)


class Offsets:
    """Of the partitions that this consumer has."""

    def __init__(self) -> None:
        self._partitions: dict[Partition, _Progress] = {}

    def took(self, partition: Partition, offset: int) -> None:
        """A message was taken. Offsets of a partition come in ascending order; gaps are none of ours."""
        progress = self._partitions.setdefault(partition, _Progress(next=offset, committed=offset))
        progress.open[offset] = None
        progress.next = max(progress.next, offset + 1)

    def settled(self, partition: Partition, offset: int) -> None:
        """It is done with. What this consumer does not hold (any more) is ignored."""
        progress = self._partitions.get(partition)
        if progress is not None:
            progress.open.pop(offset, None)

    def to_commit(self) -> dict[Partition, int]:
        """Where a successor would go on, of partitions in which that has moved since it was last asked."""
        moved: dict[Partition, int] = {}
        for partition, progress in self._partitions.items():
            place = next(iter(progress.open), progress.next)
            if place > progress.committed:
                moved[partition], progress.committed = place, place
        return moved

    def forget(self, partition: Partition) -> None:
        """It belongs to another consumer now."""
        self._partitions.pop(partition, None)
