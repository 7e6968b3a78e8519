from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score

from energy_orchestrator.analyze.fingerprint import FingerprintModel, Profile, fleet
from energy_orchestrator.analyze.fingerprint.clusters import group, matched, overlap
from energy_orchestrator.analyze.fingerprint.fleet import group_shards, group_whole, lead, search
from energy_orchestrator.analyze.fingerprint.neighbours import Traits, nearest, reason, told, traits


def around(centres: int, each: int, spread: float = 0.3, seed: int = 7) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    truth = np.repeat(np.arange(centres), each)
    middle = random.normal(size=(centres, 256))
    middle /= np.linalg.norm(middle, axis=1, keepdims=True)
    rows = middle[truth] + spread * random.normal(size=(len(truth), 256)) / 16
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows.astype(np.float32), truth


def test_known_groups_are_found() -> None:
    vectors, truth = around(12, 8)
    assert adjusted_rand_score(truth, group(vectors)) == pytest.approx(1.0)


def test_workloads_that_all_do_something_else_are_no_group() -> None:
    """HDBSCAN alone finds some: it knows nearer and farther, not near."""
    random = np.random.default_rng(2)
    rows = np.concatenate([random.normal(size=(30, 256)) + bias for bias in (0.0, 0.35)])
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    assert (group(rows) >= 0).sum() > 10
    assert group_whole(rows).tolist() == [-1] * 60
    assert group_whole(rows[:0]).tolist() == []


def test_one_group_and_nothing_else_is_found() -> None:
    assert group_whole(around(1, 8)[0]).tolist() == [0] * 8
    vectors, truth = around(12, 8)
    assert adjusted_rand_score(truth, group_whole(vectors)) == pytest.approx(1.0)


def test_blocks_and_leaders_of_a_great_part_give_the_same_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, truth = around(6, 40)
    whole = group_whole(vectors)
    monkeypatch.setattr(fleet, "ROWS", 7)
    assert group_whole(vectors).tolist() == whole.tolist()
    monkeypatch.setattr(fleet, "MOST_POINTS", 20)
    assert adjusted_rand_score(truth, group_whole(vectors)) == pytest.approx(1.0)


def test_two_vectors_are_no_group() -> None:
    assert group(around(1, 2)[0]).tolist() == [-1, -1]


@dataclass(frozen=True)
class Clustering:
    of: Mapping[Hashable, int | None] = field(default_factory=dict)
    next_id: int = 1


def with_stable_ids(keys: Sequence[Hashable], labels: np.ndarray, before: Clustering) -> Clustering:
    shared = overlap(keys, labels, before.of)
    ids, next_id = matched({int(label) for label in labels if label >= 0}, shared, before.next_id)
    return Clustering({key: ids.get(int(label)) for key, label in zip(keys, labels, strict=True)}, next_id)


labels = st.lists(st.integers(-1, 5), min_size=1, max_size=40)


@given(labels)
def test_the_same_groups_under_other_numbers_keep_their_ids(numbers: list[int]) -> None:
    keys = list(range(len(numbers)))
    first = with_stable_ids(keys, np.array(numbers), Clustering())
    renumbered = np.array([5 - n if n >= 0 else -1 for n in numbers])
    assert with_stable_ids(keys, renumbered, first) == first


@given(labels, labels)
def test_a_new_group_never_takes_an_id_that_was_used(one: list[int], two: list[int]) -> None:
    first = with_stable_ids(range(len(one)), np.array(one), Clustering())
    second = with_stable_ids(range(len(two)), np.array(two), first)
    fresh = {it for it in second.of.values() if it is not None} - set(first.of.values())
    assert all(first.next_id <= it < second.next_id for it in fresh)
    groups: dict[int, set[int]] = {}
    for label, cluster in zip(two, second.of.values(), strict=True):
        if label >= 0:
            assert cluster is not None
            groups.setdefault(label, set()).add(cluster)
    assert all(len(ids) == 1 for ids in groups.values())


def test_a_group_that_splits_gives_its_id_to_the_greater_part() -> None:
    first = with_stable_ids("abcdefg", np.zeros(7, int), Clustering())
    second = with_stable_ids("abcdefg", np.array([1, 1, 1, 1, 0, 0, 0]), first)
    assert [second.of[key] for key in "abcdefg"] == [1, 1, 1, 1, 2, 2, 2]


@given(labels, labels)
def test_matching_by_parts_keeps_as_many_members_as_any_matching(one: list[int], two: list[int]) -> None:
    """Against all matchings of at most six groups with six."""
    shared = Counter((a, b) for a, b in zip(one, two, strict=False) if a >= 0 and b >= 0)
    ids, _ = matched(set(one) - {-1}, shared, 100)
    assert len(set(ids.values())) == len(ids) == len(set(one) - {-1})
    kept = sum(members for (label, was), members in shared.items() if ids[label] == was)
    best = max(sum(shared[pair] for pair in enumerate(order)) for order in permutations(range(6)))
    assert kept == best


def mixed(count: int, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Groups of all sizes, each as tight as another program's runs are, and one in twenty in none."""
    random = np.random.default_rng(seed)
    sizes = 1 / np.arange(1, 61)
    truth = random.choice(60, size=count, p=sizes / sizes.sum())
    middle = random.normal(size=(60, 256))
    spread = random.uniform(0.25, 0.55, 60)[truth] / 16
    rows = middle[truth] / np.linalg.norm(middle[truth], axis=1, keepdims=True)
    rows += spread[:, None] * random.normal(size=rows.shape)
    alone = random.random(count) < 0.05
    rows[alone] = random.normal(size=(alone.sum(), 256))
    truth[alone] = 60 + np.arange(alone.sum())
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), truth


def test_the_way_of_a_fleet_gives_the_groups_of_the_whole_on_a_middle_size() -> None:
    """Simulated vectors: what changes when a tenant grows beyond `WHOLE_UP_TO`."""
    vectors, truth = mixed(3_000)
    whole = group_whole(vectors)
    shards = [lead(vectors[n::16]) for n in range(16)]
    apart = np.empty(len(vectors), int)
    for n, (shard, groups) in enumerate(zip(shards, group_shards(shards), strict=True)):
        apart[n::16] = groups[shard.of]
    alone = -1 - np.arange(len(vectors))
    assert adjusted_rand_score(np.where(whole < 0, alone, whole), np.where(apart < 0, alone, apart)) > 0.99
    assert adjusted_rand_score(truth, np.where(apart < 0, alone, apart)) > 0.99


def test_the_reason_names_what_both_do() -> None:
    one = Traits({"json decoding": 0.6, "memory allocation": 0.7}, {"parse": 0.6})
    other = Traits({"json decoding": 0.3, "memory allocation": 0.9}, {"decode": 0.5})
    assert reason(one, other) == "same hot path: json decoding (60 % and 30 % of the samples)"
    assert reason(Traits({}, {"attract": 0.9}), Traits({}, {"attract": 0.8})) == "same hot functions: attract"
    assert "no hot path in common" in reason(Traits({"sorting": 1.0}, {}), Traits({"regex": 1.0}, {}))


def test_what_every_program_of_a_language_does_is_no_reason() -> None:
    python = Traits({"interpreter": 0.9}, {"PyEval_EvalCode": 0.9, "cfunction_vectorcall_FASTCALL": 0.5, "main": 1.0})
    assert reason(python, python) == "much interpreter (90 % and 90 % of the samples); no more telling path in common"
    numpy = Traits({"interpreter": 0.9}, {"PyUFunc_GeneralizedFunctionInternal": 0.4, "PyEval_EvalCode": 0.9})
    assert reason(numpy, numpy) == "same hot functions: PyUFunc_GeneralizedFunctionInternal"
    both = Traits({"interpreter": 0.9, "regex": 0.2}, {"PyEval_EvalCode": 0.9})
    assert reason(both, both) == "same hot path: regex (20 % and 20 % of the samples)"
    assert told({"interpreter": 0.9, "sorting": 0.2, "regex": 0.3}) == ["regex", "sorting", "interpreter"]


def test_the_most_telling_functions_are_kept() -> None:
    stack = ["_start (x)", "main (x)", *[f"PyObject_Call{n} (x)" for n in range(20)], "tokenize (x)", "scan (x)"]
    kept = list(traits(Profile([(stack, 30)]), FingerprintModel()).functions)
    assert kept[:2] == ["scan", "tokenize"]
    assert len(kept) == 8


def test_traits_are_read_from_the_stacks() -> None:
    profile = Profile([(["main (main)", "json.loads (main)", "[ab12cd34ef56+0x1] (main)"], 30), (["main (main)"], 10)])
    found = traits(profile, FingerprintModel())
    assert found.does == {"json decoding": 0.75}
    assert set(found.functions) == {"main", "json.loads"}


def test_the_nearest_is_itself() -> None:
    vectors, _ = around(5, 4)
    assert nearest(vectors, vectors[7], 1) == [(7, pytest.approx(1.0, abs=1e-5))]


def test_shards_give_the_groups_of_the_whole() -> None:
    vectors, truth = around(30, 60)
    order = np.random.default_rng(1).permutation(len(vectors))
    shards = [lead(vectors[order[n::4]]) for n in range(4)]
    found = np.empty(len(vectors), int)
    for n, (shard, groups) in enumerate(zip(shards, group_shards(shards), strict=True)):
        found[order[n::4]] = groups[shard.of]
    assert adjusted_rand_score(truth, found) > 0.99
    assert sum(shard.counts.sum() for shard in shards) == len(vectors)


def test_search_behind_the_leaders_finds_what_exact_search_finds() -> None:
    vectors, _ = around(40, 30)
    leaders = lead(vectors)
    hits = [
        len({i for i, _ in nearest(vectors, query, 10)} & set(search(vectors, leaders, query, 10, probes=8).tolist()))
        for query in vectors[::37]
    ]
    assert np.mean(hits) > 9
