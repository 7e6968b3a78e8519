"""The fingerprint of one workload, as it is kept: a vector and the little that explains it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """What a workload does.

    Attributes:
        model: version of the model that made the vector; vectors of two versions are never compared.
        vector: 256 float32 of length one.
        samples: how many stack samples it stands on.
        does: share of the samples by what they do ("json decoding"); a sample may do several things.
        functions: share of the samples of the functions most telling, the most telling first.
        bare: the same without the program's own names: what a stripped build is compared with. None: made before there
            was one.
        nameless: (nearly) no sample shows a name of the program itself, as in a stripped build.
        cluster: id that stays from run to run; None: alike to too few others, or not yet clustered.
    """

    tenant: str
    workload: str
    model: str
    vector: NDArray[np.float32]
    samples: int
    at: datetime
    does: Mapping[str, float] = field(default_factory=dict)
    functions: Mapping[str, float] = field(default_factory=dict)
    cluster: int | None = None
    bare: NDArray[np.float32] | None = None
    nameless: bool = False
