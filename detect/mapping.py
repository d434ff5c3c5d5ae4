"""From pictures to error maps: threads prepare some batches ahead, and the diffusion models work on one at a time."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import tee
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cache_schema import stack_maps
from detect.picture import Picture
from detect.prepare import Prepared
from detect.verdict import Answer
from extract import Batch, LoadedProbe, Probe, collate

READ_AHEAD = 2
"""Batches that are prepared while the networks work on others."""

MAX_THREADS = 8

Item = Prepared | Answer
"""A picture that waits for the networks, or one that cannot be used."""


class Mapped(NamedTuple):
    """A list of items whose maps are there; of the usable pictures among them, in their order."""

    items: list[Item]
    lare: NDArray[np.float32]
    """(usable, channels, h, w); NaN where a map is not finite."""
    status: NDArray[np.uint8]
    reasons: list[str]


def prepare_batches(
    pictures: Iterable[Picture], prepare: Callable[[Picture], Item], batch_size: int, num_threads: int
) -> Generator[list[Item], None, None]:
    """Pictures in their order, prepared by threads a bounded number ahead, in lists of at most a batch of usable ones.

    Args:
        pictures: Any number.
        prepare: Is called in the threads.
        batch_size: Usable pictures in a list.
        num_threads: How many threads there are.
    """
    with ThreadPoolExecutor(num_threads, thread_name_prefix="prepare") as pool:
        try:
            yield from _in_batches(
                _read_ahead(pool, pictures, prepare, READ_AHEAD * batch_size + num_threads), batch_size
            )
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def count_threads() -> int:
    """Threads that prepare pictures where nobody says how many: one a core, at most `MAX_THREADS`."""
    return min(MAX_THREADS, os.cpu_count() or 1)


def load_probes(probes: Sequence[Probe]) -> list[LoadedProbe]:
    """Load probes; those of one model share its weights."""
    loaded: list[LoadedProbe] = []
    for probe in probes:
        same = next((one for one in loaded if probe.shares_model(one.probe)), None)
        loaded.append(probe.load(same))
    return loaded


def map_batches(probes: Sequence[LoadedProbe], batches: Iterator[list[Item]]) -> Iterator[Mapped]:
    """Maps of the usable pictures, those of several probes stacked; a list without any passes through in its turn.

    On a GPU a list comes out while the models work on the next one.
    """
    waiting: deque[list[Item]] = deque()

    def usable() -> Iterator[list[Prepared]]:
        for items in batches:
            waiting.append(items)
            prepared = [item for item in items if isinstance(item, Prepared)]
            if prepared:
                yield prepared

    def batches_of(number: int, copy: Iterator[list[Prepared]]) -> Iterator[Batch]:
        return (_collate(number, prepared, pin=probes[number].pin_memory) for prepared in copy)

    copies = tee(usable(), len(probes))
    computed = [p.compute(batches_of(n, c)) for n, (p, c) in enumerate(zip(probes, copies, strict=True))]
    for results in zip(*computed, strict=True):
        yield from _without_pictures(waiting)
        settled = [result for _, result in results]
        status = np.max([one.status for one in settled], axis=0)
        reasons = [next(filter(None, texts), "") for texts in zip(*(one.reasons for one in settled), strict=True)]
        yield Mapped(waiting.popleft(), stack_maps([one.maps for one in settled]), status, reasons)
    yield from _without_pictures(waiting)


def _read_ahead(
    pool: ThreadPoolExecutor, pictures: Iterable[Picture], prepare: Callable[[Picture], Item], most: int
) -> Iterator[Item]:
    waiting: deque[Future[Item]] = deque()
    for picture in pictures:
        waiting.append(pool.submit(prepare, picture))
        if len(waiting) > most:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _in_batches(items: Iterator[Item], batch_size: int) -> Iterator[list[Item]]:
    batch: list[Item] = []
    usable = 0
    for item in items:
        batch.append(item)
        usable += isinstance(item, Prepared)
        if usable == batch_size or len(batch) == 4 * batch_size:
            yield batch
            batch, usable = [], 0
    if batch:
        yield batch


def _collate(probe: int, prepared: Sequence[Prepared], *, pin: bool) -> Batch:
    batch: Batch = collate([item.rows[probe] for item in prepared], len(prepared))
    if not pin:
        return batch
    pinned = {name: getattr(batch, name).pin_memory() for name in ("images", "posterior_noise", "noise")}
    return batch._replace(**pinned)


def _without_pictures(waiting: deque[list[Item]]) -> Iterator[Mapped]:
    """The lists at the front that hold no usable picture."""
    while waiting and not any(isinstance(item, Prepared) for item in waiting[0]):
        yield Mapped(waiting.popleft(), np.empty((0, 0, 0, 0), np.float32), np.empty(0, np.uint8), [])
