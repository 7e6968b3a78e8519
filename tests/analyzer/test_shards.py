"""Every bucket has one worker, a new worker takes its part and nothing else moves, and packs lose no host."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from energy_orchestrator.errors import InvalidInputError
from energy_orchestrator.services.shards import BUCKETS, MOST_HOSTS, Worker, owner, packs


@pytest.mark.parametrize("workers", [2, 3, 7])
def test_every_bucket_has_one_worker_and_all_have_about_as_many(workers: int) -> None:
    shares = [Worker(number, workers).buckets for number in range(workers)]
    assert sorted(bucket for share in shares for bucket in share) == list(range(BUCKETS))
    assert max(map(len, shares)) < 1.3 * BUCKETS / workers


def test_one_worker_has_all() -> None:
    assert Worker().alone
    assert Worker().buckets == []
    assert not any(owner(bucket, 1) for bucket in range(BUCKETS))


@given(st.integers(0, BUCKETS - 1), st.integers(1, 20))
def test_one_more_worker_takes_its_part_and_moves_nothing_else(bucket: int, workers: int) -> None:
    before, after = owner(bucket, workers), owner(bucket, workers + 1)
    assert after in (before, workers)


@pytest.mark.parametrize(("number", "of"), [(2, 2), (-1, 2), (0, 0), (0, 1000)])
def test_a_worker_that_cannot_be_is_refused(number: int, of: int) -> None:
    with pytest.raises(InvalidInputError, match="count workers from 0"):
        Worker(number, of)


@settings(max_examples=200)
@given(st.lists(st.integers(1, 50), max_size=40), st.integers(1, 120))
def test_packs_hold_every_host_once_in_order_and_no_more_rows_than_asked(rows: list[int], most: int) -> None:
    hosts = [f"h{place}" for place in range(len(rows))]
    made = list(packs(["t"] * len(rows), hosts, rows, most))
    assert [host for pack in made for host in pack.hosts] == hosts
    size = dict(zip(hosts, rows, strict=True))
    for pack in made:
        assert len(pack.hosts) <= MOST_HOSTS
        assert len(pack.hosts) == 1 or sum(size[host] for host in pack.hosts) <= most


def test_a_pack_has_no_more_hosts_than_a_statement_can_name() -> None:
    count = 2 * MOST_HOSTS + 1
    made = list(packs(["t"] * count, [f"h{place}" for place in range(count)], [1] * count, 10**9))
    assert [len(pack.hosts) for pack in made] == [MOST_HOSTS, MOST_HOSTS, 1]
