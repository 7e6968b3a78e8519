"""A million fingerprints grouped and searched: time, memory, and how right it is. The vectors are simulated.

    python -m benchmarks.fingerprint_scale [--count 1000000] [--workers 2] [--centres 3000]

Simulated: centres drawn at random, sizes by Zipf's law, members around their centre as near as runs of one program are
in the corpus (cosine of two members 0.74 to 0.95 from group to group), and 2 % that belong to nothing. So the figures
say what the method costs and whether it finds groups that are there; whether programs make such groups is what
`benchmarks.fingerprints` measures. With `--workers 2` the shards are reduced by two processes; the result must be that
of one, bit by bit.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.progress import track
from sklearn.metrics import adjusted_rand_score
from threadpoolctl import threadpool_limits

from benchmarks import machine
from benchmarks.report import add_write, tell
from energy_orchestrator.analyze.fingerprint.fleet import Leaders, group_shards, lead, search

DIMENSIONS, SHARDS, QUERIES, NEAREST = 256, 16, 50, 10
NOISE_SHARE, PAIR_COSINE = 0.02, (0.74, 0.95)


def simulate(folder: Path, count: int, centres: int, seed: int = 7) -> NDArray[np.intp]:
    """Write the vectors to `vectors.npy`, a file that workers map; the group of each, noise as groups of one."""
    random = np.random.default_rng(seed)
    middle = random.normal(size=(centres, DIMENSIONS)).astype(np.float32)
    middle /= np.linalg.norm(middle, axis=1, keepdims=True)
    sizes = 1 / np.arange(1, centres + 1)
    truth = random.choice(centres, size=count, p=sizes / sizes.sum())
    noise = random.random(count) < NOISE_SHARE
    spread = np.sqrt((1 / random.uniform(*PAIR_COSINE, centres) - 1) / DIMENSIONS)[truth]
    out = np.lib.format.open_memmap(folder / "vectors.npy", "w+", np.float32, (count, DIMENSIONS))
    for start in range(0, count, 50_000):
        part = slice(start, start + 50_000)
        rows = random.standard_normal((len(truth[part]), DIMENSIONS), dtype=np.float32)
        rows *= np.where(noise[part], 1.0, spread[part])[:, None].astype(np.float32)
        rows += middle[truth[part]] * ~noise[part][:, None]
        out[part] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    out.flush()
    truth[noise] = centres + np.arange(noise.sum())
    return truth


def reduce_shard(path: str, shard: int) -> Leaders:
    """A worker's part: it maps the file and reads its own rows."""
    with threadpool_limits(1):
        return lead(np.ascontiguousarray(np.load(path, mmap_mode="r")[shard::SHARDS]))


def reduced(path: str, workers: int) -> tuple[list[Leaders], float]:
    """All shards, and the seconds."""
    begun = time.perf_counter()
    with ProcessPoolExecutor(workers) as pool:
        tasks = [pool.submit(reduce_shard, path, shard) for shard in range(SHARDS)]
        shards = [task.result() for task in track(tasks, description=f"Reducing, {workers} workers")]
    return shards, time.perf_counter() - begun


def same(one: list[Leaders], two: list[Leaders]) -> bool:
    """Bit by bit."""
    return all(
        np.array_equal(a.of, b.of) and np.array_equal(a.vectors, b.vectors) for a, b in zip(one, two, strict=True)
    )


def searched(vectors: NDArray[np.float32], shards: list[Leaders]) -> tuple[float, float, float]:
    """Recall of the ten nearest among all against exact search, and milliseconds a query of both."""
    random = np.random.default_rng(11)
    parts = [np.ascontiguousarray(vectors[n::SHARDS]) for n in range(SHARDS)]
    hits, fast, slow = 0.0, 0.0, 0.0
    for query in vectors[random.choice(len(vectors), QUERIES)]:
        begun = time.perf_counter()
        near = np.concatenate(
            [
                search(part, it, query, NEAREST) * SHARDS + n
                for n, (part, it) in enumerate(zip(parts, shards, strict=True))
            ]
        )
        near = near[np.argsort(-(vectors[near] @ query))[:NEAREST]]
        middle = time.perf_counter()
        exact = np.argpartition(-(vectors @ query), NEAREST)[:NEAREST]
        fast, slow = fast + middle - begun, slow + time.perf_counter() - middle
        hits += len(set(near.tolist()) & set(exact.tolist())) / NEAREST
    return hits / QUERIES, 1000 * fast / QUERIES, 1000 * slow / QUERIES


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--centres", type=int, default=3_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--also-one", action="store_true", help="compare with one worker")
    add_write(parser)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="eo-scale-") as name:
        truth = simulate(Path(name), options.count, options.centres)
        path = str(Path(name) / "vectors.npy")
        shards, reduce_seconds = reduced(path, options.workers)
        alone = ""
        if options.also_one:
            single, single_seconds = reduced(path, 1)
            if not same(shards, single):
                raise SystemExit("two workers and one do not agree: shards must not depend on the workers")
            alone = f" One worker: {single_seconds:.0f} s, the same bit by bit."
        begun = time.perf_counter()
        groups = group_shards(shards)
        found = np.empty(options.count, dtype=np.intp)
        for n, (shard, of_leader) in enumerate(zip(shards, groups, strict=True)):
            found[n::SHARDS] = of_leader[shard.of]
        group_seconds = time.perf_counter() - begun
        strict = np.where(found >= 0, found, -1 - np.arange(len(found)))
        index = adjusted_rand_score(truth, strict)
        recall, fast, exact = searched(np.load(path), shards)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss + resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    leaders, with_members = sum(len(it.vectors) for it in shards), len(np.unique(truth[truth < options.centres]))
    text = f"""## Fingerprints of a fleet (simulated vectors)

Made by `python -m benchmarks.fingerprint_scale --count {options.count} --also-one --write` on
{machine.describe()["date"]}: {options.count:,} simulated vectors of 256 around {options.centres:,} centres, sizes by
Zipf's law, cosine of two members {PAIR_COSINE[0]} to {PAIR_COSINE[1]}, {100 * NOISE_SHARE:.0f} % in no group,
{os.cpu_count()} cores (load {os.getloadavg()[0]:.0f}).

| step | result |
|---|---|
| {SHARDS} shards reduced to {leaders:,} leaders, {options.workers} workers | {reduce_seconds:.0f} s |
| leaders reduced again, HDBSCAN, groups given to all | {group_seconds:.0f} s |
| groups found | {len(set(found[found >= 0])):,}, of the {with_members:,} that have members |
| adjusted Rand index against the truth (in none = alone) | {index:.4f} |
| ten nearest of all, behind the leaders: recall, time | {100 * recall:.1f} %, {fast:.0f} ms |
| the same exactly (baseline) | 100 %, {exact:.0f} ms |
| peak memory, one worker and the parent | {peak / 1e6:.1f} GB |
{alone}

Beyond one machine: shards are by a hash of the key and do not depend on the number of workers; a worker reads its
shards and sends back leaders. The second step sees leaders only, and HDBSCAN its kept followers. Here a shard is every
16th row. The times are by the clock and with `nice -n 10`: a second worker gains only where a second core is free.
Search behind leaders pays only beyond some millions; the store's HNSW index is not in this table.
"""
    tell("fingerprint scale", text, options.write)


if __name__ == "__main__":
    main()
