"""The views in words and tables: what they change, which are refused, and how well a map tells an image's size."""

from collections.abc import Iterator

from experiments.answers.answer import Cell, Table, capitalize, with_interval
from experiments.answers.groups import describe_groups, describe_spread
from experiments.answers.readings import MEAN, METRICS, SPLITS, value_cells
from experiments.answers.rule import RULE, Comparison, judge
from experiments.answers.telling import Numbers, Telling
from experiments.answers.verdicts import compare_all, describe_difference, state_verdicts

CANVAS, WHOLE, CROP = "canvas", "native-whole", "native-crop"
"""A box of the canvas with its part of the map; a box of the picture with the whole map, or with its part of it."""
TITLES = {CANVAS: "canvas", WHOLE: "native, whole map", CROP: "native, map under the crop"}
SHORT = {WHOLE: "the whole map", CROP: "the cropped map"}
"""As a headline says it."""
STUDY, MIXED = "the study's images", "images of several sizes"
Key = tuple[str, str]
"""Of a comparison with the canvas: images, view."""
LIMITS = (
    "All detectors share one recipe, one backbone and one number of epochs. Intervals of single detectors are of the "
    "test images' groups, not of the training. Nothing is said about image sources that are not in this test. Where "
    "images have several sizes, any detector may read the size itself. An AUROC there does not measure how well "
    "generated images are found."
)


def name_view(view: str, images: str) -> str:
    """Name of the full detector under a view in the numbers.

    Args:
        view: One of `TITLES`.
        images: `STUDY` or `MIXED`.
    """
    return f"{TITLES[view]}, {images}"


def compare(found: Numbers) -> dict[Key, Comparison]:
    """Each view with the canvas on the same images."""
    test, compared = found["readings"]["test"], dict[Key, Comparison]()
    for images, each in found["views"].items():
        for view, difference in each["less_canvas"].items() if each else ():
            one, other = (test[name_view(name, images)][MEAN]["auroc"] for name in (view, CANVAS))
            compared[images, view] = Comparison(difference, aurocs=(one, other))
    return compared


def headline(found: Numbers) -> str:
    """The verdicts, what is refused, and what was not done."""
    judged = judge(compare(found))
    verdicts, refused, clauses = {}, [], []
    for images, each in found["views"].items():
        if each is None:
            clauses.append(f"{images}: not done")
            continue
        where = "" if images == STUDY else " on several sizes"
        verdicts |= {f"{SHORT[view]}{where}": judged[images, view] for view in each["less_canvas"]}
        refused += [f"{SHORT[view]}{where} is refused" for view in each["refused"]]
    return f"{capitalize('; '.join([state_verdicts(verdicts, 'the canvas'), *refused, *clauses]))}."


def finding(found: Numbers) -> str:
    """What was not done, what the views change, and what is refused."""
    judged, lines = judge(compare(found)), []
    for images, each in found["views"].items():
        if each is None:
            lines.append(
                f"Views on {images} were not compared: no such dataset has a cache. `python -m experiments formats` "
                "makes both."
            )
            continue
        lines.append(f"Views of the full detector on {images} ({describe_sizes(each)}), by mean AUROC on the test:")
        differences = each["less_canvas"].items()
        lines += compare_all(
            (name_view(view, images), TITLES[CANVAS], difference, judged[images, view])
            for view, difference in differences
        )
        for view in each["refused"]:
            leak = each["size_leak"]
            why = "the smoothness of the map would tell" if leak is None else "the roughness of the map tells"
            lines.append(f"- {capitalize(name_view(view, images))}: refused, as {why} an image's size.")
            for name, leaked in (leak or {}).items():
                auroc = with_interval(leaked["auroc"], leaked["interval"])
                lines.append(
                    f"- Smaller against larger real images by the map's roughness, {TITLES[name]}: AUROC {auroc}."
                )
    return "\n".join(lines)


def describe_sizes(views: Numbers) -> str:
    """The one size, or how many there are."""
    if views["num_sizes"] > 1:
        return f"{views['num_sizes']} sizes"
    height, width = views["first_size_px"]
    return f"{width} × {height} px"


def tables(found: Numbers) -> Iterator[Table]:
    """The views on each set of images, and how well the roughness of their maps tells the size."""
    views, readings = found["views"], found["readings"]
    rows: list[tuple[Cell, ...]] = []
    notes = [describe_spread({images: each["less_canvas"] for images, each in views.items() if each})]
    for images, each in views.items():
        if each is None:
            rows.append((images, "not done", *[None] * 5))
            continue
        notes += [f"{capitalize(TITLES[view])}: {reason}" for view, reason in each["refused"].items()]
        name = f"{images}, {describe_sizes(each)}"
        for view, title in TITLES.items():
            if view in each["refused"]:
                rows.append((name, f"{title}: refused", *[None] * 5))
                continue
            cells = [cell for metric in METRICS for cell in value_cells(readings, name_view(view, images), metric)]
            less = None if view == CANVAS else describe_difference(each["less_canvas"][view])
            rows.append((name, title, *cells, less))
    heads = (*(f"{title}, {split}" for title in METRICS.values() for split in SPLITS), "AUROC less canvas, test")
    title = "Views of the full detector, mean over the image sources"
    yield Table(title, ("images", "view", *heads), tuple(rows), " ".join([*notes, RULE]))
    leaks = {images: each for images, each in views.items() if each is not None and each["size_leak"] is not None}
    if leaks:
        yield _tabulate_leaks(leaks)


def _tabulate_leaks(views: Numbers) -> Table:
    return Table(
        "How well the roughness of the map alone tells a real image's size",
        ("images", "real test images", *TITLES.values()),
        tuple(
            (
                *(images, each["num_leak_images"]),
                *(with_interval(each["size_leak"][v]["auroc"], each["size_leak"][v]["interval"]) for v in TITLES),
            )
            for images, each in views.items()
        ),
        "AUROC of images smaller than the median against the others, 95 % interval by group. At 0.5 the map tells "
        "nothing; below 0.5 the smaller image has the smoother map. Roughness is the mean difference of neighbouring "
        "cells over the mean of the map. No detector is involved. "
        + describe_groups({images: each["size_leak"] for images, each in views.items()}),
    )


TELLING = Telling("What does the view change?", LIMITS, headline, finding, tables)
