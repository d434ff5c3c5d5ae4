"""Scores under attack: in words, tables and charts."""

from collections.abc import Mapping
from typing import Any

from experiments.answers.answer import Chart, Table
from experiments.degradation.attack import AGAIN, BEFORE, Attacks
from experiments.study.comparisons import describe_value, judge, side_of
from experiments.study.over_sources import Means
from experiments.study.settings import make_curve

TITLES = {
    "image_only": "image only",
    "full": "image and map, maps from before",
    f"full{BEFORE}": "image and map, maps from before, first seed",
    f"full{AGAIN}": "image and map, maps made again",
    f"map_only{AGAIN}": "map only, maps made again",
    f"mean_lare{AGAIN}": "mean LaRE, maps made again",
}
HELP = {
    1: "New maps save a part of what the largest step takes from image and map.",
    0: "New maps save nothing that can be told of what the largest step takes from image and map.",
    -1: "New maps take still more from image and map than the largest step alone.",
}
METRICS = {"accuracy": "Accuracy", "auroc": "AUROC"}
NOTE = (
    "Mean over the image sources, 95 % interval by group, ± standard deviation over seeds. Each detector is attacked "
    "through its own gradient; where maps are made again, all three see the images attacked through image and map, "
    "first seed, and are of the first seed themselves. Thresholds come from clean validation images."
)


def describe_attacks(attacks: Attacks) -> str:
    """What the attack leaves: of the image alone, of image and map, and what new maps change."""
    sizes = [size for size in attacks["full"] if size]
    broken = {name: _first_below(attacks[name], 0.5) for name in ("image_only", "full")}
    texts = [
        f"{TITLES[name]} {_accuracies(values)}, "
        + (f"below chance from {size}/255 on" if (size := broken[name]) else "not below chance at any step")
        for name, values in attacks.items()
        if name in broken
    ]
    verdict = judge(attacks[f"full{AGAIN}"][sizes[-1]]["accuracy"] - attacks[f"full{BEFORE}"][sizes[-1]]["accuracy"])
    others = "; ".join(f"{TITLES[name]} {_accuracies(attacks[name])}" for name in TITLES if name.endswith(AGAIN))
    return (
        f"Attacked with steps of {', '.join(f'{size}/255' for size in (0, *sizes))} on the pixels, accuracy goes: "
        f"{'; '.join(texts)}. With maps made from the attacked images, first seed: {others}. {HELP[verdict]}"
    )


def _accuracies(values: Mapping[int, Mapping[str, Means]]) -> str:
    return " → ".join(f"{each['accuracy'].mean:.2f}" for each in values.values())


def _first_below(values: Mapping[int, Mapping[str, Means]], level: float) -> int | None:
    """The smallest step at which the accuracy's interval lies below a level."""
    for size, each in values.items():
        if size and side_of(each["accuracy"].interval, level) == -1:
            return size
    return None


def tabulate_attacks(attacks: Attacks) -> list[Table]:
    """A table a metric, a row a step."""
    return [
        Table(
            f"{title} under attack (FGSM)",
            ("step of 255", *TITLES.values()),
            tuple(
                (size, *(describe_value(attacks[name][size][metric]) for name in TITLES)) for size in attacks["full"]
            ),
            NOTE,
        )
        for metric, title in METRICS.items()
    ]


def chart_attacks(attacks: Attacks) -> list[Chart]:
    """Accuracy over the step."""
    curves = tuple(
        make_curve(title, list(attacks[name]), (each["accuracy"] for each in attacks[name].values()))
        for name, title in TITLES.items()
    )
    return [Chart("Attack on the pixels (FGSM): accuracy", "step of 255", "Accuracy", curves, reference=0.5)]


def summarize_attacks(attacks: Attacks) -> dict[str, Any]:
    """Everything as plain values."""
    return {
        TITLES[name]: {
            str(size): {metric: value.describe() for metric, value in each.items()} for size, each in values.items()
        }
        for name, values in attacks.items()
    }
