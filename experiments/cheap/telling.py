"""The question on cheaper settings in words, tables and charts."""

from collections.abc import Iterator, Mapping, Sequence

from experiments.answers.answer import Chart, Curve, Table, capitalize
from experiments.answers.groups import describe_groups, describe_spread
from experiments.answers.readings import MEAN, METRICS, SPLITS, TITLES, value_cells
from experiments.answers.rule import MARGIN, ORDER, RULE, Comparison, Verdict, judge
from experiments.answers.telling import Numbers, Telling
from experiments.answers.verdicts import CHANCE_WORDS, describe_difference, describe_value, join_names

READINGS = ("mean_lare", "map_only")
LIMITS = (
    "Milliseconds are measured on one core of the machine that ran this command, for the models alone. Files are read "
    "and decoded beside them, and the text encoder reads one prompt for all images. Other work of the machine is in "
    "the milliseconds too. A smaller canvas also makes the detector's maps smaller. Another autoencoder or UNet makes "
    "another detector: it is trained anew here, by the same recipe, and cannot replace the default one afterwards. "
    "With few validation images, little can be shown to be as good."
)


def name_setting(reading: str, title: str) -> str:
    """Name of a reading of a setting in the numbers."""
    return f"{TITLES[reading]}, {title}"


def get_times(found: Numbers) -> tuple[int, Numbers]:
    """Most images at a time, and setting → milliseconds an image then."""
    size = max(found["milliseconds"], key=int)
    return int(size), found["milliseconds"][size]


def compute_speedup(found: Numbers, title: str) -> float:
    """How many times as fast as the default a setting is."""
    _, times = get_times(found)
    return float(times[found["default"]]["median"] / times[title]["median"])


Key = tuple[str, ...]
"""Of a comparison: split, reading, setting; "chance", reading."""


def get_margin(found: Numbers) -> float:
    """Within which AUROCs are equally good; older answers do not tell it."""
    return float(found.get("margin", MARGIN))


def compare(found: Numbers) -> dict[Key, Comparison]:
    """All comparisons that the answer makes: each setting with the default, and the default's AUROC with chance."""
    default, compared = found["default"], dict[Key, Comparison]()
    for reading, by_title in found["gains"].items():
        for title, by_split in by_title.items():
            for split, margin in (("validation", get_margin(found)), ("test", None)):
                scores = found["readings"][split]
                one, other = (scores[name_setting(reading, each)][MEAN]["auroc"] for each in (title, default))
                compared[split, reading, title] = Comparison(by_split[split], aurocs=(one, other), margin=margin)
        auroc = found["readings"]["test"][name_setting(reading, default)][MEAN]["auroc"]
        compared["chance", reading] = Comparison(auroc, 0.5)
    return compared


def choose(found: Numbers) -> dict[str, str]:
    """Reading → the cheapest setting that is shown to be as good as the default on validation, or else the default."""
    judged, (_, times) = judge(compare(found)), get_times(found)
    passed = {r: [t for t in by if judged["validation", r, t].is_as_good] for r, by in found["gains"].items()}
    return {
        reading: min([found["default"], *titles], key=lambda title: times[title]["median"])
        for reading, titles in passed.items()
    }


def headline(found: Numbers) -> str:
    """The cheapest setting that validation lets pass, for each reading."""
    texts, judged = [], judge(compare(found))
    for reading, title in choose(found).items():
        if title != found["default"]:
            speed = f"{compute_speedup(found, title):.1f} times as fast"
            texts.append(f"“{title}” is {speed} and as good for {TITLES[reading]} on validation")
        elif Verdict.FEW_SEEDS in (judged["validation", reading, each] for each in found["gains"][reading]):
            texts.append(f"{TITLES[reading]}: {Verdict.FEW_SEEDS}")
        else:
            texts.append(f"no cheaper setting is shown to be as good as the default “{title}” for {TITLES[reading]}")
    return f"{capitalize('; '.join(texts))}."


def finding(found: Numbers) -> str:
    """What was not tried, what is lost, and the cheapest setting that validation lets pass."""
    reasons: dict[str, list[str]] = {}
    for title, reason in found["left_out"].items():
        reasons.setdefault(reason, []).append(f"“{title}”")
    lines = [f"- Not tried: {join_names(titles)}. Reason: {reason}." for reason, titles in reasons.items()]
    judged = judge(compare(found))
    for reading in READINGS:
        if reading in found["gains"]:
            lines += _tell_losses(found, reading, judged)
    return "\n".join([*lines, *(_tell_choice(found, reading, title) for reading, title in choose(found).items())])


def _tell_losses(found: Numbers, reading: str, judged: Mapping[Key, Verdict]) -> Iterator[str]:
    default, gains = found["default"], found["gains"][reading]
    yield f"{capitalize(TITLES[reading])} against the default “{default}”, mean test AUROC over the image sources:"
    auroc = describe_value(found["readings"]["test"][name_setting(reading, default)][MEAN]["auroc"])
    chance = CHANCE_WORDS[judged["chance", reading]]
    yield f"- {capitalize(TITLES[reading])}, default “{default}” against chance: {chance}, AUROC {auroc}."
    for title in sorted(gains, key=lambda title: ORDER[judged["test", reading, title]]):
        difference = describe_difference(gains[title]["test"])
        yield f"- {capitalize(TITLES[reading])}, “{title}”: {judged['test', reading, title]}, AUROC {difference}."


def _tell_choice(found: Numbers, reading: str, title: str) -> str:
    default, (size, times) = found["default"], get_times(found)
    name = capitalize(TITLES[reading])
    if title == default:
        return (
            f"- {name}: no cheaper setting is shown to be as good on validation, within ±{get_margin(found):g} AUROC. "
            f"The default “{default}” stays."
        )
    auroc = found["readings"]["test"][name_setting(reading, title)][MEAN]["auroc"]
    return (
        f"- {name}: the cheapest setting that is as good on validation, within ±{get_margin(found):g} AUROC, is "
        f"“{title}”. It takes {times[title]['median']:.3g} instead of {times[default]['median']:.3g} ms an image on "
        f"one core ({compute_speedup(found, title):.1f} times as fast, {size} images at a time). Its test AUROC is "
        f"{describe_value(auroc)}, {describe_difference(found['gains'][reading][title]['test'])} against the default."
    )


def tables(found: Numbers) -> Iterator[Table]:
    """Cost and accuracy of every setting, and differences to the default."""
    readings, gains = found["readings"], found["gains"]
    heads = [f"{name}, {TITLES[r]}, {split}" for r in gains for name in METRICS.values() for split in SPLITS]
    yield Table(
        "Settings of stage 1: cost and accuracy",
        ("setting", "GMAC an image", *(f"ms an image, {size} at a time" for size in found["milliseconds"]), *heads),
        tuple(
            (
                *(title, cost),
                *(
                    "{median:.3g} ({fastest:.3g} to {slowest:.3g})".format(**b[title])
                    for b in found["milliseconds"].values()
                ),
                *(c for r in gains for m in METRICS for c in value_cells(readings, name_setting(r, title), m)),
            )
            for title, cost in found["giga_macs"].items()
        ),
        "ms: one core, median of rounds in which all settings took turns; in brackets the fastest and the slowest. "
        f"Mean over the image sources; {describe_spread(readings)}",
    )
    yield Table(
        f"AUROC less AUROC of “{found['default']}”",
        ("setting", *(f"{TITLES[reading]}, {split}" for reading in gains for split in SPLITS)),
        tuple(
            (title, *(describe_difference(by[title][split]) for by in gains.values() for split in SPLITS))
            for title in next(iter(gains.values()))
        ),
        f"Mean over the image sources, paired. {_describe_pairs(gains)} {RULE}",
    )


def _describe_pairs(gains: Numbers) -> str:
    return describe_groups({s: [each[s] for by in gains.values() for each in by.values()] for s in SPLITS})


def find_front(costs: Mapping[str, float], values: Mapping[str, float]) -> list[str]:
    """The names that no other is both as cheap and as good as, by rising cost (Pareto).

    Args:
        costs: Lower is better.
        values: Higher is better, of the same names.
    """
    front: list[str] = []
    for name in sorted(costs, key=lambda name: (costs[name], -values[name])):
        if not front or values[name] > values[front[-1]]:
            front.append(name)
    return front


def charts(found: Numbers) -> Iterator[Chart]:
    """For each reading test AUROC over time; the line joins what no setting beats in both on validation."""
    size, times = get_times(found)
    costs = {title: times[title]["median"] for title in found["giga_macs"]}

    for reading in found["gains"]:
        aurocs = {
            split: {t: found["readings"][split][name_setting(reading, t)][MEAN]["auroc"]["mean"] for t in costs}
            for split in SPLITS
        }
        front = find_front(costs, aurocs["validation"])
        shown = {"front on validation": front, **{title: [title] for title in costs if title not in front}}
        curves = tuple(_draw_settings(name, titles, costs, aurocs["test"]) for name, titles in shown.items())
        x_label = f"ms an image on one core ({size} at a time)"
        title = f"{TITLES[reading]}: AUROC against time"
        yield Chart(title, x_label, "AUROC on test", curves, log_x=True, reference=0.5)


def _draw_settings(name: str, titles: Sequence[str], costs: Mapping[str, float], aurocs: Mapping[str, float]) -> Curve:
    # Three digits are what is measured, and what fits at an axis.
    x = tuple(float(f"{costs[title]:.3g}") for title in titles)
    return Curve(name, x, tuple(aurocs[title] for title in titles), labels=tuple(titles))


TELLING = Telling(
    "What do cheaper settings of stage 1 lose, and how fast are they on one core?",
    LIMITS,
    headline,
    finding,
    tables,
    charts,
)
