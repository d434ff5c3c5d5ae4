"""Controls of what a map adds: detectors of the same architecture whose maps say nothing of the image."""

import numpy as np

from cache_schema import CacheError
from train.data.join import Join
from train.data.samples import NO_LABEL, Samples

MAX_CORRELATION = 0.1
"""Of a sample's label with the label of the one whose map it gets, beyond what chance alone gives."""


def check_no_label(labels: np.ndarray, donors: np.ndarray) -> None:
    """Refuse a permutation that leaves a sample's label in its map, as where each tar holds one class.

    Args:
        labels: Of the samples, (n,).
        donors: Labels of the samples whose maps they get, (n,).

    Raises:
        ValueError: If the two are correlated.
    """
    known = (labels != NO_LABEL) & (donors != NO_LABEL)
    ours, theirs = labels[known], donors[known]
    if len(np.unique(ours)) < 2 or len(np.unique(theirs)) < 2:
        return
    correlation = float(np.corrcoef(ours, theirs)[0, 1])
    if abs(correlation) > MAX_CORRELATION + 4 / np.sqrt(len(ours)):
        raise ValueError(
            f"permute_maps: the label of a sample and of the one whose map it gets have a correlation of "
            f"{correlation:.2f}, so that the map still tells the label. Maps are permuted within a tar: pack the "
            "dataset with its classes mixed, or use constant_map."
        )


def compute_mean_map(join: Join, samples: Samples) -> np.ndarray:
    """Mean of the maps of some samples, tar by tar: (channels, h, w), float32.

    Raises:
        CacheError: If there are no samples, or a store cannot be used.
    """
    if not len(samples):
        raise CacheError("constant_map is the mean over the training samples, and there are none")
    total: np.ndarray | None = None
    for n in np.flatnonzero(samples.counts).tolist():
        maps = join.load_tar(n, maps=True).lare
        assert maps is not None
        part = maps[samples.of_tar(n)].sum(axis=0, dtype=np.float64)
        total = part if total is None else total + part
    assert total is not None
    mean: np.ndarray = (total / len(samples)).astype(np.float32)
    return mean
