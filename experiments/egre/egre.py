"""What the map and its two refinements add to the image: from caches, without a model."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from experiments.answers.answer import Answer
from experiments.egre.telling import TELLING, TITLES, name_difference
from experiments.study.comparisons import subtract
from experiments.study.fits import Fit, Work
from experiments.study.names import run_name
from experiments.study.settings import Scored, score_runs, summarize
from experiments.study.study import Study


@dataclass(frozen=True)
class Detector:
    """One of the compared detectors."""

    variant: str
    """As of `Study.fit`."""
    arguments: tuple[str, ...] = ()
    """What differs from the recipe."""


DETECTORS = {
    "image_only": Detector("image_only"),
    "map_only": Detector("map_only"),
    "concat": Detector("full", ("--model.spatial=false", "--model.channel=false", "--model.concat=true")),
    "esr": Detector("full", ("--model.channel=false",)),
    "ecr": Detector("full", ("--model.spatial=false",)),
    "full": Detector("full"),
    "permuted_maps": Detector("full", ("--data.permute_maps=true",)),
    "constant_map": Detector("full", ("--data.constant_map=true",)),
}


def answer(study: Study) -> Answer:
    """What do the map, ESR and ECR add each? From caches alone."""
    return study.tell("egre", TELLING, numbers(score_detectors(study)))


def work(study: Study) -> Work:
    """What it trains."""
    name = study.default_cache
    fits = (Fit(run_name(detector, name), name, how.variant, how.arguments) for detector, how in DETECTORS.items())
    return Work(tuple(fits))


def numbers(scored: Mapping[str, Scored]) -> dict[str, Any]:
    """All scores, and the differences of detectors.

    Args:
        scored: Detector → scores.
    """
    return {
        "readings": summarize({TITLES[name]: each for name, each in scored.items()}),
        "differences": {name_difference(*pair): each for pair, each in compare_detectors(scored).items()},
    }


def score_detectors(study: Study) -> dict[str, Scored]:
    """Train the detectors, and score them with the maps that they were trained on."""
    name = study.default_cache
    cache = study.cache(name)
    runs = {
        detector: study.fit(run_name(detector, name), cache, variant=how.variant, arguments=how.arguments)
        for detector, how in DETECTORS.items()
    }
    return {detector: score_runs(study, each, cache) for detector, each in runs.items()}


def compare_detectors(scored: Mapping[str, Scored]) -> dict[tuple[str, str], dict[str, Any]]:
    """On the test images: each detector against the image alone, and the one with both refinements against each.

    What the map adds is the difference to the controls of `workflow.stages.CONTROLS` alone: they have its architecture.

    Returns:
        (The one, the other) → `MEAN` and each image source → AUROC of the one less AUROC of the other.
    """
    pairs = [(name, "image_only") for name in scored if name != "image_only"]
    pairs += [("full", name) for name in scored if name != "full"]
    return {(one, other): subtract(scored[one].test, scored[other].test) for one, other in pairs}
