"""What the view changes: canvas, native with the whole map, native with the map under the crop.

On the study's images and, where there are such, on images of several sizes. There the third view is refused: how smooth
the sampled map is would tell the size of the picture, and with it the source.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from experiments.answers.answer import Table, with_interval
from experiments.egre.size_leak import CANVAS, CROP, WHOLE, SizeLeak, measure_size_leak, tabulate_leaks
from experiments.study.comparisons import (
    MEAN,
    describe_difference,
    describe_verdicts,
)
from experiments.study.over_sources import Means
from experiments.study.settings import METRICS, SPLITS, Scored, score_runs, value_cells
from experiments.study.study import Study, run_name
from train.data.join import Join
from train.data.native_views import only_size

VIEWS: dict[str, tuple[str, ...]] = {
    CANVAS: (),
    WHOLE: ("--data.view=native", "--data.alignment=whole"),
    CROP: ("--data.view=native", "--data.alignment=crop"),
}
"""View → what differs from the recipe, which sees the canvas."""
TITLES = {CANVAS: "canvas", WHOLE: "native, whole map", CROP: "native, map under the crop"}
STUDY, MIXED = "the study's images", "images of several sizes"


@dataclass(frozen=True)
class Views:
    """The full detector under each view, on one set of images."""

    sizes: tuple[tuple[int, int], ...]
    """The different (height, width), in px."""
    scored: Mapping[str, Scored]
    refused: Mapping[str, str]
    """View → why it cannot be had."""
    leak: SizeLeak | None
    """None for images of one size."""

    def less_canvas(self, view: str) -> Means:
        """By how much the mean AUROC of the test images is higher than on the canvas."""
        return self.scored[view].test[MEAN]["auroc"] - self.scored[CANVAS].test[MEAN]["auroc"]


def mixed_cache_name(default: str) -> str:
    """Name of the cache of images of several sizes.

    Args:
        default: That of the study's images.
    """
    return f"mixed-{default}"


def compare_views(study: Study) -> dict[str, Views | None]:
    """The views on the study's images, and on others of several sizes: None where those are needed and not there."""
    config, name = study.config, mixed_cache_name(study.default_cache)
    mixed = config.mixed_data or config.out / "data" / "mixed"
    is_there = (mixed / "dataset.json").is_file() and (config.caches / name / "cache.json").is_file()
    own = score_views(study, config.data, study.default_cache)
    found: dict[str, Views | None] = {STUDY: own}
    if is_there:
        found[MIXED] = score_views(study, mixed, name)
    elif len(own.sizes) == 1:
        found[MIXED] = None
    return found


def score_views(study: Study, data: Path, name: str) -> Views:
    """Train the full detector under each view that the images allow.

    Raises:
        ValueError: If the recipe does not see the canvas.
    """
    cache = study.cache(name, data)
    join = Join.open(data, [cache])
    sizes = join.load_image_sizes(np.arange(len(join.dataset.table(["key"]))))
    refused, scored, boxes = {}, {}, []
    for view, arguments in VIEWS.items():
        if view == CROP:
            try:
                only_size(sizes)
            except ValueError as error:
                refused[view] = str(error)
                continue
        run = run_name("full" if view == CANVAS else f"full-{view}", name)
        runs = study.fit(run, cache, arguments=arguments, data=data)
        boxes.append(_load_box(runs[0], view))
        scored[view] = score_runs(study, runs, cache, data=data)
    leak = measure_size_leak(join, boxes[0]) if len(sizes) > 1 else None
    return Views(tuple(sizes), scored, refused, leak)


def _load_box(run: Path, view: str) -> int:
    """Side of a detector's box, in px."""
    settings = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))["data"]
    if view == CANVAS and settings["view"] != "canvas":
        raise ValueError(f"the recipe sees view {settings['view']}: the views are compared with the canvas")
    crop_px: int = settings["crop_px"]
    return crop_px


def describe_views(views: Mapping[str, Views | None]) -> str:
    """What was not done, what the views change, and what is refused."""
    parts = [
        f"Views on {name} were not compared: there is no such dataset with a cache. `python -m experiments formats` "
        "makes both."
        for name, each in views.items()
        if each is None
    ]
    for name, each in views.items():
        if each is None:
            continue
        compared = [(TITLES[view], "canvas", each.less_canvas(view)) for view in each.scored if view != CANVAS]
        parts.append(f"Views of the full detector on {name} ({describe_sizes(each)}): {describe_verdicts(compared)}")
        if each.refused:
            refused = "; ".join(TITLES[view] for view in each.refused)
            parts.append(f"{refused.capitalize()} is refused there{_why(each)}.")
    return " ".join(parts)


def _why(views: Views) -> str:
    if views.leak is None:
        return ", as its smoothness would tell the size"
    aurocs = [f"{TITLES[view]} {with_interval(*found)}" for view, found in views.leak.aurocs.items()]
    return (
        ": the roughness of a map tells whether a real image is smaller than the median, without any detector, with an "
        f"AUROC of {', '.join(aurocs)}"
    )


def describe_sizes(views: Views) -> str:
    """The one size, or how many there are."""
    if len(views.sizes) > 1:
        return f"{len(views.sizes)} sizes"
    height, width = views.sizes[0]
    return f"{width} × {height} px"


def name_views(views: Mapping[str, Views | None]) -> dict[str, Scored]:
    """A name for what was scored under each view."""
    return {
        f"{TITLES[view]}, {name}": scored
        for name, each in views.items()
        if each is not None
        for view, scored in each.scored.items()
    }


def summarize_views(views: Mapping[str, Views | None]) -> dict[str, Any]:
    """Differences, refusals and what the maps tell of sizes, as plain values."""
    return {
        name: None
        if each is None
        else {
            "num_sizes": len(each.sizes),
            "less_canvas": {view: each.less_canvas(view).describe() for view in each.scored if view != CANVAS},
            "refused": dict(each.refused),
            "size_leak": None
            if each.leak is None
            else {view: {"auroc": a, "interval": list(ends)} for view, (a, ends) in each.leak.aurocs.items()},
        }
        for name, each in views.items()
    }


def tabulate_views(views: Mapping[str, Views | None]) -> list[Table]:
    """The views on each set of images, and how well the roughness of their maps tells the size."""
    rows, notes = [], []
    for name, each in views.items():
        if each is None:
            rows.append((name, "not done", *[None] * 5))
            continue
        notes += [f"{TITLES[view]}: {reason}" for view, reason in each.refused.items()]
        for view in VIEWS:
            if view in each.refused:
                rows.append((f"{name}, {describe_sizes(each)}", f"{TITLES[view]}: refused", *[None] * 5))
                continue
            values = [cell for metric in METRICS for cell in value_cells(each.scored[view], metric)]
            less = None if view == CANVAS else describe_difference(each.less_canvas(view))
            rows.append((f"{name}, {describe_sizes(each)}", TITLES[view], *values, less))
    heads = (*(f"{title}, {split}" for title in METRICS.values() for split in SPLITS), "AUROC less canvas, test")
    tables = [
        Table(
            "Views of the full detector, mean over the image sources",
            ("images", "view", *heads),
            tuple(rows),
            " ".join(["95 % interval by group, ± standard deviation over seeds.", *notes]),
        )
    ]
    leaks = {name: each.leak for name, each in views.items() if each is not None and each.leak is not None}
    return [*tables, tabulate_leaks(leaks, TITLES)] if leaks else tables
