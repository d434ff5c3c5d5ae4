"""What more noise draws are worth: for the mean of a map and for its shape, against what they cost."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from experiments.answers.answer import Answer, Chart, Table, format_cell
from experiments.study.comparisons import MEAN, RULE, describe_difference, describe_verdicts, judge, sum_up_verdicts
from experiments.study.over_sources import Means
from experiments.study.settings import SPLITS, TITLES, Scored, make_curve, score, subtract_means, summarize, value_cells
from experiments.study.study import Study, cache_name

COSTS_NAME = "costs.json"
"""File beside the caches: multiply-accumulates of one call of each part of the model."""
LIMITS = (
    "The caches share their draws: e = 1 is the first of the draws of e = 2, and so on. That makes the differences "
    "precise, and the correlations higher than those of independent draws. Cost is arithmetic, not time, and without "
    "the text encoder, which reads one prompt for all images. What is not told apart here may be with more images or "
    "seeds. One diffusion model, one timestep."
)
BySize = Mapping[int, Scored]


def answer(study: Study) -> Answer:
    """What is each further noise draw worth, for the mean and for the map, and what does it cost? From caches alone."""
    config = study.config
    caches = {e: cache_name(config.timestep, e) for e in sorted(config.ensemble_sizes)}
    if len(caches) < 2:
        raise ValueError(f"ensemble_sizes is {config.ensemble_sizes}: expected several to compare")
    means = {e: -study.readings(study.cache(name))["mean_lare"].scores[0] for e, name in caches.items()}
    scored = {
        reading: {e: score(study, name, reading) for e, name in caches.items()}
        for reading in ("mean_lare", *config.sweep_variants)
    }
    correlations = {e: float(np.corrcoef(values, means[max(means)])[0, 1]) for e, values in means.items()}
    giga_macs = load_giga_macs(config.caches / COSTS_NAME, list(caches))
    gains = {reading: compare_with_fewest(by_size) for reading, by_size in scored.items()}
    smallest = {reading: find_smallest(by_size) for reading, by_size in scored.items()}
    named = {f"{TITLES[reading]}, e = {e}": each for reading, by_size in scored.items() for e, each in by_size.items()}
    return Answer(
        name="ensemble",
        question="What is each further noise draw worth?",
        headline=sum_up(gains),
        finding=describe(gains, smallest, correlations, config.ensemble_size),
        limits=LIMITS,
        command=study.command("ensemble"),
        settings={**study.describe(), "timestep": config.timestep, "ensemble_sizes": list(caches)},
        tables=(tabulate(scored, correlations, giga_macs), tabulate_gains(gains)),
        charts=(draw(scored),),
        numbers={
            "correlations": correlations,
            "giga_macs": giga_macs,
            "smallest_not_worse_on_validation": smallest,
            "gains": {
                reading: {e: {split: gain.describe() for split, gain in by_split.items()} for e, by_split in by.items()}
                for reading, by in gains.items()
            },
            "readings": summarize(named),
        },
    )


def load_giga_macs(file: Path, sizes: list[int]) -> dict[int, float | None]:
    """Ensemble size → 10⁹ multiply-accumulates an image: an encoding, and a UNet call a draw. None without the file."""
    if not file.is_file():
        return dict.fromkeys(sizes)
    costs = json.loads(file.read_text(encoding="utf-8"))
    return {e: (costs["vae_encoder"] + e * costs["unet"]) / 1e9 for e in sizes}


def compare_with_fewest(scored: BySize) -> dict[int, dict[str, Means]]:
    """Ensemble size → split → mean AUROC over the image sources less that of the smallest ensemble."""
    fewest = min(scored)
    return {e: subtract_means(each, scored[fewest]) for e, each in scored.items() if e != fewest}


def find_smallest(scored: BySize) -> int:
    """The smallest ensemble that the largest is not told to be better than, on validation."""
    largest = scored[max(scored)]
    return min(e for e, each in scored.items() if judge(subtract_means(largest, each)["validation"]) < 1)


def sum_up(gains: Mapping[str, Mapping[int, Mapping[str, Means]]]) -> str:
    """The finding in a line."""
    most = {reading: max(by_size) for reading, by_size in gains.items()}
    compared = [(f"{TITLES[r]} (e = {most[r]})", by_size[most[r]]["test"]) for r, by_size in gains.items()]
    return f"The largest ensemble against the smallest, {sum_up_verdicts(compared)}."


def describe(
    gains: Mapping[str, Mapping[int, Mapping[str, Means]]],
    smallest: Mapping[str, int],
    correlations: Mapping[int, float],
    default: int,
) -> str:
    """The finding: what more draws do not give, and give, on the test images, and how many validation calls enough."""
    fewest, largest = min(correlations), max(correlations)
    compared = [
        (f"{TITLES[reading]}, e = {largest}", f"e = {fewest}", by_size[largest]["test"])
        for reading, by_size in gains.items()
    ]
    enough = ", ".join(f"{TITLES[reading]} e = {e}" for reading, e in smallest.items())
    needed = max(smallest.values())
    verdict = (
        f"The default e = {default} is too small"
        if default < needed
        else f"The default e = {default} is as small as can be"
        if default == needed
        else f"The default e = {default} is larger than needed"
    )
    return (
        f"{describe_verdicts(compared)} All by the mean AUROC over the image sources. The smallest ensemble that "
        f"e = {largest} is not told to be better than on validation: {enough}. {verdict} by that. The "
        f"mean LaRE of an image at e = {fewest} and at e = {largest} has a correlation of "
        f"{format_cell(correlations[fewest])}."
    )


def tabulate(
    scored: Mapping[str, BySize], correlations: Mapping[int, float], giga_macs: Mapping[int, float | None]
) -> Table:
    """Cost, correlation and AUROC of every ensemble size."""
    heads = [f"{TITLES[reading]}, {split}" for reading in scored for split in SPLITS]
    rows = []
    for e, correlation in correlations.items():
        values = [cell for by_size in scored.values() for cell in value_cells(by_size[e])]
        rows.append((e, e, giga_macs[e], correlation, *values))
    return Table(
        "Ensembles: cost and mean AUROC over the image sources",
        ("e", "UNet calls", "GMAC an image", f"correlation of the mean with e = {max(correlations)}", *heads),
        tuple(rows),
        "Correlation (Pearson) over all test images. AUROC: 95 % interval by group, ± standard deviation over seeds. "
        "GMAC is empty where the caches were not made by `python -m experiments caches`.",
    )


def tabulate_gains(gains: Mapping[str, Mapping[int, Mapping[str, Means]]]) -> Table:
    """What is gained over the smallest ensemble."""
    sizes = list(next(iter(gains.values())))
    return Table(
        "AUROC gained over the smallest ensemble",
        ("", "images", *(f"e = {e}" for e in sizes)),
        tuple(
            (TITLES[reading], split, *(describe_difference(by_size[e][split]) for e in sizes))
            for reading, by_size in gains.items()
            for split in SPLITS
        ),
        f"Mean over the image sources, paired; 95 % interval by group. {RULE}",
    )


def draw(scored: Mapping[str, BySize]) -> Chart:
    """AUROC over the number of draws."""
    curves = tuple(
        make_curve(TITLES[reading], list(by_size), [each.test[MEAN]["auroc"] for each in by_size.values()])
        for reading, by_size in scored.items()
    )
    title = "AUROC, mean over the image sources, against cost"
    return Chart(title, "UNet calls an image (e)", "AUROC", curves, log_x=True, reference=0.5)
