"""`python -m train plots`: all pictures of predictions, of a matrix, and of the most certain cases."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from numpy.typing import NDArray
from PIL import Image

from cache_schema import Dataset, IndexView, file_name, read_json, shown
from train.pictures.cases import GROUPS, Case, load_certain_cases
from train.pictures.charts import COLORMAP, MAX_NAME, colorize
from train.pictures.plots import (
    draw_matrix,
    draw_precision_recall,
    draw_reliability,
    draw_roc,
    draw_scores,
    styled_figure,
)
from train.scoring.prediction_file import COLUMNS
from train.scoring.scores import Reading, load_reading, parse_named_files

logger = logging.getLogger(__name__)

LARE, ATTENTION = "LaRE map", "ESR attention"
UNITS = {LARE: "squared error", ATTENTION: "× even share"}
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
        validation: Predictions on validation samples as name=file, as of `evaluate`.
        matrix: A matrix.json to draw as heat maps.
        ckpt: Checkpoint or exported folder behind the first reading, to draw the images that it is most certain about.
        cache: Cache folder, or several, for `ckpt`.
        num_cases: How many images of each kind to draw.

    Raises:
        FingerprintMismatch: If the maps were made by other settings than in training.
        ValueError: If something that is needed is not given or cannot be used.
    """
    if not (readings or matrix):
        raise ValueError("nothing to draw: pass --readings or --matrix")
    folder = Path(out)
    if matrix:
        draw_matrix(read_json(Path(matrix)), folder / "matrix.png")
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
    stem = file_name(name)
    draw_roc(name, reading, folder / f"{stem}-roc.png")
    draw_precision_recall(name, reading, folder / f"{stem}-precision-recall.png")
    draw_scores(name, reading, folder / f"{stem}-scores.png")
    if reading.is_probability:
        draw_reliability(name, reading, folder / f"{stem}-reliability.png")


def draw_certain_cases(
    name: str, reading: Reading, folder: Path, data: str, cache: Sequence[str], ckpt: str, num: int
) -> None:
    """Draw `<name>-most-certain-right.png` and `-wrong.png`; a picture without cases is left out."""
    cases = load_certain_cases(reading, data, cache, ckpt, num)
    for outcome, titles in OUTCOMES.items():
        groups = {title: cases[title] for title in titles}
        if any(groups.values()):
            path = folder / f"{file_name(name)}-most-certain-{outcome}.png"
            draw_cases(f"{name}: most certain and {outcome}", groups, path)


def draw_cases(title: str, groups: Mapping[str, Sequence[Case]], path: Path) -> None:
    """For each group a row of images, of LaRE maps and, where the detector has ESR, of its attention.

    Args:
        title: Of the figure.
        groups: Title → cases, at least one in all.
        path: PNG to write.
    """
    groups = {name: cases for name, cases in groups.items() if cases}
    tops = compute_tops([case for cases in groups.values() for case in cases])
    layers = ["image", *tops]
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
            for column, case in zip(panels.T, cases, strict=False):
                for axes, pixels in zip(column, paint_case(case, tops).values(), strict=True):
                    axes.imshow(pixels)
                name = shown(case.image_source, MAX_NAME)
                column[0].set_title(f"{format_probability(case.score)}\n{name}", fontsize=8)
            for row, layer in zip(panels, layers, strict=True):
                row[0].set_ylabel(layer)
                if layer in tops:
                    scale = ScalarMappable(Normalize(0, tops[layer]), COLORMAP)
                    part.colorbar(scale, ax=list(row), shrink=0.8, aspect=12, label=UNITS[layer])


def compute_tops(cases: Sequence[Case]) -> dict[str, float]:
    """Layer → the value at the upper end of its colours, one scale for all cases; without attention if they have none.

    Args:
        cases: At least one.
    """
    lare = float(np.quantile([case.lare for case in cases], 0.99))
    attention = [case.attention for case in cases if case.attention is not None]
    # An even attention would shine everywhere if the scale ended at 1.
    return {LARE: lare} | ({ATTENTION: max(float(np.quantile(attention, 0.99)), 2.0)} if attention else {})


def paint_case(case: Case, tops: Mapping[str, float]) -> dict[str, NDArray[np.uint8]]:
    """The image, and its maps in colours of `COLORMAP`, over the image in grey where they lie on it.

    Args:
        case: What to paint.
        tops: Layers to paint and the ends of their scales, as of `compute_tops`.

    Returns:
        "image" and each layer of `tops`, (S, S, 3).
    """
    layers = {"image": case.image}
    for layer, top in tops.items():
        values = case.lare if layer == LARE else case.attention
        assert values is not None
        layers[layer] = _paint_map(case.image, values, top, over_image=case.is_aligned or layer == ATTENTION)
    return layers


def _paint_map(image: NDArray[np.uint8], values: NDArray[np.float32], top: float, *, over_image: bool) -> Any:
    size = image.shape[1], image.shape[0]
    colors = Image.fromarray(colorize(values, top)).resize(size, Image.Resampling.NEAREST)
    if not over_image:
        return np.asarray(colors)
    # a light picture below, which low values let through
    grey = Image.fromarray(image).convert("L").point([(128 + level) * 255 // 383 for level in range(256)])
    opacity = Image.fromarray((255 * (0.2 + 0.6 * (values / top).clip(0, 1))).astype(np.uint8))
    return np.asarray(Image.composite(colors, grey.convert("RGB"), opacity.resize(size, Image.Resampling.NEAREST)))


def format_probability(value: float) -> str:
    """Three decimals, and no more certain than the value is."""
    if 0 < value < 0.0005:
        return "< 0.001"
    return "> 0.999" if 0.9995 <= value < 1 else f"{value:.3f}"


def _load(data: str, readings: Sequence[str], validation: Sequence[str]) -> dict[str, Reading]:
    index = IndexView(Dataset.open(data), COLUMNS)
    files, fitted_on = parse_named_files(readings), parse_named_files(validation)
    return {name: load_reading(index, paths, fitted_on.get(name, ())) for name, paths in files.items()}
