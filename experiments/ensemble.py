"""What more noise draws are worth: for the mean of a map and for its shape, against what they cost."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from experiments.answers.answer import Answer, Chart, Table, capitalize, format_cell
from experiments.answers.readings import MEAN, SPLITS, SPREAD, TITLES, make_curve, value_cells
from experiments.answers.telling import Numbers, Telling
from experiments.answers.verdicts import (
    RULE,
    compare_all,
    describe_difference,
    judge,
    state_verdicts,
)
from experiments.study.fits import Work, fit_each
from experiments.study.names import ensemble_caches
from experiments.study.settings import Scored, score, subtract_means, summarize
from experiments.study.study import Study

COSTS_NAME = "costs.json"
"""File beside the caches: multiply-accumulates of one call of each part of the model."""
LIMITS = (
    "The caches share their draws: e = 1 is the first of the draws of e = 2, and so on. Shared draws make the "
    "differences precise, and the correlations higher than with independent draws. Cost is arithmetic, not time. The "
    "cost leaves out the text encoder, which reads one prompt for all images. A difference that is not significant "
    "here may be with more images or seeds. One diffusion model and one timestep were tried."
)
BySize = Mapping[int, Scored]


def answer(study: Study) -> Answer:
    """What is each further noise draw worth, for the mean and for the map, and what does it cost? From caches alone."""
    config = study.config
    caches = ensemble_caches(config)
    if len(caches) < 2:
        raise ValueError(f"ensemble_sizes is {config.ensemble_sizes}: expected several to compare")
    scored = {
        reading: {e: score(study, name, reading) for e, name in caches.items()}
        for reading in ("mean_lare", *config.sweep_variants)
    }
    found = numbers(study, caches, scored)
    return study.tell("ensemble", TELLING, found, timestep=config.timestep, ensemble_sizes=list(caches))


def work(study: Study) -> Work:
    """What it trains."""
    return Work(fit_each(study.config.sweep_variants, ensemble_caches(study.config).values()))


def numbers(study: Study, caches: Mapping[int, str], scored: Mapping[str, BySize]) -> dict[str, Any]:
    """Correlations of the mean LaRE, costs, gains, and all scores.

    Args:
        study: Whose images they are.
        caches: Ensemble size → name of its cache.
        scored: Reading → ensemble size → scores.
    """
    means = {e: -study.readings(study.cache(name))["mean_lare"].scores[0] for e, name in caches.items()}
    named = {name_setting(reading, e): each for reading, by_size in scored.items() for e, each in by_size.items()}
    return {
        "default": study.config.ensemble_size,
        "correlations": {e: float(np.corrcoef(values, means[max(means)])[0, 1]) for e, values in means.items()},
        "giga_macs": load_giga_macs(study.config.caches / COSTS_NAME, list(caches)),
        "smallest_not_worse_on_validation": {reading: find_smallest(by_size) for reading, by_size in scored.items()},
        "gains": {reading: compare_with_fewest(by_size) for reading, by_size in scored.items()},
        "readings": summarize(named),
    }


def name_setting(reading: str, size: int | str) -> str:
    """Name of a reading of an ensemble in the numbers."""
    return f"{TITLES[reading]}, e = {size}"


def load_giga_macs(file: Path, sizes: list[int]) -> dict[int, float | None]:
    """Ensemble size → 10⁹ multiply-accumulates an image: an encoding, and a UNet call a draw. None without the file."""
    if not file.is_file():
        return dict.fromkeys(sizes)
    costs = json.loads(file.read_text(encoding="utf-8"))
    return {e: (costs["vae_encoder"] + e * costs["unet"]) / 1e9 for e in sizes}


def compare_with_fewest(scored: BySize) -> dict[int, dict[str, Any]]:
    """Ensemble size → split → mean AUROC over the image sources less the mean AUROC of the smallest ensemble."""
    fewest = min(scored)
    return {e: subtract_means(each, scored[fewest]) for e, each in scored.items() if e != fewest}


def find_smallest(scored: BySize) -> int:
    """The smallest ensemble that the largest is not significantly better than, on validation."""
    largest = scored[max(scored)]
    return min(e for e, each in scored.items() if judge(subtract_means(largest, each)["validation"]) < 1)


def find_ends(found: Numbers) -> tuple[str, str]:
    """The smallest ensemble and the largest."""
    sizes = list(found["correlations"])
    return sizes[0], sizes[-1]


def headline(found: Numbers) -> str:
    """Whether the largest ensemble is better than the smallest."""
    fewest, largest = find_ends(found)
    compared = {name_setting(reading, largest): by[largest]["test"] for reading, by in found["gains"].items()}
    if not any(judge(gain) for gain in compared.values()):
        return f"Nothing significant: no reading's AUROC differs significantly between e = {fewest} and e = {largest}."
    return f"{capitalize(state_verdicts(compared, f'e = {fewest}'))}."


def judge_default(found: Numbers) -> int:
    """−1 the default ensemble is smaller than what validation calls enough, 1 larger, 0 as large."""
    needed, default = max(found["smallest_not_worse_on_validation"].values()), found["default"]
    return int(default > needed) - int(default < needed)


def finding(found: Numbers) -> str:
    """What more draws do not give, and give, on the test images, and how many validation calls enough."""
    fewest, largest = find_ends(found)
    compared = [
        (name_setting(reading, largest), f"e = {fewest}", by_size[largest]["test"])
        for reading, by_size in found["gains"].items()
    ]
    words = {-1: "is too small", 0: "is as small as it can be", 1: "is larger than needed"}
    enough = [
        f"- {capitalize(TITLES[reading])}: the smallest ensemble that e = {largest} is not significantly better than "
        f"on validation is e = {e}."
        for reading, e in found["smallest_not_worse_on_validation"].items()
    ]
    return "\n".join(
        [
            f"The largest ensemble, e = {largest}, against the smallest, e = {fewest}, by mean AUROC over the image "
            "sources on the test:",
            *compare_all(compared),
            f"By validation the default e = {found['default']} {words[judge_default(found)]}.",
            *enough,
            f"The mean LaRE of an image at e = {fewest} and at e = {largest} has a correlation of "
            f"{format_cell(found['correlations'][fewest])}.",
        ]
    )


def tables(found: Numbers) -> Iterator[Table]:
    """Cost, correlation and AUROC of every ensemble size, and what is gained over the smallest."""
    readings, gains = found["readings"], found["gains"]
    yield Table(
        "Ensembles: cost and mean AUROC over the image sources",
        (
            *("e", "UNet calls", "GMAC an image", f"correlation of the mean with e = {find_ends(found)[1]}"),
            *(f"{TITLES[reading]}, {split}" for reading in gains for split in SPLITS),
        ),
        tuple(
            (
                *(int(e), int(e), found["giga_macs"][e], correlation),
                *(cell for reading in gains for cell in value_cells(readings, name_setting(reading, e))),
            )
            for e, correlation in found["correlations"].items()
        ),
        f"Correlation (Pearson) over all test images. AUROC: {SPREAD} "
        "GMAC is empty where the caches were not made by `python -m experiments caches`.",
    )
    sizes = list(next(iter(gains.values())))
    yield Table(
        "AUROC gained over the smallest ensemble",
        ("reading", "images", *(f"e = {e}" for e in sizes)),
        tuple(
            (TITLES[reading], split, *(describe_difference(by_size[e][split]) for e in sizes))
            for reading, by_size in gains.items()
            for split in SPLITS
        ),
        f"Mean over the image sources, paired; 95 % interval by group. {RULE}",
    )


def charts(found: Numbers) -> Iterator[Chart]:
    """AUROC over the number of draws."""
    test, sizes = found["readings"]["test"], [int(e) for e in found["correlations"]]
    curves = tuple(
        make_curve(TITLES[reading], sizes, [test[name_setting(reading, e)][MEAN]["auroc"] for e in sizes])
        for reading in found["gains"]
    )
    title = "AUROC, mean over the image sources, against cost"
    yield Chart(title, "UNet calls an image (e)", "AUROC", curves, log_x=True, reference=0.5)


TELLING = Telling("What is each further noise draw worth?", LIMITS, headline, finding, tables, charts)
