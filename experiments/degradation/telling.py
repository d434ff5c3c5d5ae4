"""The question on degradation in words, tables and charts."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from experiments.answers.answer import Chart, Table, capitalize
from experiments.answers.groups import describe_groups, describe_spread
from experiments.answers.readings import make_curve
from experiments.answers.rule import RULE, Comparison, Verdict, judge
from experiments.answers.telling import Numbers, Telling
from experiments.answers.verdicts import CHANCE_WORDS, describe_difference, describe_value, group_verdicts
from experiments.degradation.attack_telling import (
    CALLS,
    CALLS_TITLE,
    chart_attacks,
    compare_attacks,
    tabulate_attacks,
    tell_attacks,
    tell_below_chance,
)

AS_THEY_ARE = "as they are"
REFERENCE_PX = 256
"""Side of the images that sides and blurs are named for."""
PROTOCOL = ("resize:112", "resize:64", "jpeg:65", "jpeg:30", "blur:3", "blur:5")
"""GenImage's degradations."""
READINGS = {
    "full": "image and map",
    "image_only": "image only",
    "map_only": "map only",
    "mean_lare": "mean LaRE",
}
METRIC_TITLES = {CALLS: CALLS_TITLE, "average_precision": "AP", "auroc": "AUROC"}
CHARTED = (CALLS, "average_precision")
OF_PROTOCOL = ("accuracy", "average_precision")
"""What GenImage's protocol tells."""
LIMITS = (
    "Each image has one degradation, and training saw none of them. What training on degraded images would give is not "
    "known. Photographs and generated images are degraded alike. Real images may meet other degradations than "
    "generated ones. Sides and blurs are named for images of 256 px and scaled to the side of an image as stage 1 sees "
    "it. Images of other sizes meet the scaled degradation at their own size. The attack is one step on the pixels by "
    "an attacker who knows the detector. Stronger attacks exist, and an attack on the map through the diffusion model "
    "was not tried."
)


@dataclass(frozen=True)
class Kind:
    """A kind of degradation that has strengths."""

    title: str
    strength: str
    """What its number is."""
    unchanged: float | None = None
    """The number that leaves an image as it is, where there is one."""


KINDS = {
    "jpeg": Kind("JPEG", "quality"),
    "webp": Kind("WebP", "quality"),
    "resize": Kind("Low resolution", f"short side in px of {REFERENCE_PX}"),
    "blur": Kind("Gaussian blur", f"sigma in px of {REFERENCE_PX}", 0),
    "noise": Kind("Gaussian noise", "standard deviation of 255", 0),
    "crop": Kind("Crop", "share of the area that is kept", 1),
    "blend": Kind("Part of the photograph put back", "share of the area", 0),
}


def list_degraded(found: Numbers) -> dict[str, Numbers]:
    """Degradation → reading → scores, without the images as they are."""
    return {name: each for name, each in found["degradations"].items() if name != AS_THEY_ARE}


Key = tuple[str, ...]
"""Of a comparison: "accuracy", degradation; "gain", degradation; "chance", reading, degradation; those of attacks."""


def compare(found: Numbers) -> dict[Key, Comparison]:
    """All comparisons that the answer makes: calls lost, image and map with the image, chance, and attacks."""
    compared: dict[Key, Comparison] = {}
    for name, each in found["degradations"].items():
        for reading in READINGS:
            compared["chance", reading, name] = Comparison(each[reading]["auroc"], 0.5)
        if name != AS_THEY_ARE:
            aurocs = each["full"]["auroc"], each["image_only"]["auroc"]
            compared["accuracy", name] = Comparison(each["full"]["change"][CALLS])
            compared["gain", name] = Comparison(found["gains"][name]["average_precision"], aurocs=aurocs)
    return compared | compare_attacks(found["attacks"])


def select(judged: Mapping[Key, Verdict], *first: str) -> dict[str, Verdict]:
    """Degradation → verdict, of the comparisons whose key begins so."""
    return {key[-1]: verdict for key, verdict in judged.items() if key[:-1] == first}


def headline(found: Numbers) -> str:
    """Under how many degradations balanced accuracy is lost, and which step of the attack takes it below chance."""
    judged = judge(compare(found))
    attack = f"under attack: {tell_below_chance(judged, 'full')}"
    verdicts = [*select(judged, "accuracy").values()]
    if set(verdicts) == {Verdict.FEW_SEEDS}:
        return f"What balanced accuracy image and map lose under degradations: {Verdict.FEW_SEEDS}; {attack}."
    lost = f"{verdicts.count(Verdict.WORSE)} of {len(verdicts)}"
    return f"Image and map lose balanced accuracy significantly under {lost} degradations; {attack}."


def finding(found: Numbers) -> str:
    """Where a score is lost, where its threshold fails, what the map adds, GenImage's protocol, and the attack."""
    judged = judge(compare(found))
    lines = [*_tell_chance(found, judged), *_tell_threshold(found, judged)]
    degraded, names = list_degraded(found), [*list_degraded(found)]
    for verdict, chosen in group_verdicts(select(judged, "gain")).items():
        lines.append(f"- AP of image and map against the image alone: {verdict} under {list_names(chosen, names)}.")
    asked = [name for name in PROTOCOL if name in degraded]
    for reading, title in READINGS.items():
        if asked:
            means = [sum(degraded[name][reading][m]["mean"] for name in asked) / len(asked) for m in OF_PROTOCOL]
            accuracy, precision = (f"{mean:.2f}" for mean in means)
            lines.append(
                f"- {capitalize(title)}, mean over GenImage's {', '.join(asked)}: AP {precision}, accuracy {accuracy}."
            )
    lines += [f"- {capitalize(name)} was left out: {why}." for name, why in found["left_out"].items()]
    return "\n".join([*lines, *tell_attacks(found["attacks"], found["new_maps"].get(CALLS), judged)])


def _tell_chance(found: Numbers, judged: Mapping[Key, Verdict]) -> Iterator[str]:
    """What each reading is on the images as they are, and under the degradations."""
    names = [*list_degraded(found)]
    for reading, title in READINGS.items():
        verdicts = select(judged, "chance", reading)
        before = verdicts.pop(AS_THEY_ARE)
        auroc = describe_value(found["degradations"][AS_THEY_ARE][reading]["auroc"])
        where = "images as they are" if set(verdicts.values()) - {before} else "images as they are and all degradations"
        yield f"- {capitalize(title)}, {where}: {CHANCE_WORDS[before]}, AUROC of the first {auroc}."
        for verdict, chosen in group_verdicts(verdicts).items():
            if verdict is not before:
                yield f"- {capitalize(title)}: {CHANCE_WORDS[verdict]} under {list_names(chosen, names)}."


def _tell_threshold(found: Numbers, judged: Mapping[Key, Verdict]) -> Iterator[str]:
    """What image and map lose at the threshold from clean validation images."""
    degraded = {name: each["full"] for name, each in list_degraded(found).items()}
    head = "- Balanced accuracy of image and map at the threshold from clean validation images:"
    for verdict, names in group_verdicts(select(judged, "accuracy")).items():
        yield f"{head} {verdict} under {list_names(names, [*degraded])}."
    least = min(degraded, key=lambda name: degraded[name][CALLS]["mean"])
    after = {metric: degraded[least][metric]["mean"] for metric in (CALLS, "auroc")}
    before = {metric: value - degraded[least]["change"][metric]["mean"] for metric, value in after.items()}
    yield (
        f"- Lowest balanced accuracy of image and map, under {least}: {before[CALLS]:.2f} → {after[CALLS]:.2f}, AUROC "
        f"{before['auroc']:.2f} → {after['auroc']:.2f}."
    )


def list_names(names: Sequence[str], of: Sequence[str]) -> str:
    """The names, or those that are not among them where these are fewer."""
    others, total = [each for each in of if each not in names], len(of)
    if not (names and others):
        return "none" if not names else f"all {total} degradations" if total > 1 else names[0]
    few = ", ".join(names) if len(names) <= len(others) else f"all but {', '.join(others)}"
    return f"{few} ({len(names)} of {total})"


def entitle(degradation: str, done: str) -> str:
    """A degradation's name, with what was done to these images where that is another: "blur:3 (blur:0.75)"."""
    return degradation if degradation == done else f"{degradation} ({done})"


def tables(found: Numbers) -> Iterator[Table]:
    """A table a metric, what each degradation takes, what the map adds to the image, and the attack."""
    titles = {AS_THEY_ARE: AS_THEY_ARE, **found["titles"]}
    spread = f"Mean over the image sources; {describe_spread(found['degradations'])}"
    notes = {CALLS: " Thresholds come from clean validation images."}
    for metric, title in METRIC_TITLES.items():
        yield Table(
            f"{title} under each degradation",
            ("degradation", "images", *READINGS.values()),
            tuple(
                (titles[name], each["full"]["n"], *(describe_value(each[reading][metric]) for reading in READINGS))
                for name, each in found["degradations"].items()
            ),
            f"{spread}{notes.get(metric, '')} In brackets: what was done to these images, in proportion to their side.",
        )
    note = f"Paired on the same images. {describe_groups(found['gains'])} {RULE}"
    yield Table(
        "AUROC less AUROC of the images as they are",
        ("degradation", *READINGS.values()),
        tuple(
            (titles[name], *(describe_difference(each[reading]["change"]["auroc"]) for reading in READINGS))
            for name, each in list_degraded(found).items()
        ),
        note,
    )
    yield _tabulate_gains(found["gains"], titles, note)
    yield from tabulate_attacks(found["attacks"])


def _tabulate_gains(gains: Numbers, titles: Numbers, note: str) -> Table:
    known = {"accuracy": "Accuracy", **METRIC_TITLES}  # older answers have accuracy in place of balanced accuracy
    first = next(iter(gains.values()))
    shown = {metric: title for metric, title in known.items() if metric in first}
    return Table(
        "Image and map less the image alone",
        ("degradation", *shown.values()),
        tuple((titles[name], *(describe_difference(each[m]) for m in shown)) for name, each in gains.items()),
        note,
    )


def charts(found: Numbers) -> Iterator[Chart]:
    """Accuracy and AP over the strength, for each kind that has strengths, and the attack."""
    for kind, about in KINDS.items():
        degraded = {name: each for name, each in list_degraded(found).items() if name.partition(":")[0] == kind}
        for metric in CHARTED if degraded else ():
            curves = [_draw_reading(reading, metric, degraded, about.unchanged) for reading in READINGS]
            axis = f"{about.title}: {about.strength}"
            yield Chart(f"{about.title}: {METRIC_TITLES[metric]}", axis, METRIC_TITLES[metric], tuple(curves))
    yield from chart_attacks(found["attacks"])


def _draw_reading(reading: str, metric: str, degraded: Mapping[str, Numbers], unchanged: float | None) -> Any:
    points = {float(name.partition(":")[2]): each[reading][metric] for name, each in degraded.items()}
    if unchanged is not None:
        points[unchanged] = _get_unchanged(next(iter(degraded.values()))[reading], metric)
    strengths = sorted(points)
    return make_curve(READINGS[reading], strengths, [points[strength] for strength in strengths])


def _get_unchanged(each: Numbers, metric: str) -> Any:
    """A metric of the images as they are; older answers hold the interval of some metrics only."""
    known = {"mean": each[metric]["mean"] - each["change"][metric]["mean"], "interval": None}
    return each["unchanged"].get(metric, known)


TELLING = Telling(
    "What is left of the scores after degradation, and under attack?", LIMITS, headline, finding, tables, charts
)
