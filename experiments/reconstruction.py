"""LaRE against the errors of whole reconstructions, on the same images: what they tell, and what they cost."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow.compute as pc

from experiments.answers.answer import Answer, Chart, Curve, Table, capitalize, with_interval
from experiments.answers.groups import describe_groups, describe_spread
from experiments.answers.readings import MEAN, METRICS, SPLITS, list_sources, value_cells
from experiments.answers.rule import RULE, Comparison, Verdict, judge
from experiments.answers.telling import Numbers, Telling
from experiments.answers.verdicts import (
    compare_all,
    describe_difference,
    describe_value,
    join_names,
    state_verdicts,
)
from experiments.study.comparisons import subtract
from experiments.study.counts import count_training_images
from experiments.study.fits import Work, fit_each
from experiments.study.names import VARIANTS
from experiments.study.settings import Scored, score, subtract_means, summarize
from experiments.study.some_images import narrow
from experiments.study.stage_1 import count_giga_macs, make_cache, parse_config
from experiments.study.study import Study
from train.scoring.intervals import Ends, share_interval
from train.scoring.pairs import choose_roundtrip, list_roundtrips, match_pairs
from train.scoring.scores import Reading

LARE = "lare"
METHODS = {
    LARE: "LaRE",
    "dire": "DIRE",
    "one_step": "one-step reconstruction",
    "roundtrip": "VAE reconstruction",
}
"""Of stage 1's `method` → for people."""
READINGS = {"mean_lare": "mean of the map", "map_only": "detector, map only", "full": "detector, image + map"}
Key = tuple[str, str, str]
"""Of a comparison: "difference", reading, method; "chance", method, image source."""
BENCH = "python -m bench --measures reconstruction"
LIMITS = (
    "All errors come from one model; another model may suit another method better. DIRE's own detector sees images of "
    "the error at full resolution. AEROBLADE measures a perceptual distance. Here all errors are means over the cells "
    "of one map. All detectors have LaRE's recipe. A detector of image and map is led less by maps of smaller numbers. "
    "Few epochs do not make up for it. A detector of the map alone brings all maps to one scale. Where the "
    "real class are VAE reconstructions of photographs, both sides have the decoder's trace, which the error of a VAE "
    f"reconstruction relies on. Cost is arithmetic; `{BENCH}` measures seconds at the shapes of Stable Diffusion 1.5."
)


@dataclass(frozen=True)
class Share:
    """Of an image source: images with a lower mean error than the VAE reconstruction of the same photograph."""

    lower: float
    interval: Ends | None
    """95 %, by group."""
    n_groups: int
    n: int


def answer(study: Study) -> Answer:
    """What do the errors of whole reconstructions (DIRE and others) give and cost beside LaRE? Makes their caches."""
    study = narrow(study)
    caches = name_caches(study.default_cache)
    arguments = make_caches(study, caches)
    found = numbers(study, caches, arguments)
    return study.tell("reconstruction", TELLING, found, max_images=study.config.max_images, caches=caches)


def work(study: Study) -> Work:
    """What it trains and makes."""
    limit, caches = study.config.max_images, name_caches(study.default_cache)
    num_images = count_training_images(study.config.data, limit)
    images = "all" if limit is None else f"at most {limit:,}"
    variants = [reading for reading in READINGS if reading in VARIANTS]
    return Work(
        fit_each(variants, caches.values(), num_images), f"{len(caches)} caches of {images} labelled images", True
    )


def numbers(study: Study, caches: Mapping[str, str], arguments: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
    """Costs, errors, pairs with VAE reconstructions, differences to LaRE, and all scores.

    Args:
        study: Whose images they are.
        caches: Method → name of its cache.
        arguments: Method → arguments of stage 1.
    """
    errors = {method: study.readings(study.cache(cache))["mean_lare"] for method, cache in caches.items()}
    shares = {method: compare_with_roundtrips(each) for method, each in errors.items()}
    scored = {reading: {m: score(study, cache, reading) for m, cache in caches.items()} for reading in READINGS}
    return {
        "giga_macs": {method: count_giga_macs(parse_config(study, each)) for method, each in arguments.items()},
        "mean_error": {method: float(-each.scores.mean()) for method, each in errors.items()},
        "lower_than_own_roundtrip": {m: {s: vars(share) for s, share in by.items()} for m, by in shares.items()},
        "differences": {reading: compare_with_lare(by_method) for reading, by_method in scored.items()},
        "readings": summarize({name_setting(r, m): each for r, by in scored.items() for m, each in by.items()}),
    }


def name_setting(reading: str, method: str) -> str:
    """Name of a reading of a method in the numbers."""
    return f"{METHODS[method]}, {READINGS[reading]}"


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


def compare_with_lare(scored: Mapping[str, Scored]) -> dict[str, dict[str, Any]]:
    """Method → `MEAN` and each image source → test AUROC less LaRE's, paired, as plain values.

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
    """How often a generated image has a lower mean error than its own photograph encoded and decoded by the VAE.

    Args:
        mean_error: Of minus the mean error.

    Returns:
        Generated image source that is made from photographs which have a reconstruction by its own model → share.
    """
    table, errors = mean_error.table, -mean_error.scores[0]
    sources, groups = (table[name].to_numpy() for name in ("image_source", "group"))
    roundtrips = list_roundtrips(table)
    generated = sorted(set(sources[pc.fill_null(table["label"], -1).to_numpy() == 1])) if roundtrips else []
    shares = {}
    for source in generated:
        own = choose_roundtrip(source, roundtrips, needs_own=True)
        images, partners = match_pairs(table, source, own)
        if own and len(images):
            is_lower = errors[images] < errors[partners]
            found = share_interval(is_lower, groups[images])
            shares[source] = Share(found.value, found.interval, found.n_groups, len(images))
    return shares


def compare(found: Numbers) -> dict[Key, Comparison]:
    """All comparisons that the answer makes: each method with LaRE, and each mean error with chance."""
    test, compared = found["readings"]["test"], dict[Key, Comparison]()
    for reading, by_method in found["differences"].items():
        for method, by_source in by_method.items():
            one, other = (test[name_setting(reading, each)][MEAN]["auroc"] for each in (method, LARE))
            compared["difference", reading, method] = Comparison(by_source[MEAN], aurocs=(one, other))
    for method in METHODS:
        scores = test[name_setting("mean_lare", method)]
        for source in list_sources(scores):
            compared["chance", method, source] = Comparison(scores[source]["auroc"], 0.5)
    return compared


def headline(found: Numbers) -> str:
    """The verdicts of the detector that sees the map alone, and the range of costs."""
    judged = judge(compare(found))
    verdicts = {METHODS[m]: judged["difference", "map_only", m] for m in found["differences"]["map_only"]}
    costs = [ratio for method, ratio in compute_cost_ratios(found).items() if method != LARE]
    against = state_verdicts(verdicts, "LaRE")
    return f"By the map alone, {against}; the cost is {min(costs):.1f} to {max(costs):.1f} times LaRE's."


def compute_cost_ratios(found: Numbers) -> dict[str, float]:
    """Method → its multiply-accumulates over LaRE's."""
    return {method: cost / found["giga_macs"][LARE] for method, cost in found["giga_macs"].items()}


def finding(found: Numbers) -> str:
    """Against LaRE reading by reading, what is inverted, the choice of validation, pairs, and cost."""
    lines, judged = ["Test AUROC, mean over the image sources, against LaRE:"], judge(compare(found))
    for reading, by_method in found["differences"].items():
        lines += compare_all(
            (name_setting(reading, m), METHODS[LARE], by_source[MEAN], judged["difference", reading, m])
            for m, by_source in by_method.items()
        )
    lines += [*_tell_inverted(found), *_tell_choices(found), *_tell_shares(found["lower_than_own_roundtrip"])]
    lines.append(f"Cost of LaRE: {found['giga_macs'][LARE]:.3g} GMAC an image.")
    ratios = compute_cost_ratios(found)
    lines += [f"- Cost of {METHODS[m]}: {ratios[m]:.2f} times LaRE's cost." for m in ratios if m != LARE]
    units = join_names([f"{size:.2g} ({METHODS[m]})" for m, size in found["mean_error"].items()])
    lines.append(f"Mean value of a map: {units}. The detector of image and map takes the maps unscaled.")
    return "\n".join(lines)


def find_inverted(found: Numbers) -> dict[str, list[str]]:
    """Method → image sources whose AUROC of the mean error is significantly below 0.5, where there are such."""
    inverted: dict[str, list[str]] = {}
    for key, verdict in judge(compare(found)).items():
        if key[0] == "chance" and verdict is Verdict.WORSE:
            inverted.setdefault(key[1], []).append(key[2])
    return inverted


def choose(found: Numbers, reading: str) -> str:
    """The method with the best AUROC of a reading on validation."""
    by_name = found["readings"]["validation"]
    return max(METHODS, key=lambda method: by_name[name_setting(reading, method)][MEAN]["auroc"]["mean"])


def _tell_inverted(found: Numbers) -> Iterator[str]:
    inverted = find_inverted(found)
    if not inverted:
        yield "No method has a significantly inverted mean error (generated images have the higher error)."
    else:
        yield "Inverted mean errors (generated images have the higher error); AUROC is below 0.5 and kept so:"
    for method, sources in inverted.items():
        yield f"- {capitalize(METHODS[method])}: inverted mean error for {join_names(sources)}."


def _tell_choices(found: Numbers) -> Iterator[str]:
    for reading, title in READINGS.items():
        best = choose(found, reading)
        auroc = describe_value(found["readings"]["test"][name_setting(reading, best)][MEAN]["auroc"])
        yield f"- {capitalize(title)}: validation chooses {METHODS[best]}; test AUROC {auroc}."


def _tell_shares(shares: Numbers) -> Iterator[str]:
    if not any(shares.values()):
        yield "No generated image has a VAE reconstruction of the same photograph to be compared with."
        return
    yield "Share of generated images with a lower mean error than the VAE reconstruction of the same photograph:"
    for method, by_source in shares.items():
        found = [f"{100 * share['lower']:.0f} % of {source}" for source, share in by_source.items()]
        if found:
            yield f"- {capitalize(METHODS[method])}: lower mean error for {join_names(found)}."


def tables(found: Numbers) -> Iterator[Table]:
    """Cost and means of every method, each reading by image source, differences to LaRE, pairs."""
    readings, ratios = found["readings"], compute_cost_ratios(found)
    heads = [f"{name}, {READINGS[r]}, {split}" for r in READINGS for name in METRICS.values() for split in SPLITS]
    rows = []
    for method, cost in found["giga_macs"].items():
        cells = [c for r in READINGS for m in METRICS for c in value_cells(readings, name_setting(r, method), m)]
        rows.append((METHODS[method], cost, f"{ratios[method]:.2f}", found["mean_error"][method], *cells))
    yield Table(
        "Reconstruction errors: cost, and means over the image sources",
        ("method", "GMAC an image", "times LaRE's cost", "mean error", *heads),
        tuple(rows),
        f"{describe_spread(readings)} Below 0.5 generated images have the higher error.",
    )
    for reading in READINGS:
        yield _tabulate_by_source(found, reading)
    yield _tabulate_differences(found["differences"])
    yield _tabulate_shares(found["lower_than_own_roundtrip"])


def _tabulate_by_source(found: Numbers, reading: str) -> Table:
    test = found["readings"]["test"]
    sources = list_sources(test[name_setting(reading, LARE)])
    rows = tuple(
        (METHODS[m], title, *(describe_value(test[name_setting(reading, m)][source][metric]) for source in sources))
        for m in METHODS
        for metric, title in METRICS.items()
    )
    heads = ("method", "metric", *sources)
    shown = {source: [test[name_setting(reading, m)][source] for m in METHODS] for source in sources}
    return Table(f"By image source: {READINGS[reading]}", heads, rows, f"Test images; {describe_spread(shown)}")


def _tabulate_differences(differences: Numbers) -> Table:
    sources = list(next(iter(next(iter(differences.values())).values())))
    rows = tuple(
        (READINGS[reading], METHODS[method], *(describe_difference(by_source[source]) for source in sources))
        for reading, by_method in differences.items()
        for method, by_source in by_method.items()
    )
    shown = {s: [by_source[s] for by in differences.values() for by_source in by.values()] for s in sources}
    note = f"Test images, paired. {describe_groups(shown)} {RULE}"
    return Table("AUROC less AUROC of LaRE", ("reading", "method", *sources), rows, note)


def _tabulate_shares(shares: Numbers) -> Table:
    rows = tuple(
        (source, e["n"], *(with_interval(by[source]["lower"], by[source]["interval"]) for by in shares.values()))
        for source, e in shares[LARE].items()
    )
    return Table(
        "Lower mean error than the VAE reconstruction of the same photograph",
        ("image source", "n", *(METHODS[method] for method in shares)),
        rows,
        "Share of the generated images that are made from photographs; 95 % interval by group. The VAE is "
        "the autoencoder of the model that made the image. "
        + describe_groups({source: [by[source] for by in shares.values()] for source in shares[LARE]}),
    )


def charts(found: Numbers) -> Iterator[Chart]:
    """Mean test AUROC over the cost, a point a method."""
    costs, test = found["giga_macs"], found["readings"]["test"]
    curves = tuple(
        Curve(
            title,
            tuple(costs.values()),
            tuple(test[name_setting(reading, method)][MEAN]["auroc"]["mean"] for method in costs),
            labels=tuple(METHODS[method] for method in costs),
        )
        for reading, title in READINGS.items()
    )
    title = "AUROC, mean over the image sources, against cost"
    yield Chart(title, "GMAC an image", "AUROC on test", curves, log_x=True, lines=False, reference=0.5)


TELLING = Telling(
    "What do the errors of whole reconstructions give and cost beside LaRE?", LIMITS, headline, finding, tables, charts
)
