"""What tests of several folders ask for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from energy_orchestrator.store.records.database import Database


@pytest.fixture(scope="module")
def opened() -> Iterator[Database]:
    """A module's own database in the one Postgres of a run."""
    from records.shared import new_database  # its packages are needed by those who ask only

    database = new_database()
    yield database
    database.close()


@pytest.fixture
def database(opened: Database) -> Database:
    """The same without rows."""
    from records.shared import emptied

    return emptied(opened)
