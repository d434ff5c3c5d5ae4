"""Which samples of a split are used: chosen by the index, less those without a map, and counted."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from cache_schema import (
    Dataset,
    FingerprintMismatch,
    FormatVersionError,
    ShardCorrupt,
    ShardMissing,
    ShardStale,
    map_files,
)
from train.data.cells import Cell, Cells
from train.data.join import Join

logger = logging.getLogger(__name__)

NO_LABEL = -1
"""Label of a control: scored, never trained on."""

CLASSES = ("real", "generated")
"""By label."""

SHARD_ERRORS = (ShardMissing, ShardCorrupt, ShardStale, FingerprintMismatch, FormatVersionError)


@dataclass(frozen=True)
class Samples:
    """Samples in the order of the index, as bits: a hundred million of them take 40 MB, also sent to a worker.

    A sample is named by its position in this order.

    Attributes:
        num_rows: Rows of each tar, (tars,), int64.
        chosen: Whether each row of the whole index is a sample, packed, (rows / 8,), uint8.
        generated: Whether each row's label is 1, packed.
        controls: Whether each row has no label, packed.
        num_rejected: Samples left out because extraction rejected their images.
        skipped_tars: Tar → why its samples are left out.
    """

    num_rows: np.ndarray
    chosen: np.ndarray
    generated: np.ndarray
    controls: np.ndarray
    num_rejected: int
    skipped_tars: Mapping[str, str]

    def __getstate__(self) -> dict[str, Any]:
        names = ("num_rows", "chosen", "generated", "controls", "num_rejected", "skipped_tars")
        return {name: self.__dict__[name] for name in names}

    @cached_property
    def _first_rows(self) -> np.ndarray:
        """Row in the whole index of each tar's first, and the number of all rows: (tars + 1,), int64."""
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(self.num_rows)])

    @cached_property
    def counts(self) -> np.ndarray:
        """Samples of each tar, (tars,), int64."""
        before = np.concatenate([[0], np.cumsum(np.bitwise_count(self.chosen), dtype=np.int64)])
        edges = self._first_rows
        # Whole bytes before each edge, and the bits of the byte that it lies in.
        bits = np.bitwise_count(_at(self.chosen, edges >> 3) >> (8 - (edges & 7)).astype(np.uint8))
        counts: np.ndarray = np.diff(before[edges >> 3] + np.where(edges & 7, bits, 0))
        return counts

    @cached_property
    def _starts(self) -> np.ndarray:
        """Position of each tar's first sample, and the number of all: (tars + 1,), int64."""
        return np.concatenate([[0], np.cumsum(self.counts)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def of_tar(self, n: int) -> np.ndarray:
        """Rows of tar n, in it, that are samples: (counts[n],), int64."""
        return self.of_tars(n, n + 1)

    def of_tars(self, start: int, stop: int) -> np.ndarray:
        """Rows of some tars that are samples, from the first tar's first row on: (n,), int64."""
        first, last = self._first_rows[start], self._first_rows[stop]
        bits = np.unpackbits(self.chosen[first >> 3 : (last + 7) >> 3])[first & 7 :]
        rows: np.ndarray = np.flatnonzero(bits[: last - first])
        return rows

    def tars_of(self, positions: np.ndarray) -> np.ndarray:
        """Number of the tar of each position, (n,), int64."""
        tars: np.ndarray = np.searchsorted(self._starts, positions, side="right") - 1
        return tars

    def places_of(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Number of the tar of each position, and row in it, (n,), int64."""
        tars = self.tars_of(positions)
        tar_rows = np.empty(len(positions), np.int64)
        for n in np.unique(tars).tolist():
            of_tar = tars == n
            tar_rows[of_tar] = self.of_tar(n)[positions[of_tar] - self._starts[n]]
        return tars, tar_rows

    def rows_at(self, tars: np.ndarray, tar_rows: np.ndarray) -> np.ndarray:
        """Row in the whole index of some rows in tars, (n,), int64."""
        rows: np.ndarray = self._first_rows[tars] + tar_rows
        return rows

    def rows_of(self, positions: np.ndarray) -> np.ndarray:
        """Row in the whole index of each position, (n,), int64."""
        return self.rows_at(*self.places_of(positions))

    def labels_of(self, rows: np.ndarray) -> np.ndarray:
        """Labels of some rows of the whole index: 0 real, 1 generated, `NO_LABEL` for a control, (n,), int64."""
        generated, controls = (_at(bits, rows >> 3) >> (7 - (rows & 7)) & 1 for bits in (self.generated, self.controls))
        return np.where(controls, NO_LABEL, generated.astype(np.int64))

    @property
    def rows(self) -> np.ndarray:
        """Row in the whole index of every sample, (n,), int64: 8 bytes a sample."""
        return np.flatnonzero(np.unpackbits(self.chosen, count=int(self._first_rows[-1])))

    @property
    def tars(self) -> np.ndarray:
        """Number of the tar of every sample, (n,), int64."""
        return np.repeat(np.arange(len(self.counts)), self.counts)

    @property
    def tar_rows(self) -> np.ndarray:
        """Row in its tar of every sample, (n,), int64."""
        rows: np.ndarray = self.rows - self._first_rows[self.tars]
        return rows

    @property
    def labels(self) -> np.ndarray:
        """Label of every sample, as `labels_of`, (n,), int64."""
        return self.labels_of(self.rows)

    @cached_property
    def class_counts(self) -> tuple[int, int]:
        """Real and generated samples."""
        generated = int(np.bitwise_count(self.chosen & self.generated).sum())
        controls = int(np.bitwise_count(self.chosen & self.controls).sum())
        return len(self) - generated - controls, generated

    def check_classes(self, split: str, folder: str, image_sources: Sequence[str] | None) -> None:
        """Refuse one class alone before anything is trained, not after the first epoch, when the metrics would.

        Raises:
            ValueError: If they are all real or all generated. None at all are fine.
        """
        counts = self.class_counts
        if sum(counts) and not all(counts):
            of = f" of {', '.join(image_sources)}" if image_sources else ""
            raise ValueError(
                f"{folder} has no {CLASSES[counts.index(0)]} images{of} in {split}, which needs both classes or, for "
                "validation, none at all. Packing sets apart a share of each: see its validation_fraction and seed."
            )


def scan_samples(dataset: Dataset, samples: Samples, columns: Sequence[str]) -> Iterator[pa.Table]:
    """Columns of the index for all samples in their order, some tars at a time, as `Dataset.scan` reads them."""
    for start, table in dataset.scan(columns):
        ends = np.cumsum(samples.num_rows[start:])
        stop = start + int(np.searchsorted(ends, len(table), side="right"))
        yield table.take(samples.of_tars(start, stop))


def load_image_sizes(dataset: Dataset, samples: Samples) -> list[tuple[int, int]]:
    """The different (height, width), in px, of samples, sorted."""
    sizes: set[tuple[int, int]] = set()
    for table in scan_samples(dataset, samples, ["height", "width"]):
        found = table.group_by(["height", "width"]).aggregate([])
        sizes.update(zip(found["height"].to_pylist(), found["width"].to_pylist(), strict=True))
    return sorted(sizes)


def _at(packed: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Bytes at some places; behind the last byte there are zeros."""
    if not len(packed):
        return np.zeros(len(places), np.uint8)
    return np.where(places < len(packed), packed[np.minimum(places, len(packed) - 1)], 0).astype(np.uint8)


def select_samples(
    join: Join,
    split: str,
    *,
    controls: bool = False,
    image_sources: Sequence[str] | None = None,
    skip_mismatch: bool = False,
    cells: Cells | None = None,
) -> Samples:
    """The samples of a split that have a map in every variant.

    Args:
        join: Dataset and caches.
        split: `train`, `validation` or `test`, as the index says.
        controls: Whether samples without a label belong to them.
        image_sources: Generated sources to keep, with the reals of the subsets that they occur in (in any split);
            None: everything. Each subset has reals of its own, about as many as it has generated images: all of them
            together would outnumber one source.
        skip_mismatch: Leave out tars whose store is missing, damaged or stale, and read every store once to find them.
        cells: What the index says of its rows, if it was read before (`Cells.read`).

    Raises:
        CacheError: If such a tar is met and not to be left out.
        ValueError: If `image_sources` names what is no generated source of the dataset, or names none.
    """
    dataset = join.dataset
    if cells is None:
        cells = Cells.read(dataset, with_sources=image_sources is not None)
    kept = None if image_sources is None else _of_sources(cells, image_sources, str(dataset.folder))

    def is_wanted(cell: Cell) -> bool:
        return cell.split == split and (controls or cell.label is not None) and (kept is None or kept(cell))

    wanted = cells.rows_where(is_wanted)
    num_rows = np.array([tar.num_rows for tar in dataset.tars], np.int64)
    ends = np.cumsum(num_rows)
    places = [slice(end - num, end) for num, end in zip(num_rows.tolist(), ends.tolist(), strict=True)]
    needed = [n for n, place in enumerate(places) if wanted[place].any()]
    if not skip_mismatch:
        join.check_present(needed)

    num_rejected, num_skipped, skipped = 0, 0, dict[str, str]()

    def load(n: int) -> np.ndarray | str:
        try:
            return join.load_usable(n, thorough=skip_mismatch)
        except SHARD_ERRORS as error:
            if not skip_mismatch:
                raise
            return str(error)

    for n, found in zip(needed, map_files(load, needed, join.caches[0].folder), strict=True):
        of_tar = wanted[places[n]]
        num_wanted = int(np.count_nonzero(of_tar))
        if isinstance(found, str):
            of_tar[:] = False
            skipped[dataset.tars[n].name], num_skipped = found, num_skipped + num_wanted
        else:
            of_tar &= found
            num_rejected += num_wanted - int(np.count_nonzero(of_tar))
    samples = Samples(
        num_rows=num_rows,
        chosen=np.packbits(wanted),
        generated=np.packbits(cells.rows_where(lambda cell: cell.label == 1)),
        controls=np.packbits(cells.rows_where(lambda cell: cell.label is None)),
        num_rejected=num_rejected,
        skipped_tars=skipped,
    )
    logger.info("%s: %d samples, %d left out as rejected at extraction", split, len(samples), num_rejected)
    if skipped:
        logger.warning("%s: %d samples of %d tars left out: %s", split, num_skipped, len(skipped), skipped)
    return samples


def _of_sources(cells: Cells, image_sources: Sequence[str], folder: str) -> Callable[[Cell], bool]:
    """Whether a cell is of these generated sources, or of reals of the subsets that they occur in."""
    known = sorted({cell.image_source for cell in cells.kinds if cell.label == 1})
    unknown = sorted(set(image_sources) - set(known))
    if unknown or not image_sources:
        raise ValueError(f"image_sources names {unknown or 'nothing'}: the generated sources of {folder} are {known}")
    subsets = {cell.subset for cell in cells.kinds if cell.label == 1 and cell.image_source in image_sources}

    def is_kept(cell: Cell) -> bool:
        return cell.image_source in image_sources if cell.label == 1 else cell.label == 0 and cell.subset in subsets

    return is_kept
