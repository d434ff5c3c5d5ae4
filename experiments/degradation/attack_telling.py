"""Scores under attack in words, tables and charts."""

from collections.abc import Iterator, Mapping

from experiments.answers.answer import Chart, Table, capitalize
from experiments.answers.groups import describe_spread
from experiments.answers.readings import make_curve
from experiments.answers.rule import Comparison, Value, Verdict
from experiments.answers.telling import Numbers
from experiments.answers.verdicts import describe_difference, describe_value

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
VICTIMS = ("image_only", "full")
"""Detectors that are attacked through their own gradient, with all seeds."""
CALLS, CALLS_TITLE = "balanced_accuracy", "Balanced accuracy"
"""What tells how images are called: it does not move with the shares of the classes."""
METRICS = {CALLS: CALLS_TITLE, "auroc": "AUROC"}
NOTE = (
    "Mean over the image sources. Each detector is attacked through its own gradient. Where maps are made again, all "
    "three readings are of the first seed, and see the images attacked through its image and map. Thresholds come from "
    "clean validation images."
)


Key = tuple[str, ...]
"""Of a comparison: "attack", detector, step."""


def compare_attacks(attacks: Numbers) -> dict[Key, Comparison]:
    """Balanced accuracy under each step against chance."""
    return {
        ("attack", name, size): Comparison(each[CALLS], 0.5)
        for name in VICTIMS
        for size, each in attacks[TITLES[name]].items()
        if int(size)
    }


def tell_below_chance(judged: Mapping[Key, Verdict], name: str) -> str:
    """From which step on a detector's balanced accuracy is below chance: clause of a sentence."""
    steps = {int(key[2]): verdict for key, verdict in judged.items() if key[:2] == ("attack", name)}
    if Verdict.FEW_SEEDS in steps.values():
        return f"{Verdict.FEW_SEEDS} against chance"
    below = [size for size, verdict in sorted(steps.items()) if verdict is Verdict.WORSE]
    return f"significantly below chance from {below[0]}/255 on" if below else "not below chance at any step"


def tell_attacks(attacks: Numbers, new_maps: Value | None, judged: Mapping[Key, Verdict]) -> Iterator[str]:
    """What the attack leaves: of the image alone, of image and map, and what new maps change.

    Args:
        attacks: Title → step → metric → value.
        new_maps: Balanced accuracy of image and map at the largest step, with new maps less that with those from
            before; None: an older answer, which does not hold it.
        judged: Verdicts of the answer.
    """
    steps = ", ".join(f"{size}/255" for size in attacks[TITLES["full"]])
    yield f"Balanced accuracy under attack (FGSM), with steps of {steps} on the pixels:"
    for name in VICTIMS:
        yield f"- {capitalize(TITLES[name])}: {_list_accuracies(attacks, name)}, {tell_below_chance(judged, name)}."
    for name in TITLES:
        if name.endswith(AGAIN):
            yield f"- {capitalize(TITLES[name])}, first seed: {_list_accuracies(attacks, name)}."
    change = "" if new_maps is None else f" by {describe_difference({**new_maps, 'num_seeds': 1})}"
    yield f"Maps made again change the balanced accuracy of image and map{change} (one seed): {Verdict.FEW_SEEDS}."


def _list_accuracies(attacks: Numbers, name: str) -> str:
    return " → ".join(f"{each[CALLS]['mean']:.2f}" for each in attacks[TITLES[name]].values())


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
            f"{NOTE} {describe_spread(attacks)}",
        )


def chart_attacks(attacks: Numbers) -> Iterator[Chart]:
    """Balanced accuracy over the step."""
    curves = tuple(
        make_curve(title, map(int, attacks[title]), [each[CALLS] for each in attacks[title].values()])
        for title in TITLES.values()
    )
    yield Chart("Attack on the pixels (FGSM): balanced accuracy", "step of 255", CALLS_TITLE, curves, reference=0.5)
