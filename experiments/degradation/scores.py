"""Scores of degraded test images: what they are worth, in words, tables and charts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from experiments.answers.answer import Chart, Table
from experiments.study.comparisons import RULE, describe_difference, describe_value, judge, side_of
from experiments.study.image_sets import divide
from experiments.study.over_sources import METRICS, Means, compute_means, keep_samples, match_samples
from experiments.study.settings import make_curve
from extract.packing.copies import parse_degradation
from train.scoring.scores import Reading

AS_THEY_ARE = "as they are"
REFERENCE_PX = 256
"""Side of the images that sides and blurs are named for."""
PROTOCOL = ("resize:112", "resize:64", "jpeg:65", "jpeg:30", "blur:3", "blur:5")
"""GenImage's degradations."""
READINGS = {
    "full": "image and map",
    "image_only": "image only",
    "map_only": "map only",
    "mean_lare": "mean LaRE",
}
METRIC_TITLES = {"accuracy": "Accuracy", "average_precision": "AP", "auroc": "AUROC"}
CHARTED = ("accuracy", "average_precision")


@dataclass(frozen=True)
class Kind:
    """A kind of degradation that has strengths."""

    title: str
    strength: str
    """What its number is."""
    unchanged: float | None = None
    """The number that leaves an image as it is, where there is one."""


KINDS = {
    "jpeg": Kind("JPEG", "quality"),
    "webp": Kind("WebP", "quality"),
    "resize": Kind("Low resolution", f"short side in px of {REFERENCE_PX}"),
    "blur": Kind("Gaussian blur", f"sigma in px of {REFERENCE_PX}", 0),
    "noise": Kind("Gaussian noise", "standard deviation of 255", 0),
    "crop": Kind("Crop", "share of the area that is kept", 1),
    "blend": Kind("Part of the photograph put back", "share of the area", 0),
}


@dataclass(frozen=True)
class Result:
    """A reading of the images under one degradation."""

    num_images: int
    scores: Mapping[str, Means]
    """Metric → its mean over the image sources."""
    unchanged: Mapping[str, Means]
    """The same of the same images as they are."""


Results = Mapping[str, Mapping[str, Result]]
"""`AS_THEY_ARE` and each degradation → reading → its result."""


def score_copies(readings: Mapping[str, Reading], degradations: Sequence[str]) -> tuple[Results, dict[str, str]]:
    """Score what `make_copies` made.

    Args:
        readings: Scores of all copies.
        degradations: Their names.

    Returns:
        Results, and those degradations that leave no generated image, with the reason.
    """
    names = [AS_THEY_ARE, *degradations]
    parts = {reading: divide(_labelled(whole), names) for reading, whole in readings.items()}
    results: dict[str, dict[str, Result]] = {}
    left_out = {}
    for name in names:
        if 1 not in parts["full"][name].table["label"].to_pylist():
            left_out[name] = "no generated image of the test is known to come from a photograph of the dataset"
            continue
        results[name] = {}
        for reading, part in parts.items():
            keys = part[name].table["key"].to_pylist()
            unchanged = compute_means(match_samples(part[AS_THEY_ARE], keys))
            scores = unchanged if name == AS_THEY_ARE else compute_means(part[name])
            results[name][reading] = Result(len(keys), scores, unchanged)
    return results, left_out


def _labelled(reading: Reading) -> Reading:
    return keep_samples(reading, reading.table["label"].is_valid().to_numpy())


def sum_up(results: Results) -> str:
    """The finding in a line."""
    degraded = {name: each for name, each in results.items() if name != AS_THEY_ARE}
    num_lost = sum(judge(_change(each["full"], "accuracy")) == -1 for each in degraded.values())
    return (
        f"Image and map lose accuracy at the clean threshold under {num_lost} of {len(degraded)} degradations; by AP, "
        f"against the image alone, {_compare_with_image(degraded)}."
    )


def describe(results: Results, left_out: Mapping[str, str]) -> str:
    """The finding: where a score is lost, where its threshold fails, what the map adds, and GenImage's protocol."""
    degraded = {name: each for name, each in results.items() if name != AS_THEY_ARE}
    parts = [_describe_chance(results[AS_THEY_ARE], degraded), _describe_threshold(degraded)]
    parts.append(f"By AP image and map are, against the image alone, {_compare_with_image(degraded)}.")
    asked = [name for name in PROTOCOL if name in degraded]
    if asked:
        texts = [
            f"{title} {_mean(degraded, asked, reading, 'average_precision'):.2f} and "
            f"{_mean(degraded, asked, reading, 'accuracy'):.2f}"
            for reading, title in READINGS.items()
        ]
        parts.append(f"Mean AP and accuracy over GenImage's {', '.join(asked)}: {'; '.join(texts)}.")
    parts += [f"{name} was not asked: {why}." for name, why in left_out.items()]
    return "\n".join(parts)


def _compare_with_image(degraded: Results) -> str:
    """Under which degradations image and map have the lower AP, one that is not told apart, or the higher."""
    verdicts = {name: judge(_gain(each)["average_precision"]) for name, each in degraded.items()}
    heads = {-1: "worse", 0: "not told apart", 1: "better"}
    found = {head: [name for name, each in verdicts.items() if each == verdict] for verdict, head in heads.items()}
    return "; ".join(f"{head} under {_listed(names, [*degraded])}" for head, names in found.items() if names)


def _describe_chance(clean: Mapping[str, Result], degraded: Results) -> str:
    """Who is not above chance: already on the images as they are, or under which degradations."""
    already = [title for reading, title in READINGS.items() if not _is_above_chance(clean[reading])]
    texts = []
    for reading, title in READINGS.items():
        lost = [name for name, each in degraded.items() if not _is_above_chance(each[reading])]
        if title not in already:
            texts.append(f"{title} under {_listed(lost, [*degraded])}")
    parts = [f"{', '.join(already)} already on the images as they are"] if already else []
    return f"Not above chance (the AUROC's interval reaches 0.5): {'; '.join([*parts, *texts])}."


def _describe_threshold(degraded: Results) -> str:
    """What image and map lose at the threshold from clean validation images."""
    changes = {name: _change(each["full"], "accuracy") for name, each in degraded.items()}
    worst = min(changes, key=lambda name: changes[name].mean)
    lost = [name for name, change in changes.items() if judge(change) == -1]
    where = "At the threshold from clean validation images image and map lose"
    if changes[worst].mean >= 0:
        return f"{where} accuracy under none."
    before, after = degraded[worst]["full"].unchanged, degraded[worst]["full"].scores
    most = (
        f"under {worst}: accuracy {before['accuracy'].mean:.2f} → {after['accuracy'].mean:.2f}, AUROC "
        f"{before['auroc'].mean:.2f} → {after['auroc'].mean:.2f}."
    )
    if not lost:
        return f"{where} no accuracy that is told apart from no loss; the most {most}"
    return f"{where} accuracy under {_listed(lost, [*degraded])}, the most {most}"


def _is_above_chance(result: Result) -> bool:
    return side_of(result.scores["auroc"].interval, 0.5) == 1


def _listed(names: Sequence[str], degradations: Sequence[str]) -> str:
    """Those names, or those that are not among them where these are fewer."""
    others, total = [each for each in degradations if each not in names], len(degradations)
    if not (names and others):
        return "none" if not names else f"all {total} degradations" if total > 1 else names[0]
    few = ", ".join(names) if len(names) <= len(others) else f"all but {', '.join(others)}"
    return f"{few} ({len(names)} of {total})"


def _change(result: Result, metric: str) -> Means:
    return result.scores[metric] - result.unchanged[metric]


def _gain(readings: Mapping[str, Result]) -> dict[str, Means]:
    """By how much image and map are better than the image alone, in each metric."""
    return {name: readings["full"].scores[name] - readings["image_only"].scores[name] for name in METRIC_TITLES}


def _mean(results: Results, names: Sequence[str], reading: str, metric: str) -> float:
    return sum(results[name][reading].scores[metric].mean for name in names) / len(names)


def entitle(degradation: str, done: str) -> str:
    """A degradation's name, with what was done to these images where that is another: "blur:3 (blur:0.75)"."""
    return degradation if degradation == done else f"{degradation} ({done})"


def tabulate(results: Results, degradations: Mapping[str, str]) -> list[Table]:
    """A table a metric, what each degradation takes, and what the map adds to the image."""
    spread = "Mean over the image sources, 95 % interval by group, ± standard deviation over seeds."
    notes = {"accuracy": " At the thresholds from clean validation images."}
    titles = {name: entitle(name, degradations.get(name, name)) for name in results}
    tables = [
        Table(
            f"{title} under each degradation",
            ("", "images", *READINGS.values()),
            tuple(
                (titles[name], each["full"].num_images, *(describe_value(each[r].scores[metric]) for r in READINGS))
                for name, each in results.items()
            ),
            f"{spread}{notes.get(metric, '')} In brackets what was done to these images in proportion to their side.",
        )
        for metric, title in METRIC_TITLES.items()
    ]
    changes = tuple(
        (titles[name], *(describe_difference(_change(each[reading], "auroc")) for reading in READINGS))
        for name, each in results.items()
        if name != AS_THEY_ARE
    )
    gains = {name: _gain(each) for name, each in results.items()}
    added = tuple((titles[name], *(describe_difference(g[m]) for m in METRIC_TITLES)) for name, g in gains.items())
    note = f"Paired on the same images, 95 % interval by group. {RULE}"
    return [
        *tables,
        Table("AUROC less that of the same images as they are", ("", *READINGS.values()), changes, note),
        Table("Image and map less the image alone", ("", *METRIC_TITLES.values()), added, note),
    ]


def chart(results: Results) -> list[Chart]:
    """Accuracy and AP over the strength, for each kind that has strengths."""
    charts = []
    for kind, about in KINDS.items():
        found = [(parse_degradation(name)[1], name) for name in results if name.partition(":")[0] == kind]
        if not found:
            continue
        for metric in CHARTED:
            curves = []
            for reading, title in READINGS.items():
                points = {strength: results[name][reading].scores[metric] for strength, name in found}
                if about.unchanged is not None:
                    points[about.unchanged] = results[found[0][1]][reading].unchanged[metric]
                strengths = sorted(points)
                curves.append(make_curve(title, strengths, (points[x] for x in strengths)))
            axis = f"{about.title}: {about.strength}"
            charts.append(Chart(f"{about.title}: {METRIC_TITLES[metric]}", axis, METRIC_TITLES[metric], tuple(curves)))
    return charts


def summarize(results: Results) -> dict[str, Any]:
    """Everything as plain values."""
    return {
        name: {
            reading: {
                "n": result.num_images,
                **{metric: result.scores[metric].describe() for metric in METRICS},
                "change": {metric: _change(result, metric).describe() for metric in METRICS},
            }
            for reading, result in each.items()
        }
        for name, each in results.items()
    }
