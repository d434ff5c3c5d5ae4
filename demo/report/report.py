"""results.json, predictions, dataset and cache → one self-contained page."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from cache_schema import Dataset, read_json, write_text
from demo.report.asked import Asked
from demo.report.certain import Certain
from demo.report.charts import matrix_charts, reliability_charts, score_charts, source_charts
from demo.report.summary import describe_results, order_readings, three_sentences
from train.pictures.charts import colors_of
from train.scoring.calibration import Calibration
from train.scoring.intervals import describe_few_groups
from train.scoring.prediction_file import COLUMNS
from train.scoring.scores import Reading, load_reading
from train.scoring.titles import TITLES
from workflow.figures import color_bar
from workflow.gallery import Gallery, Picture
from workflow.pages import load_template

TEMPLATE = Path(__file__).parents[1] / "templates" / "report.html.j2"
DETECTOR = "full"
"""The reading whose most certain cases are shown."""


def load_readings(results: Mapping[str, Any], predictions: Mapping[str, Path], index: pa.Table) -> dict[str, Reading]:
    """Predictions with what was fitted on validation, in the order in which they are shown.

    Args:
        results: Content of results.json.
        predictions: {reading: predictions file}.
        index: The dataset's index, at least `COLUMNS`.

    Raises:
        ValueError: If a file does not belong to the index.
    """
    readings = {}
    for name in order_readings(results):
        fitted = [one and Calibration.from_dict(one) for one in results["settings"]["calibrations"][name]]
        readings[name] = replace(load_reading(index, [predictions[name]]), calibrations=tuple(fitted))
    return readings


def _first_pair(gallery: Gallery, family: Sequence[str]) -> list[Picture]:
    """A photograph and the first generated image that was made from it, if there is one."""
    generated = [key for key in family if gallery.rows[key]["label"] == 1]
    return [gallery.picture(key) for key in (family[0], *generated[:1])]


def _few_groups(readings: Mapping[str, Any]) -> str | None:
    """What to know where an image source has few groups; None where none has, or older results do not say."""
    counts = [block.get("n_groups") for each in readings.values() for block in each["sources"].values()]
    known = [count for count in counts if count is not None]
    return describe_few_groups(min(known)) if known else None


def write_report(
    results: Path,
    predictions: Mapping[str, Path],
    data: Path,
    cache: Path,
    out: Path,
    *,
    title: str,
    intro: str,
    limits: str,
    caveat: str,
    about: Mapping[str, Mapping[str, Any]],
    ckpt: Path | None = None,
    matrix: Path | None = None,
    benchmark: Path | None = None,
    other_models: Path | None = None,
    demo: Path | None = None,
) -> None:
    """Write the page: pictures and main numbers, tables, what failed, charts, settings. Nothing is loaded from outside.

    Args:
        results: results.json.
        predictions: {reading: test predictions (Parquet)}.
        data: Dataset folder.
        cache: Cache folder whose maps are shown.
        out: HTML file to write.
        title: Heading of the page.
        intro: One or two sentences: what was run on what.
        limits: One or two sentences: what such a run cannot show, whatever its numbers.
        caveat: What a reader must know before the first number.
        about: {heading: {name: value}} for the foot of the page: commit, versions, settings.
        ckpt: Checkpoint behind the predictions of `DETECTOR`, to show what it is most certain about.
        matrix: matrix.json of `python -m train matrix`, shown if it is there.
        benchmark: toy-benchmark.json of the toy benchmark, shown if it is there.
        other_models: families.json of `lare question families`, shown if it is there.
        demo: Folder of a demo that has asked its detector about pictures.
    """
    content = read_json(results)
    readings = load_readings(content, predictions, Dataset.open(data).table([*COLUMNS]))
    titles = {name: TITLES.get(name, name) for name in readings}
    colors = dict(zip(readings, colors_of(len(readings)), strict=True))
    first = content["readings"][next(iter(readings))]
    gallery = Gallery(data, cache)
    page = load_template(TEMPLATE).render(
        title=title,
        intro=intro,
        limits=limits,
        caveat=caveat,
        summary=describe_results(content),
        headline=three_sentences(content)[:2],
        scenes=[_first_pair(gallery, family) for family in gallery.families],
        readings={name: content["readings"][name] for name in readings},
        titles=titles,
        colors=colors,
        sources=list(first["sources"]),
        controls=list(first["controls"]),
        pairs=content.get("pairs", {}),
        few_groups=_few_groups(content["readings"]),
        curves=source_charts(readings, content["readings"], titles, colors),
        scores=score_charts(readings, titles),
        reliability=reliability_charts(readings, titles),
        matrix=matrix_charts(read_json(matrix)) if matrix and matrix.is_file() else [],
        benchmark=read_json(benchmark) if benchmark and benchmark.is_file() else None,
        other_models=read_json(other_models) if other_models and other_models.is_file() else None,
        detector=titles.get(DETECTOR),
        certain=Certain.load(readings[DETECTOR], data, cache, ckpt) if ckpt and DETECTOR in readings else None,
        families=[[gallery.picture(k) for k in family] for family in gallery.families],
        samples=[gallery.picture(k) for k in gallery.samples],
        asked=Asked.load(demo, gallery.top) if demo else None,
        color_bar=color_bar(),
        color_top=gallery.top,
        about=about,
    )
    write_text(out, page)
