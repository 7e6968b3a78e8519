"""Work on a Dask cluster: the folds of the estimator's training, each fitted wherever there is room.

A cluster of processes on this machine, or one that is there already. A task is a pure function of its arguments, run in
one thread, and the answers come back in order: the same model, byte for byte, however many workers there are. The rows
of one fit are not split: XGBoost's exact trees can't be fitted in parts, and a thousand servers need no more than one
worker. The only module that imports Dask (`pip install energy-orchestrator[scale]`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from logging import ERROR
from typing import Any

from energy_orchestrator.analyze.estimator.training import Each
from energy_orchestrator.errors import InvalidInputError, UnavailableError

CONNECT_SECONDS = 15.0


@contextmanager
def mapping(workers: int, scheduler: str | None = None) -> Iterator[Each]:
    """What `map` is, on `workers` processes of this machine, or on the cluster of a scheduler (`tcp://host:8786`)."""
    if workers < 1:
        raise InvalidInputError(f"{workers} workers", where="--workers", next_step="take at least one")
    if workers == 1 and scheduler is None:
        yield map
        return
    try:
        import distributed
    except ImportError as fault:
        raise UnavailableError(
            "Dask is not installed", where="--workers", next_step="pip install 'energy-orchestrator[scale]'"
        ) from fault
    made: Any = distributed  # published without types
    with ExitStack() as stack:
        try:
            where = scheduler or stack.enter_context(
                made.LocalCluster(
                    n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=ERROR
                )
            )
            client = stack.enter_context(made.Client(where, timeout=CONNECT_SECONDS))
        except (OSError, TimeoutError, ValueError) as fault:
            raise UnavailableError(
                f"the Dask cluster does not answer: {fault}",
                where=scheduler or "this machine",
                next_step="check the scheduler's address (dask scheduler prints it)",
            ) from fault

        def each(work: Callable[[int], Any], items: Iterable[int]) -> Iterator[Any]:
            for future in client.map(work, list(items), pure=False):
                yield future.result()

        yield each
