"""What more noise draws are worth: for the mean of a map and for its shape, against what they cost."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from experiments.answers.answer import Answer, Chart, Table, capitalize, format_cell
from experiments.answers.groups import describe_groups, describe_spread
from experiments.answers.readings import MEAN, SPLITS, TITLES, make_curve, value_cells
from experiments.answers.rule import MARGIN, RULE, Comparison, Verdict, judge, negate
from experiments.answers.telling import Numbers, Telling
from experiments.answers.verdicts import compare_all, describe_difference, group_verdicts, join_names
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
        "margin": study.config.margin,
        "gains": {reading: compare_with(by_size, min(by_size)) for reading, by_size in scored.items()},
        "less_largest": {reading: compare_with(by_size, max(by_size)) for reading, by_size in scored.items()},
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


def compare_with(scored: BySize, size: int) -> dict[int, dict[str, Any]]:
    """Ensemble size → split → mean AUROC over the image sources less that of another size."""
    return {e: subtract_means(each, scored[size]) for e, each in scored.items() if e != size}


Key = tuple[str, ...]
"""Of a comparison: "gain", reading; "enough", reading, ensemble size."""


def compare(found: Numbers) -> dict[Key, Comparison]:
    """All comparisons that the answer makes: largest with smallest on the test, each with the largest on validation."""
    fewest, largest = find_ends(found)
    compared: dict[Key, Comparison] = {}
    for reading, by_size in found["gains"].items():
        pair = aurocs_of(found, reading, largest, fewest, "test")
        compared["gain", reading] = Comparison(by_size[largest]["test"], aurocs=pair)
        for e, value in get_less_largest(found, reading).items():
            pair = aurocs_of(found, reading, e, largest, "validation")
            compared["enough", reading, e] = Comparison(value, aurocs=pair, margin=get_margin(found))
    return compared


def get_margin(found: Numbers) -> float:
    """Within which AUROCs are equally good; older answers do not tell it."""
    return float(found.get("margin", MARGIN))


def get_less_largest(found: Numbers, reading: str) -> dict[str, Any]:
    """Ensemble size → AUROC less that of the largest, on validation; older answers have the smallest size alone."""
    if "less_largest" in found:
        return {e: by["validation"] for e, by in found["less_largest"][reading].items()}
    fewest, largest = find_ends(found)
    return {fewest: negate(found["gains"][reading][largest]["validation"])}


def aurocs_of(found: Numbers, reading: str, one: str, other: str, split: str) -> tuple[Any, Any]:
    """Mean AUROCs of two ensemble sizes."""
    ours, theirs = (found["readings"][split][name_setting(reading, e)][MEAN]["auroc"] for e in (one, other))
    return ours, theirs


def find_enough(found: Numbers) -> dict[str, str | None]:
    """Reading → the smallest ensemble that is shown to be as good as the largest on validation; None: none is."""
    judged = judge(compare(found))
    enough = {r: [k[2] for k in judged if k[:2] == ("enough", r) and judged[k].is_as_good] for r in found["gains"]}
    return {reading: min(sizes, key=int, default=None) for reading, sizes in enough.items()}


def find_ends(found: Numbers) -> tuple[str, str]:
    """The smallest ensemble and the largest."""
    sizes = list(found["correlations"])
    return sizes[0], sizes[-1]


def headline(found: Numbers) -> str:
    """Whether the largest ensemble is better than the smallest."""
    (fewest, largest), judged = find_ends(found), judge(compare(found))
    verdicts = {TITLES[reading]: judged["gain", reading] for reading in found["gains"]}
    if set(verdicts.values()) == {Verdict.SAME}:
        return f"Nothing significant: no reading's AUROC differs significantly between e = {fewest} and e = {largest}."
    texts = [f"{verdict} ({join_names(names)})" for verdict, names in group_verdicts(verdicts).items()]
    return f"e = {largest} against e = {fewest}: {'; '.join(texts)}."


def finding(found: Numbers) -> str:
    """What more draws do not give, and give, on the test images, and how many validation calls enough."""
    (fewest, largest), judged = find_ends(found), judge(compare(found))
    compared = [
        (name_setting(reading, largest), f"e = {fewest}", by_size[largest]["test"], judged["gain", reading])
        for reading, by_size in found["gains"].items()
    ]
    return "\n".join(
        [
            f"The largest ensemble, e = {largest}, against the smallest, e = {fewest}, by mean AUROC over the image "
            "sources on the test:",
            *compare_all(compared),
            f"On validation, as good as e = {largest}, which is within ±{get_margin(found):g} of its AUROC:",
            *(_tell_enough(found, reading, e) for reading, e in find_enough(found).items()),
            f"The default is e = {found['default']}. The mean LaRE of an image at e = {fewest} and at e = {largest} "
            f"has a correlation of {format_cell(found['correlations'][fewest])}.",
        ]
    )


def _tell_enough(found: Numbers, reading: str, enough: str | None) -> str:
    if enough is not None:
        return f"- {capitalize(TITLES[reading])}: e = {enough} is enough."
    judged = judge(compare(found))
    if Verdict.FEW_SEEDS in (judged[key] for key in judged if key[:2] == ("enough", reading)):
        return f"- {capitalize(TITLES[reading])}: {Verdict.FEW_SEEDS}."
    return f"- {capitalize(TITLES[reading])}: no smaller ensemble is shown to be."


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
        f"Correlation (Pearson) over all test images. AUROC: {describe_spread(readings)} "
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
        f"Mean over the image sources, paired. {_describe_pairs(gains)} {RULE}",
    )


def _describe_pairs(gains: Numbers) -> str:
    by_split = {split: [each[split] for by_size in gains.values() for each in by_size.values()] for split in SPLITS}
    return describe_groups(by_split)


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
