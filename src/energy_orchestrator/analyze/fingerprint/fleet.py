"""Groups among a million vectors, on one worker or on many with the same result.

HDBSCAN alone grows with the square of the number. So: the vectors lie in shards, by a hash of their key, whose number
does not depend on the workers. Each shard is reduced to leaders (the leader algorithm, Hartigan, Clustering Algorithms,
1975: a vector that is like no leader becomes one), each with its number of followers and up to four of them. The
leaders of all shards are reduced once more, in the order of the shards; HDBSCAN runs over the kept followers, and each
vector takes the group of its leader. Only leaders travel between workers, a few thousand times a kilobyte.

A shard costs (its vectors x its leaders); a group of three or more is found however rare it is, which a sample or a
k-means of the whole would not do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from energy_orchestrator.analyze.fingerprint.clusters import MIN_MEMBERS, group

Vectors = NDArray[np.float32]
Indexes = NDArray[np.intp]
LIKE = 0.75
"""Cosine from which a vector follows a leader: above 99 % of the pairs of different programs in the half of the corpus
that is for choices (0.69), below the middle of the runs of one program (0.86)."""
FOLLOWERS_KEPT = 4
MOST_POINTS = 20_000
"""For HDBSCAN: some minutes on one core. Where there are more, fewer followers of each leader are taken."""
BLOCK = 4096


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
    # Alone in the whole fleet is in no group, and a lone follower would only make HDBSCAN slower.
    for followers in range(FOLLOWERS_KEPT, 0, -1):
        chosen = _first_of_each(kept_of, followers)
        chosen = chosen[whole.counts[kept_of[chosen]] >= 2]
        if len(chosen) <= MOST_POINTS:
            break
    labels = group(kept[chosen], min_members)
    of_leader = _majority(kept_of[chosen], labels, len(whole.vectors))
    return [of_leader[whole.of[begins[i] : begins[i + 1]]] for i in range(len(shards))]


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
