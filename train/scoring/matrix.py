"""Train on each image source, test on all of them, with several seeds: the runs, and what they add up to.

Each run is `python -m train fit` and `predict` in processes of their own, in a folder of its own. A run whose
predictions are there is done; one that was stopped goes on from its last checkpoint.
"""

import json
import logging
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import yaml

from cache_schema import Dataset, check_dataset, open_cache
from train.record import describe_code, write_json
from train.scoring.evaluate import score_each_seed
from train.scoring.readings import COLUMNS
from train.scoring.scores import load_reading

logger = logging.getLogger(__name__)

ALL = "all"
"""Row that is trained on every source together."""
METRICS = {
    "accuracy": "accuracy at 0.5",
    "accuracy_at_val_threshold": "accuracy at the threshold from validation",
    "average_precision": "average precision",
    "auroc": "AUROC",
}
SETTINGS_NAME = "settings.json"
PREDICTIONS = "predictions.parquet"
CORNER = "trained on \\ tested on"


def run_matrix(
    recipe: list[str],
    data: str,
    cache: list[str] | str,
    out: str,
    seeds: int = 1,
    sources: list[str] | None = None,
    fit_args: str = "",
) -> None:
    """Train on each image source with several seeds, test on all sources, and write matrix.json and matrix.png.

    Args:
        recipe: YAML files of `python -m train fit`, later ones over earlier ones.
        data: Folder with dataset.json.
        cache: Cache folder, or several.
        out: Folder of everything; runs that are done there are skipped.
        seeds: Number of seeds, from 0.
        sources: Image sources to train on, a row each; `all` is all of them together. None: each one of the training
            split.
        fit_args: More arguments of `fit`, for example "--trainer.max_epochs=1".

    Raises:
        ValueError: If a setting makes no sense, or the folder holds runs of other settings.
        CalledProcessError: If a run fails; its own message stands above.
    """
    caches = [cache] if isinstance(cache, str) else list(cache)
    dataset = Dataset.open(data)
    index = dataset.table([*COLUMNS])
    rows = choose_rows(index, sources)
    if seeds < 1 or not rows:
        raise ValueError(f"{seeds} seeds of {len(rows)} sources: expected at least one of each")
    settings = {
        "recipe": [yaml.safe_load(Path(file).read_text(encoding="utf-8")) for file in recipe],
        "fit_args": shlex.split(fit_args),
        "dataset_id": dataset.dataset_id,
        "caches": [_describe_cache(folder, dataset) for folder in caches],
    }
    folder = Path(out)
    check_settings(folder, settings)
    signal.signal(signal.SIGTERM, _stop)  # or the running fit would live on
    common = [*(f"-c={file}" for file in recipe), f"--data.data={data}", f"--data.cache={json.dumps(caches)}"]
    for seed in range(seeds):
        for row in rows:
            chosen = [] if row == ALL else [f"--data.image_sources={json.dumps([row])}"]
            make_run(
                run_folder(folder, row, seed), [*common, *chosen, f"--seed_everything={seed}", *settings["fit_args"]]
            )
    files = {row: [run_folder(folder, row, seed) / PREDICTIONS for seed in range(seeds)] for row in rows}
    scored = {row: score_each_seed(load_reading(index, paths)) for row, paths in files.items()}
    write_matrix(folder, {"settings": settings | {"seeds": seeds, **describe_code()}, **add_up(scored)})


def write_matrix(folder: Path, matrix: Mapping[str, Any]) -> None:
    """Write matrix.json and matrix.png, and the tables to the standard output."""
    from train.pictures.plots import draw_matrix  # loads a library that training does without

    write_json(folder / "matrix.json", matrix)
    sys.stdout.write(format_matrix(matrix))
    draw_matrix(matrix, folder / "matrix.png")
    logger.info("matrix in %s and matrix.png beside it", folder / "matrix.json")


def choose_rows(index: pa.Table, sources: Sequence[str] | None) -> list[str]:
    """The sources to train on, in the order given, or all that training samples have, sorted.

    Raises:
        ValueError: If there is no training sample of one.
    """
    train = index.filter(pc.and_(pc.equal(index["split"], "train"), pc.equal(index["label"], 1)))
    known = sorted(train["image_source"].unique().to_pylist())
    if sources is None:
        return known
    if unknown := sorted(set(sources) - {*known, ALL}):
        raise ValueError(f"sources names {unknown}: training samples are of {known}, or of {ALL} of them together")
    return list(dict.fromkeys(sources))


def _describe_cache(folder: str, dataset: Dataset) -> dict[str, Any]:
    cache = open_cache(folder)
    check_dataset(cache, dataset.dataset_id)
    return {"fingerprint": cache.fingerprint, "fields": dict(cache.fields)}


def run_folder(out: Path, row: str, seed: int) -> Path:
    """Where a run lies."""
    return out / "runs" / quote(row, safe=" ") / f"seed-{seed}"


def check_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    """Keep the settings with the runs, or refuse to add to runs of other settings.

    Raises:
        ValueError: If a setting differs.
    """
    path = folder / SETTINGS_NAME
    if not path.exists():
        write_json(path, settings)
        return
    there = json.loads(path.read_text(encoding="utf-8"))
    changed = [name for name in settings if there.get(name) != json.loads(json.dumps(settings[name]))]
    if changed:
        raise ValueError(f"{folder} holds runs with another {' and '.join(changed)}, see {path}: choose another --out")


def make_run(folder: Path, arguments: Sequence[str]) -> None:
    """Fit and predict, unless that is done, from the last checkpoint where there is one.

    Raises:
        CalledProcessError: If a command fails.
        ValueError: If the recipe does not write checkpoints/best.ckpt.
    """
    if (folder / PREDICTIONS).exists():
        logger.info("%s is done", folder)
        return
    best, last = (folder / "checkpoints" / f"{name}.ckpt" for name in ("best", "last"))
    if not last.exists():
        (folder / "config.yaml").unlink(missing_ok=True)  # of an attempt that ended before its first checkpoint
    resume = [f"--ckpt_path={last}"] if last.exists() else []
    _train("fit", *arguments, f"--out={folder}", *resume)
    if not best.exists():
        raise ValueError(f"the recipe wrote no {best}: it needs a ModelCheckpoint with filename best")
    config, weights = f"-c={folder / 'config.yaml'}", f"--ckpt_path={best}"
    _train("predict", config, f"--out={folder}", weights, "--predictions.overwrite=true", "--return_predictions=false")


def _train(*arguments: str) -> None:
    command = ["-m", "train", *arguments]
    logger.info("python %s", shlex.join(command))
    subprocess.run([sys.executable, *command], check=True)


def _stop(*_: object) -> None:
    raise SystemExit(143)


def add_up(scored: Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]]) -> dict[str, Any]:
    """Means and standard deviations over seeds.

    Args:
        scored: Row (trained on) → column (tested on) → metrics of each seed.

    Returns:
        "rows", "columns", and under "metrics" for each of `METRICS`: "cells" (rows × columns), "row_means" (over
        columns), "diagonal" and "off_diagonal" (over cells whose row is, is not their column; null where there are
        none); each a {"mean", "sd"} over seeds, sd null for one seed. A row of all sources is not off the diagonal.
    """
    rows, columns = list(scored), sorted({column for row in scored.values() for column in row})
    is_same = np.array([[row == column for column in columns] for row in rows])
    is_other = ~is_same & np.array([[row != ALL] for row in rows])
    result = {}
    for name in METRICS:
        values = np.array([[[seed[name] for seed in scored[row][column]] for column in columns] for row in rows])
        if values.dtype == object:  # a metric that is not defined
            continue
        result[name] = {
            "cells": [[_mean_and_sd(cell) for cell in row] for row in values],
            "row_means": [_mean_and_sd(row.mean(axis=0)) for row in values],
            "diagonal": _mean_and_sd(values[is_same].mean(axis=0)) if is_same.any() else None,
            "off_diagonal": _mean_and_sd(values[is_other].mean(axis=0)) if is_other.any() else None,
        }
    return {"rows": rows, "columns": columns, "metrics": result}


def _mean_and_sd(seeds: np.ndarray) -> dict[str, float | None]:
    sd = float(np.std(seeds, ddof=1)) if len(seeds) > 1 else None
    return {"mean": float(np.mean(seeds)), "sd": sd}


def format_matrix(matrix: Mapping[str, Any]) -> str:
    """matrix.json as text tables, one a metric: trained on the row, tested on the column."""
    lines = []
    first = max(len(name) for name in [*matrix["rows"], CORNER])
    widths = [max(len(name), 11) for name in [*matrix["columns"], "mean"]]
    for name, values in matrix["metrics"].items():
        heads = [f"{head:>{width}}" for head, width in zip([*matrix["columns"], "mean"], widths, strict=True)]
        lines += [f"\n{METRICS[name]}", f"{CORNER:<{first}}  " + "  ".join(heads)]
        for row, cells, mean in zip(matrix["rows"], values["cells"], values["row_means"], strict=True):
            numbers = [f"{format_cell(cell):>{width}}" for cell, width in zip([*cells, mean], widths, strict=True)]
            lines.append(f"{row:<{first}}  " + "  ".join(numbers))
        for key, text in (("diagonal", "mean of the diagonal"), ("off_diagonal", "mean off the diagonal")):
            if values[key]:
                lines.append(f"{text:<{first}}  {format_cell(values[key]):>{widths[0]}}")
    return "\n".join(lines).lstrip("\n") + "\n"


def format_cell(cell: Mapping[str, float | None]) -> str:
    """Mean and standard deviation, "0.912 ±0.013"; the latter only where there are several seeds."""
    return f"{cell['mean']:.3f}" + ("" if cell["sd"] is None else f" ±{cell['sd']:.3f}")
