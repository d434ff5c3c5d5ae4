"""What the page shows of the readings: charts, and captions that are decided by their numbers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from demo.report.summary import describe_auroc
from train.pictures.charts import (
    Probabilities,
    ScoredSource,
    compute_probabilities,
    plot_matrix,
    plot_precision_recall,
    plot_reliability,
    plot_roc,
    plot_scores,
    score_sources,
)
from train.pictures.plots import describe_diagonal
from train.scoring.calibration import TEMPERATURES, compute_nll
from train.scoring.matrix import METRICS
from train.scoring.scores import Reading
from workflow.figures import draw_svg
from workflow.stages import CONTROLS


@dataclass(frozen=True)
class Chart:
    """One or more SVG elements under a title, and what is seen in them."""

    title: str
    svgs: tuple[str, ...]
    caption: str


def source_charts(
    readings: Mapping[str, Reading], results: Mapping[str, Any], titles: Mapping[str, str], colors: Mapping[str, str]
) -> dict[str, Chart]:
    """Source or control → ROC and precision-recall curves of all readings.

    Args:
        readings: Reading → its scores.
        results: `readings` of results.json.
        titles: Reading → how it is called.
        colors: Reading → its colour.
    """
    styles = {n: {"color": colors[n], "linestyle": "--" if n in CONTROLS else "-"} for n in readings}
    scored = {name: {source.name: source for source in score_sources(reading)} for name, reading in readings.items()}
    charts = {}
    for name, one in next(iter(scored.values())).items():
        curves = [(sources[name], styles[reading]) for reading, sources in scored.items()]
        svgs = (
            draw_svg(f"ROC curves, {name}", 3.3, 3.3, _on_axes(plot_roc, curves)),
            draw_svg(f"Precision and recall, {name}", 3.3, 3.3, _on_axes(plot_precision_recall, curves)),
        )
        kind = "controls" if one.is_control else "sources"
        rows = {titles[reading]: results[reading][kind][name] for reading in readings}
        describe = describe_control if one.is_control else describe_source
        charts[name] = Chart(name, svgs, describe(rows))
    return charts


def describe_source(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """The curve nearest to the upper corners, and whether it is significantly above chance.

    Args:
        rows: Title of a reading → its row of results.json.
    """
    title, row = max(rows.items(), key=lambda item: item[1]["auroc"])
    if (row["auroc_interval"] or (0.0, 1.0))[0] <= 0.5:
        return f"No curve is significantly above chance. The highest is {title}, AUROC {describe_auroc(row)}."
    chance = row["n_generated"] / (row["n_generated"] + row["n_real"])
    return (
        f"Highest: {title}, AUROC {describe_auroc(row)}. At a false-positive rate of 5% it finds "
        f"{row['tpr_at_fpr_5']:.0%}. Its average precision is {row['average_precision']:.2f}; chance is {chance:.2f}."
    )


def describe_control(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """The curve farthest from chance, and whether it is so significantly; arguments as of `describe_source`."""
    title, row = max(rows.items(), key=lambda item: abs(item[1]["auroc"] - 0.5))
    low, high = row["auroc_interval"] or (0.0, 1.0)
    if low <= 0.5 <= high:
        return f"No curve differs significantly from chance. The farthest is {title}, AUROC {describe_auroc(row)}."
    return f"Farthest from chance: {title}, AUROC {describe_auroc(row)}. It responds to something other than diffusion."


def score_charts(readings: Mapping[str, Reading], titles: Mapping[str, str]) -> list[Chart]:
    """Histograms of each reading's scores by source, with the threshold."""
    charts = []
    for name, reading in readings.items():
        sources = score_sources(reading)
        height = 0.8 + 0.85 * len(sources)
        svg = draw_svg(f"scores of {titles[name]}", 4.4, height, partial(plot_scores, reading=reading))
        charts.append(Chart(titles[name], (svg,), describe_scores(reading, sources)))
    return charts


def describe_scores(reading: Reading, sources: list[ScoredSource]) -> str:
    """How much of what lies above the threshold, by the first seed."""
    fitted = reading.calibrations[0]
    if fitted is None:
        return "No threshold was chosen."
    called = {s.name: (s.scores[0, s.labels == 1] > fitted.threshold).mean() for s in sources}
    photographs = reading.scores[0, [value == 0 for value in reading.table["label"].to_pylist()]]
    false_alarms = (photographs > fitted.threshold).mean()
    threshold = f"{fitted.threshold:.3f}".replace("-", "−")
    for share, where, who in ((1, "below", "every image is"), (0, "above", "no image is")):
        if all(value == share for value in (false_alarms, *called.values())):
            return f"The threshold ({threshold}) lies {where} all scores: {who} called generated."
    found = [f"{called[s.name]:.0%} of {s.name}" for s in sources if not s.is_control]
    controls = [f"{called[s.name]:.0%} of {s.name}" for s in sources if s.is_control]
    text = f"Above the threshold ({threshold}) lie {false_alarms:.0%} of the photographs, {', '.join(found)}."
    return f"{text} Of the controls, {', '.join(controls)} lie above the threshold." if controls else text


def reliability_charts(readings: Mapping[str, Reading], titles: Mapping[str, str]) -> list[Chart]:
    """Reliability of each reading whose scores are probabilities."""
    charts = []
    for name, reading in readings.items():
        if reading.is_probability:
            both = compute_probabilities(reading)
            svg = draw_svg(f"reliability of {titles[name]}", 3.3, 3.6, partial(plot_reliability, probabilities=both))
            charts.append(Chart(titles[name], (svg,), describe_reliability(both)))
    return charts


def describe_reliability(both: list[Probabilities]) -> str:
    """Mean probability against the share of generated images, and whether the temperature helps."""
    raw, *scaled = both
    before = float(np.mean(raw.errors))
    text = (
        f"The mean probability is {raw.scores.mean():.2f}; the share of generated images is {raw.labels.mean():.2f}. "
    )
    if not scaled:
        return f"{text}The calibration error is {before:.3f}. No temperature was fitted."
    temperature, after = float(np.mean(scaled[0].temperature)), float(np.mean(scaled[0].errors))
    if temperature == TEMPERATURES[0]:
        return f"{text}The calibration error is {before:.3f}. Validation asks for no caution: the temperature is 1."
    effect = "lowers" if after < before else "does not lower"
    losses = [_nll(one) for one in (raw, scaled[0])]
    return (
        f"{text}On validation the detector was too certain. A temperature of {temperature:.2f} {effect} the test's "
        f"calibration error: {before:.3f} before, {after:.3f} after. The negative log-likelihood is {losses[0]:.3f} "
        f"before, {losses[1]:.3f} after."
    )


def _nll(one: Probabilities) -> float:
    labels = torch.from_numpy(one.labels)
    return float(np.mean([compute_nll(torch.from_numpy(row), labels) for row in one.scores]))


def matrix_charts(matrix: Mapping[str, Any]) -> list[Chart]:
    """A heat map a metric of matrix.json."""
    width, height = 1.6 + 0.6 * len(matrix["columns"]), 1.0 + 0.5 * len(matrix["rows"])
    charts = []
    for name, value in matrix["metrics"].items():
        title = METRICS[name]
        svg = draw_svg(f"matrix, {title}", width, height, _on_axes(plot_matrix, matrix, name))
        charts.append(Chart(title, (svg,), describe_diagonal(value)))
    return charts


def _on_axes(plot: Callable[..., object], *arguments: object) -> Callable[[Figure], object]:
    """Something that fills axes as something that fills a figure."""
    return lambda figure: plot(figure.subplots(), *arguments)
