from __future__ import annotations

from collections.abc import Iterator

import pytest

from energy_orchestrator.store.records.database import Database
from records.shared import emptied, new_database


@pytest.fixture(scope="module")
def opened() -> Iterator[Database]:
    database = new_database()
    yield database
    database.close()


@pytest.fixture
def database(opened: Database) -> Database:
    return emptied(opened)
