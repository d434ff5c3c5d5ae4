"""What the numbers of a results.json say, in plain words. Every claim is decided by a number, none is written down."""

from collections.abc import Mapping
from typing import Any

from train.scoring.titles import TITLES

INTRO = (
    "Tiles of {num_photographs} photographs are compared with images of two latent diffusion models of a few million "
    "weights: toy-a-img2img starts from the photographs themselves and keeps their content, toy-a from class names, "
    "toy-b-img2img and toy-b are the same of a second model. Detectors are trained on the first model's images alone, "
    "and all LaRE maps are its own. Maps, detectors and results come from the code that runs Stable Diffusion on "
    "GenImage."
)
LIMITS = (
    "At 64 px, with two small models and a few hundred tiles of each kind, this shows that the method runs from end to "
    "end and what its parts see; it says nothing about how well it finds the images of real generators."
)
INPUTS = {"full": "image and map", "image_only": "the image", "map_only": "the map"}
CLOSE = 0.03
"""Two AUROCs nearer than this are called equal."""


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


def against_chance(row: Mapping[str, Any]) -> str:
    """Where the interval lies against 0.5."""
    lo, hi = row["auroc_interval"] or (0.0, 1.0)
    if lo > 0.5:
        return "better than chance"
    if hi < 0.5:
        return "turned round: these fakes have the higher error"
    return "not to be told from chance"


def describe_results(results: Mapping[str, Any]) -> dict[str, list[str]]:
    """What the results show, as sentences (`shows`), and what they do not (`does_not`), as "that …: <the reason>".

    Args:
        results: Content of results.json (readings → sources and controls; pairs).
    """
    readings = results["readings"]
    pairs = {name: pair for name, pair in results.get("pairs", {}).items() if name in _sources(readings)}
    shows = [*_mean_sentences(readings), *_pair_sentences(pairs), *_detector_sentences(readings)]
    does_not = [
        *_smoothness_sentences(readings),
        *_pair_control_sentences(results.get("pairs", {}), _sources(readings)),
        *_use_of_inputs(readings),
    ]
    return {"shows": shows, "does_not": does_not}


def describe_in_a_paragraph(results: Mapping[str, Any]) -> str:
    """The same as one paragraph."""
    text = describe_results(results)
    return " ".join([*text["shows"], *(f"The numbers do not show {clause}" for clause in text["does_not"])])


def _sources(readings: Mapping[str, Any]) -> set[str]:
    return {name for reading in readings.values() for name in reading["sources"]}


def _join(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


def _mean_sentences(readings: Mapping[str, Any]) -> list[str]:
    rows = readings.get("mean_lare", {}).get("sources", {})
    return [
        f"The mean of the LaRE map alone separates {source} from photographs with an AUROC of {describe_auroc(row)}: "
        f"{against_chance(row)}."
        for source, row in rows.items()
    ]


def _pair_sentences(pairs: Mapping[str, Any]) -> list[str]:
    sentences = []
    for source, pair in pairs.items():
        text = f"{source} has a lower mean than the photograph that it was made from in {pair['lower_than_photo']:.0%}"
        if pair.get("lower_than_roundtrip") is not None:
            text += (
                f", and a lower one than that photograph merely passed through the autoencoder in "
                f"{pair['lower_than_roundtrip']:.0%}"
            )
        sentences.append(f"{text} of {pair['n']:,} pairs.")
    return sentences


def _pair_control_sentences(pairs: Mapping[str, Any], sources: set[str]) -> list[str]:
    share = {name: pair["lower_than_photo"] for name, pair in pairs.items()}
    best = max((share[name] for name in share.keys() & sources), default=1.0)
    fooled = [f"{name} in {share[name]:.0%}" for name in share.keys() - sources if share[name] > best - CLOSE]
    if not fooled:
        return []
    return [
        "that a lower mean than its own photograph marks a generated image: controls have it no less often, "
        f"{_join(sorted(fooled))} of pairs."
    ]


def _mean_auroc(reading: Mapping[str, Any]) -> float:
    return float(reading["mean"]["auroc"])


def _detector_sentences(readings: Mapping[str, Any]) -> list[str]:
    parts = [f"{_mean_auroc(readings[n]):.2f} from {text}" for n, text in INPUTS.items() if n in readings]
    return [f"A trained detector reaches, averaged over the sources, an AUROC of {_join(parts)}."] if parts else []


def _smoothness_sentences(readings: Mapping[str, Any]) -> list[str]:
    if "mean_lare" not in readings:
        return []
    reading = readings["mean_lare"]
    source, best = max(reading["sources"].items(), key=lambda item: item[1]["auroc"])
    fooled = {c: row for c, row in reading["controls"].items() if row["auroc"] > best["auroc"] - CLOSE}
    sentences = []
    if fooled:
        names = _join([f"{control} with {row['auroc']:.2f}" for control, row in fooled.items()])
        sentences.append(
            f"that a low mean means “generated”: photographs that no diffusion model has made score "
            f"no worse than {source} ({best['auroc']:.2f}), {names}."
        )
    energy = readings.get("gradient_energy", {}).get("sources", {}).get(source)
    if energy and energy["auroc"] > best["auroc"] - CLOSE:
        sentences.append(
            f"that the mean needs a diffusion model: gradient energy, a measure of smoothness, "
            f"separates {source} with {energy['auroc']:.2f}."
        )
    return sentences


def _use_of_inputs(readings: Mapping[str, Any]) -> list[str]:
    sentences = []
    auroc = {name: _mean_auroc(reading) for name, reading in readings.items()}
    if {"full", "image_only"} <= auroc.keys() and auroc["full"] - auroc["image_only"] < CLOSE:
        sentences.append(
            f"that the map adds to the image: the detector reaches {auroc['full']:.2f} with it and "
            f"{auroc['image_only']:.2f} without."
        )
    if {"full", "full_maps_permuted"} <= auroc.keys() and auroc["full"] - auroc["full_maps_permuted"] < CLOSE:
        sentences.append(
            f"that the detector with both inputs looks at the map: given the maps of other images it "
            f"still reaches {auroc['full_maps_permuted']:.2f}."
        )
    for name, text in INPUTS.items():
        controls = readings.get(name, {}).get("controls", {})
        told = [f"{c} with {row['auroc']:.2f}" for c, row in controls.items() if row["auroc"] > 0.5 + 2 * CLOSE]
        if told:
            sentences.append(
                f"that the detector from {text} answers to diffusion alone: it also separates "
                f"controls from photographs, {_join(told)}."
            )
    return sentences
