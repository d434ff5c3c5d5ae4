"""Batches of many tars by one loader: rows are read at the index's places, by workers that live as long as the task."""

import tarfile
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, NamedTuple, Self

import torch
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from cache_schema import EXTENSIONS, Dataset, DatasetError, Place, allow_lost_reader, read_image_bytes, share_turns
from extract.run.images import Batch, RowSettings, collate, load_row

HEADER_BYTES = tarfile.BLOCKSIZE
"""Of a tar's member, right before its bytes."""
MAX_NAME_BYTES = 100
"""Of a name in the header itself; a longer one stands before it in full, and the hash of the image tells the rest."""


class Piece(NamedTuple):
    """A batch that is to be read."""

    tar: int
    """Position in the dataset's list."""
    start: int
    """The tar's row that comes first."""


class Unread(NamedTuple):
    """A batch that could not be read."""

    reason: str
    """Of the tar; empty where nobody wants it any more."""


class TarReader(TorchDataset[Batch | Unread]):
    """Builds batches of any of a dataset's tars. What is wrong with a tar is told in a batch's place: others go on.

    Args:
        dataset: The packed images.
        settings: Position of a tar → what its rows' tensors depend on.
        batch_size: Rows a batch.
    """

    def __init__(self, dataset: Dataset, settings: Mapping[int, RowSettings], batch_size: int) -> None:
        self._dataset, self._settings, self._batch_size = dataset, settings, batch_size
        self._found: tuple[int, list[str], list[int], list[int]] | None = None
        self._opened: tuple[int, BinaryIO] | None = None
        # Shared with the workers, however they are started.
        self._is_passed_over = torch.zeros(len(dataset.tars), dtype=torch.bool)
        self._is_passed_over.share_memory_()  # type: ignore[no-untyped-call]

    def pass_over(self, n: int) -> None:
        """Let workers build no more batches of a tar."""
        self._is_passed_over[n] = True

    def __getitem__(self, piece: Piece) -> Batch | Unread:
        n, start = piece
        if self._is_passed_over[n]:
            return Unread("")
        settings = self._settings[n]
        try:
            tar = self._tar(n)
            keys, offsets, sizes = self._find(n)
            rows = []
            for number in range(start, min(start + self._batch_size, len(keys))):
                key, data = _read_row(tar, keys[number], offsets[number], sizes[number])
                rows.append(load_row(key, data, settings)._replace(number=number))
        except DatasetError as error:
            return Unread(str(error))
        return collate(rows, self._batch_size)

    def _tar(self, n: int) -> Place | BinaryIO:
        """Tar n; of one in object storage its copy, which stays open for its batches and may still come in."""
        if self._dataset.tar_original(n) is None:
            return self._dataset.tar_path(n)
        if self._opened is None or self._opened[0] != n:
            if self._opened is not None:
                self._opened[1].close()
            self._opened = (n, self._dataset.open_tar(n))
        return self._opened[1]

    def _find(self, n: int) -> tuple[list[str], list[int], list[int]]:
        """Key, place of the image in the tar, and its length in bytes of each of a tar's rows; kept for its batches."""
        if self._found is None or self._found[0] != n:
            rows = self._dataset.rows(n)
            self._found = (n, *(rows[name].to_pylist() for name in ("key", "offset", "size")))
        return self._found[1:]


class TarBatches:
    """Batches of tars in their order, as a context around their work: one loader, whose workers end with it.

    Args:
        dataset: The packed images.
        settings: Position of a tar → what its rows' tensors depend on, in the order in which tars are asked for.
        batch_size: Rows a batch.
        num_workers: Processes that read and decode; 0 does both in this one.
        pin_memory: Whether the batches are copied to page-locked memory, for copies to a GPU.
    """

    def __init__(
        self,
        dataset: Dataset,
        settings: Mapping[int, RowSettings],
        batch_size: int,
        num_workers: int,
        pin_memory: bool,
    ) -> None:
        self._reader = TarReader(dataset, settings, batch_size)
        pieces = [Piece(n, start) for n in settings for start in range(0, dataset.tars[n].num_rows, batch_size)]
        self._left = deque(pieces)
        self._num_workers = num_workers
        self._loader: DataLoader[Any] = DataLoader(
            self._reader,
            batch_size=None,
            sampler=pieces,
            num_workers=num_workers,
            collate_fn=_as_it_is,
            pin_memory=pin_memory,
            worker_init_fn=allow_lost_reader,
            generator=torch.Generator(),
        )
        self._batches: Iterator[Batch | Unread] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._batches = None

    def of(self, n: int) -> Iterator[Batch]:
        """The batches of tar n in row order. Tars before it that nobody asked for are passed over.

        Raises:
            DatasetError: If its index rows or its bytes cannot be read.
        """
        while self._left and self._left[0].tar != n:
            self._reader.pass_over(self._left[0].tar)
            self._next()
        try:
            while self._left and self._left[0].tar == n:
                batch = self._next()
                if isinstance(batch, Unread):
                    raise DatasetError(batch.reason)
                yield batch
        finally:
            self._reader.pass_over(n)

    def _next(self) -> Batch | Unread:
        self._left.popleft()
        if self._batches is None:
            if self._num_workers > 0:
                share_turns()
            self._batches = iter(self._loader)
        return next(self._batches)


def load_batches(
    dataset: Dataset, n: int, settings: RowSettings, batch_size: int, num_workers: int, pin_memory: bool
) -> Iterator[Batch]:
    """The batches of one tar in row order; arguments and errors as of `TarBatches`."""
    with TarBatches(dataset, {n: settings}, batch_size, num_workers, pin_memory) as batches:
        yield from batches.of(n)


def _as_it_is(batch: Any) -> Any:
    return batch


def _read_row(tar: Place | BinaryIO, key: str, offset: int, size: int) -> tuple[str, bytes]:
    """What lies in a tar at an index row's place.

    Returns:
        Its key, "" where no member of the tar begins there, and its bytes.
    """
    if offset < HEADER_BYTES:
        return "", b""
    data = read_image_bytes(tar, offset - HEADER_BYTES, HEADER_BYTES + size)
    try:
        name = tarfile.TarInfo.frombuf(data[:HEADER_BYTES], "utf-8", "surrogateescape").name
    except tarfile.HeaderError:
        name = ""
    is_expected = any(name == _name_in_header(f"{key}.{extension}") for extension in EXTENSIONS.values())
    return key if is_expected else name.rpartition(".")[0], data[HEADER_BYTES:]


def _name_in_header(name: str) -> str:
    """A name as the header itself has it."""
    return name.encode("ascii", "replace").decode()[:MAX_NAME_BYTES]
