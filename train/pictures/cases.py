"""The images that a detector is most certain about, right or wrong: which they are, and where its attention lies."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from torch import Tensor

from cache_schema import find_rows
from train.data.datamodule import LareDataModule
from train.detector import Detector
from train.model import LareClassifier
from train.scoring.scores import Reading

GROUPS = {
    "photographs called real": (0, False),
    "generated images called generated": (1, True),
    "photographs called generated": (0, True),
    "generated images called real": (1, False),
}
"""Title → label, and whether they are called generated."""


@dataclass(frozen=True)
class Case:
    """One image.

    Attributes:
        key: Its sample key.
        image_source: What made it.
        score: The detector's, as saved.
        image: As the detector sees it, (S, S, 3), uint8.
        lare: Its LaRE map, mean over channels, (h, w), float.
        attention: ESR's attention, mean over heads, (rows, columns), float, 1 for an even share; None without ESR.
        is_aligned: Whether the LaRE map lies on the image.
    """

    key: str
    image_source: str
    score: float
    image: NDArray[np.uint8]
    lare: NDArray[np.float32]
    attention: NDArray[np.float32] | None
    is_aligned: bool = True


def load_certain_cases(
    reading: Reading, data: str, cache: Sequence[str], ckpt: str | Path, num: int
) -> dict[str, list[Case]]:
    """The most certain cases of each of `GROUPS`, as far as there are any.

    Args:
        reading: Predictions of the detector.
        data: Dataset folder.
        cache: Cache folders.
        ckpt: Checkpoint of `python -m train fit`, or folder of `python -m train export`.
        num: As of `choose_cases`.

    Raises:
        FingerprintMismatch: If the maps were made by other settings than in training.
        ValueError: If samples of more than one split were scored, or by something other than a detector, no threshold
            was chosen, or the detector cannot be loaded.
    """
    splits = reading.table["split"].unique().to_pylist()
    if len(splits) != 1 or not reading.is_probability:
        raise ValueError("cases are drawn of a detector's predictions on one split")
    detector = Detector.load(ckpt)
    module = detector.open_data(data, cache, splits[0])
    return {
        title: load_cases(reading, chosen, module, detector.model)
        for title, chosen in choose_cases(reading, num).items()
    }


def choose_cases(reading: Reading, num: int) -> dict[str, NDArray[np.int64]]:
    """Positions of the most certain samples of each of `GROUPS`, most certain first, by the first seed.

    Of samples that belong together (the dataset's `group`: one scene, one photograph and what was made of it) only the
    most certain is taken, so that not all are tiles of the same wall.

    Args:
        reading: Probabilities; its samples without a label are left out.
        num: How many of each, at most.
    """
    scores = reading.scores[0]
    together = reading.table["group"].to_numpy()
    chosen = {}
    for title, members in list_groups(reading).items():
        _, is_called = GROUPS[title]
        order = np.argsort(-scores[members] if is_called else scores[members], kind="stable")
        _, firsts = np.unique(together[members[order]], return_index=True)
        chosen[title] = members[order[np.sort(firsts)[:num]]]
    return chosen


def list_groups(reading: Reading) -> dict[str, NDArray[np.int64]]:
    """Positions of all samples of each of `GROUPS`, by the first seed and its threshold.

    Raises:
        ValueError: If no threshold was chosen.
    """
    fitted = reading.calibrations[0]
    if fitted is None:
        raise ValueError("no threshold was chosen on validation, so that no case is right or wrong. Pass --validation.")
    called = reading.scores[0] > fitted.threshold
    labels = pc.fill_null(reading.table["label"], -1).to_numpy()
    return {
        title: np.flatnonzero((labels == label) & (called == is_called)) for title, (label, is_called) in GROUPS.items()
    }


def load_cases(
    reading: Reading, positions: NDArray[np.int64], data: LareDataModule, model: LareClassifier
) -> list[Case]:
    """Read the images and maps of some samples, and recompute the detector's attention.

    Args:
        reading: Whose samples they are.
        positions: The samples, positions in the reading.
        data: With the detector's view, images and maps, and the reading's split.
        model: The detector.
    """
    if not len(positions):
        return []
    table = reading.table.take(positions)
    rows = find_rows(data.join.dataset, table["key"].to_pylist())
    reader = data.test_dataloader().reader
    batch = reader[0, np.searchsorted(reader.samples.rows, rows)]
    assert np.array_equal(batch["row"].numpy(), rows)
    reader.close()
    attention = compute_attention(model, batch["image"], batch["lare"])
    return [
        Case(
            key=table["key"][i].as_py(),
            image_source=table["image_source"][i].as_py(),
            score=float(reading.scores[0, position]),
            image=batch["image"][i].permute(1, 2, 0).numpy(),
            lare=batch["lare"][i].mean(dim=0).numpy(),
            attention=None if attention is None else attention[i].numpy(),
            is_aligned=data.alignment != "whole",
        )
        for i, position in enumerate(positions)
    ]


@torch.no_grad()
def compute_attention(model: LareClassifier, image: Tensor, lare: Tensor) -> Tensor | None:
    """ESR's attention over the feature grid, from the model's own parts.

    Args:
        model: In evaluation mode.
        image: (batch, 3, S, S), uint8.
        lare: (batch, channels, h, w), float, raw.

    Returns:
        (batch, rows, columns), mean over heads of the weights of the cells, times the number of cells: 1 where the
        attention is even and the mean token gets nothing. None for a model without ESR.
    """
    if not model.needs_image or model.spatial is None:
        return None
    feature_map, _ = model.backbone(image)
    maps = lare.log1p() if model.map_transform == "log" else lare
    weights = model.spatial.attention_weights(feature_map, maps)[:, :, 1:].mean(dim=1)
    return weights.reshape(-1, *model.spatial.grid) * weights.shape[1]
