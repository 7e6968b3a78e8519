"""A consumer that asks its socket for records; with POLL_WAIT_MS=0 it asks without ever waiting.

Records come as UDP datagrams on PORT; metrics are served on the TCP port of the same number.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import time

from prometheus_client import Counter, Histogram, start_http_server

RECORDS = Counter("poller_records_total", "Records handled")
DELAY = Histogram("poller_delay_seconds", "From sent to handled", buckets=(0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5))


def handle(datagram: bytes) -> None:
    """Check one record and count it."""
    record = json.loads(datagram)
    hashlib.sha256(datagram).hexdigest()
    DELAY.observe(max(0.0, time.time() - record["sent_at"]))
    RECORDS.inc()


def main() -> None:
    """Poll for ever."""
    port, wait_seconds = int(os.environ["PORT"]), float(os.environ.get("POLL_WAIT_MS", "0")) / 1000
    start_http_server(port, addr="127.0.0.1")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as inbox:
        inbox.bind(("127.0.0.1", port))
        inbox.setblocking(False)
        while True:
            try:
                handle(inbox.recv(4096))
            except BlockingIOError:
                if wait_seconds:
                    time.sleep(wait_seconds)


if __name__ == "__main__":
    main()
