"""What was done before, for plans and batches that do not run beside the records: what changed lately, what was moved
today, what such changes saved, and whether claims came true.

In: the changes that a fleet file tells of (people carry out what no executor does), and the records, where a command
can reach them (`--records`). Out: one `Past`, plain values read at once, which strategies, confidence and churn limits
ask; it travels to workers in other processes. Without either it is empty: then nothing was done before.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from energy_orchestrator.errors import InvalidInputError
from energy_orchestrator.model.fleet import PastChange
from energy_orchestrator.model.recommendation import SuggestionType, Tried
from energy_orchestrator.recommend.confidence import Record
from energy_orchestrator.store.records import outcomes, rollouts
from energy_orchestrator.store.records.database import Database

DAY = timedelta(days=1)
RECORDS_URL_FILE = "records.url"
"""In the data folder of `eo up`, for other commands on this machine."""
LOOKED_BACK = timedelta(days=7)
"""Longer than any cool-down is."""


Kind = tuple[str, str]
"""Tenant and suggestion type."""


@dataclass(frozen=True, slots=True)
class Past:
    """`changed_at`: workload or `node/NAME` -> when it was last changed. `moved_today`: replicas moved in the last 24
    hours. `tries` and `claims`, newest first, are what `recommend.ranking.recommend` calls playbook and record."""

    changed_at: Mapping[str, datetime] = field(default_factory=dict)
    moved_today: int = 0
    tries: Mapping[Kind, Sequence[Tried]] = field(default_factory=dict)
    claims: Mapping[Kind, Record] = field(default_factory=dict)

    def playbook(self, tenant: str, suggestion_type: str) -> Sequence[Tried]:
        """Finished changes, newest first."""
        return self.tries.get((tenant, suggestion_type), ())

    def record(self, tenant: str, suggestion_type: str) -> Record:
        """Confidence claimed, and whether it came true."""
        return self.claims.get((tenant, suggestion_type), ())


def told(changes: Sequence[PastChange], tenant: str, now: datetime, known: Past) -> Past:
    """What a file tells, added to what is known already."""
    changed_at = dict(known.changed_at)
    tries: dict[Kind, list[Tried]] = defaultdict(list)
    claims: dict[Kind, list[tuple[float, bool]]] = defaultdict(list)
    for it in sorted(changes, key=lambda it: it.at, reverse=True):
        for name in it.what:
            changed_at[name] = max(it.at, changed_at.get(name, it.at))
        if it.suggestion_type is None or not it.judged:
            continue
        kind = (tenant, it.suggestion_type.value)
        tries[kind].append(Tried(it.what[0], None, None if it.reverted else it.saved_share))
        if it.claimed_confidence is not None:
            claims[kind].append((it.claimed_confidence, (it.saved_share or 0.0) > 0))
    moved = sum(it.moves for it in changes if timedelta() <= now - it.at < DAY)
    return Past(
        changed_at,
        known.moved_today + moved,
        {**known.tries, **{kind: [*mine, *known.playbook(*kind)] for kind, mine in tries.items()}},
        {**known.claims, **{kind: [*mine, *known.record(*kind)] for kind, mine in claims.items()}},
    )


def recorded(database: Database, tenants: Sequence[str], now: datetime) -> Past:
    """What the records say. They hold no moves: no executor moves replicas between nodes."""
    changed_at: dict[str, datetime] = {}
    kinds = [(tenant, kind.value) for tenant in tenants for kind in SuggestionType]
    with database.transaction() as connection:
        for tenant in tenants:
            changed_at |= rollouts.changed_at(connection, tenant, now - LOOKED_BACK, now)
        return Past(
            changed_at,
            0,
            {kind: outcomes.tried(connection, *kind) for kind in kinds},
            {kind: outcomes.claims(connection, *kind) for kind in kinds},
        )


def playbook_of(database: Database) -> Callable[[str, str], list[Tried]]:
    """Finished changes, by tenant and suggestion type."""

    def tried(tenant: str, suggestion_type: str) -> list[Tried]:
        with database.transaction() as connection:
            return outcomes.tried(connection, tenant, suggestion_type)

    return tried


def record_of(database: Database) -> Callable[[str, str], list[tuple[float, bool]]]:
    """Claims of finished changes and whether they came true, by tenant and suggestion type."""

    def claims(tenant: str, suggestion_type: str) -> list[tuple[float, bool]]:
        with database.transaction() as connection:
            return outcomes.claims(connection, tenant, suggestion_type)

    return claims


def past_at(url_file: Path | None, tenants: Sequence[str], now: datetime) -> Past:
    """What the records say whose address is in a file; nothing where none is named."""
    if url_file is None:
        return Past()
    with records(url_file) as database:
        return recorded(database, tenants, now)


@contextmanager
def records(url_file: Path) -> Iterator[Database]:
    """The records whose address is in a file; closed again at the end.

    Raises:
        InvalidInputError: the file can't be read or is empty.
        UnavailableError: Postgres does not answer there.
    """
    try:
        url = url_file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(
            f"cannot be read: {getattr(error, 'strerror', None) or error}",
            where=str(url_file),
            next_step="name a file with the URL of Postgres; `eo up` keeps one as records.url in its data folder",
        ) from error
    if not url.startswith(("postgresql://", "postgres://")):
        raise InvalidInputError("no URL of Postgres", where=str(url_file), next_step="write postgresql://... into it")
    database = Database(url, pool_size=2)
    try:
        database.open()
        yield database
    finally:
        database.close()
