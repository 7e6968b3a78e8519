"""Vectors -> groups of workloads that do the same, with ids that stay from run to run.

HDBSCAN (Campello, Moulavi, Sander, PAKDD 2013; scikit-learn's) finds groups of different density and leaves out what
belongs to none. Its labels are new numbers at each run, so they are matched with the last run's ids: the assignment
that keeps the most members in their group (Kuhn, Hungarian method, 1955; scipy's `linear_sum_assignment`). A group
without a partner gets an id that was never used before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

MIN_MEMBERS = 3
"""Two alike are neighbours, three are a group."""
MOST_AT_ONCE = 10_000
"""Of which all distances are held: 1.6 GB."""


@dataclass(frozen=True)
class Clustering:
    """Which group each workload is in (None: in none), and the next id that was never used."""

    of: Mapping[Hashable, int | None] = field(default_factory=dict)
    next_id: int = 1


def group(vectors: NDArray[np.float32], min_members: int = MIN_MEMBERS) -> NDArray[np.intp]:
    """Labels from 0, -1 for none. Up to some ten thousand vectors; more: `fleet`."""
    from sklearn.cluster import HDBSCAN

    if len(vectors) < max(2, min_members):
        return np.full(len(vectors), -1, dtype=np.intp)
    # Trees over 256 dimensions only cost: with up to some thousand vectors all distances are the faster way.
    way = "brute" if len(vectors) <= MOST_AT_ONCE else "auto"
    found = HDBSCAN(min_cluster_size=min_members, min_samples=2, algorithm=way, copy=True)
    return np.asarray(found.fit_predict(np.asarray(vectors, dtype=np.float64)), dtype=np.intp)


def with_stable_ids(keys: Sequence[Hashable], labels: NDArray[np.intp], before: Clustering) -> Clustering:
    """Give the groups their ids: the old one where most of the members agree, else a new one."""
    from scipy.optimize import linear_sum_assignment

    new = sorted({int(label) for label in labels if label >= 0})
    shared: Counter[tuple[int, int]] = Counter()
    for key, label in zip(keys, labels, strict=True):
        was = before.of.get(key)
        if label >= 0 and was is not None:
            shared[int(label), was] += 1
    old = sorted({was for _, was in shared})
    overlap = np.zeros((len(new), len(old)), dtype=np.int64)
    for (label, was), members in shared.items():
        overlap[new.index(label), old.index(was)] = members
    rows, columns = linear_sum_assignment(overlap, maximize=True)
    ids = {new[row]: old[column] for row, column in zip(rows, columns, strict=True) if overlap[row, column] > 0}
    next_id = before.next_id
    for label in new:
        if label not in ids:
            ids[label], next_id = next_id, next_id + 1
    of = {key: ids.get(int(label)) for key, label in zip(keys, labels, strict=True)}
    return Clustering(of, next_id)
