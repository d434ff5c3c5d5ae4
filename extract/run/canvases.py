"""Canvases of tars into a cache of their own: which tars lack them, and writing them without any model."""

import hashlib
import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from cache_schema import (
    Cache,
    CacheError,
    CanvasWriter,
    Dataset,
    DatasetError,
    ImageRejected,
    Place,
    Status,
    canvas_fingerprint,
    check_canvases,
    check_dataset,
    check_rows,
    create_cache,
    decode_image,
    encode_canvas,
    new_canvases,
    open_cache,
    place,
    read_image_bytes,
    resize_canvas,
    run_tasks,
    share_turns,
    store_name,
)
from extract.canvas_config import CanvasConfig
from extract.config import ExtractConfig
from extract.rejected import warn_rejected_rows
from extract.shards import parse_shards

logger = logging.getLogger(__name__)

MANIFEST = "cache.json"
_BATCH = 64
"""Canvases in memory at most, as they are stored."""
_LIBRARIES = ("numpy", "pillow", "numcodecs", "zarr")


class DecodedRows:
    """What became of a tar's images when they were decoded, filled batch by batch.

    Attributes:
        status: `Status` of each row, (rows,), uint8.
        reasons: Row number as text → why it was rejected.
    """

    def __init__(self, num_rows: int) -> None:
        self.status = np.full(num_rows, Status.MISSING, np.uint8)
        self.reasons: dict[str, str] = {}

    def fill(self, start: int, status: NDArray[np.uint8], reasons: Iterable[str]) -> None:
        """Set the rows from `start` on."""
        self.status[start : start + len(status)] = status
        self.reasons |= {str(start + i): reason for i, reason in enumerate(reasons) if reason}


@dataclass(frozen=True)
class CanvasJob:
    """The cache of a run's canvases, with what it needs of the run's settings.

    Attributes:
        dataset: The packed images.
        cache: Of the canvases; None while it is only planned.
        overwrite: As of `CanvasConfig`.
        num_workers: Tars at once, where canvases alone are written.
        keep_going: As of `CanvasConfig`.
        max_reject_fraction: As of `CanvasConfig`.
    """

    dataset: Dataset
    cache: Cache | None
    overwrite: bool | str
    num_workers: int
    keep_going: bool
    max_reject_fraction: float

    @classmethod
    def prepare(cls, dataset: Dataset, config: CanvasConfig | ExtractConfig, *, in_use: bool = False) -> Self:
        """Open the cache, which is made if it is not there.

        Args:
            dataset: The packed images.
            config: Settings of the run.
            in_use: As of `create_cache`.

        Raises:
            CacheError: If the folder holds something else.
        """
        folder = config.cache if isinstance(config, CanvasConfig) else config.canvases_at
        fingerprint = canvas_fingerprint(config.image_size, dataset)
        return cls._of(dataset, create_cache(folder, dataset.dataset_id, fingerprint, in_use=in_use), config)

    @classmethod
    def plan(cls, dataset: Dataset, config: ExtractConfig) -> Self:
        """As `prepare`, for a dry run: no folder is made."""
        folder, cache = config.canvases_at, None
        if (folder / MANIFEST).is_file():
            cache = open_cache(folder)
            check_dataset(cache, dataset.dataset_id)
            check_canvases(cache)
        return cls._of(dataset, cache, config)

    @classmethod
    def _of(cls, dataset: Dataset, cache: Cache | None, config: CanvasConfig | ExtractConfig) -> Self:
        workers = max(1, config.num_workers)
        return cls(dataset, cache, config.overwrite, workers, config.keep_going, config.max_reject_fraction)

    def is_unmade(self, n: int) -> bool:
        """Whether the canvases of tar n are missing, or are to be replaced.

        Raises:
            CacheError: If they were made from another tar, and `overwrite` does not replace them.
        """
        entry = self.dataset.tars[n]
        if self.cache is None or self.overwrite is True or not self.cache.has(store_name(entry.name)):
            return True
        try:
            check_rows(self.cache.attributes(store_name(entry.name)), entry)
        except CacheError as error:
            if self.overwrite != "stale":
                raise
            logger.warning("replaced: %s", error)
            return True
        return False

    def new_store(self, n: int) -> AbstractContextManager[CanvasWriter]:
        """The writer of tar n's store, as `new_canvases`."""
        assert self.cache is not None
        return new_canvases(self.cache, store_name(self.dataset.tars[n].name))

    def run(self, tars: Iterable[int]) -> int:
        """Write the canvases of tars without any model.

        Returns:
            Number of tars with more rejected images than allowed. Their stores are written all the same.

        Raises:
            CacheError: If a tar is not what the index says. With `keep_going` the others are done first.
            OSError: If a store cannot be written.
        """
        share_turns()
        numbers = list(tars)
        num_above, failed = 0, list[str]()
        tasks = [(self, n) for n in numbers]
        for n, outcome in zip(numbers, run_tasks(write_tar, tasks, self.num_workers, unit="tar"), strict=True):
            if isinstance(outcome, Exception):
                if not self.keep_going or not isinstance(outcome, DatasetError):
                    raise outcome
                logger.error("passed over: %s", outcome)
                failed.append(str(outcome))
                continue
            num_above += self._log(n, outcome)
        if failed:
            raise DatasetError(f"{len(failed)} of {len(numbers)} tars could not be read: {' '.join(failed)}")
        return num_above

    def _log(self, n: int, made: "MadeCanvases") -> bool:
        entry = self.dataset.tars[n]
        rate = entry.num_rows / max(made.seconds, 1e-3)
        logger.info("%s: %d canvases, %d rejected, %.1f images/s", entry.name, entry.num_rows, len(made.reasons), rate)
        return warn_rejected_rows(entry.name, entry.num_rows, made.reasons, self.max_reject_fraction)


@dataclass(frozen=True)
class MadeCanvases:
    """What became of a tar."""

    reasons: Mapping[str, str]
    """Row number as text → why it was rejected, with its key."""
    seconds: float


def write_tar(job: CanvasJob, n: int) -> MadeCanvases:
    """Write the store of tar n's canvases.

    Raises:
        DatasetError: If the tar is missing, cut short, or holds other images than the index says.
        OSError: If the store cannot be written.
    """
    start = time.perf_counter()
    entry, rows = job.dataset.tars[n], job.dataset.rows(n)
    assert job.cache is not None
    size_px, decoded = int(job.cache.fields["image_size"]), DecodedRows(entry.num_rows)
    keys = rows["key"].to_pylist()
    with job.new_store(n) as writer:
        chunks: list[bytes] = []
        for row, data in enumerate(_images(job.dataset, n)):
            status, reason, chunk = Status.OK, "", b""
            try:
                chunk = encode_canvas(resize_canvas(decode_image(data), size_px))
            except ImageRejected as rejection:
                status, reason = rejection.status, rejection.reason
            decoded.fill(row, np.array([status], np.uint8), [reason])
            chunks.append(chunk)
            if len(chunks) == _BATCH:
                writer.add(chunks)
                chunks.clear()
        writer.add(chunks)
        hashes = np.frombuffer(bytes.fromhex("".join(rows["sha256"].to_pylist())), np.uint8).reshape(-1, 32)
        attributes: dict[str, Any] = {
            "tar": entry.name,
            "rows_sha256": entry.rows_sha256,
            "seconds": round(time.perf_counter() - start, 3),
            "reasons": decoded.reasons,
            "provenance": {"versions": {library: version(library) for library in _LIBRARIES}},
        }
        writer.finish(keys, decoded.status, hashes, attributes)
    reasons = {row: f"{keys[int(row)]}: {reason}" for row, reason in decoded.reasons.items()}
    return MadeCanvases(reasons, time.perf_counter() - start)


def _images(dataset: Dataset, n: int) -> Iterator[bytes]:
    """The image files of a tar in row order, each compared with the index."""
    path, rows = dataset.tar_path(n), dataset.rows(n)
    columns = (rows[name].to_pylist() for name in ("key", "offset", "size", "sha256"))
    with ExitStack() as opened:
        # Of a tar in object storage the copy, which may still come in.
        tar = path if isinstance(path, Path) else opened.enter_context(dataset.open_tar(n))
        for row, (key, offset, size, sha256) in enumerate(zip(*columns, strict=True)):
            data = read_image_bytes(tar, offset, size)
            if (found := hashlib.sha256(data).hexdigest()) != sha256:
                dataset.forget_tar(n)  # the next run asks for it anew
                raise DatasetError(
                    f"{path}, row {row} ({key}): the image's sha256 is {found}, the index says {sha256}. "
                    "Restore the tar, or pack the dataset again."
                )
            yield data


@dataclass(frozen=True)
class CanvasRun:
    """A run over tars that passed all checks."""

    job: CanvasJob
    todo: list[int]
    num_skipped: int
    where: Place

    @classmethod
    def prepare(cls, config: CanvasConfig) -> "CanvasRun":
        """Check the settings against dataset and cache; makes the cache folder.

        Raises:
            ValueError: If a setting does not fit.
            CacheError: If the dataset cannot be read, or the folder holds something else.
        """
        dataset = Dataset.open(config.data)
        selected = parse_shards(config.shard, len(dataset.tars))
        job = CanvasJob.prepare(dataset, config)
        todo = [n for n in selected if job.is_unmade(n)]
        return cls(job, todo, len(selected) - len(todo), place(config.cache))

    def run(self) -> int:
        """Write what is missing; number of tars with more rejected images than allowed. Raises as `CanvasJob.run`."""
        if self.num_skipped:
            logger.info("%d stores are there already (--overwrite true makes them again)", self.num_skipped)
        num_images = sum(self.job.dataset.tars[n].num_rows for n in self.todo)
        if self.todo:
            logger.info("%s images in %s tars → %s", f"{num_images:,}", f"{len(self.todo):,}", self.where)
        return self.job.run(self.todo)
