"""How far the file alone gets, without the picture: its sides, its format, its bytes a pixel."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cache_schema import Dataset
from train.scoring.calibration import fit_calibration
from train.scoring.prediction_file import COLUMNS
from train.scoring.scores import Reading

FACTS = ("width", "height", "format", "size")


def score_files(trained: Path, tested: Path) -> Reading:
    """A logistic regression on facts of the files, trained and given its threshold on one dataset, tested on another.

    Args:
        trained: Dataset folder; its training images are fitted, its validation images give the threshold.
        tested: Dataset folder, of whose test images the scores are.

    Raises:
        ValueError: If a class is missing in training or validation.
    """
    index = Dataset.open(trained).table([*COLUMNS, *FACTS])
    fitted, validation = (_labelled(index, split) for split in ("train", "validation"))
    model = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced"))
    model.fit(compute_facts(fitted), fitted["label"].to_numpy())
    scores = torch.from_numpy(model.predict_proba(compute_facts(validation))[:, 1])
    calibration = fit_calibration(scores, torch.from_numpy(validation["label"].to_numpy().astype(np.int64)))
    test = _labelled(Dataset.open(tested).table([*COLUMNS, *FACTS]), "test")
    scored = model.predict_proba(compute_facts(test))[None, :, 1]
    return Reading(test.select(COLUMNS), scored, (calibration,), is_probability=True)


def compute_facts(index: pa.Table) -> np.ndarray:
    """Log₂ of width and height in px and of the bytes a pixel, and whether it is a JPEG: (images, 4), float64."""
    width, height, size = (index[name].to_numpy().astype(np.float64) for name in ("width", "height", "size"))
    is_jpeg = np.array(index["format"].to_pylist()) == "JPEG"
    return np.stack([np.log2(width), np.log2(height), np.log2(size / (width * height)), is_jpeg], axis=1)


def _labelled(index: pa.Table, split: str) -> pa.Table:
    return index.filter(pc.equal(index["split"], split)).filter(pc.field("label").is_valid())
