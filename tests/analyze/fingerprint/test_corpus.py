"""The corpus in the repository is found again as docs/accuracy.md says, on the programs that no choice has seen."""

from __future__ import annotations

import pytest
from benchmarks.fingerprint_corpus.collect import load
from benchmarks.fingerprint_corpus.programs import programs
from benchmarks.fingerprints import (
    QUERIES,
    documents,
    for_choices,
    likeness_of,
    profile_of,
    rand_index,
    rank_one,
    vectors_of,
)

from energy_orchestrator.analyze.fingerprint import FingerprintModel


def test_the_shipped_frequencies_are_of_the_half_for_choices() -> None:
    again = FingerprintModel.fitted(documents([it for it in load() if for_choices(it["program"])]))
    assert again.to_json() == FingerprintModel.shipped().to_json()


def test_the_corpus_has_what_the_builder_makes_and_no_name_of_a_process() -> None:
    records = load()
    assert {it["program"] for it in records} == {it.name for it in programs()}
    assert len({it["language"] for it in records}) >= 7
    assert all(" (" in stack.partition(";")[0] or stack.startswith("[") for it in records for _, stack in it["stacks"])


@pytest.mark.slow
def test_the_same_program_is_found_again() -> None:
    records = load()
    profiles, model = [profile_of(it) for it in records], FingerprintModel.shipped()
    vectors, likeness = vectors_of(profiles, model), likeness_of(profiles, model)
    for title, least in zip(QUERIES, (0.95, 0.9, 0.9, 0.9), strict=True):
        score = rank_one(
            records, likeness, lambda it, title=title: QUERIES[title](it) and not for_choices(it["program"])
        )
        assert score.right / score.asked >= least, (title, score.wrong)
    tested = [i for i, it in enumerate(records) if not for_choices(it["program"]) and not it["stripped"]]
    assert rand_index([records[i] for i in tested], vectors[tested])[0] >= 0.9
