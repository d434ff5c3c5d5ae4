"""The question on degradation in words, tables and charts."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from experiments.answers.answer import Chart, Table, capitalize
from experiments.answers.readings import make_curve
from experiments.answers.telling import Numbers, Telling
from experiments.answers.verdicts import (
    RULE,
    WORDS,
    describe_difference,
    describe_value,
    group_verdicts,
    judge,
    side_of,
)
from experiments.degradation.attack_telling import (
    chart_attacks,
    find_first_below_chance,
    tabulate_attacks,
    tell_attacks,
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
METRIC_TITLES = {"accuracy": "Accuracy", "average_precision": "AP", "auroc": "AUROC"}
CHARTED = ("accuracy", "average_precision")
LIMITS = (
    "Each image has one degradation, and training saw none of them: what training on degraded images would give is not "
    "known. Photographs and generated images are degraded alike; real images may meet other degradations than "
    "generated ones. Sides and blurs are named for images of 256 px and scaled to the side of an image as stage 1 sees "
    "it; images of other sizes meet the scaled degradation at their own size. The attack is one step on the pixels by "
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


def find_lost(found: Numbers) -> list[str]:
    """Degradations under which image and map lose accuracy significantly, at the threshold of clean images."""
    degraded = list_degraded(found)
    return [name for name, each in degraded.items() if judge(each["full"]["change"]["accuracy"]) == -1]


def compare_with_image(found: Numbers) -> dict[int, list[str]]:
    """Verdict on the AP of image and map against the image alone → degradations."""
    return group_verdicts(found["against_image"])


def find_at_chance(found: Numbers) -> dict[str, list[str]]:
    """Reading → degradations, or `AS_THEY_ARE`, under which its AUROC is not significantly above 0.5."""
    return {
        reading: [
            name for name, each in found["degradations"].items() if side_of(each[reading]["auroc"]["interval"], 0.5) < 1
        ]
        for reading in READINGS
    }


def headline(found: Numbers) -> str:
    """Under how many degradations accuracy is lost, and which step of the attack takes it below chance."""
    step = find_first_below_chance(found["attacks"], "full")
    attack = f"an attack of {step}/255 brings it below chance" if step else "no attack brings it below chance"
    num_lost, num_all = len(find_lost(found)), len(list_degraded(found))
    return f"Image and map lose accuracy significantly under {num_lost} of {num_all} degradations; {attack}."


def finding(found: Numbers) -> str:
    """Where a score is lost, where its threshold fails, what the map adds, GenImage's protocol, and the attack."""
    lines = [*_tell_chance(found), _tell_threshold(found)]
    degraded, names = list_degraded(found), [*list_degraded(found)]
    for verdict, chosen in compare_with_image(found).items():
        lines.append(
            f"- AP of image and map against the image alone: {WORDS[verdict]} under {list_names(chosen, names)}."
        )
    asked = [name for name in PROTOCOL if name in degraded]
    for reading, title in READINGS.items():
        if asked:
            means = [sum(degraded[name][reading][m]["mean"] for name in asked) / len(asked) for m in CHARTED]
            accuracy, precision = (f"{mean:.2f}" for mean in means)
            lines.append(
                f"- {capitalize(title)}, mean over GenImage's {', '.join(asked)}: AP {precision}, accuracy {accuracy}."
            )
    lines += [f"- {capitalize(name)} was left out: {why}." for name, why in found["left_out"].items()]
    return "\n".join([*lines, *tell_attacks(found["attacks"], found["new_maps"]["verdict"])])


def _tell_chance(found: Numbers) -> Iterator[str]:
    """Which readings are at chance: already on the images as they are, or under which degradations."""
    names = [*list_degraded(found)]
    for reading, lost in find_at_chance(found).items():
        title = capitalize(READINGS[reading])
        if AS_THEY_ARE in lost:
            yield f"- {title}: AUROC consistent with chance or below it on the images as they are."
        elif lost:
            yield f"- {title}: AUROC consistent with chance or below it under {list_names(lost, names)}."
        else:
            yield f"- {title}: AUROC significantly above chance under every degradation."


def _tell_threshold(found: Numbers) -> str:
    """What image and map lose at the threshold from clean validation images."""
    degraded, lost = {name: each["full"] for name, each in list_degraded(found).items()}, find_lost(found)
    worst = min(degraded, key=lambda name: degraded[name]["change"]["accuracy"]["mean"])
    head = "- Accuracy of image and map at the threshold from clean validation images: significantly worse under"
    if degraded[worst]["change"]["accuracy"]["mean"] >= 0:
        return f"{head} no degradation."
    after = {metric: degraded[worst][metric]["mean"] for metric in ("accuracy", "auroc")}
    before = {metric: value - degraded[worst]["change"][metric]["mean"] for metric, value in after.items()}
    return (
        f"{head} {list_names(lost, [*degraded]) if lost else 'no degradation'}. The largest loss is under {worst}: "
        f"accuracy {before['accuracy']:.2f} → {after['accuracy']:.2f}, AUROC {before['auroc']:.2f} → "
        f"{after['auroc']:.2f}."
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
    spread = "Mean over the image sources, 95 % interval by group, ± standard deviation over seeds."
    notes = {"accuracy": " Thresholds come from clean validation images."}
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
    note = f"Paired on the same images, 95 % interval by group. {RULE}"
    yield Table(
        "AUROC less AUROC of the images as they are",
        ("degradation", *READINGS.values()),
        tuple(
            (titles[name], *(describe_difference(each[reading]["change"]["auroc"]) for reading in READINGS))
            for name, each in list_degraded(found).items()
        ),
        note,
    )
    yield Table(
        "Image and map less the image alone",
        ("degradation", *METRIC_TITLES.values()),
        tuple(
            (titles[name], *(describe_difference(gains[metric]) for metric in METRIC_TITLES))
            for name, gains in found["gains"].items()
        ),
        note,
    )
    yield from tabulate_attacks(found["attacks"])


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
        points[unchanged] = next(iter(degraded.values()))[reading]["unchanged"][metric]
    strengths = sorted(points)
    return make_curve(READINGS[reading], strengths, [points[strength] for strength in strengths])


TELLING = Telling(
    "What is left of the scores after degradation, and under attack?", LIMITS, headline, finding, tables, charts
)
