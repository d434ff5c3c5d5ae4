"""The question on ESR and ECR in words and tables."""

from collections.abc import Iterator

from experiments.answers.answer import Table, capitalize
from experiments.answers.groups import describe_groups, describe_spread
from experiments.answers.readings import MEAN, METRICS, SPLITS, list_sources, value_cells
from experiments.answers.rule import RULE, Comparison, judge
from experiments.answers.telling import Numbers, Telling
from experiments.answers.verdicts import (
    compare_all,
    describe_difference,
    describe_value,
    group_verdicts,
    state_verdicts,
)
from workflow.stages import CONTROLS

TITLES = {
    "image_only": "image only",
    "map_only": "map only",
    "concat": "image and map concatenated",
    "esr": "image + ESR",
    "ecr": "image + ECR",
    "full": "image + ESR + ECR",
    "permuted_maps": "image + ESR + ECR, trained on permuted maps",
    "constant_map": "image + ESR + ECR, trained on one constant map",
}
CLAIMS = (
    *(("full", control) for control in CONTROLS),
    ("full", "esr"),
    ("full", "ecr"),
    ("full", "concat"),
)
"""What the finding tells: the one against the other. What the map adds is told against the controls alone: the detector
of the image alone has no refinement, and differs in more than the map."""
Key = tuple[str, str]
"""Of a comparison: the one, the other."""
LIMITS = (
    "All detectors share one recipe, one backbone and one number of epochs: a detector that needs more epochs is "
    "judged too early. Intervals of single detectors are of the test images' groups, not of the training. Few seeds "
    "tell little of the spread of training. Nothing is said about image sources that are not in this test."
)


def name_difference(one: str, other: str) -> str:
    """Name of a difference of two detectors in the numbers."""
    return f"{TITLES[one]} − {TITLES[other]}"


def list_claims(found: Numbers) -> list[tuple[str, str]]:
    """The claims that the numbers hold: earlier versions trained no controls."""
    return [pair for pair in CLAIMS if name_difference(*pair) in found["differences"]]


def compare(found: Numbers) -> dict[Key, Comparison]:
    """All comparisons that the answer makes."""
    test, compared = found["readings"]["test"], dict[Key, Comparison]()
    for pair in list_claims(found):
        one, other = (test[TITLES[name]][MEAN]["auroc"] for name in pair)
        compared[pair] = Comparison(found["differences"][name_difference(*pair)][MEAN], aurocs=(one, other))
    return compared


def headline(found: Numbers) -> str:
    """What the map adds: the verdicts against the controls."""
    judged, claims = judge(compare(found)), list_claims(found)
    verdicts = {
        TITLES[other].rpartition("trained on ")[2]: judged[one, other] for one, other in claims if other in CONTROLS
    }
    if not verdicts:
        return "What the map adds is not known: no control was trained on permuted maps or on one constant map."
    texts = [
        state_verdicts({TITLES["full"]: verdict}, f"the same trained on {' or '.join(controls)}")
        for verdict, controls in group_verdicts(verdicts).items()
    ]
    return f"{capitalize('; '.join(texts))}."


def finding(found: Numbers) -> str:
    """What the map and each part add, and the detector that validation chooses."""
    judged, claims = judge(compare(found)), list_claims(found)
    compared = [
        (TITLES[o], TITLES[p], found["differences"][name_difference(o, p)][MEAN], judged[o, p]) for o, p in claims
    ]
    chosen = TITLES[choose(found)]
    auroc = describe_value(found["readings"]["test"][chosen][MEAN]["auroc"])
    missing = ["What the map adds is not known: no control was trained on permuted maps or on one constant map."]
    return "\n".join(
        [
            *([] if any(other in CONTROLS for _, other in claims) else missing),
            "Detectors, by mean AUROC over the image sources on the test:",
            *compare_all(compared),
            f"Validation chooses {chosen}: test AUROC {auroc}.",
        ]
    )


def list_detectors(found: Numbers) -> list[str]:
    """The detectors that the numbers hold."""
    return [name for name in TITLES if TITLES[name] in found["readings"]["test"]]


def choose(found: Numbers) -> str:
    """The detector with the best mean AUROC on validation that is no control."""
    validation = found["readings"]["validation"]
    names = [name for name in list_detectors(found) if name not in CONTROLS]
    return max(names, key=lambda name: validation[TITLES[name]][MEAN]["auroc"]["mean"])


def tables(found: Numbers) -> Iterator[Table]:
    """Means on validation and test, metrics by source, and the differences."""
    readings, names = found["readings"], list_detectors(found)
    titles = [TITLES[name] for name in names]
    known = ", ".join(list_sources(next(iter(readings["validation"].values()))))
    columns = tuple(readings["test"][TITLES["full"]])
    yield Table(
        "Detectors, mean over the image sources",
        ("detector", *(f"{title}, {split}" for title in METRICS.values() for split in SPLITS)),
        tuple((t, *(cell for metric in METRICS for cell in value_cells(readings, t, metric))) for t in titles),
        f"{describe_spread({split: [readings[split][t][MEAN] for t in titles] for split in SPLITS})} Checkpoints and "
        f"thresholds come from validation, which has images of {known}. Controls are trained and tested with another "
        "image's map, or with the mean of the training maps, in place of each image's own.",
    )
    for metric, title in METRICS.items():
        yield Table(
            f"{title} by image source",
            ("detector", *columns),
            tuple((t, *(describe_value(readings["test"][t][c][metric]) for c in columns)) for t in titles),
            f"Test images; {describe_spread({c: [readings['test'][t][c] for t in titles] for c in columns})}",
        )
    others = [(name, name, "image_only") for name in names if name != "image_only"]
    yield _tabulate_differences(f"AUROC less AUROC of {TITLES['image_only']}", columns, found, others)
    others = [(name, "full", name) for name in names if name != "full"]
    yield _tabulate_differences(f"AUROC of {TITLES['full']} less AUROC of the other detector", columns, found, others)


def _tabulate_differences(
    title: str, columns: tuple[str, ...], found: Numbers, rows: list[tuple[str, str, str]]
) -> Table:
    """Rows of (whose row, the one, the other)."""
    cells = []
    for name, one, other in rows:
        by_source = found["differences"][name_difference(one, other)]
        cells.append((TITLES[name], *(describe_difference(by_source[column]) for column in columns)))
    shown = {c: [found["differences"][name_difference(*pair)][c] for _, *pair in rows] for c in columns}
    note = f"Paired on the same test images. {describe_groups(shown)} {RULE}"
    return Table(capitalize(title), ("detector", *columns), tuple(cells), note)


TELLING = Telling("What do the map, ESR and ECR add to the image?", LIMITS, headline, finding, tables)
