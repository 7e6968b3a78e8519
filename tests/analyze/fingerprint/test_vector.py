from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from energy_orchestrator.analyze.fingerprint import DIMENSIONS, FingerprintModel, Profile
from energy_orchestrator.analyze.fingerprint.features import shows_no_names
from energy_orchestrator.analyze.fingerprint.vector import LEAST_SAMPLES
from energy_orchestrator.errors import InvalidInputError

MODEL = FingerprintModel()
names = st.text("abcdefgh", min_size=1, max_size=6)
stacks = st.lists(
    st.tuples(st.lists(names, min_size=1, max_size=8), st.integers(1, 50)), min_size=1, max_size=20
).filter(lambda rows: sum(count for _, count in rows) >= LEAST_SAMPLES)


def vector(rows: Sequence[tuple[Sequence[str], int]], **resources: list[float]) -> np.ndarray:
    made = MODEL.vector(Profile(rows, resources))
    assert made is not None
    return made


@given(stacks)
@settings(max_examples=60)
def test_a_vector_has_length_one(rows: list[tuple[list[str], int]]) -> None:
    made = vector(rows)
    assert made.shape == (DIMENSIONS,)
    assert made.dtype == np.float32
    assert np.linalg.norm(made) == pytest.approx(1.0, abs=1e-5)


@given(stacks, st.randoms(use_true_random=False), st.integers(2, 9))
@settings(max_examples=60)
def test_neither_order_nor_the_number_of_samples_matters(
    rows: list[tuple[list[str], int]], shuffled: random.Random, times: int
) -> None:
    other = [(stack, count * times) for stack, count in rows]
    shuffled.shuffle(other)
    assert np.allclose(vector(rows), vector(other), atol=1e-5)


@given(stacks)
@settings(max_examples=60)
def test_a_stack_in_two_halves_is_the_same_stack(rows: list[tuple[list[str], int]]) -> None:
    halves = [(stack, 1) for stack, count in rows for _ in range(count)]
    assert np.allclose(vector(rows), vector(halves), atol=1e-5)


DEEP = [(["main", "serve", "handle", "parse", f"step{n % 7}", f"leaf{n}"], 10) for n in range(12)]


def test_inlining_one_function_moves_it_little() -> None:
    inlined = [([frame for frame in stack if frame != "handle"], count) for stack, count in DEEP]
    leaf_gone = [(stack[:-1] if stack[-1] in ("leaf1", "leaf2") else stack, count) for stack, count in DEEP]
    other = [(["main", "serve", "render", "draw", f"pixel{n}"], 10) for n in range(12)]
    assert vector(DEEP) @ vector(inlined) > 0.9
    assert vector(DEEP) @ vector(leaf_gone) > 0.9
    assert vector(DEEP) @ vector(other) < 0.6


def test_what_differs_between_builds_makes_no_difference() -> None:
    one = [(["main (a.out)", "sort<int> (a.out)", "merge.part.0 (a.out)", "memcpy@GLIBC_2.14 (libc.so.6)"], 40)]
    two = [(["main (b)", "sort<long> (b)", "merge.constprop.1 (b)", "__memcpy_avx_unaligned_erms (libc-2.31.so)"], 25)]
    assert np.allclose(vector(one), vector(two), atol=1e-6)


def test_a_cpu_limit_that_stretches_time_moves_the_resources_little() -> None:
    free = {
        "cpu_seconds": [0.2] * 15,
        "voluntary_switches": [400.0] * 15,
        "resident_bytes": [3e7] * 15,
        "threads": [2.0] * 15,
    }
    held = free | {"cpu_seconds": [0.1] * 15, "voluntary_switches": [200.0] * 15}
    busier = free | {"voluntary_switches": [9.0] * 15, "resident_bytes": [3e9] * 15}
    same = vector(DEEP, **free) @ vector(DEEP, **held)
    assert same > 0.999
    assert same > vector(DEEP, **free) @ vector(DEEP, **busier)


def test_too_few_samples_give_no_vector() -> None:
    assert MODEL.vector(Profile([(["main"], LEAST_SAMPLES - 1)])) is None
    assert MODEL.vector(Profile([])) is None


def test_what_every_program_has_weighs_less() -> None:
    seen = [Profile([(["start", f"work{n}"], 50)]) for n in range(20)]
    fitted = FingerprintModel.fitted(seen)
    assert fitted.rarity("under:start") < 0.1
    assert fitted.rarity("under:work3") == fitted.rarity("under:never seen") == 1.0
    a, b = (fitted.vector(it) for it in seen[:2])
    assert a is not None
    assert b is not None
    assert a @ b < vector(seen[0].stacks) @ vector(seen[1].stacks)


def test_the_shipped_model_reads_back_to_the_same_bytes_and_has_a_version() -> None:
    shipped = FingerprintModel.shipped()
    assert FingerprintModel.from_json(shipped.to_json()).version == shipped.version
    assert shipped.version != FingerprintModel().version


def test_a_model_of_another_format_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="format 0"):
        FingerprintModel.from_json('{"format": 0}')


OWN = ["main (prog)", "work (prog)", "[ab12cd34ef56+0x10] (prog)", "run (main.py)"]
FOREIGN = ["memmove (libc.so.6)", "kernel_read (kernel)", "Main.run (jit)", "clock_gettime ([vdso])", "nameless"]


@given(st.lists(st.tuples(st.lists(st.sampled_from(OWN + FOREIGN), min_size=1), st.just(30)), min_size=1, max_size=5))
def test_without_own_names_a_build_is_its_stripped_build(rows: list[tuple[list[str], int]]) -> None:
    stripped = [(["[9f9f9f9f9f9f+0x7] (other)" if it in OWN else it for it in stack], count) for stack, count in rows]
    bare, plain = MODEL.bare(Profile(rows)), MODEL.vector(Profile(stripped))
    assert bare is not None
    assert plain is not None
    assert np.allclose(bare, plain, atol=1e-6)
    again = MODEL.bare(Profile(stripped))
    assert again is not None
    assert np.allclose(again, plain, atol=1e-6)


@pytest.mark.parametrize(
    ("frames", "nameless"),
    [
        (["main (prog)"], False),
        (["Main.run (jit)"], False),
        (["run (main.py)"], False),
        (["[ab12cd34ef56+0x10] (prog)"], True),
        (["memmove (libc.so.6)", "[ab12cd34ef56+0x10] (libc.so.6)"], True),
        (["kernel_read (kernel)"], True),
    ],
)
def test_a_profile_shows_names_where_a_tenth_of_its_samples_does(frames: list[str], nameless: bool) -> None:
    assert shows_no_names(Profile([(frames, 30)])) is nameless
    assert shows_no_names(Profile([(frames, 9), (["[ab12cd34ef56+0x10] (prog)"], 91)]))
    assert shows_no_names(Profile([(frames, 10), (["[ab12cd34ef56+0x10] (prog)"], 90)])) is nameless
