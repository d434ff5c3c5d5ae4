"""Small readings and scores with chosen numbers, lines of a finding, and commands that run in the test's process."""

import json
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from experiments.answers.readings import MEAN
from experiments.study.fits import Work
from experiments.study.over_sources import Means
from experiments.study.settings import Scored
from experiments.study.study import Study
from train.scoring.scores import Reading

COLUMNS = ("key", "label", "image_source", "subset", "split", "group", "derived_from")


def make_means(mean: float, half_width: float = 0.01, sd: float = 0.0, num_seeds: int = 5) -> Means:
    """A metric of some seeds, none for 0, of many groups, with an interval of (nearly) mean ± half_width."""
    seeds = np.array([mean])
    if num_seeds > 1:
        steps = np.linspace(-1, 1, num_seeds)
        seeds = mean + steps * sd / np.std(steps, ddof=1)
    step = half_width / 1.96  # two blocks so far apart have this standard error
    left_out = np.array([mean - step, mean + step])
    return Means(seeds, left_out, n_groups=2000, is_trained=num_seeds > 0, is_difference=True)


def as_json(numbers: Any) -> Any:
    """Numbers as an answer holds them."""
    return json.loads(json.dumps(numbers))


def value(
    mean: float, half_width: float = 0.01, sd: float | None = None, num_seeds: int | None = None
) -> dict[str, Any]:
    """A metric or a difference as an answer holds it; of five seeds where it has a spread over seeds."""
    seeds = (0 if sd is None else 5) if num_seeds is None else num_seeds
    return {"mean": mean, "interval": [mean - half_width, mean + half_width], "sd": sd, "num_seeds": seeds}


def line_with(text: str, *parts: str) -> str:
    """The one line of a finding that holds all parts."""
    (line,) = (line for line in text.splitlines() if all(part in line for part in parts))
    return line


def make_scored(
    validation: Mapping[str, float],
    test: Mapping[str, float],
    half_width: float = 0.01,
    keys: str = "ab",
    num_seeds: int = 5,
) -> Scored:
    """AUROC and AP by image source; without a `MEAN`, that is theirs."""

    def scores(values: Mapping[str, float]) -> dict[str, dict[str, Means]]:
        all_values = {MEAN: float(np.mean(list(values.values()))), **values}
        return {
            source: dict.fromkeys(("auroc", "average_precision"), make_means(value, half_width, num_seeds=num_seeds))
            for source, value in all_values.items()
        }

    return Scored(scores(validation), scores(test), pa.chunked_array([list(keys)]))


def make_mean_lare(rows: list[tuple]) -> Reading:
    """Minus the mean LaRE of test images: rows of (key, label, image source, group, derived from, mean LaRE)."""
    keys, labels, sources, groups, derived, values = zip(*rows, strict=True)
    n = len(rows)
    columns = (
        keys,
        pa.array(labels, pa.int8()),
        sources,
        ["set"] * n,
        ["test"] * n,
        groups,
        pa.array(derived, pa.string()),
    )
    table = pa.table(dict(zip(COLUMNS, columns, strict=True)))
    return Reading(table, -np.array([values], dtype=float), (None,), is_probability=False)


def list_fitted(study: Study) -> set[str]:
    """Names of the detectors that a study has trained."""
    return {path.stem.removeprefix("fit-").rpartition("-seed-")[0] for path in study.steps.folder.glob("fit-*.json")}


def list_planned(work: Work) -> set[str]:
    """Names of the detectors that a question says it trains."""
    return {fit.run for fit in work.fits}


def run_here(module: str, *arguments: str | Path, quiet: bool = False, share: int = 1) -> None:
    """As `workflow.stages.run_module`, without a process of its own."""
    before, sys.argv = sys.argv, [module, *map(str, arguments)]
    try:
        status = import_module(f"{module}.__main__").main()
    finally:
        sys.argv = before
    if status:
        raise RuntimeError(f"python -m {module} {arguments[0]} ended with status {status}")
