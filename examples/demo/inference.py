"""An inference server: a small neural network behind HTTP, batching as its two knobs allow.

Requests wait in one queue. A worker thread takes up to BATCH_MAX of them and multiplies them through the network
together. With a batch of one each request reads all weights from memory (matrix x vector); with sixteen, one read
serves sixteen (matrix x matrix). ANSWER_HOLD_MS holds answers back, so that a client gets several at once: the knob
that a well-meaning person may turn too far.
"""

from __future__ import annotations

import asyncio
import os
import queue
import threading
import time
from concurrent.futures import Future
from typing import Any

import numpy as np
import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, Counter, Gauge, Histogram, generate_latest

WIDTH, LAYERS = 2048, 4
BATCH_MAX = int(os.environ.get("BATCH_MAX", "1"))
ANSWER_HOLD_SECONDS = float(os.environ.get("ANSWER_HOLD_MS", "0")) / 1000
PORT = int(os.environ["PORT"])

REQUESTS = Counter("inference_requests_total", "Requests answered")
ERRORS = Counter("inference_errors_total", "Requests that failed")
QUEUE = Gauge("inference_queue_depth", "Requests waiting, as each new one finds it")
LATENCY = Histogram(
    "inference_latency_seconds",
    "From arrival to answer",
    buckets=(0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1, 1.5, 2, 3, 5),
)

Job = tuple[np.ndarray, "Future[float]"]


class Network:
    """Dense layers with fixed random weights; the answer is a number that depends on all of them."""

    def __init__(self) -> None:
        random = np.random.default_rng(7)
        scale = WIDTH**-0.5
        self.layers = [
            random.standard_normal((WIDTH, WIDTH), dtype=np.float32) * np.float32(scale) for _ in range(LAYERS)
        ]

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """One score for each row of `batch` (rows x WIDTH)."""
        for weights in self.layers:
            batch = np.maximum(batch @ weights, 0)
        return batch.sum(axis=1)


def take_batch(waiting: queue.Queue[Job]) -> list[Job]:
    """The first waiting request and those that wait behind it."""
    jobs = [waiting.get()]
    while len(jobs) < BATCH_MAX and not waiting.empty():
        jobs.append(waiting.get())
    return jobs


def work(waiting: queue.Queue[Job]) -> None:
    """Answer batches for ever."""
    network = Network()
    while True:
        jobs = take_batch(waiting)
        scores = network(np.stack([vector for vector, _ in jobs]))
        for (_, answer), score in zip(jobs, scores, strict=True):
            answer.set_result(float(score))


class Application:
    """ASGI: GET /infer?seed=N, /healthz, /metrics."""

    def __init__(self) -> None:
        self.waiting: queue.Queue[Job] = queue.Queue(maxsize=256)
        self.inputs = np.random.default_rng(1).standard_normal((64, WIDTH), dtype=np.float32)
        threading.Thread(target=work, args=(self.waiting,), daemon=True).start()

    async def infer(self, seed: int) -> tuple[int, bytes]:
        """Queue the request and wait for its score; 503 when the queue is full."""
        started, answer = time.monotonic(), Future[float]()
        QUEUE.set(self.waiting.qsize())
        try:
            self.waiting.put_nowait((self.inputs[seed % 64], answer))
        except queue.Full:
            ERRORS.inc()
            return 503, b"busy\n"
        score = await asyncio.wrap_future(answer)
        if ANSWER_HOLD_SECONDS:
            await asyncio.sleep(ANSWER_HOLD_SECONDS)
        LATENCY.observe(time.monotonic() - started)
        REQUESTS.inc()
        return 200, f"{score:.4f}\n".encode()

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Route one request."""
        if scope["type"] != "http":
            return
        kind = "text/plain"
        if scope["path"] == "/infer":
            status, body = await self.infer(int(scope["query_string"].decode().partition("=")[2] or 0))
        elif scope["path"] == "/metrics":
            status, body, kind = 200, generate_latest(), CONTENT_TYPE_LATEST
        else:
            status, body = (200, b"ok\n") if scope["path"] == "/healthz" else (404, b"not found\n")
        headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


if __name__ == "__main__":
    uvicorn.run(Application(), host="127.0.0.1", port=PORT, log_level="warning", lifespan="off", access_log=False)
