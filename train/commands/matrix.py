"""Train on each image source and test on all of them, with several seeds.

Each run is `python -m train fit` and `predict` in processes of their own, in a folder of its own. A run with
predictions is done; a stopped run resumes from its last checkpoint. Several such commands may fill one folder: each run
is one's at a time, and whoever has done one writes the table of all that are done.
"""

import json
import logging
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from cache_schema import (
    Dataset,
    check_dataset,
    check_whole_groups,
    claim,
    file_name,
    open_cache,
    read_json,
    shown,
    shown_lines,
    write_json,
    write_text,
)
from train.pictures.plots import draw_matrix
from train.record import describe_code
from train.runs import TIME_NAME, Run, choose_numbers, describe_cost, find_rate, list_runs, timing
from train.scoring.evaluate import score_each_seed
from train.scoring.matrix import add_up, check_rows, choose_rows, count_training, format_matrix, name_all
from train.scoring.prediction_file import COLUMNS
from train.scoring.scores import load_reading

logger = logging.getLogger(__name__)

SETTINGS_NAME = "settings.json"
PREDICTIONS = "predictions.parquet"
LIGHTNINGS_EPOCHS = 1000
"""What Lightning takes where a recipe names no number."""


def run_matrix(
    recipe: list[str],
    data: str,
    cache: list[str] | str,
    out: str,
    seeds: int = 1,
    sources: list[str] | None = None,
    fit_args: str = "",
    only: str | None = None,
    dry_run: bool = False,
    images_per_second: float | None = None,
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
        only: Numbers of the runs to do, as `dry_run` lists them: 3, 0-3 or 0,2,5-7. The table has all that are done.
        dry_run: List the runs with their numbers and what they cost, and do nothing else.
        images_per_second: Training images that a fit is expected to take in, for the estimated hours. If not given: the
            mean of the finished runs.

    Raises:
        ValueError: If a setting makes no sense, a source lacks a class in a split that is needed, or the folder holds
            runs of other settings.
        DatasetError: If groups are divided between splits, unless `fit_args` or the recipe allow it.
        CalledProcessError: If a run fails; its own message stands above.
    """
    caches = [cache] if isinstance(cache, str) else list(cache)
    dataset = Dataset.open(data)
    index = dataset.table([*COLUMNS])
    rows, together = choose_rows(index, sources), name_all(index["image_source"].unique().to_pylist())
    if seeds < 1 or not rows:
        raise ValueError(f"{seeds} seeds of {len(rows)} sources: expected at least one of each")
    recipes = [yaml.safe_load(Path(file).read_text(encoding="utf-8")) for file in recipe]
    given = shlex.split(fit_args)
    check_rows(index, rows, str(_find_setting(recipes, given, "data", "predict_split", "test")))
    allowed = str(_find_setting(recipes, given, "data", "allow_divided_groups", False)).lower() == "true"
    divided = check_whole_groups(dataset, allowed=allowed, flag="--fit_args=--data.allow_divided_groups=true")
    settings = {
        "recipe": recipes,
        "fit_args": given,
        "dataset_id": dataset.dataset_id,
        "caches": [_describe_cache(folder, dataset) for folder in caches],
        **({"divided_groups": divided} if divided else {}),
    }
    folder = Path(out)
    num_epochs = max(1, int(_find_setting(recipes, given, "trainer", "max_epochs", LIGHTNINGS_EPOCHS)))
    chosen = [(row, seed) for seed in range(seeds) for row in rows]
    runs = [_describe_run(folder, index, row, seed, num_epochs) for row, seed in chosen]
    numbers = choose_numbers(only, len(runs))
    logger.info(
        "%s",
        describe_cost(
            [runs[n] for n in numbers], find_rate(folder.glob(f"runs/*/seed-*/{TIME_NAME}"), images_per_second)
        ),
    )
    check_settings(folder, settings, keep=not dry_run)
    if dry_run:
        sys.stdout.write(shown_lines(list_runs(runs)))
        return
    common = [*(f"-c={file}" for file in recipe), f"--data.data={data}", f"--data.cache={json.dumps(caches)}"]
    works = {}
    for n in numbers:
        row, seed = chosen[n]
        on = [] if row == together else [f"--data.image_sources={json.dumps([row])}"]
        works[n] = [*common, *on, f"--seed_everything={seed}", *given]
    _fill(folder, index, settings, [(runs[n], arguments) for n, arguments in works.items()])


def _describe_run(folder: Path, index: pa.Table, row: str, seed: int, num_epochs: int) -> Run:
    place = run_folder(folder, row, seed)
    return Run(f"{row}, seed {seed}", place, count_training(index, row), num_epochs, (place / PREDICTIONS).exists())


def _fill(
    folder: Path, index: pa.Table, settings: Mapping[str, Any], runs: Sequence[tuple[Run, Sequence[str]]]
) -> None:
    """Do runs, each with the arguments of its fit, and write the table after each, so that an end loses none."""
    signal.signal(signal.SIGTERM, _stop)  # or the running fit would live on
    text = ""
    for run, arguments in runs:
        if run.is_done:
            logger.info("%s is done", run.folder)
        elif make_run(run, arguments):
            text = write_table(folder, index, settings)
    if not text and find_finished(folder, index):
        text = write_table(folder, index, settings)
    sys.stdout.write(shown_lines(text))


def find_finished(folder: Path, index: pa.Table) -> dict[str, dict[int, Path]]:
    """Row → seed → predictions, of all runs in a folder that are done, whoever did them and whatever was asked for."""
    rows = [*choose_rows(index, None), name_all(index["image_source"].unique().to_pylist())]
    found = {}
    for row in rows:
        files = run_folder(folder, row, 0).parent.glob(f"seed-*/{PREDICTIONS}")
        names = ((file.parent.name.removeprefix("seed-"), file) for file in files)
        by_seed = {int(name): file for name, file in names if name.isdecimal()}
        if by_seed:
            found[row] = dict(sorted(by_seed.items()))
    return found


def write_table(folder: Path, index: pa.Table, settings: Mapping[str, Any]) -> str:
    """Write matrix.json and matrix.png of all runs that are done.

    Other processes may do the same, and write what they knew before. So the runs are looked for again after writing:
    whoever writes last has seen all that were done by then.

    Args:
        folder: The matrix's.
        index: Of all samples.
        settings: Of all runs.

    Returns:
        The tables as text.
    """
    together = name_all(index["image_source"].unique().to_pylist())
    written, finished = None, find_finished(folder, index)
    while finished != written:
        scored = {row: score_each_seed(load_reading(index, [*files.values()])) for row, files in finished.items()}
        seeds = {row: [*files] for row, files in finished.items()}
        about = {**settings, "seeds": max(map(len, seeds.values())), **describe_code()}
        matrix = {"settings": about, "seeds": seeds, **add_up(scored, together, seeds)}
        write_json(folder / "matrix.json", matrix)
        draw_matrix(matrix, folder / "matrix.png")
        written, finished = finished, find_finished(folder, index)
    logger.info("matrix in %s and matrix.png beside it", folder / "matrix.json")
    return format_matrix(matrix)


def _find_setting(recipes: Sequence[Any], fit_args: Sequence[str], group: str, name: str, default: Any) -> Any:
    """A setting of the fits: the last one that is named."""
    found = default
    for recipe in recipes:
        found = ((recipe or {}).get(group) or {}).get(name, found)
    for argument, following in pairwise([*fit_args, ""]):
        flag, equals, value = argument.partition("=")
        if flag == f"--{group}.{name}":
            found = value if equals else following
    return found


def _describe_cache(folder: str, dataset: Dataset) -> dict[str, Any]:
    cache = open_cache(folder)
    check_dataset(cache, dataset.dataset_id)
    return {"fingerprint": cache.fingerprint, "fields": dict(cache.fields)}


def run_folder(out: Path, row: str, seed: int) -> Path:
    """Where a run lies."""
    return out / "runs" / file_name(row) / f"seed-{seed}"


def check_settings(folder: Path, settings: Mapping[str, Any], *, keep: bool = True) -> None:
    """Keep the settings with the runs, or refuse to add to runs of other settings.

    Args:
        folder: The matrix's.
        settings: Of all runs.
        keep: Write them where there are none. The first of several processes does.

    Raises:
        ValueError: If a setting differs.
    """
    path = folder / SETTINGS_NAME
    text = json.dumps(settings, indent=2, ensure_ascii=False) + "\n"
    if not path.exists():
        if not keep:
            return
        with suppress(FileExistsError):
            write_text(path, text, replace=False)
            return
    there = read_json(path)
    changed = [name for name in settings if there.get(name) != json.loads(text)[name]]
    if changed:
        raise ValueError(f"{folder} holds runs with another {' and '.join(changed)}, see {path}: choose another --out")


def make_run(run: Run, arguments: Sequence[str]) -> bool:
    """Fit and predict unless predictions exist, from the last checkpoint if any.

    Args:
        run: Where it lies.
        arguments: Of the fit.

    Returns:
        Whether it is done; False: another process is at it.

    Raises:
        CalledProcessError: If a command fails.
        ValueError: If the recipe does not write checkpoints/best.ckpt.
    """
    folder = run.folder
    with claim(folder.with_name(f".{folder.name}.lock")) as is_ours:
        if not is_ours:
            logger.warning("%s: another process is at it, and will add it to the table", shown(run.title))
            return False
        if (folder / PREDICTIONS).exists():
            logger.info("%s is done", folder)
            return True
        best, last = (folder / "checkpoints" / f"{name}.ckpt" for name in ("best", "last"))
        if last.exists():
            _train("fit", *arguments, f"--out={folder}", f"--ckpt_path={last}")
        else:
            (folder / "config.yaml").unlink(missing_ok=True)  # of an attempt that ended before its first checkpoint
            with timing(run):
                _train("fit", *arguments, f"--out={folder}")
        if not best.exists():
            raise ValueError(
                f"the recipe wrote no {best}: it needs a ModelCheckpoint with filename best, and validation"
            )
        how = (f"--ckpt_path={best}", "--predictions.overwrite=true", "--return_predictions=false")
        _train("predict", f"-c={folder / 'config.yaml'}", f"--out={folder}", *how)
    return True


def _train(*arguments: str) -> None:
    command = ["-m", "train", *arguments]
    logger.info("python %s", shlex.join(command))
    subprocess.run([sys.executable, *command], check=True)


def _stop(*_: object) -> None:
    raise SystemExit(143)
