"""Which samples of a split are used: chosen by the index, less those without a map, and counted."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cache_schema import FingerprintMismatch, FormatVersionError, ShardCorrupt, ShardMissing, ShardStale
from train.data.join import Join

logger = logging.getLogger(__name__)

NO_LABEL = -1
"""Label of a control: scored, never trained on."""

CLASSES = ("real", "generated")
"""By label."""

SHARD_ERRORS = (ShardMissing, ShardCorrupt, ShardStale, FingerprintMismatch, FormatVersionError)


@dataclass(frozen=True)
class Samples:
    """Samples as arrays, in the order of the index.

    Attributes:
        rows: Row in the whole index, (n,), int64.
        tars: Number of the tar, (n,), int32.
        tar_rows: Row in the tar, (n,), int32.
        labels: 0 real, 1 generated, `NO_LABEL` for a control, (n,), int64.
        num_rejected: Samples left out because extraction rejected their images.
        skipped_tars: Tar → why its samples are left out.
    """

    rows: np.ndarray
    tars: np.ndarray
    tar_rows: np.ndarray
    labels: np.ndarray
    num_rejected: int
    skipped_tars: Mapping[str, str]

    def __len__(self) -> int:
        return len(self.rows)

    def check_classes(self, split: str, folder: str, image_sources: Sequence[str] | None) -> None:
        """Refuse one class alone before anything is trained, not after the first epoch, when the metrics would.

        Raises:
            ValueError: If they are all real or all generated. None at all are fine.
        """
        found = set(self.labels.tolist())
        if len(found) == 1:
            of = f" of {', '.join(image_sources)}" if image_sources else ""
            raise ValueError(
                f"{folder} has no {CLASSES[1 - found.pop()]} images{of} in {split}, which needs both classes or, for "
                "validation, none at all. Packing sets apart a share of each: see its validation_fraction and seed."
            )


def select_samples(
    join: Join,
    split: str,
    *,
    controls: bool = False,
    image_sources: Sequence[str] | None = None,
    skip_mismatch: bool = False,
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

    Raises:
        CacheError: If such a tar is met and not to be left out.
        ValueError: If `image_sources` names what is no generated source of the dataset, or names none.
    """
    dataset = join.dataset
    # The key too: a sample that stands in two tars would be trained on twice.
    index = dataset.table(["split", "label", "image_source", "subset", "key"])
    labels = pc.fill_null(index["label"], NO_LABEL).to_numpy().astype(np.int64)
    wanted = pc.equal(index["split"], split).to_numpy()
    if not controls:
        wanted &= labels != NO_LABEL
    if image_sources is not None:
        wanted &= _of_sources(index, labels, image_sources, str(dataset.folder))

    num_rows = np.array([tar.num_rows for tar in dataset.tars])
    starts = np.cumsum(num_rows) - num_rows
    tars = np.repeat(np.arange(len(num_rows), dtype=np.int32), num_rows)
    tar_rows = (np.arange(len(tars)) - starts[tars]).astype(np.int32)
    needed = np.unique(tars[wanted]).tolist()
    if not skip_mismatch:
        join.check_present(needed)

    usable, skipped = _load_usable(join, needed, starts, skip_mismatch)
    in_skipped = np.isin(tars, [n for n in needed if dataset.tars[n].name in skipped])
    num_skipped = int((wanted & in_skipped).sum())
    num_rejected = int((wanted & ~usable).sum()) - num_skipped
    wanted &= usable
    logger.info("%s: %d samples, %d left out as rejected at extraction", split, wanted.sum(), num_rejected)
    if skipped:
        logger.warning("%s: %d samples of %d tars left out: %s", split, num_skipped, len(skipped), skipped)
    return Samples(np.flatnonzero(wanted), tars[wanted], tar_rows[wanted], labels[wanted], num_rejected, skipped)


def _load_usable(
    join: Join, tars: Sequence[int], starts: np.ndarray, skip_mismatch: bool
) -> tuple[np.ndarray, dict[str, str]]:
    """Which rows of the whole index have a map, (rows,), bool, as far as they are of `tars`; tar → why it is skipped.

    Raises:
        CacheError: If a tar's store cannot be used, unless `skip_mismatch`.
    """
    usable = np.zeros(sum(tar.num_rows for tar in join.dataset.tars), dtype=bool)
    skipped: dict[str, str] = {}
    for n in tars:
        tar = join.dataset.tars[n]
        try:
            usable[starts[n] : starts[n] + tar.num_rows] = join.load_usable(n, thorough=skip_mismatch)
        except SHARD_ERRORS as error:
            if not skip_mismatch:
                raise
            skipped[tar.name] = str(error)
    return usable, skipped


def _of_sources(index: pa.Table, labels: np.ndarray, image_sources: Sequence[str], folder: str) -> np.ndarray:
    """Which rows are of these generated sources, or reals of the subsets that they occur in: (rows,), bool."""
    sources, subsets = (index[name].to_numpy() for name in ("image_source", "subset"))
    known = sorted(set(sources[labels == 1]))
    unknown = sorted(set(image_sources) - set(known))
    if unknown or not image_sources:
        raise ValueError(f"image_sources names {unknown or 'nothing'}: the generated sources of {folder} are {known}")
    kept: np.ndarray = (labels == 1) & np.isin(sources, list(image_sources))
    kept |= (labels == 0) & np.isin(subsets, np.unique(subsets[kept]))
    return kept
