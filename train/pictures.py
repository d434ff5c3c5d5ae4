"""`python -m train plots`: all pictures of predictions, of a matrix, and of the most certain cases."""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray
from PIL import Image

from cache_schema import Dataset
from train.cases import GROUPS, Case, choose_cases, load_cases, open_data
from train.export import load_checkpoint
from train.plots import (
    draw_matrix,
    draw_precision_recall,
    draw_reliability,
    draw_roc,
    draw_scores,
    styled_figure,
)
from train.readings import COLUMNS
from train.scores import Reading, load_reading, parse_named_files

logger = logging.getLogger(__name__)

UNITS = {"LaRE map": "squared error", "ESR attention": "× even share"}
"""Layer of a case → what its colours mean."""
OUTCOMES = {"right": list(GROUPS)[:2], "wrong": list(GROUPS)[2:]}


def draw_pictures(
    out: str,
    data: str | None = None,
    readings: list[str] | None = None,
    validation: list[str] | None = None,
    matrix: str | None = None,
    ckpt: str | None = None,
    cache: list[str] | str | None = None,
    num_cases: int = 5,
) -> None:
    """Draw PNGs: ROC, precision and recall, scores, reliability; the matrix; the most certain right and wrong cases.

    Args:
        out: Folder that pictures are written to, in place of older ones.
        data: Folder with dataset.json, for `readings`.
        readings: Predictions as name=file; a name given more than once has as many seeds.
        validation: Predictions on validation samples in the same form, as of `evaluate`.
        matrix: A matrix.json to draw as heat maps.
        ckpt: Checkpoint behind the first reading, to draw the images that it is most certain about.
        cache: Cache folder, or several, for `ckpt`.
        num_cases: How many images of each kind to draw.

    Raises:
        FingerprintMismatch: If the maps are not like those that the checkpoint was trained on.
        ValueError: If something that is needed is not given or cannot be used.
    """
    if not (readings or matrix):
        raise ValueError("nothing to draw: pass --readings or --matrix")
    folder = Path(out)
    if matrix:
        draw_matrix(json.loads(Path(matrix).read_text(encoding="utf-8")), folder / "matrix.png")
    if readings:
        if data is None:
            raise ValueError("--readings needs --data, the authority on labels")
        loaded = _load(data, readings, validation or [])
        for name, reading in loaded.items():
            draw_reading(name, reading, folder)
        if ckpt:
            if cache is None:
                raise ValueError("--ckpt needs --cache, whose maps are drawn")
            caches = [cache] if isinstance(cache, str) else cache
            name, reading = next(iter(loaded.items()))
            draw_certain_cases(name, reading, folder, data, caches, ckpt, num_cases)
    logger.info("pictures in %s", folder)


def draw_reading(name: str, reading: Reading, folder: Path) -> None:
    """Draw everything that predictions alone can show."""
    draw_roc(name, reading, folder / f"{name}-roc.png")
    draw_precision_recall(name, reading, folder / f"{name}-precision-recall.png")
    draw_scores(name, reading, folder / f"{name}-scores.png")
    if reading.is_probability:
        draw_reliability(name, reading, folder / f"{name}-reliability.png")


def draw_certain_cases(
    name: str, reading: Reading, folder: Path, data: str, cache: Sequence[str], ckpt: str, num: int
) -> None:
    """Draw `<name>-most-certain-right.png` and `-wrong.png`; a kind of which there is no case is left out.

    Raises:
        ValueError: If samples of more than one split were scored, or by something other than a detector.
    """
    splits = reading.table["split"].unique().to_pylist()
    if len(splits) != 1 or not reading.is_probability:
        raise ValueError(f"{name}: cases are drawn of a detector's predictions on one split")
    model = load_checkpoint(ckpt)
    module = open_data(model, data, cache, splits[0])
    chosen = choose_cases(reading, num)
    for outcome, titles in OUTCOMES.items():
        groups = {title: load_cases(reading, chosen[title], module, model) for title in titles}
        if any(groups.values()):
            draw_cases(
                f"{name}: most certain and {outcome}",
                groups,
                folder / f"{name}-most-certain-{outcome}.png",
                is_aligned=module.alignment != "whole",
            )


def draw_cases(title: str, groups: Mapping[str, Sequence[Case]], path: Path, *, is_aligned: bool = True) -> None:
    """For each group a row of images, of LaRE maps and, where there is one, of ESR's attention.

    Args:
        title: Of the figure.
        groups: Title → cases.
        path: PNG to write.
        is_aligned: Whether the map lies on the image, and is drawn over it.
    """
    groups = {name: cases for name, cases in groups.items() if cases}
    everything = [case for cases in groups.values() for case in cases]
    layers = ["image", *UNITS] if everything[0].attention is not None else ["image", "LaRE map"]
    tops = {layer: float(np.quantile([_values(case, layer) for case in everything], 0.99)) for layer in layers[1:]}
    if "ESR attention" in tops:
        tops["ESR attention"] = max(tops["ESR attention"], 2.0)  # or an even attention would shine everywhere
    columns = max(map(len, groups.values()))
    rows = len(layers) * len(groups)
    with styled_figure(path, title, 1.0 + 1.45 * columns, 0.5 + rows * 1.5 + 0.3 * len(groups)) as figure:
        parts = figure.subfigures(len(groups), 1, squeeze=False).ravel()
        for part, (name, cases) in zip(parts, groups.items(), strict=True):
            part.suptitle(name, x=0.01, ha="left", fontsize=10)
            panels = part.subplots(len(layers), columns, squeeze=False)
            for axes in panels.flat:
                axes.set(xticks=[], yticks=[])
                axes.spines[:].set_visible(False)
            for number, layer in enumerate(layers):
                panels[number, 0].set_ylabel(layer)
                for axes, case in zip(panels[number], cases, strict=False):
                    shown = _draw_layer(axes, case, layer, tops.get(layer, 1), over_image=is_aligned or number == 2)
                if layer in UNITS:
                    part.colorbar(shown, ax=list(panels[number]), shrink=0.8, aspect=12, label=UNITS[layer])
            for axes, case in zip(panels[0], cases, strict=False):
                axes.set_title(f"{case.score:.3f}\n{case.image_source}", fontsize=8)


def _draw_layer(axes: Axes, case: Case, layer: str, top: float, *, over_image: bool) -> Any:
    """The image, or a map in colour over the image in grey; gives what a colour bar needs."""
    side = case.image.shape[0]
    if layer == "image":
        return axes.imshow(case.image)
    values = _values(case, layer)
    extent, alpha = (0.0, float(side), float(side), 0.0), None
    if over_image:  # a light picture below, which low values let through
        grey = np.asarray(Image.fromarray(case.image).convert("L"))
        axes.imshow(grey, cmap="gray", vmin=-128, vmax=255, extent=extent)
        alpha = 0.2 + 0.6 * (values / top).clip(0, 1)
    return axes.imshow(values, cmap="magma", vmin=0, vmax=top, alpha=alpha, interpolation="nearest", extent=extent)


def _values(case: Case, layer: str) -> NDArray[np.float32]:
    values = case.lare if layer == "LaRE map" else case.attention
    assert values is not None
    return values


def _load(data: str, readings: Sequence[str], validation: Sequence[str]) -> dict[str, Reading]:
    index = Dataset.open(data).table([*COLUMNS])
    files, fitted_on = parse_named_files(readings), parse_named_files(validation)
    return {name: load_reading(index, paths, fitted_on.get(name, ())) for name, paths in files.items()}
