"""What the numbers of a results.json say, in plain words. Every claim is decided by a number, none is written down."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scipy.special import logit, stdtr, stdtrit  # type: ignore[import-untyped]

from train.scoring.holm import holm
from train.scoring.intervals import LEVEL
from train.scoring.titles import TITLES

INTRO = (
    "Tiles of {num_photographs} photographs are compared with images of two latent diffusion models of a few million "
    "weights each. toy-a-img2img starts from the photographs and keeps their content; toy-a starts from class names. "
    "toy-b-img2img and toy-b are made alike by a second model. Detectors train on the first model's images alone. All "
    "maps come from the first model. The code is the same as for Stable Diffusion on GenImage."
)
LIMITS = (
    "The demo shows that the method runs from end to end and what its parts respond to. Images of 64 px, two small "
    "models and a few hundred tiles of each kind say nothing about real generators."
)
INPUTS = {"full": "image and map", "image_only": "the image alone", "map_only": "the map alone"}
MAP_CONTROLS = {"permuted_maps": "permuted maps", "constant_map": "one constant map"}
"""Detectors of the same architecture as "full": what the map adds is the difference to them."""
CLOSE = 0.03
"""Two AUROCs nearer than this are called equal."""
BETTER, CHANCE, INVERTED = (
    "significantly better than chance",
    "consistent with chance",
    "inverted (generated images have the higher error)",
)


@dataclass(frozen=True)
class Finding:
    """A sentence or two, and what they stand on.

    Attributes:
        name: What was decided: "map_adds", "mean_lare:toy-a".
        numbers: The numbers that decided it.
        text: The sentences.
    """

    name: str
    numbers: tuple[float, ...]
    text: str


@dataclass(frozen=True)
class Summary:
    """All findings.

    Attributes:
        shows: What the numbers show.
        failed: What was hoped for and did not come out.
    """

    shows: tuple[Finding, ...]
    failed: tuple[Finding, ...]


def order_readings(results: Mapping[str, Any]) -> list[str]:
    """The readings that are there, known ones first and in their order."""
    known = [name for name in TITLES if name in results["readings"]]
    return known + sorted(set(results["readings"]) - set(known))


def describe_auroc(row: Mapping[str, Any]) -> str:
    """An AUROC with its interval, "0.61 (0.55 to 0.66)"."""
    if row["auroc_interval"] is None:
        return f"{row['auroc']:.2f}"
    lo, hi = row["auroc_interval"]
    return f"{row['auroc']:.2f} ({lo:.2f} to {hi:.2f})"


def describe_share(pair: Mapping[str, Any], name: str) -> str:
    """A share of pairs with its interval, "74% (60 to 84)"."""
    ends = pair.get(f"{name}_interval")
    return f"{pair[name]:.0%}" + ("" if ends is None else f" ({100 * ends[0]:.0f} to {100 * ends[1]:.0f})")


def against_chance(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Name → `BETTER`, `CHANCE` or `INVERTED`: AUROCs against 0.5, all of them as one family of tests (Holm).

    The test is that of the intervals: by Student's t of the groups, on the log-odds scale.

    Args:
        rows: Name → metrics, as results.json has them.
    """
    tested = {name: row for name, row in rows.items() if row["auroc_interval"] is not None}
    found = holm({name: _p_of_chance(row) for name, row in tested.items()})
    verdicts = dict.fromkeys(rows, CHANCE)
    return verdicts | {name: BETTER if rows[name]["auroc"] > 0.5 else INVERTED for name in found}


def _p_of_chance(row: Mapping[str, Any]) -> float:
    low, high = logit(row["auroc_interval"])
    if low == high:
        return float(low == 0)
    degrees = row["n_groups"] - 1
    error = (high - low) / 2 / stdtrit(degrees, (1 + LEVEL) / 2)
    return float(2 * stdtr(degrees, -abs(low + high) / 2 / error))


def describe_results(results: Mapping[str, Any]) -> Summary:
    """What the results show, and what failed.

    Args:
        results: Content of results.json (readings → sources and controls; pairs).
    """
    readings, pairs = results["readings"], results.get("pairs", {})
    sources = {name for reading in readings.values() for name in reading["sources"]}
    generated = {name: pair for name, pair in pairs.items() if name in sources}
    shows = (*_detectors(readings), *_means(readings), *_pairs(generated))
    failed = (*_smoothness(readings), *_pairs_of_controls(pairs, sources), *_use_of_inputs(readings))
    return Summary(shows, (*failed, *_controls(readings)))


def three_sentences(results: Mapping[str, Any]) -> list[str]:
    """The detector, mean LaRE and the limits, a sentence each; what is not in the results is left out."""
    readings = results["readings"]
    sentences = []
    best = max((name for name in INPUTS if name in readings), key=lambda n: _mean_auroc(readings[n]), default=None)
    if best:
        auroc = _mean_auroc(readings[best])
        controls = [f"{maps} {value:.2f}" for maps, value in _map_controls(readings)]
        control = f" ({', '.join(controls)})" if controls and best == "full" else ""
        sentences.append(f"The best detector sees {INPUTS[best]}: mean AUROC {auroc:.2f}{control}.")
    if "mean_lare" in readings:
        rows = readings["mean_lare"]["sources"]
        better = [*against_chance(rows).values()].count(BETTER)
        sentences.append(
            f"Mean LaRE alone reaches {_mean_auroc(readings['mean_lare']):.2f}; it is {BETTER} for {better} of "
            f"{len(rows)} sources."
        )
    return [*sentences, "Two toy models at 64 px say nothing about real generators."]


def _join(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


def _mean_auroc(reading: Mapping[str, Any]) -> float:
    return float(reading["mean"]["auroc"])


def _detectors(readings: Mapping[str, Any]) -> list[Finding]:
    auroc = {name: _mean_auroc(readings[name]) for name in INPUTS if name in readings}
    if not auroc:
        return []
    parts = [f"{auroc[name]:.2f} from {INPUTS[name]}" for name in auroc]
    text = f"The trained detectors reach these AUROCs, averaged over the image sources: {_join(parts)}."
    return [Finding("detectors", tuple(auroc.values()), text)]


def _means(readings: Mapping[str, Any]) -> list[Finding]:
    rows = readings.get("mean_lare", {}).get("sources", {})
    return [
        Finding(
            f"mean_lare:{source}",
            (rows[source]["auroc"],),
            f"Mean LaRE has an AUROC of {describe_auroc(rows[source])} for {source} against photographs: {verdict}.",
        )
        for source, verdict in against_chance(rows).items()
    ]


def _pairs(pairs: Mapping[str, Any]) -> list[Finding]:
    findings = []
    for source, pair in pairs.items():
        photo, reconstruction = pair["lower_than_photo"], pair.get("lower_than_roundtrip")
        if photo is None:  # all were copies of their photographs
            continue
        share = describe_share(pair, "lower_than_photo")
        text = f"In {share} of {pair['n']:,} pairs {source} has a lower mean LaRE than its own photograph."
        if reconstruction is not None:
            share = describe_share(pair, "lower_than_roundtrip")
            text += f" In {share} it has a lower mean LaRE than the VAE reconstruction of the same photograph."
        findings.append(
            Finding(f"pairs:{source}", (photo, *([] if reconstruction is None else [reconstruction])), text)
        )
    return findings


def _pairs_of_controls(pairs: Mapping[str, Any], sources: set[str]) -> list[Finding]:
    share = {name: pair["lower_than_photo"] for name, pair in pairs.items() if pair["lower_than_photo"] is not None}
    best = max(share.keys() & sources, key=lambda name: share[name], default=None)
    controls = sorted(name for name in share.keys() - sources if best and share[name] > share[best] - CLOSE)
    if not (best and controls):
        return []
    parts = [f"{share[name]:.0%} of pairs of {name}" for name in controls]
    return [
        Finding(
            "pairs",
            (*(share[name] for name in controls), share[best]),
            "A lower mean LaRE than its own photograph does not mark a generated image. It occurs in "
            f"{_join(parts)}, which are controls, and in {share[best]:.0%} of pairs of {best}.",
        )
    ]


def _smoothness(readings: Mapping[str, Any]) -> list[Finding]:
    if "mean_lare" not in readings:
        return []
    reading = readings["mean_lare"]
    source, best = max(reading["sources"].items(), key=lambda item: item[1]["auroc"])
    findings = []
    controls = {c: row["auroc"] for c, row in reading["controls"].items() if row["auroc"] > best["auroc"] - CLOSE}
    if controls:
        parts = [f"{name} ({value:.2f})" for name, value in controls.items()]
        findings.append(
            Finding(
                "low_mean",
                (*controls.values(), best["auroc"]),
                f"A low mean LaRE does not mark a generated image. Its AUROC is {best['auroc']:.2f} for {source}. "
                f"These controls, which no diffusion model made, are no more than {CLOSE} below: {_join(parts)}.",
            )
        )
    energy = readings.get("gradient_energy", {}).get("sources", {}).get(source)
    if energy and energy["auroc"] > best["auroc"] - CLOSE:
        findings.append(
            Finding(
                "smoothness",
                (energy["auroc"], best["auroc"]),
                f"Mean LaRE does no better than smoothness. Gradient energy, which needs no diffusion model, separates "
                f"{source} with an AUROC of {energy['auroc']:.2f}, mean LaRE with {best['auroc']:.2f}.",
            )
        )
    return findings


def _use_of_inputs(readings: Mapping[str, Any]) -> list[Finding]:
    controls = _map_controls(readings)
    if "full" not in readings or not controls:
        return []
    own = _mean_auroc(readings["full"])
    parts = [f"{value:.2f} when it is trained on {maps}" for maps, value in controls]
    return [
        Finding(
            "map_adds",
            (own, *(value for _, value in controls)),
            f"What the map adds is not known from one seed. The detector from image and map has an AUROC of {own:.2f}. "
            f"The same detector has {_join(parts)}.",
        )
    ]


def _map_controls(readings: Mapping[str, Any]) -> list[tuple[str, float]]:
    """What maps a control was trained on, and its mean AUROC."""
    return [(maps, _mean_auroc(readings[name])) for name, maps in MAP_CONTROLS.items() if name in readings]


def _controls(readings: Mapping[str, Any]) -> list[Finding]:
    findings = []
    for name, text in INPUTS.items():
        rows = readings.get(name, {}).get("controls", {})
        found = {control: row["auroc"] for control, row in rows.items() if row["auroc"] > 0.5 + 2 * CLOSE}
        if found:
            parts = [f"{control} ({value:.2f})" for control, value in found.items()]
            findings.append(
                Finding(
                    f"controls:{name}",
                    tuple(found.values()),
                    f"The detector from {text} responds to more than diffusion. It separates these controls from "
                    f"photographs: {_join(parts)}.",
                )
            )
    return findings
