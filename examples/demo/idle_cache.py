"""A cache that nobody asks: it holds CACHE_MB of memory and answers GET /get, counting what it serves."""

from __future__ import annotations

import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import Counter, generate_latest

READS = Counter("cache_reads_total", "Reads served")
CACHE = bytearray(os.urandom(1024) * (int(os.environ.get("CACHE_MB", "128")) * 1024))


class Handler(BaseHTTPRequestHandler):
    """GET /get, /metrics, anything else is a health check."""

    def do_GET(self) -> None:
        body = b"ok\n"
        if self.path == "/metrics":
            body = generate_latest()
        elif self.path == "/get":
            READS.inc()
            body = bytes(CACHE[:16])
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Quiet."""


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
