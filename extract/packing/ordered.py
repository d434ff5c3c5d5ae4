"""The same function over millions of items in parallel: results in the items' order, a bounded number underway."""

import logging
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import TypeVar

from tqdm import tqdm

from cache_schema import DatasetError, end_with_parent, fork_server, hold_signals, share_turns, start_fork_server

logger = logging.getLogger(__name__)

LOG_EVERY_SEC = 60

T = TypeVar("T")
R = TypeVar("R")


def map_in_processes(function: Callable[[T], R], items: Iterable[T], num_workers: int, chunk_size: int) -> Iterator[R]:
    """Map in worker processes; in this one if `num_workers` is 1.

    Args:
        function: A module's function, or a partial of one.
        items: Taken as they are needed: about 4 × `num_workers` × `chunk_size` items are underway.
        num_workers: Number of processes.
        chunk_size: Items that go to a process at once: many small ones, or few large ones.

    Raises:
        DatasetError: If a worker process was killed.
    """
    if num_workers == 1:
        yield from map(function, items)
        return
    # Not forked from this process: that would copy other threads' locks as they are just then. A server process that
    # has loaded the code is forked instead, so that a worker starts at once.
    share_turns()
    context = fork_server(["extract.packing.inspecting"])
    start_fork_server()
    pool = ProcessPoolExecutor(num_workers, context, _prepare_worker, initargs=(dict(os.environ),))
    try:
        yield from _map(pool, function, items, 4 * num_workers, chunk_size)
    except BrokenProcessPool as error:
        raise DatasetError(
            "a worker process was killed, perhaps for lack of memory: try fewer --num_workers. Nothing was published."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def map_in_threads(function: Callable[[T], R], items: Iterable[T], num_workers: int, chunk_size: int) -> Iterator[R]:
    """Map in threads: for what waits for disks, whose results would be copied between processes for nothing."""
    pool = ThreadPoolExecutor(num_workers)
    try:
        yield from _map(pool, function, items, 4 * num_workers, chunk_size)
    finally:
        pool.shutdown(cancel_futures=True)


def _map(
    pool: Executor, function: Callable[[T], R], items: Iterable[T], num_chunks: int, chunk_size: int
) -> Iterator[R]:
    underway: deque[Future[list[R]]] = deque()
    stream = iter(items)
    while chunk := list(islice(stream, chunk_size)):
        with hold_signals():  # it may start a worker, which the pool must know of to wait for it at the end
            underway.append(pool.submit(_apply, function, chunk))
        if len(underway) == num_chunks:
            yield from underway.popleft().result()
    while underway:
        yield from underway.popleft().result()


def _apply(function: Callable[[T], R], chunk: Sequence[T]) -> list[R]:
    return [function(item) for item in chunk]


def _prepare_worker(environment: dict[str, str]) -> None:
    """End with the parent, however that ends, leave Ctrl-C to it, and see the environment that it has now.

    The server process keeps the one of the moment when it was started, and with it credentials that have changed since.
    """
    os.environ.clear()
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()


def with_progress(items: Iterable[T], what: str, unit: str, total: int | None = None) -> Iterator[T]:
    """Show how far a long iteration is: a bar on a terminal, otherwise a log line a minute and one at the end."""
    start = last = time.monotonic()
    number = 0
    with tqdm(total=total, desc=what, unit=unit, disable=None) as bar:
        for item in items:
            yield item
            number += 1
            bar.update()
            if bar.disable and time.monotonic() - last > LOG_EVERY_SEC:
                last = time.monotonic()
                of_all = "" if total is None else f" of {total}"
                logger.info("%s: %d%s %ss, %.0f a second", what, number, of_all, unit, number / (last - start))
    elapsed_sec = time.monotonic() - start
    logger.info("%s: %d %ss in %.1f s, %.0f a second", what, number, unit, elapsed_sec, number / max(elapsed_sec, 1e-9))
