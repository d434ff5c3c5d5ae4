"""What the view changes: canvas, native with the whole map, native with the map under the crop. From caches alone.

On the study's images and, where there are such, on images of several sizes. There the third view is refused: how smooth
the sampled map is would tell the size of the picture, and with it the source.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cache_schema import Dataset
from experiments.answers.answer import Answer
from experiments.answers.readings import MEAN
from experiments.study.counts import count_training_images
from experiments.study.fits import Fit, Work
from experiments.study.names import mixed_cache_name, run_name
from experiments.study.settings import Scored, score_runs, summarize
from experiments.study.study import Study
from experiments.views.size_leak import SizeLeak, measure_size_leak
from experiments.views.telling import CANVAS, CROP, MIXED, STUDY, TELLING, WHOLE, name_view
from train.data.join import Join
from train.data.native_views import only_size

VIEWS: dict[str, tuple[str, ...]] = {
    CANVAS: (),
    WHOLE: ("--data.view=native", "--data.alignment=whole"),
    CROP: ("--data.view=native", "--data.alignment=crop"),
}
"""View → what differs from the recipe, which sees the canvas."""


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


def answer(study: Study) -> Answer:
    """What does the view change: the canvas, or a box of the picture as it is? From caches alone."""
    return study.tell("views", TELLING, numbers(score_all(study)))


def work(study: Study) -> Work:
    """What it trains."""
    return Work(tuple(list_fits(study)))


def score_all(study: Study) -> dict[str, Views | None]:
    """The views on the study's images, and on others of several sizes: None where those are needed and not there."""
    mixed = find_mixed(study)  # before the first fit, in which another question may make it
    own = score_views(study, study.config.data, study.default_cache)
    found: dict[str, Views | None] = {STUDY: own}
    if mixed is not None:
        found[MIXED] = score_views(study, *mixed)
    elif len(own.sizes) == 1:
        found[MIXED] = None
    return found


def find_mixed(study: Study) -> tuple[Path, str] | None:
    """Dataset of images of several sizes and the name of its cache, where both are there."""
    config, name = study.config, mixed_cache_name(study.default_cache)
    mixed = config.mixed_data or config.out / "data" / "mixed"
    is_there = (mixed / "dataset.json").is_file() and (config.caches / name / "cache.json").is_file()
    return (mixed, name) if is_there else None


def list_fits(study: Study) -> Iterator[Fit]:
    """The full detector under each view that the images allow, by the sizes that the index has."""
    for data, name in [(study.config.data, study.default_cache), *filter(None, [find_mixed(study)])]:
        sizes = Dataset.open(data).table(["width", "height"]).group_by(["width", "height"]).aggregate([])
        for view, arguments in VIEWS.items():
            if view != CROP or len(sizes) == 1:
                num_images = count_training_images(data)
                yield Fit(name_run(view, name), name, arguments=arguments, data=data, num_images=num_images)


def name_run(view: str, cache: str) -> str:
    """Name of the full detector under a view."""
    return run_name("full" if view == CANVAS else f"full-{view}", cache)


def score_views(study: Study, data: Path, name: str) -> Views:
    """Train the full detector under each view that the images allow.

    Raises:
        ValueError: If the recipe does not see the canvas.
    """
    cache = study.cache(name, data)
    join = Join.open(data, [cache])
    table = join.dataset.table(["height", "width"]).group_by(["height", "width"]).aggregate([])
    sizes = sorted(zip(table["height"].to_pylist(), table["width"].to_pylist(), strict=True))
    refused, scored, boxes = {}, {}, []
    for view, arguments in VIEWS.items():
        if view == CROP:
            try:
                only_size(sizes)
            except ValueError as error:
                refused[view] = str(error)
                continue
        runs = study.fit(name_run(view, name), cache, arguments=arguments, data=data)
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


def numbers(views: Mapping[str, Views | None]) -> dict[str, Any]:
    """All scores, and what is told of the views.

    Args:
        views: As `score_all` gives them.

    Returns:
        "readings", and "views": name of the images → sizes, differences to the canvas, refusals, what the maps tell of
        sizes; or None.
    """
    scored = {
        name_view(view, images): scored
        for images, each in views.items()
        if each is not None
        for view, scored in each.scored.items()
    }
    described = {images: None if each is None else _describe(each) for images, each in views.items()}
    return {"readings": summarize(scored), "views": described}


def _describe(views: Views) -> dict[str, Any]:
    canvas = views.scored[CANVAS].test[MEAN]["auroc"]
    others = {view: each.test[MEAN]["auroc"] for view, each in views.scored.items() if view != CANVAS}
    leak = views.leak
    return {
        "num_sizes": len(views.sizes),
        "first_size_px": list(views.sizes[0]),
        "less_canvas": {view: (auroc - canvas).describe() for view, auroc in others.items()},
        "refused": dict(views.refused),
        "size_leak": leak
        and {
            view: {"auroc": each.value, "interval": each.interval, "n_groups": each.n_groups}
            for view, each in leak.aurocs.items()
        },
        "num_leak_images": leak and leak.num_images,
    }
