"""The load: bursts of requests to each inference replica and records to the poller, open loop.

Open loop means that the generator sends by its own clock, whether or not answers have come: a slow server builds
a queue, as it would in life. The rate rises and falls by a third over three minutes, so that a comparison which
confuses load with savings is found out. Both replicas get the same number of requests at the same moments.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
import socket
import time

PERIOD_SECONDS = 180.0


def load_factor(now: float) -> float:
    """Between 2/3 and 4/3 over a period."""
    return 1 + math.sin(2 * math.pi * now / PERIOD_SECONDS) / 3


class Connection:
    """One keep-alive connection; opened again after the server's restart.

    Written on plain streams: an HTTP client library costs more CPU than the server it would be loading.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self.streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, seed: int) -> None:
        """One request and its whole answer."""
        try:
            if self.streams is None:
                self.streams = await asyncio.open_connection("127.0.0.1", self.port)
            reader, writer = self.streams
            writer.write(f"GET /infer?seed={seed} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), timeout=10)
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
            await reader.readexactly(length)
        except (OSError, EOFError, TimeoutError):
            self.close()

    def close(self) -> None:
        """Forget a broken connection."""
        if self.streams is not None:
            self.streams[1].close()
        self.streams = None


async def serve(port: int, waiting: asyncio.Queue[int]) -> None:
    """One of the connections to a replica: send what waits, one at a time."""
    connection = Connection(port)
    while True:
        await connection.ask(await waiting.get())


async def bursts(ports: list[int], per_second: float, size: int) -> None:
    """Bursts of `size` requests to every port, with exponential gaps; what finds no room is dropped."""
    chance = random.Random(11)
    queues: dict[int, asyncio.Queue[int]] = {port: asyncio.Queue(maxsize=256) for port in ports}
    workers = [asyncio.create_task(serve(port, queues[port])) for port in ports for _ in range(32)]
    while not any(worker.done() for worker in workers):
        for _ in range(size):
            seed = chance.randrange(1 << 16)
            for waiting in queues.values():
                if not waiting.full():
                    waiting.put_nowait(seed)
        await asyncio.sleep(chance.expovariate(per_second * load_factor(time.time())))
    await asyncio.gather(*workers)


async def records(port: int, per_second: float) -> None:
    """Records to the poller, by UDP."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as outbox:
        number = 0
        while True:
            number += 1
            record = {"number": number, "sent_at": time.time(), "payload": "x" * 200}
            outbox.sendto(json.dumps(record).encode(), ("127.0.0.1", port))
            await asyncio.sleep(1 / (per_second * load_factor(time.time())))


async def main() -> None:
    """Send until stopped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inference-ports", default="18100,18101")
    parser.add_argument("--poller-port", type=int, default=18120)
    parser.add_argument("--bursts-per-second", type=float, default=2.0)
    parser.add_argument("--burst-size", type=int, default=16)
    parser.add_argument("--records-per-second", type=float, default=20.0)
    given = parser.parse_args()
    ports = [int(port) for port in given.inference_ports.split(",")]
    await asyncio.gather(
        bursts(ports, given.bursts_per_second, given.burst_size),
        records(given.poller_port, given.records_per_second),
    )


if __name__ == "__main__":
    asyncio.run(main())
