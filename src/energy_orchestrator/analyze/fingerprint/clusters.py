"""Vectors -> groups of workloads that do the same, with ids that stay from run to run.

HDBSCAN (Campello, Moulavi, Sander, PAKDD 2013; scikit-learn's) finds groups of different density and leaves out what
belongs to none. Its labels are new numbers at each run, so they are matched with the last run's ids: the assignment
that keeps the most members in their group (Kuhn, Hungarian method, 1955; scipy's `linear_sum_assignment`). A group
without a partner gets an id that was never used before.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

Key = TypeVar("Key", bound=Hashable)
Shared = Mapping[tuple[int, int], int]
"""By label and old group: how many members they have in common."""

MIN_MEMBERS = 3
"""Two alike are neighbours, three are a group."""
MOST_AT_ONCE = 10_000
"""Of which all distances are held: 1.6 GB."""


def group(vectors: NDArray[np.float32], min_members: int = MIN_MEMBERS) -> NDArray[np.intp]:
    """Labels from 0, -1 for none. Up to some thousand vectors; more: `fleet`."""
    from sklearn.cluster import HDBSCAN

    if len(vectors) < max(2, min_members):
        return np.full(len(vectors), -1, dtype=np.intp)
    # Trees over 256 dimensions only cost: with up to some thousand vectors all distances are the faster way.
    way = "brute" if len(vectors) <= MOST_AT_ONCE else "auto"
    found = HDBSCAN(min_cluster_size=min_members, min_samples=2, algorithm=way, copy=True)
    return np.asarray(found.fit_predict(np.asarray(vectors, dtype=np.float64)), dtype=np.intp)


def overlap(keys: Sequence[Key], labels: NDArray[np.intp], before: Mapping[Key, int | None]) -> Shared:
    """How many members each new label has in common with each old group."""
    pairs = zip(labels.tolist(), (before.get(key) for key in keys), strict=True)
    return Counter((label, was) for label, was in pairs if label >= 0 and was is not None)


def matched(labels: Iterable[int], shared: Shared, next_id: int) -> tuple[dict[int, int], int]:
    """The id of each label, and the next id that was never used.

    Labels and old groups that no chain of common members joins are matched apart, so that the table of the assignment
    stays small among thousands of groups; the result is that of one table.
    """
    ids: dict[int, int] = {}
    for part in _joined(shared):
        ids |= _assigned({pair: shared[pair] for pair in part})
    for label in sorted(set(labels) - ids.keys()):
        ids[label], next_id = next_id, next_id + 1
    return ids, next_id


def _assigned(shared: Shared) -> dict[int, int]:
    from scipy.optimize import linear_sum_assignment

    new, old = sorted({label for label, _ in shared}), sorted({was for _, was in shared})
    table = np.zeros((len(new), len(old)), dtype=np.int64)
    for (label, was), members in shared.items():
        table[bisect_left(new, label), bisect_left(old, was)] = members
    rows, columns = linear_sum_assignment(table, maximize=True)
    return {new[row]: old[column] for row, column in zip(rows, columns, strict=True) if table[row, column] > 0}


def _joined(shared: Shared) -> list[list[tuple[int, int]]]:
    """The pairs, by what is connected."""
    if not shared:
        return []
    pairs = sorted(shared)
    new, rows = np.unique([label for label, _ in pairs], return_inverse=True)
    old, columns = np.unique([was for _, was in pairs], return_inverse=True)
    size = len(new) + len(old)
    graph = csr_matrix((np.ones(len(pairs), np.int8), (rows, len(new) + columns)), shape=(size, size))
    part_of = connected_components(graph, directed=False)[1][rows]
    parts: dict[int, list[tuple[int, int]]] = {}
    for pair, part in zip(pairs, part_of.tolist(), strict=True):
        parts.setdefault(part, []).append(pair)
    return list(parts.values())
