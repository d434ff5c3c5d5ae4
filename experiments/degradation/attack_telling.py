"""Scores under attack in words, tables and charts."""

from collections.abc import Iterator

from experiments.answers.answer import Chart, Table, capitalize
from experiments.answers.readings import make_curve
from experiments.answers.telling import Numbers
from experiments.answers.verdicts import describe_value, side_of

AGAIN = ", maps made again"
BEFORE = ", first seed"
"""After "full": what the maps made again, which are of the first seed, stand against."""
TITLES = {
    "image_only": "image only",
    "full": "image and map, maps from before",
    f"full{BEFORE}": "image and map, maps from before, first seed",
    f"full{AGAIN}": "image and map, maps made again",
    f"map_only{AGAIN}": "map only, maps made again",
    f"mean_lare{AGAIN}": "mean LaRE, maps made again",
}
NEW_MAPS = {
    1: "Maps made again save accuracy of image and map significantly at the largest step.",
    0: "Maps made again save no significant accuracy of image and map at the largest step.",
    -1: "Maps made again take accuracy of image and map significantly at the largest step.",
}
METRICS = {"accuracy": "Accuracy", "auroc": "AUROC"}
NOTE = (
    "Mean over the image sources, 95 % interval by group, ± standard deviation over seeds. Each detector is attacked "
    "through its own gradient. Where maps are made again, all three readings see the images attacked through image and "
    "map of the first seed, and are of the first seed themselves. Thresholds come from clean validation images."
)


def find_first_below_chance(attacks: Numbers, name: str) -> int | None:
    """The smallest step at which the interval of a detector's accuracy lies below 0.5."""
    for size, each in attacks[TITLES[name]].items():
        if int(size) and side_of(each["accuracy"]["interval"], 0.5) == -1:
            return int(size)
    return None


def tell_attacks(attacks: Numbers, new_maps: int) -> Iterator[str]:
    """What the attack leaves: of the image alone, of image and map, and what new maps change.

    Args:
        attacks: Title → step → metric → value.
        new_maps: Verdict on the accuracy of image and map at the largest step, with new maps against those from before.
    """
    steps = ", ".join(f"{size}/255" for size in attacks[TITLES["full"]])
    yield f"Accuracy under attack (FGSM), with steps of {steps} on the pixels:"
    for name in ("image_only", "full"):
        size = find_first_below_chance(attacks, name)
        chance = f"significantly below chance from {size}/255 on" if size else "not below chance at any step"
        yield f"- {capitalize(TITLES[name])}: {_list_accuracies(attacks, name)}, {chance}."
    for name in TITLES:
        if name.endswith(AGAIN):
            yield f"- {capitalize(TITLES[name])}, first seed: {_list_accuracies(attacks, name)}."
    yield NEW_MAPS[new_maps]


def _list_accuracies(attacks: Numbers, name: str) -> str:
    return " → ".join(f"{each['accuracy']['mean']:.2f}" for each in attacks[TITLES[name]].values())


def tabulate_attacks(attacks: Numbers) -> Iterator[Table]:
    """A table a metric, a row a step."""
    for metric, title in METRICS.items():
        yield Table(
            f"{title} under attack (FGSM)",
            ("step of 255", *TITLES.values()),
            tuple(
                (int(size), *(describe_value(attacks[title][size][metric]) for title in TITLES.values()))
                for size in attacks[TITLES["full"]]
            ),
            NOTE,
        )


def chart_attacks(attacks: Numbers) -> Iterator[Chart]:
    """Accuracy over the step."""
    curves = tuple(
        make_curve(title, map(int, attacks[title]), [each["accuracy"] for each in attacks[title].values()])
        for title in TITLES.values()
    )
    yield Chart("Attack on the pixels (FGSM): accuracy", "step of 255", "Accuracy", curves, reference=0.5)
