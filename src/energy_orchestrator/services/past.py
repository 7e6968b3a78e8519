"""What was done before, for plans that are made from a file: what changed lately, what was moved today, what such
changes saved, and whether claims came true.

In: the changes that a fleet file tells of (people carry out what no executor does), and the records, where
`eo recommendations plan --records` can reach them. Out: one `Past`, which the strategies, the confidence and the
churn limits read. Without either it is empty, and a plan then holds back nothing for having been made before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

from energy_orchestrator.errors import InvalidInputError
from energy_orchestrator.model.fleet import PastChange
from energy_orchestrator.model.recommendation import SuggestionType
from energy_orchestrator.recommend.confidence import Record, no_record
from energy_orchestrator.store.records import outcomes, rollouts
from energy_orchestrator.store.records.database import Database

DAY = timedelta(days=1)
RECORDS_URL_FILE = "records.url"
"""In the data folder of `eo up`, for other commands on this machine."""
LOOKED_BACK = timedelta(days=7)
"""Longer than any cool-down is."""


def nothing_tried(tenant: str, suggestion_type: str) -> Sequence[float | None]:
    """The playbook of who keeps none."""
    del tenant, suggestion_type
    return ()


@dataclass(frozen=True, slots=True)
class Past:
    """`changed_at`: workload or `node/NAME` -> when it was last changed. `moved_today`: replicas moved in the last 24
    hours. `playbook` and `record`: as `recommend.ranking.recommend` takes them."""

    changed_at: Mapping[str, datetime] = field(default_factory=dict)
    moved_today: int = 0
    playbook: Callable[[str, str], Sequence[float | None]] = nothing_tried
    record: Callable[[str, str], Record] = no_record


def told(changes: Sequence[PastChange], now: datetime, before: Past | None = None) -> Past:
    """What a file tells, added to what is known already."""
    known = before or Past()
    changed_at = dict(known.changed_at)
    for it in changes:
        for name in it.what:
            changed_at[name] = max(it.at, changed_at.get(name, it.at))
    newest_first = sorted((it for it in changes if it.judged), key=lambda it: it.at, reverse=True)

    def playbook(tenant: str, kind: str) -> Sequence[float | None]:
        here = [None if it.reverted else it.saved_share for it in newest_first if it.suggestion_type == kind]
        return [*here, *known.playbook(tenant, kind)]

    def record(tenant: str, kind: str) -> Record:
        claims = [
            (it.claimed_confidence, not it.reverted and (it.saved_share or 0.0) > 0)
            for it in newest_first
            if it.suggestion_type == kind and it.claimed_confidence is not None
        ]
        return [*claims, *known.record(tenant, kind)]

    moved = sum(it.moves for it in changes if timedelta() <= now - it.at < DAY)
    return Past(changed_at, known.moved_today + moved, playbook, record)


def recorded(database: Database, tenant: str, now: datetime) -> Past:
    """What the records say. They hold no moves: no executor moves replicas between nodes."""
    with database.transaction() as connection:
        changed_at = rollouts.changed_at(connection, tenant, now - LOOKED_BACK, now)
    return Past(changed_at, 0, playbook_of(database), record_of(database))


def playbook_of(database: Database) -> Callable[[str, str], list[float | None]]:
    """Saved shares of finished changes, by tenant and suggestion type."""

    def measured(tenant: str, suggestion_type: str) -> list[float | None]:
        with database.transaction() as connection:
            return outcomes.saving_ratios(connection, tenant, suggestion_type)

    return measured


def record_of(database: Database) -> Callable[[str, str], list[tuple[float, bool]]]:
    """Claims of finished changes and whether they came true, by tenant and suggestion type."""

    def claims(tenant: str, suggestion_type: str) -> list[tuple[float, bool]]:
        with database.transaction() as connection:
            return outcomes.claims(connection, tenant, suggestion_type)

    return claims


def past_at(url_file: Path | None, tenant: str, now: datetime) -> Past:
    """What the records say whose address is in a file; nothing where none is named. Read at once: a plan takes its
    time, and the records are not kept open for it."""
    if url_file is None:
        return Past()
    with records(url_file) as database:
        known = recorded(database, tenant, now)
        tries = {kind: known.playbook(tenant, kind.value) for kind in SuggestionType}
        claims = {kind: known.record(tenant, kind.value) for kind in SuggestionType}
    return replace(
        known,
        playbook=lambda _, kind: tries[SuggestionType(kind)],
        record=lambda _, kind: claims[SuggestionType(kind)],
    )


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
