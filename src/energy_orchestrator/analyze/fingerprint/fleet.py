"""Groups among some thousand vectors, and among a million on one worker or on many with the same result.

HDBSCAN knows only which vectors are nearer to each other than the rest is: of a tenant whose workloads all do something
else it makes groups all the same. So it runs within what a chain of near ones joins (`NEAR`), in both ways.

Up to `WHOLE_UP_TO` vectors are all compared with each other (`group_whole`). For a million that takes too long, so the
vectors lie in shards, by a hash of their key, whose number does not depend on the workers. Each shard is reduced to
leaders (the leader algorithm, Hartigan, Clustering Algorithms, 1975: a vector that is like no leader becomes one), each
with its number of followers and up to four of them. The leaders of all shards are reduced once more, in the order of
the shards. Leaders far from all others are groups of their own; where some are near each other, HDBSCAN runs over their
kept followers. Each vector takes the group of its leader. Only leaders travel between workers, a few thousand times a
kilobyte. What HDBSCAN would tell apart within the reach of one leader stays together (docs/accuracy.md).

A shard costs (its vectors x its leaders); a group of three or more is found however rare it is, which a sample or a
k-means of the whole would not do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

from energy_orchestrator.analyze.fingerprint.clusters import MIN_MEMBERS, group

Vectors = NDArray[np.float32]
Indexes = NDArray[np.intp]
LIKE = 0.75
"""Cosine from which a vector follows a leader: above 99 % of the pairs of different programs in the half of the corpus
that is for choices (0.69), below the middle of the runs of one program (0.86)."""
FOLLOWERS_KEPT = 4
NEAR = 0.6
"""Cosine below which two vectors have no group in common, nor a chain of vectors between them: in the half of the
corpus that is for choices 98 % of the pairs of different programs are below, 95 % of the runs of one program above."""
MOST_POINTS = 8_000
"""For one HDBSCAN, which then needs a gigabyte; of a greater part only every n-th point is taken."""
BLOCK = 4096
ROWS = 512
"""Compared with all others at a time: at most so many links for each vector, some 0.2 GB."""
WHOLE_UP_TO = 20_000
"""Vectors of one tenant that are all compared with each other; more are grouped in shards."""


@dataclass(frozen=True)
class Leaders:
    """Of one shard: the leaders' vectors, how many follow each, kept followers with their leader, leader by vector."""

    vectors: Vectors
    counts: Indexes
    kept: Vectors
    kept_of: Indexes
    of: Indexes


def lead(vectors: Vectors, weights: Indexes | None = None, like: float = LIKE) -> Leaders:
    """Reduce a shard. `weights`: how many each vector stands for; one if left out."""
    weights = np.ones(len(vectors), dtype=np.intp) if weights is None else weights
    leaders = np.empty((1024, vectors.shape[1]), dtype=np.float32)
    number, of = 0, np.empty(len(vectors), dtype=np.intp)
    for start in range(0, len(vectors), BLOCK):
        block = vectors[start : start + BLOCK]
        here = np.full(len(block), -1, dtype=np.intp)
        if number:
            likeness = block @ leaders[:number].T
            best = likeness.argmax(axis=1)
            found = likeness[np.arange(len(block)), best] >= like
            here[found] = best[found]
        left = np.flatnonzero(here < 0)
        while left.size:
            if number == len(leaders):
                leaders = np.concatenate([leaders, np.empty_like(leaders)])
            leaders[number] = block[left[0]]
            follows = block[left] @ leaders[number] >= like
            follows[0] = True
            here[left[follows]] = number
            left, number = left[~follows], number + 1
        of[start : start + BLOCK] = here
    counts = np.bincount(of, weights, number).astype(np.intp)
    kept = _first_of_each(of, FOLLOWERS_KEPT)
    return Leaders(leaders[:number].copy(), counts, vectors[kept], of[kept], of)


def _first_of_each(of: Indexes, number: int) -> Indexes:
    """Places of the first so many followers of each leader."""
    order = np.argsort(of, kind="stable")
    ranked = of[order]
    begins = np.searchsorted(ranked, ranked, side="left")
    return np.sort(order[np.arange(len(of)) - begins < number])


def group_shards(shards: Sequence[Leaders], min_members: int = MIN_MEMBERS, like: float = LIKE) -> list[Indexes]:
    """The group of each leader of each shard, -1 for none."""
    whole = lead(np.concatenate([it.vectors for it in shards]), np.concatenate([it.counts for it in shards]), like)
    begins = np.cumsum([0] + [len(it.vectors) for it in shards])
    kept = np.concatenate([it.kept for it in shards])
    kept_of = np.concatenate([whole.of[begins[i] + it.kept_of] for i, it in enumerate(shards)])
    first = _first_of_each(kept_of, FOLLOWERS_KEPT)
    kept, kept_of = kept[first], kept_of[first]
    of_leader, number = np.full(len(whole.vectors), -1, dtype=np.intp), 0
    for members in _near_each_other(whole, min_members):
        inside = np.flatnonzero(np.isin(kept_of, members))
        labels = _group_apart(kept[inside], min_members) if len(members) > 1 else np.zeros(len(inside), dtype=np.intp)
        found = _majority(np.searchsorted(members, kept_of[inside]), labels, len(members))
        of_leader[members] = np.where(found >= 0, found + number, -1)
        number += int(labels.max()) + 1
    return [of_leader[whole.of[begins[i] : begins[i + 1]]] for i in range(len(shards))]


def group_whole(vectors: Vectors, min_members: int = MIN_MEMBERS) -> Indexes:
    """Labels from 0, -1 for none; time grows with the square of the vectors, memory with their number. A part that is
    too great for HDBSCAN is grouped by its leaders."""
    labels, number = np.full(len(vectors), -1, dtype=np.intp), 0
    for members in _chained(vectors):
        if len(members) < min_members:
            continue
        if len(members) > MOST_POINTS:
            part = lead(vectors[members])
            found = group_shards([part], min_members)[0][part.of]
        else:
            found = _group_apart(vectors[members], min_members)
        labels[members] = np.where(found >= 0, found + number, -1)
        number += int(found.max()) + 1
    return labels


def _chained(vectors: Vectors) -> list[Indexes]:
    """Vectors that a chain of near ones joins, in order. After each block the links so far become one link a vector, so
    that many alike do not fill the memory."""
    part = np.arange(len(vectors))
    for start in range(0, len(vectors), ROWS):
        rows, columns = np.nonzero(vectors[start : start + ROWS] @ vectors.T >= NEAR)
        links = np.concatenate([rows + start, np.arange(len(vectors))]), np.concatenate([columns, part])
        graph = csr_matrix((np.ones(len(links[0]), dtype=np.int8), links), shape=(len(vectors), len(vectors)))
        label = connected_components(graph, directed=False)[1]
        part = np.unique(label, return_index=True)[1][label]
    order = np.argsort(part, kind="stable")
    return [it for it in np.split(order, np.flatnonzero(np.diff(part[order])) + 1) if len(it)]


def _near_each_other(leaders: Leaders, min_members: int) -> list[Indexes]:
    """Leaders that a chain of near ones joins, in order: what lies in two of these is never one group."""
    # One alone in the whole fleet is in no group, whatever it is near to.
    chosen = np.flatnonzero(leaders.counts >= 2)
    parts = (chosen[it] for it in _chained(leaders.vectors[chosen]))
    return [it for it in parts if leaders.counts[it].sum() >= min_members]


def _group_apart(vectors: Vectors, min_members: int) -> Indexes:
    """HDBSCAN of one part. Three points far from it stand for the rest of the fleet: else the part would be the root of
    the tree, which HDBSCAN never takes for a group, and one program would be cut into pieces."""
    if len(vectors) > MOST_POINTS:
        step = -(-len(vectors) // MOST_POINTS)
        labels = np.full(len(vectors), -1, dtype=np.intp)
        labels[::step] = _group_apart(vectors[::step], min_members)
        return labels
    far = np.zeros((min_members, vectors.shape[1] + 1 + min_members), dtype=np.float32)
    far[:, vectors.shape[1]] = 1
    far[np.arange(min_members), vectors.shape[1] + 1 + np.arange(min_members)] = 0.3
    near = np.pad(vectors, ((0, 0), (0, 1 + min_members)))
    labels = group(np.concatenate([near, far]), min_members)[: len(vectors)]
    _, renumbered = np.unique(labels, return_inverse=True)
    return np.asarray(renumbered - (1 if (labels < 0).any() else 0), dtype=np.intp)


def _majority(of: Indexes, labels: Indexes, number: int) -> Indexes:
    """The label that most kept followers of each leader have; -1 where none has one."""
    found = np.full(number, -1, dtype=np.intp)
    inside = labels >= 0
    if not inside.any():
        return found
    pairs, counts = np.unique(np.stack([of[inside], labels[inside]], axis=1), axis=0, return_counts=True)
    for (leader, label), _ in sorted(zip(map(tuple, pairs), counts, strict=True), key=lambda one: one[1]):
        found[leader] = label
    return found


def search(vectors: Vectors, leaders: Leaders, query: Vectors, count: int, probes: int = 64) -> Indexes:
    """The most alike of a shard, looked for behind the leaders nearest to the query only."""
    near = np.argsort(-(leaders.vectors @ query))[:probes]
    chosen = np.flatnonzero(np.isin(leaders.of, near))
    best = np.argsort(-(vectors[chosen] @ query), kind="stable")[:count]
    return np.asarray(chosen[best], dtype=np.intp)
