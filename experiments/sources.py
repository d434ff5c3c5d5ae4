"""Train on each image source, test on all: what a detector of one source is worth on another, and on round trips."""

import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow.compute as pc

from cache_schema import Dataset
from experiments.answers.answer import Answer, Picture, Table, capitalize
from experiments.study.comparisons import (
    RULE,
    Scores,
    describe_difference,
    describe_verdicts,
    format_value,
    judge,
    score_sources,
)
from experiments.study.over_sources import Means
from experiments.study.study import Study, run_name
from train.pictures.plots import draw_matrix
from train.scoring.evaluate import evaluate, score_each_seed
from train.scoring.matrix import ALL, CORNER, METRICS, add_up, choose_rows, format_cell
from train.scoring.metrics import mean_interval
from train.scoring.pairs import ROUNDTRIP_PREFIX
from train.scoring.prediction_file import COLUMNS
from train.scoring.scores import Reading

Numbers = dict[str, Any]
Gaps = Mapping[tuple[str, str], Means]
"""(Trained on, tested on) → by how much the tested source's own detector is better."""
PICTURE = "sources-matrix.png"
LIMITS = (
    "Rows are the sources of the training split: how well a source that is in the test alone would be found by a "
    "detector of its own cannot be said, and it stands off the diagonal only. The mean off the diagonal is of other "
    "sources than that on it, which may be harder; own and other detector are compared on the same images. A detector "
    "of one source has seen fewer images than one of all, over as many epochs. Intervals resample the test images' "
    "groups, not the training."
)


def answer(study: Study) -> Answer:
    """What is a detector that was trained on one image source worth on the others, and on round trips?"""
    readings = score_rows(study)
    scores = {row: score_sources(reading) for row, reading in readings.items()}
    matrix = add_up({row: score_each_seed(reading) for row, reading in readings.items()})
    gaps = compare_with_own(scores)
    others = {row: score_others(reading) for row, reading in readings.items()}
    draw_matrix({"settings": {"seeds": study.config.num_seeds}, **matrix}, study.answers / PICTURE)
    return Answer(
        name="sources",
        question="What is a detector of one image source worth on another?",
        headline=sum_up(gaps),
        finding=describe(matrix, gaps, others),
        limits=LIMITS,
        command=study.command("sources"),
        settings=study.describe(),
        tables=tuple(tabulate(matrix, gaps, others)),
        pictures=(Picture("Trained on the row, tested on the column", PICTURE),),
        numbers={
            "matrix": matrix,
            "own_less_other": {
                column: {row: gap.describe() for (row, tested), gap in gaps.items() if tested == column}
                for column in dict.fromkeys(column for _, column in gaps)
            },
            "real_images_and_controls": others,
        },
    )


def score_rows(study: Study) -> dict[str, Reading]:
    """Train on each source of the training split and on all together; row → scores of the test images."""
    index = Dataset.open(study.config.data).table([*COLUMNS])
    name = study.default_cache
    cache, readings = study.cache(name), {}
    rows = choose_rows(index, None)
    for row in [*rows, ALL] if len(rows) > 1 else rows:
        run = "full" if row == ALL else f"full-on-{quote(row, safe='')}"
        chosen = () if row == ALL else (f"--data.image_sources={json.dumps([row])}",)
        readings[row] = study.predict(study.fit(run_name(run, name), cache, arguments=chosen), cache)
    return readings


def compare_with_own(scores: Mapping[str, Scores]) -> dict[tuple[str, str], Means]:
    """(Trained on, tested on) → AUROC of the detector that was trained on the tested source less that of this one."""
    return {
        (row, column): scores[column][column]["auroc"] - scores[row][column]["auroc"]
        for column in scores
        if column in scores[column]  # not the row of all, nor a source without test images
        for row in scores
        if row != column
    }


def score_others(reading: Reading) -> Numbers:
    """What a detector makes of images that are no generated ones of the task: of real images and of controls.

    Args:
        reading: Scores, a threshold for each seed.

    Returns:
        Image source → n, is_control, "called" (share called generated at each seed's threshold from validation) and,
        for a control, "auroc" (against the real images of its subset, else None); both with mean, interval, sd.
    """
    called = reading.scores > np.array(reading.thresholds, dtype=float)[:, None]
    labels = pc.fill_null(reading.table["label"], -1).to_numpy()
    sources, groups = (reading.table[name].to_numpy() for name in ("image_source", "group"))
    controls = evaluate({"": reading})["readings"][""]["controls"]
    result = {}
    for source in sorted(set(sources[labels != 1])):
        chosen = (sources == source) & (labels != 1)
        seeds, control = called[:, chosen].mean(axis=1), controls.get(source)
        result[source] = {
            "n": int(chosen.sum()),
            "is_control": control is not None,
            "called": {
                "mean": float(seeds.mean()),
                "interval": list(mean_interval(called[:, chosen].mean(axis=0), groups[chosen])),
                "sd": float(seeds.std(ddof=1)) if len(seeds) > 1 else None,
            },
            "auroc": control and {"mean": control["auroc"]} | {n: control[f"auroc_{n}"] for n in ("interval", "sd")},
        }
    return result


def sum_up(gaps: Gaps) -> str:
    """How often a source's own detector is the better one, in a line."""
    verdicts = [judge(gap) for gap in _of_one_source(gaps).values()]
    if not verdicts:
        return "Only one image source can be trained on."
    names = {-1: "worse than", 0: "not told apart from", 1: "better than"}
    counts = ", ".join(f"{name} it in {verdicts.count(v)}" for v, name in names.items() if v in verdicts)
    return f"A source's own detector against one that was trained on another source: {counts} of {len(verdicts)} cases."


def _of_one_source(gaps: Gaps) -> Gaps:
    return {cell: gap for cell, gap in gaps.items() if cell[0] != ALL}


def describe(matrix: Numbers, gaps: Gaps, others: Mapping[str, Numbers]) -> str:
    """What is lost on another source, what training on all together gives, and what round trips are taken for."""
    parts = [" ".join([sum_up(gaps), *_describe_gaps(_of_one_source(gaps))])]
    auroc = matrix["metrics"]["auroc"]
    unseen = ", ".join(column for column in matrix["columns"] if column not in matrix["rows"])
    where = {"diagonal": "on the diagonal", "off_diagonal": "off it"}
    means = [f"{text} {format_cell(auroc[part])}" for part, text in where.items() if auroc[part]]
    note = f" The mean off it includes what no detector was trained on: {unseen}." if unseen else ""
    parts.append(f"Mean AUROC {', '.join(means)}.{note}")
    together = [(f"on {c}, trained on {c}", "on all together", gap) for (r, c), gap in gaps.items() if r == ALL]
    if together:
        parts.append(f"One source against all of them. {describe_verdicts(together)}")
    return "\n".join([*parts, _describe_roundtrips(others)])


def _describe_gaps(gaps: Gaps) -> Iterator[str]:
    """Where a source's own detector is not the better one, and by how much it is where it is."""
    cells = {
        verdict: [
            f"{column} by a detector of {row}, {describe_difference(gap)}"
            for (row, column), gap in gaps.items()
            if judge(gap) == verdict
        ]
        for verdict in (-1, 0, 1)
    }
    if cells[-1]:
        yield f"Found better than by their own: {'; '.join(cells[-1])}."
    if cells[0]:
        yield f"Not told apart: {'; '.join(cells[0])}."
    if cells[1]:
        gains = [gap.mean for gap in gaps.values() if judge(gap) == 1]
        yield f"Where it is better, it is so by up to {max(gains):.3f} of AUROC."


def _describe_roundtrips(others: Mapping[str, Numbers]) -> str:
    """What round trips are taken for; where they are controls, also how well they are told from real images."""
    parts = []
    for source, some in next(iter(others.values())).items():
        if not source.startswith(ROUNDTRIP_PREFIX):
            continue
        kind = "a control" if some["is_control"] else "real images here"
        shares = ", ".join(f"{each[source]['called']['mean']:.0%} trained on {row}" for row, each in others.items())
        text = f"{source}, {kind}, is called generated: {shares}".replace("%", " %")
        if some["is_control"]:
            aurocs = ", ".join(f"{each[source]['auroc']['mean']:.2f}" for each in others.values())
            text += f"; AUROC against the real images {aurocs}"
        parts.append(f"{text}.")
    return " ".join(parts) or "There are no round trips among the test images."


def tabulate(matrix: Numbers, gaps: Gaps, others: Mapping[str, Numbers]) -> list[Table]:
    """The matrix under each metric, its diagonal against the rest, own against other, real images and controls."""
    rows, columns = matrix["rows"], matrix["columns"]
    tested = tuple(dict.fromkeys(column for _, column in gaps))
    tables = [
        Table(
            capitalize(METRICS[name]),
            (CORNER, *columns, "mean"),
            tuple(
                (row, *map(format_cell, cells), format_cell(mean))
                for row, cells, mean in zip(rows, values["cells"], values["row_means"], strict=True)
            ),
            "Test images; mean ± standard deviation over seeds.",
        )
        for name, values in matrix["metrics"].items()
    ]
    tables.append(
        Table(
            "The diagonal against the rest",
            ("", "on the diagonal", "off the diagonal"),
            tuple(
                (METRICS[name], *(values[part] and format_cell(values[part]) for part in ("diagonal", "off_diagonal")))
                for name, values in matrix["metrics"].items()
            ),
            f"Mean of the cells ± standard deviation over seeds; without the row “{ALL}”.",
        )
    )
    tables.append(
        Table(
            "AUROC of the tested source's own detector less that of the row's",
            (CORNER, *tested),
            tuple(
                (row, *(describe_difference(gaps[row, c]) if (row, c) in gaps else None for c in tested))
                for row in (rows if gaps else ())
            ),
            f"Paired on the same test images; 95 % interval by group. {RULE}",
        )
    )
    tables += [
        _tabulate_others("Share called generated", others, "called", "At the threshold from validation"),
        _tabulate_others("Controls: AUROC", others, "auroc", "Against the real images of the control's subset"),
    ]
    return [each for each in tables if each.rows]


def _tabulate_others(title: str, others: Mapping[str, Numbers], value: str, note: str) -> Table:
    return Table(
        title,
        ("", "these are", "n", *(f"trained on {row}" for row in others)),
        tuple(
            (
                source,
                "a control" if some["is_control"] else "real images",
                some["n"],
                *(format_value(**each[source][value]) for each in others.values()),
            )
            for source, some in next(iter(others.values())).items()
            if some[value]
        ),
        f"{note}; 95 % interval by group, ± standard deviation over seeds. Controls are in no mean.",
    )
