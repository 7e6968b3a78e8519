"""A collector of its own: Kafka in, chDB out, until SIGTERM; then what is stored, as one JSON line.

    python kafka_collector_program.py BROKER FOLDER [die]

With `die` it kills itself by SIGKILL after its first insert, before anything is settled.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import pyarrow as pa

from energy_orchestrator.ingest.kafka_bus import KafkaBus, KafkaLogin
from energy_orchestrator.model.wire import Kind
from energy_orchestrator.services.collector import Collector
from energy_orchestrator.store.series.chdb_store import ChdbSeriesStore

COUNTED = "SELECT count() AS rows, uniqExact(batch_id) AS batches FROM telemetry_sample"


class Deadly(ChdbSeriesStore):
    """A store whose process ends with the first insert of samples."""

    def insert(self, kind: Kind, table: pa.Table) -> None:
        super().insert(kind, table)
        if kind is Kind.SAMPLES:
            print("stored and killed", flush=True)
            os.kill(os.getpid(), signal.SIGKILL)


async def collect(broker: str, store: ChdbSeriesStore) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    bus = await KafkaBus.connect(KafkaLogin((broker,)))
    print("collecting", flush=True)
    await Collector(bus, store).run(stop)
    await bus.close()


def main() -> None:
    broker, folder, *die = sys.argv[1:]
    store = (Deadly if die else ChdbSeriesStore)(Path(folder))
    store.migrate()
    asyncio.run(collect(broker, store))
    print(json.dumps(store.query(COUNTED).to_pylist()[0]), flush=True)
    store.close()


if __name__ == "__main__":
    main()
