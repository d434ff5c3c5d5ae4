"""What the map and its two refinements add to the image, and what the view changes: from caches, without a model."""

from collections.abc import Mapping
from dataclasses import dataclass

from experiments.answers.answer import Answer, Table
from experiments.egre.views import compare_views, describe_views, name_views, summarize_views, tabulate_views
from experiments.study.comparisons import (
    MEAN,
    RULE,
    describe_difference,
    describe_value,
    describe_verdicts,
    subtract,
    sum_up_verdicts,
)
from experiments.study.over_sources import Means
from experiments.study.settings import METRICS, SPLITS, Scored, score_runs, summarize, value_cells
from experiments.study.study import Study, run_name
from workflow.stages import PERMUTED

Differences = Mapping[tuple[str, str], Mapping[str, Means]]
"""The one and the other detector → what `subtract` gives."""


@dataclass(frozen=True)
class Detector:
    """One of the compared detectors."""

    title: str
    variant: str
    """As of `Study.fit`."""
    arguments: tuple[str, ...] = ()
    """What differs from the recipe."""


DETECTORS = {
    "image_only": Detector("image only", "image_only"),
    "map_only": Detector("map only", "map_only"),
    "concat": Detector(
        "image and map concatenated",
        "full",
        ("--model.spatial=false", "--model.channel=false", "--model.concat=true"),
    ),
    "esr": Detector("image + ESR", "full", ("--model.channel=false",)),
    "ecr": Detector("image + ECR", "full", ("--model.spatial=false",)),
    "full": Detector("image + ESR + ECR", "full"),
}
TITLES = {name: detector.title for name, detector in DETECTORS.items()} | {
    PERMUTED: "image + ESR + ECR, other images' maps"
}
CLAIMS = (
    ("esr", "image_only"),
    ("ecr", "image_only"),
    ("concat", "image_only"),
    ("full", "image_only"),
    ("full", "esr"),
    ("full", "ecr"),
    ("full", "concat"),
    ("full", PERMUTED),
)
"""What the finding tells: the one against the other."""
LIMITS = (
    "All detectors share one recipe, one backbone and one number of epochs: one that needs more is judged too early. "
    "Intervals resample the test images' groups, not the training, of whose spread few seeds tell little. Nothing is "
    "said about image sources that are not in this test. Where images have several sizes any detector may read the "
    "size itself, and an AUROC there is no measure of finding generated images."
)


def answer(study: Study) -> Answer:
    """What do ESR and ECR add each, and what does the view change? From caches alone."""
    scored = score_detectors(study)
    differences = compare_detectors(scored)
    views = compare_views(study)
    return Answer(
        name="egre",
        question="What do the map, ESR and ECR add to the image, and what does the view change?",
        headline=sum_up(differences),
        finding=f"{describe(scored, differences)}\n{describe_views(views)}",
        limits=LIMITS,
        command=study.command("egre"),
        settings=study.describe(),
        tables=(*tabulate(scored, differences), *tabulate_views(views)),
        numbers={
            "readings": summarize({TITLES[name]: each for name, each in scored.items()} | name_views(views)),
            "differences": {
                f"{TITLES[one]} − {TITLES[other]}": {name: d.describe() for name, d in by_source.items()}
                for (one, other), by_source in differences.items()
            },
            "views": summarize_views(views),
        },
    )


def score_detectors(study: Study) -> dict[str, Scored]:
    """Train the detectors, and score them: those of `DETECTORS`, and `PERMUTED`."""
    name = study.default_cache
    cache = study.cache(name)
    runs = {
        detector: study.fit(run_name(detector, name), cache, variant=how.variant, arguments=how.arguments)
        for detector, how in DETECTORS.items()
    }
    scored = {detector: score_runs(study, each, cache) for detector, each in runs.items()}
    other_maps = ("--data.permute_maps=true",)
    return scored | {PERMUTED: score_runs(study, runs["full"], cache, name="permuted", arguments=other_maps)}


def compare_detectors(scored: Mapping[str, Scored]) -> Differences:
    """On the test images: each detector against the image alone, and the one with both refinements against each."""
    pairs = [(name, "image_only") for name in scored if name != "image_only"]
    pairs += [("full", name) for name in scored if name != "full"]
    return {(one, other): subtract(scored[one].test, scored[other].test) for one, other in pairs}


def sum_up(differences: Differences) -> str:
    """The finding in a line."""
    compared = [(TITLES[one], differences[one, other][MEAN]) for one, other in CLAIMS if other == "image_only"]
    return f"Against the image alone, {sum_up_verdicts(compared)}."


def describe(scored: Mapping[str, Scored], differences: Differences) -> str:
    """What each part adds to the mean AUROC of the test images, and the detector that validation chooses."""
    compared = [(TITLES[one], TITLES[other], differences[one, other][MEAN]) for one, other in CLAIMS]
    chosen = max(DETECTORS, key=lambda name: scored[name].validation[MEAN]["auroc"].mean)
    return (
        f"{describe_verdicts(compared)} All by the mean AUROC over the image sources. Validation chooses "
        f"{TITLES[chosen]}, whose AUROC on the test is {describe_value(scored[chosen].test[MEAN]['auroc'])}."
    )


def tabulate(scored: Mapping[str, Scored], differences: Differences) -> list[Table]:
    """Means on validation and test, metrics by source, and the differences."""
    some = next(iter(scored.values()))
    known = ", ".join(source for source in some.validation if source != MEAN)
    spread = "95 % interval by group, ± standard deviation over seeds."
    means = Table(
        "Detectors, mean over the image sources",
        ("", *(f"{title}, {split}" for title in METRICS.values() for split in SPLITS)),
        tuple((TITLES[name], *(c for m in METRICS for c in value_cells(each, m))) for name, each in scored.items()),
        f"{spread} Checkpoints and thresholds come from validation, which has images of {known}. Other images' maps "
        "are given to the trained detector, in place of each image's own.",
    )
    columns = tuple(some.test)
    by_source = [
        Table(
            f"{title} by image source",
            ("", *columns),
            tuple(
                (TITLES[name], *(describe_value(each.test[c][metric]) for c in columns))
                for name, each in scored.items()
            ),
            f"Test images; {spread}",
        )
        for metric, title in METRICS.items()
    ]
    against_image = {name: differences[name, "image_only"] for name in scored if name != "image_only"}
    against_full = {name: differences["full", name] for name in scored if name != "full"}
    return [
        means,
        *by_source,
        _tabulate_differences(f"AUROC less that of {TITLES['image_only']}", columns, against_image),
        _tabulate_differences(f"AUROC of {TITLES['full']} less that of the others", columns, against_full),
    ]


def _tabulate_differences(
    title: str, columns: tuple[str, ...], differences: Mapping[str, Mapping[str, Means]]
) -> Table:
    rows = ((TITLES[name], *(describe_difference(each[c]) for c in columns)) for name, each in differences.items())
    return Table(title, ("", *columns), tuple(rows), f"Paired on the same test images; 95 % interval by group. {RULE}")
