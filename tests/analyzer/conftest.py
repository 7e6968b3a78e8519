from __future__ import annotations

from collections.abc import Iterator

import pytest

from energy_orchestrator.store.series.chdb_store import ChdbSeriesStore
from energy_orchestrator.store.series.port import DERIVED_TABLES, TABLES, SeriesStore

from .world import World


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeriesStore]:
    made = ChdbSeriesStore(tmp_path_factory.mktemp("series"))
    made.migrate()
    yield made
    made.close()


@pytest.fixture
def world(store: SeriesStore) -> World:
    for table in (*TABLES.values(), *DERIVED_TABLES):
        store.query(f"TRUNCATE TABLE {table}")
    return World(store)
