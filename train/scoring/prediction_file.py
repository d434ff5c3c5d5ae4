"""The prediction file, Parquet: one row a sample, with columns of the index and a score; how it is made and read.

| column | type | of |
| --- | --- | --- |
| `row` | int64 | the sample in the whole index; rows ascend, each once |
| `COLUMNS` | as in the index | the sample |
| `logit_real`, `logit_generated` | float32 | a detector; readings without one lack both |
| `score` | float64 | higher for generated; a detector's is a probability |
| `probability` | float64 | a detector: the score with the temperature applied; null where none was fitted |

The metadata keeps what was fitted on validation for the weights, how features differed from training, and of which
dataset, caches and weights the predictions are.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from cache_schema import open_plain, parse_footer, read_columns
from train.scoring.calibration import Calibration

COLUMNS = ("key", "label", "image_source", "subset", "split", "group", "derived_from")
"""Columns of the index that go with a score, after `row`."""

# Entries of the Parquet file's metadata. The threshold is also part of the calibration, which older files lack.
THRESHOLD = b"threshold"
CALIBRATION = b"calibration"
ALLOWED_DIFFERENCES = b"allowed_differences"
ORIGIN = b"origin"


class Index(Protocol):
    """Columns of the dataset's whole index: a table, or an `IndexView`, which reads rows where they are asked for."""

    @property
    def column_names(self) -> Sequence[str]:
        """Of `INDEX_SCHEMA`."""

    def __len__(self) -> int: ...

    def select(self, columns: Sequence[str], /) -> "Index":
        """Other columns."""

    def take(self, rows: np.ndarray, /) -> pa.Table:
        """Some rows, in the order in which they are named."""


@dataclass(frozen=True)
class Origin:
    """What predictions were made from."""

    dataset_id: str
    fingerprints: tuple[str, ...]
    """Of the caches, in their order."""
    checkpoint_sha256: str | None = None
    """Of the file of the weights."""


def generated_score(logits: Tensor) -> Tensor:
    """Probability of "generated", float64, so that very sure images keep their order.

    Args:
        logits: (batch, 2), column 1 generated.

    Returns:
        (batch,), in [0, 1], on the CPU.
    """
    return (logits[:, 1] - logits[:, 0]).detach().cpu().double().sigmoid()


def prediction_table(
    index: Index,
    rows: Tensor,
    logits: Tensor,
    calibration: Calibration,
    allowed_differences: Sequence[str] = (),
    origin: Origin | None = None,
) -> pa.Table:
    """Predictions joined with the index.

    Args:
        index: The whole index, at least `COLUMNS`.
        rows: Row of each prediction in the index, (n,), int64.
        logits: (n, 2), float32, column 1 generated.
        calibration: What was fitted on validation, kept in the table's metadata if anything was.
        allowed_differences: How the features differ from training, kept in the metadata too.
        origin: What the predictions were made from, kept in the metadata too.

    Returns:
        `row`, `COLUMNS`, logit_real, logit_generated (float32), score and probability (float64); each row once, sorted.
        probability is null where nothing was fitted.

    Raises:
        ValueError: If a logit is not finite.
    """
    if not torch.isfinite(logits).all():
        bad = rows[~torch.isfinite(logits).all(dim=1)]
        raise ValueError(f"{len(bad)} of {len(rows)} predictions are not finite, the first is of row {int(bad[0])}")
    order = torch.argsort(rows, stable=True)
    order = order[torch.diff(rows[order], prepend=rows.new_tensor([-1])) > 0]
    rows, logits = rows[order], logits[order]
    table = index.select([*COLUMNS]).take(rows.numpy())
    table = table.add_column(0, "row", pa.array(rows.numpy(), pa.int64()))
    scores = generated_score(logits)
    for name, values in (("logit_real", logits[:, 0]), ("logit_generated", logits[:, 1]), ("score", scores)):
        table = table.append_column(name, pa.array(values.numpy()))
    metadata = {ALLOWED_DIFFERENCES: json.dumps(list(allowed_differences)).encode()}
    if origin is not None:
        metadata[ORIGIN] = json.dumps(asdict(origin)).encode()
    probability = pa.nulls(len(table), pa.float64())
    if calibration.is_fitted:
        probability = pa.array(calibration.scale(scores).numpy())
        fitted = {
            THRESHOLD: repr(calibration.threshold).encode(),
            CALIBRATION: json.dumps(calibration.to_dict()).encode(),
        }
        metadata = fitted | metadata
    table = table.append_column("probability", probability)
    return table.replace_schema_metadata(metadata)


def read_predictions(index: Index, path: Path) -> pa.Table:
    """Read a prediction file and check it against the index.

    Args:
        index: The dataset's index, at least `key`.
        path: The file.

    Returns:
        Its table, sorted by row, metadata included.

    Raises:
        ValueError: If it is empty, holds a sample twice or a score that is not finite, or is of another dataset.
    """
    try:
        with open_plain(path) as file:
            footer = parse_footer(file)
            table = read_columns(file, footer, footer.names)
        table = table.sort_by("row")
    except (ValueError, KeyError, pa.ArrowException) as error:
        raise ValueError(f"{path} cannot be read as predictions: {error}") from error
    if not len(table):
        raise ValueError(f"{path} holds no predictions")
    if missing := [name for name in ("key", "score") if name not in table.column_names]:
        raise ValueError(f"{path} cannot be read as predictions: it has no column {missing[0]}")
    rows = table["row"].to_numpy()
    if (np.diff(rows) == 0).any():
        raise ValueError(f"{path} holds a sample more than once")
    if rows[0] < 0 or rows[-1] >= len(index) or not _has_keys(index, rows, table["key"]):
        raise ValueError(f"{path} was made from another dataset: its keys differ from the keys of the index's rows")
    num_bad = int((~np.isfinite(table["score"].to_numpy())).sum())
    if num_bad:
        raise ValueError(f"{path}: {num_bad} of {len(table)} scores are not finite")
    return table


def _has_keys(index: Index, rows: np.ndarray, keys: pa.ChunkedArray) -> bool:
    return bool(index.select(["key"]).take(rows)["key"].equals(keys))


def read_origin(path: Path) -> Origin | None:
    """What a prediction file was made from; None where it does not say: older files, and scores without weights.

    Raises:
        ValueError: If it is no prediction file, or says something else.
    """
    try:
        stored = (pq.read_schema(path).metadata or {}).get(ORIGIN)
        if stored is None:
            return None
        content = json.loads(stored)
        dataset_id, checkpoint = content["dataset_id"], content.get("checkpoint_sha256")
        fingerprints = tuple(content["fingerprints"])
        if not all(isinstance(text, str) for text in (dataset_id, checkpoint or "", *fingerprints)):
            raise TypeError("a name is no text")
    except (pa.ArrowException, LookupError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as predictions: {error}") from error
    return Origin(dataset_id, fingerprints, checkpoint)


def check_origin(path: Path, dataset_id: str, fingerprint: str) -> None:
    """Refuse predictions of another dataset or cache, where the file says so. Copies of a dataset have its keys.

    Raises:
        ValueError: If they are, or the file cannot be read.
    """
    origin = read_origin(path)
    if origin is None:
        return
    what = "dataset" if origin.dataset_id != dataset_id else "cache" if fingerprint not in origin.fingerprints else None
    if what:
        raise ValueError(f"{path} holds predictions of another {what}: name theirs, or predict again")


def hash_predictions(path: Path) -> str:
    """SHA-256 of a file's bytes, 64 hexadecimal digits: by it results name the predictions that they are of."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_probability(predictions: pa.Table) -> bool:
    """Whether the scores are a detector's probabilities."""
    return "logit_generated" in predictions.column_names


def stored_calibration(predictions: pa.Table) -> Calibration | None:
    """What was fitted on validation for the weights; in older files a threshold alone; None where nothing was."""
    if stored := _metadata(predictions, CALIBRATION):
        fitted = Calibration.from_dict(json.loads(stored))
    else:
        fitted = Calibration(float(_metadata(predictions, THRESHOLD) or Calibration.threshold))
    return fitted if fitted.is_fitted else None


def allowed_differences(predictions: pa.Table) -> tuple[str, ...]:
    """How the features differed from training, a line a field."""
    return tuple(json.loads(_metadata(predictions, ALLOWED_DIFFERENCES) or "[]"))


def _metadata(predictions: pa.Table, name: bytes) -> str | None:
    value = (predictions.schema.metadata or {}).get(name)
    return None if value is None else value.decode()
