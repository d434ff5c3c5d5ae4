"""Train on each image source, test on all: what a detector of one source is worth on another source."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow.compute as pc

from cache_schema import Dataset, file_name
from experiments.answers.answer import Answer, Picture, Table, capitalize
from experiments.answers.groups import describe_groups, describe_spread
from experiments.answers.readings import name_source
from experiments.answers.rule import RULE, Comparison, Value, Verdict, judge
from experiments.answers.telling import Numbers, Telling
from experiments.answers.verdicts import compare_all, describe_difference, describe_value, join_names
from experiments.study.comparisons import Scores, score_sources
from experiments.study.fits import Fit, Work
from experiments.study.names import run_name
from experiments.study.study import Study
from train.pictures.plots import draw_matrix
from train.scoring.evaluate import evaluate, score_each_seed
from train.scoring.intervals import share_interval
from train.scoring.matrix import ALL, CORNER, METRICS, add_up, choose_rows, count_training, format_cell, name_all
from train.scoring.pairs import ROUNDTRIP_PREFIX
from train.scoring.prediction_file import COLUMNS
from train.scoring.scores import Reading

PICTURE = "sources-matrix.png"
LIMITS = (
    "Rows are the sources of the training split. A source that is in the test alone stands off the diagonal only: "
    "nobody knows how well a detector of its own would find it. The mean off the diagonal has other sources than the "
    "mean on it, and they may be harder. Own and other detector are compared on the same images. A detector "
    "of one source has seen fewer images than a detector of all, over as many epochs. Intervals are of the test "
    "images' groups, not of the training."
)


def answer(study: Study) -> Answer:
    """What is a detector that was trained on one image source worth on the others, and on VAE reconstructions?"""
    index = Dataset.open(study.config.data).table(["image_source"])
    found = numbers(score_rows(study), name_all(index["image_source"].unique().to_pylist()))
    draw_matrix({"settings": {"seeds": study.config.num_seeds}, **found["matrix"]}, study.answers / PICTURE)
    return study.tell(
        "sources", TELLING, found, pictures=[Picture("Trained on the row, tested on the column", PICTURE)]
    )


def numbers(readings: Mapping[str, Reading], together: str = ALL) -> dict[str, Any]:
    """The matrix, own detector against others, and what real images and controls are taken for.

    Args:
        readings: Trained on → scores of the test images.
        together: The row that is trained on all sources.
    """
    scores = {row: score_sources(reading) for row, reading in readings.items()}
    return {
        "together": together,
        "matrix": add_up({row: score_each_seed(reading) for row, reading in readings.items()}, together),
        "own_less_other": compare_with_own(scores),
        "aurocs": list_aurocs(scores),
        "real_images_and_controls": {row: score_others(reading) for row, reading in readings.items()},
    }


def score_rows(study: Study) -> dict[str, Reading]:
    """Train on each source of the training split and on all together; row → scores of the test images."""
    cache = study.cache(study.default_cache)
    runs = {
        row: study.fit(fit.run, cache, arguments=fit.arguments, num_images=fit.num_images)
        for row, fit in list_fits(study).items()
    }
    return {row: study.predict(each, cache) for row, each in runs.items()}


def list_fits(study: Study) -> dict[str, Fit]:
    """Row → the detector that is trained on it: each source of the training split, and all where there are several."""
    index, name = Dataset.open(study.config.data).table([*COLUMNS]), study.default_cache
    rows, together = choose_rows(index, None), name_all(index["image_source"].unique().to_pylist())
    fits = {}
    for row in [*rows, together] if len(rows) > 1 else rows:
        run, arguments = "full", ()
        if row != together:
            name_of_row = file_name(row).replace(" ", "%20")
            run, arguments = f"full-on-{name_of_row}", (f"--data.image_sources={json.dumps([row])}",)
        images = count_training(index, row)
        fits[row] = Fit(run_name(run, name), name, arguments=arguments, num_images=images)
    return fits


def work(study: Study) -> Work:
    """What it trains."""
    return Work(tuple(list_fits(study).values()))


def compare_with_own(scores: Mapping[str, Scores]) -> dict[str, dict[str, Any]]:
    """Tested on → trained on → AUROC of the detector trained on the tested source less AUROC of this one."""
    return {
        column: {
            row: (scores[column][tested]["auroc"] - scores[row][tested]["auroc"]).describe()
            for row in scores
            if row != column
        }
        for column, tested in ((row, name_source(row)) for row in scores)
        if tested in scores[column] and len(scores) > 1  # not the row of all, nor a source without test images
    }


def list_aurocs(scores: Mapping[str, Scores]) -> dict[str, dict[str, Any]]:
    """Tested on → trained on → AUROC, of the sources that are trained on too."""
    tested = {row: name_source(row) for row in scores if name_source(row) in scores[row]}
    return {
        column: {row: each[name]["auroc"].describe() for row, each in scores.items()} for column, name in tested.items()
    }


def score_others(reading: Reading) -> dict[str, Any]:
    """What a detector makes of real images and of controls.

    Args:
        reading: Scores, a threshold for each seed.

    Returns:
        Image source → n, is_control, "called" (share called generated at each seed's threshold from validation) and,
        for a control, "auroc" (against the real images of its subset, else None); both with mean, interval, n_groups
        and sd.
    """
    called = reading.scores > np.array(reading.thresholds, dtype=float)[:, None]
    labels = pc.fill_null(reading.table["label"], -1).to_numpy()
    sources, groups = (reading.table[name].to_numpy() for name in ("image_source", "group"))
    controls = evaluate({"": reading})["readings"][""]["controls"]
    reals = {str(source) for source in sources[labels == 0]}
    kinds = [(source, False) for source in sorted(reals)] + [(source, True) for source in controls]
    result = {}
    for source, is_control in sorted(kinds):
        chosen = (labels == (-1 if is_control else 0)) & (sources == source)
        seeds, control = called[:, chosen].mean(axis=1), controls[source] if is_control else None
        share = share_interval(called[:, chosen].mean(axis=0), groups[chosen])
        result[f"{source} (control)" if is_control and source in reals else source] = {
            "n": int(chosen.sum()),
            "is_control": is_control,
            "called": {
                "mean": share.value,
                "interval": share.interval,
                "n_groups": share.n_groups,
                "sd": float(seeds.std(ddof=1)) if len(seeds) > 1 else None,
            },
            "auroc": control
            and {"mean": control["auroc"], "n_groups": control["n_groups"]}
            | {name: control[f"auroc_{name}"] for name in ("interval", "sd")},
        }
    return result


def list_gaps(found: Numbers, *, of_all: bool) -> dict[tuple[str, str], Value]:
    """(Trained on, tested on) → AUROC of the tested source's own detector less AUROC of this one.

    Args:
        found: The numbers.
        of_all: The detector that was trained on all sources together, or those of one source.
    """
    by_column: Mapping[str, Mapping[str, Value]] = found["own_less_other"]
    together = name_together(found)
    return {(r, c): gap for c, by_row in by_column.items() for r, gap in by_row.items() if (r == together) == of_all}


def name_together(found: Numbers) -> str:
    """The row that is trained on all sources; older answers do not tell its name."""
    return str(found.get("together", ALL))


def compare(found: Numbers) -> dict[tuple[str, str], Comparison]:
    """All comparisons that the answer makes: (trained on, tested on) → the tested source's own detector less this."""
    aurocs, compared = found.get("aurocs", {}), {}
    for (row, column), gap in (list_gaps(found, of_all=False) | list_gaps(found, of_all=True)).items():
        by_row = aurocs.get(column)
        compared[row, column] = Comparison(gap, aurocs=by_row and (by_row[column], by_row[row]))
    return compared


def headline(found: Numbers) -> str:
    """How often a source's own detector is the better one."""
    judged = judge(compare(found))
    verdicts = [judged[key] for key in list_gaps(found, of_all=False)]
    if not verdicts:
        return "Only one image source can be trained on."
    words = {each: each.value for each in Verdict}
    words |= {Verdict.BETTER: Verdict.WORSE.value, Verdict.WORSE: Verdict.BETTER.value}
    words[Verdict.SAME] = "not significantly different"
    order = [Verdict.BETTER, *(each for each in Verdict if each is not Verdict.BETTER)]
    if set(verdicts) == {Verdict.FEW_SEEDS}:
        return f"A detector of another source against a source's own detector: {Verdict.FEW_SEEDS}."
    counts = [f"{words[v]} in {verdicts.count(v)} of {len(verdicts)} cases" for v in order if v in verdicts]
    return f"Against a source's own detector, a detector of another source is {join_names(counts)}."


def finding(found: Numbers) -> str:
    """What is lost on another source, what training on all gives, and what VAE reconstructions are taken for."""
    lines, judged = [headline(found)], judge(compare(found))
    gaps = list_gaps(found, of_all=False)
    lines += compare_all(
        (f"On {c}, a detector of {c}", f"a detector of {r}", gap, judged[r, c]) for (r, c), gap in gaps.items()
    )
    lines += _tell_means(found["matrix"])
    together = list_gaps(found, of_all=True)
    if together:
        lines.append("A detector of one source against a detector of all sources together:")
    lines += compare_all(
        (f"On {c}, a detector of {c}", "a detector of all", gap, judged[r, c]) for (r, c), gap in together.items()
    )
    return "\n".join([*lines, *_tell_roundtrips(found["real_images_and_controls"])])


def _tell_means(matrix: Numbers) -> Iterator[str]:
    auroc = matrix["metrics"]["auroc"]
    for part, text in (("diagonal", "tested on the training source"), ("off_diagonal", "tested on another source")):
        if auroc[part]:
            yield f"- Mean AUROC of detectors {text}: {format_cell(auroc[part])}."
    unseen = [column for column in matrix["columns"] if column not in matrix["rows"]]
    if unseen:
        yield f"- No detector was trained on {join_names(unseen)}: the mean on other sources includes them."


def _tell_roundtrips(others: Mapping[str, Numbers]) -> Iterator[str]:
    """What VAE reconstructions are taken for; where they are controls, also their AUROC against real images."""
    roundtrips = [source for source in next(iter(others.values())) if source.startswith(ROUNDTRIP_PREFIX)]
    if not roundtrips:
        yield "There are no VAE reconstructions among the test images."
    for source in roundtrips:
        is_control = next(iter(others.values()))[source]["is_control"]
        kind = "a control" if is_control else "real images here"
        shares = [f"{100 * each[source]['called']['mean']:.0f} % trained on {row}" for row, each in others.items()]
        yield f"- {source} (VAE reconstructions, {kind}), share called generated: {', '.join(shares)}."
        if is_control:
            aurocs = [f"{each[source]['auroc']['mean']:.2f} trained on {row}" for row, each in others.items()]
            yield f"- {source} (VAE reconstructions, {kind}), AUROC against real images: {', '.join(aurocs)}."


def tables(found: Numbers) -> Iterator[Table]:
    """The matrix under each metric, its diagonal against the rest, own against other, real images and controls."""
    matrix, own, others = (found[name] for name in ("matrix", "own_less_other", "real_images_and_controls"))
    rows, columns = matrix["rows"], matrix["columns"]
    for name, values in matrix["metrics"].items():
        yield Table(
            capitalize(METRICS[name]),
            (CORNER, *map(name_source, columns), "mean"),
            tuple(
                (row, *map(format_cell, cells), format_cell(mean))
                for row, cells, mean in zip(rows, values["cells"], values["row_means"], strict=True)
            ),
            "Test images; mean ± standard deviation over seeds.",
        )
    yield Table(
        "The diagonal against the rest",
        ("metric", "on the diagonal", "off the diagonal"),
        tuple(
            (METRICS[name], *(values[part] and format_cell(values[part]) for part in ("diagonal", "off_diagonal")))
            for name, values in matrix["metrics"].items()
        ),
        f"Mean of the cells ± standard deviation over seeds; without the row “{name_together(found)}”.",
    )
    if any(own.values()):
        yield Table(
            "AUROC of the tested source's own detector less AUROC of the row's detector",
            (CORNER, *own),
            tuple((r, *(describe_difference(by[r]) if r in by else None for by in own.values())) for r in rows),
            f"Paired on the same test images. {describe_groups(own)} {RULE}",
        )
    yield _tabulate_others("Share called generated", others, "called", "At the threshold from validation")
    controls = _tabulate_others("Controls: AUROC", others, "auroc", "Against the real images of the control's subset")
    if controls.rows:
        yield controls


def _tabulate_others(title: str, others: Mapping[str, Numbers], value: str, note: str) -> Table:
    shown = {source: [each[source][value] for each in others.values()] for source in next(iter(others.values()))}
    return Table(
        title,
        ("image source", "these are", "n", *(f"trained on {row}" for row in others)),
        tuple(
            (
                source,
                "a control" if some["is_control"] else "real images",
                some["n"],
                *(describe_value(each[source][value]) for each in others.values()),
            )
            for source, some in next(iter(others.values())).items()
            if some[value]
        ),
        f"{note}; {describe_spread(shown)} Controls are in no mean.",
    )


TELLING = Telling("What is a detector of one image source worth on another?", LIMITS, headline, finding, tables)
