"""A batch job: every three seconds, a chain of small matrix products, with as many BLAS threads as it is told.

BLAS_THREADS decides how many threads share each product. More threads than CPUs wait for each other at the end of
each product, and OpenBLAS waits by spinning. (Its own variable OPENBLAS_NUM_THREADS stops at the number of CPUs;
programs that set the count through the library, as here, do not.)
"""

from __future__ import annotations

import os
import time

import numpy as np
from prometheus_client import Counter, Histogram, start_http_server
from threadpoolctl import threadpool_limits

JOBS = Counter("matrix_jobs_total", "Jobs finished")
DURATION = Histogram("matrix_job_seconds", "Length of a job", buckets=(0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10))
SIZE, PRODUCTS, PERIOD_SECONDS = 320, 6, 3.0


def job(random: np.random.Generator) -> float:
    """One job: a chain of products; returns a number that depends on them all."""
    matrix = random.standard_normal((SIZE, SIZE)) / SIZE**0.5
    product = matrix
    for _ in range(PRODUCTS):
        product = product @ matrix
    return float(np.trace(product))


def main() -> None:
    """Run jobs for ever, one a period."""
    start_http_server(int(os.environ["PORT"]), addr="127.0.0.1")
    random = np.random.default_rng(3)
    while True:
        started = time.monotonic()
        with threadpool_limits(int(os.environ["BLAS_THREADS"]), user_api="blas"):
            job(random)
        DURATION.observe(time.monotonic() - started)
        JOBS.inc()
        time.sleep(max(0.05, PERIOD_SECONDS - (time.monotonic() - started)))


if __name__ == "__main__":
    main()
