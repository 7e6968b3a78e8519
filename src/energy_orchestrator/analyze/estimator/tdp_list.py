"""The TDP of a CPU that the list lacks, from the listed CPUs whose names are nearest.

Makers number CPUs of one kind close together: between the Core Ultra 7 155H and 265H lies the 255H, and all three are
28 W parts. A neighbour has the same vendor, family and letters after the number, as many digits, and a number that is
near. How often that is right is asked of the list itself, by leaving each CPU out (`left_out`): no watts of a server
have a say. Keys of `cpu_key` in, watts of a socket out.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from energy_orchestrator.analyze.estimator.cpu_names import cpu_key

Floats = NDArray[np.float64]
MOST_APART = 0.02
"""Of the numbers that so many digits can say: 200 of 10,000. Farther apart the list misses its own by 27 %."""
_NAME = re.compile(r"(?P<vendor>\w*):(?P<family>.*?)(?P<number>\d+)(?P<letters>[a-z+]*(?: ?v\d)?)")


@dataclass(frozen=True, slots=True)
class _Listed:
    number: int
    key: str
    watts: float


class TdpList:
    """Watts by `cpu_key`, and the same found by names that are near."""

    def __init__(self, table: Mapping[str, float]) -> None:
        self.table = table
        self._kinds: dict[tuple[str, str, str, int], list[_Listed]] = {}
        for key, watts in sorted(table.items()):
            kind, number = _split(key)
            if kind:
                self._kinds.setdefault(kind, []).append(_Listed(number, key, watts))

    def near(self, names: Sequence[str]) -> Floats:
        """Watts of the CPU nearest by name, the geometric mean of those equally near; NaN where none is near."""
        return np.array([self._nearest(cpu_key(name)) or np.nan for name in names], dtype=np.float64)

    def left_out(self) -> Floats:
        """Of each listed CPU with a neighbour: the watts of its neighbours over its own."""
        found = [(self._nearest(key), watts) for key, watts in sorted(self.table.items())]
        return np.array([near / watts for near, watts in found if near])

    def _nearest(self, key: str) -> float | None:
        kind, number = _split(key)
        others = [one for one in self._kinds.get(kind, ()) if one.key != key] if kind else []
        apart = [abs(one.number - number) for one in others]
        if not kind or not apart or min(apart) > MOST_APART * 10 ** kind[3]:
            return None
        nearest = [one.watts for one, far in zip(others, apart, strict=True) if far == min(apart)]
        return math.exp(sum(map(math.log, nearest)) / len(nearest))


def _split(key: str) -> tuple[tuple[str, str, str, int] | None, int]:
    """What neighbours share (vendor, family, letters, digits), and the number; None where the name has no number."""
    found = _NAME.fullmatch(key)
    if not found:
        return None, 0
    family = " ".join(re.split(r"[ -]+", found["family"].strip(" -")))
    return (found["vendor"], family, found["letters"], len(found["number"])), int(found["number"])
