"""The hourly batch: the last whole hour again, at once, with the functions of the stream (`fleet_analysis.py`), and
what it advises into the records.

In: the series store, declarations, the records. Out: energy of windows whose samples came later than the stream looks
back, and recommendations from an hour's means where the stream has a minute's. They stay open until the next batch has
spoken. Which of them may be carried out is not decided here: the orchestrator decides about every open one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from energy_orchestrator.model.recommendation import Recommendation
from energy_orchestrator.services.fleet_analysis import Task, advise, attribute
from energy_orchestrator.services.series import window_edge
from energy_orchestrator.store.records import recommendations
from energy_orchestrator.store.records.database import Database
from energy_orchestrator.store.series.port import SeriesStore

HOUR = timedelta(hours=1)
LATE = timedelta(minutes=1)
"""Samples of an hour may come so much after it."""


def keep(
    database: Database,
    found: Sequence[Recommendation],
    now: datetime,
    life: timedelta,
    shared_since: datetime | None = None,
) -> int:
    """What a batch found into the records, open for so long; how many of them are new or renewed. What was refused or
    reverted lately, or is under way, is left alone.

    Args:
        shared_since: several workers keep what they found since then; of one target only the best stays, as
            `recommend.ranking.best_of` would have it if one had found all.
    """
    kept = 0
    for it in found:
        lasting = replace(it, expires_at=now + life)
        with database.transaction() as connection:
            if shared_since is not None and not recommendations.outranks(connection, it, shared_since, now):
                continue
            kept += recommendations.upsert_found(connection, lasting, now) is not None
    return kept


class HourlyBatch:
    """Call `run_if_due` often: it does something once an hour, of the hours that end after it was made."""

    def __init__(
        self,
        series: SeriesStore,
        database: Database,
        task_of: Callable[[datetime, datetime], Task],
        clock: Callable[[], datetime],
    ) -> None:
        self._series, self._database = series, database
        self._task_of, self._clock = task_of, clock
        self._done_to = window_edge(clock(), HOUR)

    def run_if_due(self) -> int:
        """How many recommendations were kept; 0 when no hour has ended."""
        now = self._clock()
        end = window_edge(now - LATE, HOUR)
        if end <= self._done_to:
            return 0
        task = self._task_of(end - HOUR, end)
        attribute(self._series, task)
        kept = keep(self._database, advise(self._series, task, database=self._database), now, HOUR + LATE)
        self._done_to = end
        return kept
