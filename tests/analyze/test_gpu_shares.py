"""Energy of GPUs: nothing is lost or invented, what is not known is not nought, and no row takes another's part."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from energy_orchestrator.analyze.gpu_shares import (
    ALONE,
    BY_SLICES,
    BY_USE,
    EMPTY,
    NAMELESS,
    SHARED_INSTANCE,
    UNKNOWN_USE,
    UNUSED,
    GpuRows,
    GpuShares,
    share,
)

NAN = float("nan")
# A row: busy seconds, slices, its instance on the GPU, whether it is named.
Row = tuple[float, float, int, bool]
# A GPU in a window: its joules, those at rest, its rows.
Gpu = tuple[float, float, list[Row]]

JOULES = st.floats(0, 1e7, allow_nan=False)
BUSY = st.one_of(st.floats(0, 60), st.just(NAN))
ON_BOARD = st.tuples(BUSY, st.just(NAN), st.just(-1), st.booleans())
ON_INSTANCE = st.tuples(BUSY, st.sampled_from([1.0, 2.0, 3.0, 4.0, NAN]), st.integers(0, 6), st.booleans())
GPUS = st.lists(
    st.tuples(JOULES, JOULES, st.one_of(st.lists(ON_BOARD, max_size=6), st.lists(ON_INSTANCE, max_size=6))),
    min_size=1,
    max_size=6,
)


def columns(gpus: list[Gpu]) -> tuple[np.ndarray, np.ndarray, GpuRows]:
    rows = [(place, row) for place, gpu in enumerate(gpus) for row in gpu[2]]
    joules, rest = (np.array([gpu[k] for gpu in gpus], dtype=np.float64) for k in range(2))
    return joules, rest, GpuRows(
        np.array([place for place, _ in rows], dtype=np.intp),
        np.array([row[0] for _, row in rows], dtype=np.float64),
        np.array([row[1] for _, row in rows], dtype=np.float64),
        np.array([place * 10 + row[2] if row[2] >= 0 else -1 for place, row in rows], dtype=np.intp),
        np.array([row[3] for _, row in rows], dtype=np.bool_),
    )  # fmt: skip


def split(*gpus: Gpu) -> GpuShares:
    return share(*columns(list(gpus)))


@given(GPUS)
def test_idle_workloads_and_unattributed_are_the_gpu(gpus: list[Gpu]) -> None:
    joules, rest, rows = columns(gpus)
    got = share(joules, rest, rows)
    known = np.nan_to_num(got.row_joules)
    workloads = np.bincount(rows.gpu, weights=known, minlength=len(gpus))
    assert got.idle + workloads + got.unattributed == pytest.approx(joules, rel=1e-9, abs=1e-9)
    assert workloads == pytest.approx(got.active, rel=1e-9, abs=1e-9)
    assert got.unattributed.min() >= 0
    assert known.min(initial=0) >= 0


@given(GPUS)
def test_what_is_not_given_to_a_row_has_a_reason_and_what_is_has_a_method(gpus: list[Gpu]) -> None:
    joules, rest, rows = columns(gpus)
    got = share(joules, rest, rows)
    left = got.unattributed > 1e-6 * (joules + 1)
    assert (got.reason[left] != "").all()
    assert ((got.row_method == "") == np.isnan(got.row_joules)).all()
    assert np.isnan(got.row_joules[~rows.named]).all(), "nobody's joules are nobody's"


@given(GPUS)
def test_unknown_use_is_never_nought(gpus: list[Gpu]) -> None:
    joules, rest, rows = columns(gpus)
    got = share(joules, rest, rows)
    unknown = np.isnan(rows.busy_seconds)
    not_shared = unknown & (got.row_joules == 0) & ((joules - got.idle)[rows.gpu] > 1e-9)
    assert not not_shared.any()
    spoiled = np.isin(rows.gpu, rows.gpu[unknown])
    assert not (got.row_method[spoiled] == BY_USE).any(), "use is shared by only where all of it is known"


@given(GPUS)
def test_longer_on_the_gpu_never_means_less_energy(gpus: list[Gpu]) -> None:
    _, _, rows = columns(gpus)
    got = split(*gpus)
    for gpu in range(len(gpus)):
        here = (rows.gpu == gpu) & (got.row_method == BY_USE)
        order = np.argsort(rows.busy_seconds[here], kind="stable")
        assert (np.diff(got.row_joules[here][order]) >= -1e-9).all()


@given(GPUS)
def test_the_order_of_rows_does_not_matter(gpus: list[Gpu]) -> None:
    joules, rest, rows = columns(gpus)
    order = np.random.default_rng(7).permutation(rows.gpu.size)
    moved = GpuRows(*(getattr(rows, name)[order] for name in ("gpu", "busy_seconds", "slices", "instance", "named")))
    got, again = share(joules, rest, rows), share(joules, rest, moved)
    assert again.row_joules == pytest.approx(got.row_joules[order], rel=1e-9, abs=1e-9, nan_ok=True)
    assert (again.reason == got.reason).all()


@given(GPUS, GPUS)
def test_what_one_gpu_does_changes_nothing_on_another(ours: list[Gpu], theirs: list[Gpu]) -> None:
    alone, together = split(*ours), split(*ours, *theirs)
    count = len(alone.row_joules)
    assert np.array_equal(together.row_joules[:count], alone.row_joules, equal_nan=True)
    assert (together.unattributed[: len(ours)] == alone.unattributed).all()


def test_what_lies_above_rest_is_shared_by_time_on_the_gpu() -> None:
    got = split((100.0, 40.0, [(3.0, NAN, -1, True), (1.0, NAN, -1, True), (0.0, NAN, -1, True)]))
    assert got.row_joules.tolist() == [45.0, 15.0, 0.0]
    assert (got.idle[0], got.unattributed[0], got.reason[0]) == (40.0, 0.0, "")
    assert got.row_method.tolist() == [BY_USE] * 3


def test_a_gpu_that_nobody_is_on_or_uses_is_unattributed() -> None:
    got = split((100.0, 40.0, []), (100.0, 40.0, [(0.0, NAN, -1, True)]), (40.0, 40.0, []))
    assert got.unattributed.tolist() == [60.0, 60.0, 0.0]
    assert got.reason.tolist() == [EMPTY, UNUSED, ""]


def test_without_use_one_workload_has_all_and_several_have_nothing_known() -> None:
    unknown: Row = (NAN, NAN, -1, True)
    got = split(
        (100.0, 40.0, [unknown]), (100.0, 40.0, [unknown, unknown]), (100.0, 40.0, [unknown, (1.0, NAN, -1, True)])
    )
    assert got.row_joules[0] == 60.0
    assert got.row_method.tolist() == [ALONE, "", "", "", ""]
    assert np.isnan(got.row_joules[1:]).all()
    assert got.unattributed.tolist() == [0.0, 60.0, 60.0]
    assert got.reason.tolist() == ["", UNKNOWN_USE, UNKNOWN_USE]


def test_a_row_without_a_name_keeps_its_part() -> None:
    got = split((100.0, 0.0, [(1.0, NAN, -1, True), (3.0, NAN, -1, False)]), (100.0, 0.0, [(NAN, NAN, -1, False)]))
    assert (got.row_joules[0], got.unattributed.tolist()) == (25.0, [75.0, 100.0])
    assert got.reason.tolist() == [NAMELESS, NAMELESS]


def test_under_mig_the_slices_with_a_process_share_and_say_so() -> None:
    three, one = (NAN, 3.0, 0, True), (NAN, 1.0, 1, True)
    got = split((100.0, 20.0, [three, one]))
    assert got.row_joules.tolist() == [60.0, 20.0]
    assert got.row_method.tolist() == [BY_SLICES] * 2
    crowded = split((100.0, 20.0, [three, one, (NAN, 1.0, 1, True)]))
    assert (crowded.row_joules[0], crowded.unattributed[0]) == (60.0, 20.0)
    assert crowded.reason[0] == SHARED_INSTANCE
    assert split((100.0, 20.0, [three, (NAN, NAN, -1, True)])).reason[0] == UNKNOWN_USE


def test_no_gpu_and_no_row_are_fine() -> None:
    none = share(*columns([]))
    assert (none.idle.size, none.row_joules.size) == (0, 0)


@pytest.mark.parametrize("bad", [NAN, float("inf"), -1.0])
def test_an_impossible_value_is_refused(bad: float) -> None:
    for gpu in ((bad, 1.0, []), (1.0, bad, [])):
        with pytest.raises(ValueError, match="finite"):
            split(gpu)
    if not np.isnan(bad):
        joules, rest, rows = columns([(1.0, 1.0, [(1.0, NAN, -1, True)])])
        with pytest.raises(ValueError, match="busy_seconds"):
            share(joules, rest, replace(rows, busy_seconds=np.array([bad])))
