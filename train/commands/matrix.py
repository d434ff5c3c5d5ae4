"""Train on each image source and test on all of them, with several seeds.

Each run is `python -m train fit` and `predict` in processes of their own, in a folder of its own. A run with
predictions is done; a stopped run resumes from its last checkpoint.
"""

import json
import logging
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from cache_schema import Dataset, check_dataset, file_name, open_cache, read_json, write_json
from train.pictures.plots import draw_matrix
from train.record import describe_code
from train.scoring.evaluate import score_each_seed
from train.scoring.matrix import add_up, check_rows, choose_rows, format_matrix, name_all
from train.scoring.prediction_file import COLUMNS
from train.scoring.scores import load_reading

logger = logging.getLogger(__name__)

SETTINGS_NAME = "settings.json"
PREDICTIONS = "predictions.parquet"


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
        out: Folder of everything; finished runs in it are skipped.
        seeds: Number of seeds, from 0.
        sources: Image sources to train on, a row each; `all` is all of them together, or `all together` where a
            source is called all. None: each one of the training split.
        fit_args: More arguments of `fit`, for example "--trainer.max_epochs=1".

    Raises:
        ValueError: If a setting makes no sense, a source lacks a class in a split that is needed, or the folder holds
            runs of other settings.
        CalledProcessError: If a run fails; its own message stands above.
    """
    caches = [cache] if isinstance(cache, str) else list(cache)
    dataset = Dataset.open(data)
    index = dataset.table([*COLUMNS])
    rows, together = choose_rows(index, sources), name_all(index["image_source"].unique().to_pylist())
    if seeds < 1 or not rows:
        raise ValueError(f"{seeds} seeds of {len(rows)} sources: expected at least one of each")
    recipes = [yaml.safe_load(Path(file).read_text(encoding="utf-8")) for file in recipe]
    check_rows(index, rows, _predict_split(recipes, shlex.split(fit_args)))
    settings = {
        "recipe": recipes,
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
            chosen = [] if row == together else [f"--data.image_sources={json.dumps([row])}"]
            make_run(
                run_folder(folder, row, seed), [*common, *chosen, f"--seed_everything={seed}", *settings["fit_args"]]
            )
    files = {row: [run_folder(folder, row, seed) / PREDICTIONS for seed in range(seeds)] for row in rows}
    scored = {row: score_each_seed(load_reading(index, paths)) for row, paths in files.items()}
    write_matrix(folder, {"settings": settings | {"seeds": seeds, **describe_code()}, **add_up(scored, together)})


def write_matrix(folder: Path, matrix: Mapping[str, Any]) -> None:
    """Write matrix.json and matrix.png, and the tables to the standard output."""
    write_json(folder / "matrix.json", matrix)
    sys.stdout.write(format_matrix(matrix))
    draw_matrix(matrix, folder / "matrix.png")
    logger.info("matrix in %s and matrix.png beside it", folder / "matrix.json")


def _predict_split(recipes: Sequence[Any], fit_args: Sequence[str]) -> str:
    """The split that runs predict on: the last one that is named."""
    split = "test"
    for recipe in recipes:
        split = ((recipe or {}).get("data") or {}).get("predict_split", split)
    for argument, following in pairwise([*fit_args, ""]):
        name, equals, value = argument.partition("=")
        if name == "--data.predict_split":
            split = value if equals else following
    return str(split)


def _describe_cache(folder: str, dataset: Dataset) -> dict[str, Any]:
    cache = open_cache(folder)
    check_dataset(cache, dataset.dataset_id)
    return {"fingerprint": cache.fingerprint, "fields": dict(cache.fields)}


def run_folder(out: Path, row: str, seed: int) -> Path:
    """Where a run lies."""
    return out / "runs" / file_name(row) / f"seed-{seed}"


def check_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    """Keep the settings with the runs, or refuse to add to runs of other settings.

    Raises:
        ValueError: If a setting differs.
    """
    path = folder / SETTINGS_NAME
    if not path.exists():
        write_json(path, settings)
        return
    there = read_json(path)
    changed = [name for name in settings if there.get(name) != json.loads(json.dumps(settings[name]))]
    if changed:
        raise ValueError(f"{folder} holds runs with another {' and '.join(changed)}, see {path}: choose another --out")


def make_run(folder: Path, arguments: Sequence[str]) -> None:
    """Fit and predict unless predictions exist, from the last checkpoint if any.

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
        raise ValueError(f"the recipe wrote no {best}: it needs a ModelCheckpoint with filename best, and validation")
    config, weights = f"-c={folder / 'config.yaml'}", f"--ckpt_path={best}"
    _train("predict", config, f"--out={folder}", weights, "--predictions.overwrite=true", "--return_predictions=false")


def _train(*arguments: str) -> None:
    command = ["-m", "train", *arguments]
    logger.info("python %s", shlex.join(command))
    subprocess.run([sys.executable, *command], check=True)


def _stop(*_: object) -> None:
    raise SystemExit(143)
