"""Numbers of the question on families: AUROCs of every probe on every model's images, and their paired differences."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from experiments.answers.rule import Value
from experiments.study.over_sources import keep_samples
from experiments.toy.telling import as_value
from train.scoring.evaluate import compare_readings, evaluate
from train.scoring.scores import Reading

ALL = "all"
"""Name of the images of all models together, beside each model's letter."""
Readings = Mapping[str, Reading]
"""Name of a probe, or of several → scores of the same images."""
Aurocs = dict[str, Value]
"""Letter of the model that made the images, or `ALL` → AUROC, or a difference of two."""


def place_under(reading: Reading, index: pa.Table) -> Reading:
    """The same scores under the labels of another task, whose dataset has the same images.

    Args:
        reading: Scores.
        index: `prediction_file.COLUMNS` of the other dataset's index.

    Raises:
        KeyError: If an image is not in that dataset.
    """
    place = {key: row for row, key in enumerate(index["key"].to_pylist())}
    rows = [place[key] for key in reading.table["key"].to_pylist()]
    return replace(reading, table=index.select(reading.table.column_names).take(rows))


def name_columns(reading: Reading, columns: Mapping[str, str]) -> Reading:
    """The labelled samples of a reading, whose generated images have other sources' names.

    Args:
        reading: Scores.
        columns: Image source → its new name; those with one name are scored together.
    """
    known = keep_samples(reading, pc.is_valid(reading.table["label"]).to_numpy())
    rows = known.table.select(["image_source", "label"]).to_pylist()
    names = [columns[row["image_source"]] if row["label"] == 1 else row["image_source"] for row in rows]
    place = known.table.schema.get_field_index("image_source")
    return replace(known, table=known.table.set_column(place, "image_source", pa.array(names, pa.string())))


def pool(reading: Reading) -> Reading:
    """A reading whose generated images have one image source, `ALL`."""
    sources = reading.table["image_source"].unique().to_pylist()
    return name_columns(reading, dict.fromkeys(sources, ALL))


def compute_aurocs(reading: Reading) -> Aurocs:
    """AUROC of each image source against the real images of its subset, and of `ALL`; intervals by group."""
    aurocs: Aurocs = {}
    for each in (reading, pool(reading)):
        for name, block in evaluate({"": each})["readings"][""]["sources"].items():
            value = {"mean": block["auroc"], "interval": block["auroc_interval"], "sd": block["auroc_sd"]}
            aurocs[name] = {**value, "num_seeds": _count_seeds(reading), "n_groups": block["n_groups"]}
    return aurocs


def subtract(one: Reading, other: Reading) -> Aurocs:
    """By how much the AUROC of one is higher, for each image source and `ALL`, paired."""
    return _subtract_each(one, other) | _subtract_each(pool(one), pool(other))


def _subtract_each(one: Reading, other: Reading) -> Aurocs:
    num_seeds = _count_seeds(one)
    return {name: {**as_value(block), "num_seeds": num_seeds} for name, block in compare_readings(one, other).items()}


def _of_source(reading: Reading, source: str) -> Reading:
    """The real images, and the generated ones of an image source."""
    labels, sources = (reading.table[name].to_numpy() for name in ("label", "image_source"))
    return keep_samples(reading, (labels == 0) | (sources == source))


def _count_seeds(reading: Reading) -> int:
    """Seeds that have trained something: scores of a detector are probabilities, and mean LaRE is none."""
    return len(reading.scores) if reading.is_probability else 0


def compute_matrix(readings: Readings) -> dict[str, Any]:
    """One reading of every probe.

    Args:
        readings: Letter of the probe → scores, their generated images named by the letter of their model.

    Returns:
        "matrix" (probe → image source → AUROC) and "own_less_other" (image source → other probe → AUROC of its own
        probe less that of the other).
    """
    gaps: dict[str, Aurocs] = {
        own: {
            name: _subtract_each(_of_source(reading, own), _of_source(other, own))[own]
            for name, other in readings.items()
            if name != own
        }
        for own, reading in readings.items()
    }
    return {
        "matrix": {probe: compute_aurocs(reading) for probe, reading in readings.items()},
        "own_less_other": gaps,
    }


def compare_sweep(readings: Mapping[str, Readings]) -> dict[str, Any]:
    """Mean LaRE of the flow-matching probe C and of probe A at one noise level.

    Args:
        readings: Task → "a" and "c" → scores.

    Returns:
        "aurocs" (task → probe → image source → AUROC) and "c_less_a" (task → image source → difference).
    """
    return {
        "aurocs": {task: {name: compute_aurocs(one) for name, one in both.items()} for task, both in readings.items()},
        "c_less_a": {task: subtract(both["c"], both["a"]) for task, both in readings.items()},
    }


def choose_single(validation: Readings, together: str, trained_on: str) -> dict[str, Any]:
    """The single probe that is best on validation images of the model that all were trained on.

    Args:
        validation: Probes → scores of validation images.
        together: Name of the stack, which is not chosen.
        trained_on: Letter of that model. A user knows no images of the others.

    Returns:
        "together", "chosen", and "validation" (probes → AUROC).
    """
    aurocs = {name: compute_aurocs(reading)[trained_on]["mean"] for name, reading in validation.items()}
    singles = [name for name in aurocs if name != together]
    return {"together": together, "chosen": max(singles, key=aurocs.__getitem__), "validation": aurocs}


def compare_stack(test: Readings, together: str, chosen: str) -> dict[str, Any]:
    """The stack against the chosen single probe.

    Args:
        test: Probes → scores of test images.
        together: Name of the stack.
        chosen: Name of the single probe.

    Returns:
        "aurocs" (probes → image source → AUROC) and "together_less_chosen" (image source → difference).
    """
    return {
        "aurocs": {name: compute_aurocs(reading) for name, reading in test.items()},
        "together_less_chosen": subtract(test[together], test[chosen]),
    }
