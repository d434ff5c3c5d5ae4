"""Is LaRE a measure of local detail, and what tells generated from real images that are as detailed as they?"""

from collections.abc import Mapping

import numpy as np
import pyarrow.compute as pc

from experiments.answers.answer import Answer, Chart, Curve, Table, with_interval
from experiments.frequency.equal_detail import (
    CALIPER,
    Line,
    Matched,
    fit_line,
    load_classes,
    match_sources,
    subtract_line,
    take_logs,
)
from experiments.frequency.local_detail import MEASURES, Correlation, average_by_source, correlate_cells
from experiments.study.comparisons import (
    MEAN,
    RULE,
    Scores,
    describe_difference,
    describe_value,
    judge,
    score_sources,
    side_of,
    subtract,
    summarize,
)
from experiments.study.over_sources import Means
from experiments.study.study import Study
from train.scoring.scores import Reading

MAX_POINTS = 150
"""Of an image source in the chart."""
LIMITS = (
    "A rank correlation within an image says that the error is larger where there is more detail, not why. Matching "
    "makes the two classes equal in the mean gradient energy of whole images only: they may still differ in where the "
    "detail lies, in colour and in content. Images that have no partner are left out, so that the matched ones are "
    "not all images. The line is fitted to real validation images and may not hold for others. No detector was trained."
)


def answer(study: Study) -> Answer:
    """Does LaRE follow local detail, and what is left of it between images of equal detail? From a cache alone."""
    data, cache = study.config.data, study.cache(study.default_cache)
    readings = study.readings(cache)
    validation = study.readings(cache, split="validation")
    line = fit_line(validation)
    readings["residual"] = subtract_line(readings, validation, line)
    scores = {name: score_sources(reading) for name, reading in readings.items()}
    gain = subtract(scores["residual"], scores["mean_lare"])
    table = readings["mean_lare"].table
    correlations = average_by_source(table, correlate_cells(data, cache, table))
    matched = match_sources(readings, load_classes(data, table))
    return Answer(
        name="frequency",
        question="Does LaRE follow local detail, and does it tell images of equal detail apart?",
        headline=sum_up(matched),
        finding=describe(correlations, matched, line, gain[MEAN], scores),
        limits=LIMITS,
        command=study.command("frequency"),
        settings={**study.describe(), "cache": study.default_cache, "caliper": CALIPER},
        tables=(tabulate_correlations(correlations), tabulate_matched(matched, scores), tabulate_lines(scores, gain)),
        charts=(draw(readings, line),),
        numbers={
            "correlations": {name: {s: vars(c) for s, c in by.items()} for name, by in correlations.items()},
            "matched": {s: {**vars(m), "auroc": summarize({"": m.auroc})[""]} for s, m in matched.items()},
            "line": vars(line),
            "readings": {"test": {name: summarize(each) for name, each in scores.items()}},
            "gain_of_residual": {source: each.describe() for source, each in gain.items()},
        },
    )


def sum_up(matched: Mapping[str, Matched]) -> str:
    """The finding in a line."""
    words = {-1: "higher for", 0: "not told apart for", 1: "lower for"}
    sides = {source: side_of(each.auroc["mean_lare"].interval, 0.5) for source, each in matched.items() if each.n}
    found = {word: [source for source, side in sides.items() if side == each] for each, word in words.items()}
    texts = "; ".join(f"{word} {', '.join(names)}" for word, names in found.items() if names)
    return f"At equal gradient energy the mean LaRE of generated images is {texts or 'not known'}."


def describe(
    correlations: Mapping[str, Mapping[str, Correlation]],
    matched: Mapping[str, Matched],
    line: Line,
    gain: Means,
    scores: Mapping[str, Scores],
) -> str:
    """The finding: what mean LaRE does not tell at equal detail, what it tells, and how it follows detail."""
    kinds: dict[str, list[str]] = {"higher": [], "untold": [], "lower": [], "none": []}
    for source, each in matched.items():
        if not each.n:
            kinds["none"].append(source)
            continue
        kind = {0: "untold", 1: "lower", -1: "higher"}[side_of(each.auroc["mean_lare"].interval, 0.5)]
        before = scores["mean_lare"][source]["auroc"].mean
        kinds[kind].append(f"{source}, AUROC {describe_value(each.auroc['mean_lare'])} after {before:.2f} unmatched")
    heads = {
        "higher": "Between images of equal gradient energy the generated ones have the higher mean LaRE",
        "untold": "Between images of equal gradient energy mean LaRE does not tell generated from real",
        "lower": "Between images of equal gradient energy mean LaRE still is the lower one for generated images",
        "none": "No real images of equal gradient energy were found",
    }
    parts = [f"{heads[kind]}: {'; '.join(found)}." for kind, found in kinds.items() if found]
    parts.append(_describe_residual(scores["residual"][MEAN]["auroc"], gain, line))
    parts += [_describe_correlations(name, by_source) for name, by_source in correlations.items()]
    return "\n".join(parts)


def _describe_residual(auroc: Means, gain: Means, line: Line) -> str:
    side = {
        0: "neither error is told to be the higher one",
        1: "generated images have the lower error for their detail",
        -1: "generated images have the higher error for their detail",
    }[side_of(auroc.interval, 0.5)]
    against = {-1: "worse than", 0: "not told apart from", 1: "better than"}[judge(gain)]
    return (
        f"Log gradient energy explains {100 * line.explained:.0f} % of the variance of log mean LaRE of real "
        "validation images. What it leaves, as a reading, has a mean AUROC over the image sources of "
        f"{describe_value(auroc)}, so that {side}; it is {against} mean LaRE itself, {describe_difference(gain)}."
    )


def _describe_correlations(name: str, by_source: Mapping[str, Correlation]) -> str:
    measure = MEASURES[name].partition(":")[0]
    if not by_source:
        return f"No image has a rank correlation of its map with {measure}."
    order = sorted(by_source, key=lambda source: by_source[source].mean)
    ends = [f"{with_interval(by_source[s].mean, by_source[s].interval)} ({s})" for s in (order[0], order[-1])]
    missing = [source for source in order if by_source[source].interval[0] <= 0]
    doubt = f"; not found to be positive for {', '.join(missing)}" if missing else ""
    return (
        f"Within an image the map's rank correlation with {measure} is between {ends[0]} and {ends[1]} in the mean of "
        f"an image source{doubt}."
    )


def tabulate_correlations(correlations: Mapping[str, Mapping[str, Correlation]]) -> Table:
    """Rank correlations by image source."""
    sources = list(dict.fromkeys(source for by_source in correlations.values() for source in by_source))
    rows = []
    for source in sources:
        found = [by_source.get(source) for by_source in correlations.values()]
        cells = [None if each is None else with_interval(each.mean, each.interval) for each in found]
        rows.append((source, max(each.n for each in found if each), *cells))
    heads = (MEASURES[name].partition(":")[0] for name in correlations)
    return Table(
        "Rank correlation of the map with local detail, within one image",
        ("image source", "n", *heads),
        tuple(rows),
        f"Spearman over the cells, map averaged over its channels, mean over test images; 95 % interval by group. "
        f"{'; '.join(MEASURES.values())}; each the mean over a cell.",
    )


def tabulate_matched(matched: Mapping[str, Matched], scores: Mapping[str, Scores]) -> Table:
    """AUROCs before and after matching."""
    names = {"mean_lare": "mean LaRE", "gradient_energy": "gradient energy"}
    rows = []
    for source, each in matched.items():
        before = [describe_value(scores[name][source]["auroc"]) for name in names]
        after = [describe_value(each.auroc[name]) if each.auroc else None for name in names]
        share = None if each.lower is None else with_interval(each.lower, each.interval)
        rows.append((source, each.num_generated, each.n, "yes" if each.by_class else "no", *before, *after, share))
    return Table(
        "Real and generated images matched on gradient energy",
        (
            *("image source", "n", "matched", "within a class"),
            *(f"AUROC, {name}" for name in names.values()),
            *(f"matched: AUROC, {name}" for name in names.values()),
            "matched: share of pairs with the lower mean LaRE",
        ),
        tuple(rows),
        "A generated image and the real one left with the nearest gradient energy, at most "
        f"{100 * (CALIPER - 1):.0f} % apart. AUROC is the same share of all pairs of a generated and a real image. "
        "That of gradient energy among the matched tells how equal they are: 0.5 is equal. 95 % interval by group, of "
        "the pairs' share by that of the generated image.",
    )


def tabulate_lines(scores: Mapping[str, Scores], gain: Mapping[str, Means]) -> Table:
    """The residual as a reading."""
    return Table(
        "What log mean LaRE has beyond log gradient energy",
        ("image source", "AUROC, gradient energy", "AUROC, mean LaRE", "AUROC, residual", "residual less mean LaRE"),
        tuple(
            (
                source,
                *(describe_value(scores[name][source]["auroc"]) for name in ("gradient_energy", "mean_lare")),
                describe_value(scores["residual"][source]["auroc"]),
                describe_difference(difference),
            )
            for source, difference in gain.items()
        ),
        f"Test images; 95 % interval by group. The line is fitted to the real validation images. {RULE}",
    )


def draw(readings: Mapping[str, Reading], line: Line) -> Chart:
    """Mean LaRE over gradient energy: some images of each real and generated source."""
    table = readings["mean_lare"].table
    sources, labels = table["image_source"].to_numpy(), pc.fill_null(table["label"], -1).to_numpy()
    energy, lare = (values / np.log(10) for values in take_logs(readings))
    rng, curves = np.random.default_rng(0), []
    for source in sorted(set(sources[labels >= 0])):
        some = rng.permutation(np.flatnonzero((sources == source) & (labels >= 0)))[:MAX_POINTS]
        curves.append(Curve(source, tuple(energy[some].tolist()), tuple(lare[some].tolist())))
    title = f"Mean LaRE over gradient energy (log-log slope of the real validation images {line.slope:.2f})"
    return Chart(title, "log₁₀ gradient energy", "log₁₀ mean LaRE", tuple(curves), lines=False)
