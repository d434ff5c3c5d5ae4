"""LaRE against the errors of whole reconstructions, on the same images: what they tell, and what they cost."""

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow.compute as pc

from experiments.answers.answer import Answer, Chart, Curve, Table, capitalize, with_interval
from experiments.study.comparisons import (
    MEAN,
    RULE,
    describe_difference,
    describe_value,
    describe_verdicts,
    side_of,
    subtract,
    sum_up_verdicts,
)
from experiments.study.over_sources import Means
from experiments.study.settings import METRICS, SPLITS, Scored, score, subtract_means, summarize, value_cells
from experiments.study.some_images import narrow
from experiments.study.stage_1 import count_giga_macs, make_cache, parse_config
from experiments.study.study import Study
from train.scoring.metrics import mean_interval
from train.scoring.pairs import ROUNDTRIP_PREFIX, choose_roundtrip, match_pairs
from train.scoring.scores import Reading

LARE = "lare"
METHODS = {
    LARE: "LaRE",
    "dire": "DIRE",
    "one_step": "one-step reconstruction",
    "roundtrip": "autoencoder's round trip",
}
"""Of stage 1's `method` → for people."""
READINGS = {"mean_lare": "mean of the map", "map_only": "detector, map only", "full": "detector, image + map"}
BENCH = "python -m bench --measures reconstruction"
LIMITS = (
    "All errors come from one model, and another may suit a method that reconstructs more better or worse. "
    "DIRE's own detector sees images of the error at full resolution, AEROBLADE measures a perceptual distance: here "
    "all errors are means over the cells of one map, and all detectors have one recipe. It is LaRE's: a detector of "
    "image and map is led less by maps of smaller numbers, where few epochs do not make up for them, while that of the "
    "map alone brings all maps to one scale. Where the real class are round trips of photographs, the decoder's trace, "
    "which the error of a round trip goes by, is on both sides. Cost is "
    f"arithmetic; seconds at the shapes of Stable Diffusion 1.5 are measured by `{BENCH}`."
)
Differences = Mapping[str, Mapping[str, Mapping[str, Means]]]
"""Reading → method → `MEAN` and each image source → test AUROC less LaRE's."""
Scores = Mapping[str, Mapping[str, Scored]]
"""Reading → method → scores."""


@dataclass(frozen=True)
class Share:
    """Of an image source: how many images have a lower mean error than the round trip of their own photograph."""

    lower: float
    interval: tuple[float, float]
    """95 %, by group."""
    n: int


def answer(study: Study) -> Answer:
    """What do the errors of whole reconstructions (DIRE and others) give and cost beside LaRE? Makes their caches."""
    study = narrow(study)
    caches = name_caches(study.default_cache)
    arguments = make_caches(study, caches)
    errors = {method: study.readings(study.cache(cache))["mean_lare"] for method, cache in caches.items()}
    sizes = {method: float(-each.scores.mean()) for method, each in errors.items()}
    shares = {method: compare_with_roundtrips(each) for method, each in errors.items()}
    scored = {reading: {m: score(study, cache, reading) for m, cache in caches.items()} for reading in READINGS}
    differences = {reading: compare_with_lare(by_method) for reading, by_method in scored.items()}
    giga_macs = {method: count_giga_macs(parse_config(study, each)) for method, each in arguments.items()}
    return Answer(
        name="reconstruction",
        question="What do the errors of whole reconstructions give and cost beside LaRE?",
        headline=sum_up(differences["map_only"]),
        finding=describe(scored, differences, shares, sizes, giga_macs),
        limits=LIMITS,
        command=study.command("reconstruction"),
        settings={**study.describe(), "max_images": study.config.max_images, "caches": caches},
        tables=(
            tabulate(scored, sizes, giga_macs),
            *(tabulate_by_source(reading, by_method) for reading, by_method in scored.items()),
            tabulate_differences(differences),
            tabulate_shares(shares),
        ),
        charts=(draw(scored, giga_macs),),
        numbers={
            "giga_macs": giga_macs,
            "mean_error": sizes,
            "lower_than_own_roundtrip": {m: {s: vars(share) for s, share in by.items()} for m, by in shares.items()},
            "differences": {
                reading: {m: {s: each.describe() for s, each in by.items()} for m, by in by_method.items()}
                for reading, by_method in differences.items()
            },
            "readings": summarize(
                {f"{METHODS[m]}, {READINGS[reading]}": each for reading, by in scored.items() for m, each in by.items()}
            ),
        },
    )


def name_caches(default: str) -> dict[str, str]:
    """Method → name of its cache.

    Args:
        default: LaRE's; only one step has a timestep and draws too.
    """
    names = {LARE: default, "one_step": f"one_step-{default}"}
    return {method: names.get(method, method) for method in METHODS}


def make_caches(study: Study, caches: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Make what is not there, as LaRE's default cache was made but for the method. Method → arguments of stage 1.

    Raises:
        FingerprintMismatch: If one was made by another model.
    """
    comparable = study.settings_of(study.cache(caches[LARE]))
    arguments = {method: (*comparable, f"--method={method}") for method in METHODS}
    for method, cache in caches.items():
        make_cache(study, cache, *arguments[method])
    return arguments


def compare_with_lare(scored: Mapping[str, Scored]) -> dict[str, dict[str, Means]]:
    """Method → `MEAN` and each image source → test AUROC less LaRE's, paired.

    Raises:
        ValueError: If the caches hold features of different images.
    """
    result = {}
    for method, each in scored.items():
        if method != LARE:
            subtract_means(each, scored[LARE])  # raises
            result[method] = subtract(each.test, scored[LARE].test)
    return result


def compare_with_roundtrips(mean_error: Reading) -> dict[str, Share]:
    """How often a generated image has a lower mean error than its own photograph merely encoded and decoded.

    Args:
        mean_error: Of minus the mean error.

    Returns:
        Generated image source that is made from photographs which have a round trip → share.
    """
    table, errors = mean_error.table, -mean_error.scores[0]
    sources, groups = (table[name].to_numpy() for name in ("image_source", "group"))
    roundtrips = sorted({source for source in sources if source.startswith(ROUNDTRIP_PREFIX)})
    generated = sorted(set(sources[pc.fill_null(table["label"], -1).to_numpy() == 1])) if roundtrips else []
    shares = {}
    for source in generated:
        images, partners = match_pairs(table, source, choose_roundtrip(source, roundtrips))
        if len(images):
            is_lower = errors[images] < errors[partners]
            shares[source] = Share(float(is_lower.mean()), mean_interval(is_lower, groups[images]), len(images))
    return shares


def sum_up(map_only: Mapping[str, Mapping[str, Means]]) -> str:
    """The finding in a line, by the detector that sees the map alone."""
    compared = [(METHODS[method], by_source[MEAN]) for method, by_source in map_only.items()]
    return f"Maps alone against LaRE's, {sum_up_verdicts(compared)}."


def describe(
    scored: Scores,
    differences: Differences,
    shares: Mapping[str, Mapping[str, Share]],
    sizes: Mapping[str, float],
    giga_macs: Mapping[str, float],
) -> str:
    """The finding: against LaRE reading by reading, what lies below 0.5, the choice of validation, pairs, and cost.

    Args:
        scored: All readings.
        differences: Of them to LaRE.
        shares: Pairs with the own photograph's round trip.
        sizes: Method → mean error of the test images.
        giga_macs: Method → cost of an image.
    """
    parts = []
    for reading, by_method in differences.items():
        compared = [(METHODS[m], METHODS[LARE], by_source[MEAN]) for m, by_source in by_method.items()]
        parts.append(f"{capitalize(READINGS[reading])}: {describe_verdicts(compared)}")
    parts.append("All by the mean AUROC over the image sources on the test.")
    units = ", ".join(f"{METHODS[m]} {size:.2g}" for m, size in sizes.items())
    parts.append(f"Maps have a mean of {units}, and the detector of image and map takes them as they are.")
    parts.append(_describe_reversed(scored["mean_lare"]))
    for reading, candidates in scored.items():
        best = max(candidates, key=lambda m: candidates[m].validation[MEAN]["auroc"].mean)
        auroc = describe_value(candidates[best].test[MEAN]["auroc"])
        parts.append(f"Validation chooses {METHODS[best]} for {READINGS[reading]}: test AUROC {auroc}.")
    parts.append(_describe_shares(shares))
    costs = [f"{METHODS[m]} {cost / giga_macs[LARE]:.2f}" for m, cost in giga_macs.items() if m != LARE]
    parts.append(
        f"Of LaRE's operations, {giga_macs[LARE]:.3g} GMAC an image, the others take: {', '.join(costs)} times."
    )
    return "\n".join(parts)


def _describe_reversed(scored: Mapping[str, Scored]) -> str:
    """Where the mean error of generated images is told to be the higher one."""
    found = []
    for method, each in scored.items():
        ends = {source: metrics["auroc"].interval for source, metrics in each.test.items() if source != MEAN}
        sources = [source for source, end in ends.items() if side_of(end, 0.5) == -1]
        if sources:
            found.append(f"{METHODS[method]} ({', '.join(sources)})")
    if not found:
        return "For no method and image source the mean error of generated images is told to be the higher one."
    names = ", ".join(found)
    return f"AUROCs below 0.5, where generated images have the higher mean error, are not turned round: {names}."


def _describe_shares(shares: Mapping[str, Mapping[str, Share]]) -> str:
    if not any(shares.values()):
        return "No generated image could be compared with the round trip of its own photograph: there are none."
    texts = []
    for method, by_source in shares.items():
        found = [f"{source} {100 * share.lower:.0f} %" for source, share in by_source.items()]
        texts.append(f"{METHODS[method]} {', '.join(found)}")
    return f"A lower mean error than the round trip of the own photograph: {'; '.join(texts)}."


def tabulate(scored: Scores, sizes: Mapping[str, float], giga_macs: Mapping[str, float]) -> Table:
    """Cost and means over the image sources of every method."""
    heads = [f"{name}, {READINGS[r]}, {split}" for r in scored for name in METRICS.values() for split in SPLITS]
    rows = []
    for method, cost in giga_macs.items():
        values = [cell for by in scored.values() for metric in METRICS for cell in value_cells(by[method], metric)]
        rows.append((METHODS[method], cost, f"{cost / giga_macs[LARE]:.2f}", sizes[method], *values))
    return Table(
        "Reconstruction errors: cost, and means over the image sources",
        ("", "GMAC an image", "of LaRE's", "mean error", *heads),
        tuple(rows),
        "95 % interval by group, ± standard deviation over seeds. Below 0.5 generated images have the higher error.",
    )


def tabulate_by_source(reading: str, scored: Mapping[str, Scored]) -> Table:
    """AUROC and AP of one reading by image source."""
    sources = [source for source in scored[LARE].test if source != MEAN]
    rows = []
    for method, each in scored.items():
        for metric, title in METRICS.items():
            values = (describe_value(each.test[source][metric]) for source in sources)
            rows.append((METHODS[method], title, *values))
    note = "Test images; 95 % interval by group, ± standard deviation over seeds."
    return Table(f"By image source: {READINGS[reading]}", ("", "", *sources), tuple(rows), note)


def tabulate_differences(differences: Differences) -> Table:
    """AUROC less LaRE's, by reading and image source."""
    sources = list(next(iter(next(iter(differences.values())).values())))
    return Table(
        "AUROC less that of LaRE",
        ("", "", *sources),
        tuple(
            (READINGS[reading], METHODS[method], *(describe_difference(by_source[source]) for source in sources))
            for reading, by_method in differences.items()
            for method, by_source in by_method.items()
        ),
        f"Test images, paired; 95 % interval by group. {RULE}",
    )


def tabulate_shares(shares: Mapping[str, Mapping[str, Share]]) -> Table:
    """Pairs with the own photograph's round trip."""
    return Table(
        "Lower mean error than the round trip of the own photograph",
        ("image source", "n", *(METHODS[method] for method in shares)),
        tuple(
            (source, each.n, *(with_interval(by[source].lower, by[source].interval) for by in shares.values()))
            for source, each in shares[LARE].items()
        ),
        "Share of the generated images that are made from photographs; 95 % interval by group. The round trip is that "
        "through the autoencoder of the model that made the image.",
    )


def draw(scored: Scores, giga_macs: Mapping[str, float]) -> Chart:
    """Mean test AUROC over the cost, a point a method."""
    curves = tuple(
        Curve(
            READINGS[reading],
            tuple(giga_macs.values()),
            tuple(by_method[m].test[MEAN]["auroc"].mean for m in giga_macs),
            labels=tuple(METHODS[m] for m in giga_macs),
        )
        for reading, by_method in scored.items()
    )
    title = "AUROC, mean over the image sources, against cost"
    return Chart(title, "GMAC an image", "AUROC on test", curves, log_x=True, lines=False, reference=0.5)
