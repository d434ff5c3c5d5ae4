"""The question on ESR and ECR in words and tables."""

from collections.abc import Iterator

from experiments.answers.answer import Table, capitalize
from experiments.answers.readings import MEAN, METRICS, SPLITS, SPREAD, list_sources, value_cells
from experiments.answers.telling import Numbers, Telling
from experiments.answers.verdicts import RULE, compare_all, describe_difference, describe_value, state_verdicts
from experiments.egre.views_telling import tabulate_views, tell_views
from workflow.stages import PERMUTED

TITLES = {
    "image_only": "image only",
    "map_only": "map only",
    "concat": "image and map concatenated",
    "esr": "image + ESR",
    "ecr": "image + ECR",
    "full": "image + ESR + ECR",
    PERMUTED: "image + ESR + ECR, other images' maps",
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
    "All detectors share one recipe, one backbone and one number of epochs: a detector that needs more epochs is "
    "judged too early. Intervals resample the test images' groups, not the training; few seeds tell little of the "
    "spread of training. Nothing is said about image sources that are not in this test. Where images have several "
    "sizes, any detector may read the size itself, and an AUROC there does not measure how well generated images are "
    "found."
)


def name_difference(one: str, other: str) -> str:
    """Name of a difference of two detectors in the numbers."""
    return f"{TITLES[one]} − {TITLES[other]}"


def headline(found: Numbers) -> str:
    """The verdicts against the image alone."""
    compared = {
        TITLES[one]: found["differences"][name_difference(one, other)][MEAN]
        for one, other in CLAIMS
        if other == "image_only"
    }
    return f"{capitalize(state_verdicts(compared, 'the image alone'))}."


def finding(found: Numbers) -> str:
    """What each part adds, the detector that validation chooses, and what the views change."""
    compared = [
        (TITLES[one], TITLES[other], found["differences"][name_difference(one, other)][MEAN]) for one, other in CLAIMS
    ]
    chosen = TITLES[choose(found)]
    auroc = describe_value(found["readings"]["test"][chosen][MEAN]["auroc"])
    return "\n".join(
        [
            "Detectors, by mean AUROC over the image sources on the test:",
            *compare_all(compared),
            f"Validation chooses {chosen}: test AUROC {auroc}.",
            *tell_views(found["views"]),
        ]
    )


def choose(found: Numbers) -> str:
    """The detector with the best mean AUROC on validation, given its own maps."""
    validation = found["readings"]["validation"]
    names = [name for name in TITLES if name != PERMUTED]
    return max(names, key=lambda name: validation[TITLES[name]][MEAN]["auroc"]["mean"])


def tables(found: Numbers) -> Iterator[Table]:
    """Means on validation and test, metrics by source, the differences, and the views."""
    readings = found["readings"]
    known = ", ".join(list_sources(next(iter(readings["validation"].values()))))
    columns = tuple(readings["test"][TITLES["full"]])
    yield Table(
        "Detectors, mean over the image sources",
        ("detector", *(f"{title}, {split}" for title in METRICS.values() for split in SPLITS)),
        tuple((t, *(cell for metric in METRICS for cell in value_cells(readings, t, metric))) for t in TITLES.values()),
        f"{SPREAD} Checkpoints and thresholds come from validation, which has images of {known}. “Other images' maps” "
        "is the trained detector with another image's map in place of each image's own.",
    )
    for metric, title in METRICS.items():
        yield Table(
            f"{title} by image source",
            ("detector", *columns),
            tuple((t, *(describe_value(readings["test"][t][c][metric]) for c in columns)) for t in TITLES.values()),
            f"Test images; {SPREAD}",
        )
    others = [(name, name, "image_only") for name in TITLES if name != "image_only"]
    yield _tabulate_differences(f"AUROC less AUROC of {TITLES['image_only']}", columns, found, others)
    others = [(name, "full", name) for name in TITLES if name != "full"]
    yield _tabulate_differences(f"AUROC of {TITLES['full']} less AUROC of the other detector", columns, found, others)
    yield from tabulate_views(found["views"], readings)


def _tabulate_differences(
    title: str, columns: tuple[str, ...], found: Numbers, rows: list[tuple[str, str, str]]
) -> Table:
    """Rows of (whose row, the one, the other)."""
    cells = []
    for name, one, other in rows:
        by_source = found["differences"][name_difference(one, other)]
        cells.append((TITLES[name], *(describe_difference(by_source[column]) for column in columns)))
    note = f"Paired on the same test images; 95 % interval by group. {RULE}"
    return Table(capitalize(title), ("detector", *columns), tuple(cells), note)


TELLING = Telling(
    "What do the map, ESR and ECR add to the image, and what does the view change?", LIMITS, headline, finding, tables
)
