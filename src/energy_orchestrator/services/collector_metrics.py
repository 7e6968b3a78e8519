"""Every metric of the collector, declared and described once, and a plain view of them for tests and the API."""

from __future__ import annotations

from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.samples import Sample

from energy_orchestrator.ingest.validation import Reason

STORE_REFUSED = "store_refused"


@dataclass(frozen=True, slots=True)
class CollectorCounts:
    """What happened since the start."""

    batches: int = 0
    rows: int = 0
    duplicates: int = 0
    retries: int = 0
    dropped_columns: int = 0
    dead_letters: dict[str, int] = field(default_factory=dict)


class CollectorMetrics:
    """The counters, in the registry given (one of its own without)."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        registry = registry or CollectorRegistry()
        self.batches = Counter("eo_collector_batches", "Batches stored.", ["kind"], registry=registry)
        self.rows = Counter("eo_collector_rows", "Rows stored.", ["kind"], registry=registry)
        self.duplicates = Counter("eo_collector_duplicates", "Batches that were stored before.", registry=registry)
        self.retries = Counter("eo_collector_retries", "Messages given back: a part was down.", registry=registry)
        self.dropped_columns = Counter(
            "eo_collector_dropped_columns", "Columns of newer agents that were dropped.", registry=registry
        )
        self.dead_letters = Counter("eo_collector_dead_letters", "Messages refused.", ["reason"], registry=registry)
        self.insert_seconds = Histogram("eo_collector_insert_seconds", "Time of one insert.", registry=registry)
        self.newest = Gauge("eo_collector_newest_timestamp_seconds", "Newest row stored, Unix time.", registry=registry)
        for reason in (*Reason, STORE_REFUSED):
            self.dead_letters.labels(str(reason))

    def counts(self) -> CollectorCounts:
        """The present values."""
        return CollectorCounts(
            batches=_total(self.batches),
            rows=_total(self.rows),
            duplicates=_total(self.duplicates),
            retries=_total(self.retries),
            dropped_columns=_total(self.dropped_columns),
            dead_letters=_by_label(self.dead_letters, "reason"),
        )


def _total(counter: Counter) -> int:
    return int(sum(sample.value for sample in _samples(counter)))


def _by_label(counter: Counter, label: str) -> dict[str, int]:
    return {sample.labels[label]: int(sample.value) for sample in _samples(counter) if sample.value}


def _samples(counter: Counter) -> list[Sample]:
    return [sample for metric in counter.collect() for sample in metric.samples if sample.name.endswith("_total")]
