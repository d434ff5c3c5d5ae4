"""The question on timesteps in words, tables and charts."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from experiments.answers.answer import Chart, Curve, Table, capitalize, with_interval
from experiments.answers.groups import describe_groups, describe_spread
from experiments.answers.readings import MEAN, SPLITS, TITLES, list_sources, make_curve, value_cells
from experiments.answers.rule import RULE, Comparison, Value, Verdict, judge
from experiments.answers.telling import Numbers, Telling
from experiments.answers.verdicts import describe_difference, describe_value, join_names

ENERGY = "gradient_energy"
SIDES = {
    1: "significantly higher for generated images (inverted)",
    0: "no significant difference",
    -1: "significantly lower for generated images",
}
"""Side of a gap → how it is said; what fails comes first."""
Key = tuple[str, ...]
"""Of a comparison: "gap", source, timestep; "own", reading, source; "gain", reading."""
LIMITS = (
    "The maps come from one diffusion model with its own noise schedule; another model may have another best timestep. "
    "Every detector has one recipe and one number of epochs. Timesteps between the listed ones were not tried. "
    "A source's own timestep is chosen on one half of the test images and tested on the other. This halves the images "
    "behind it."
)


def name_setting(reading: str, timestep: int | str) -> str:
    """Name of a reading at a timestep in the numbers."""
    return f"{TITLES[reading]}, t = {timestep}"


def compare(found: Numbers) -> dict[Key, Comparison]:
    """All comparisons that the answer makes. Those that were chosen and tested on the same images are none."""
    test, default = found["readings"]["test"], found["default"]
    compared: dict[Key, Comparison] = {
        ("gap", source, t): Comparison(as_value(gap)) for t, by in found["gaps"].items() for source, gap in by.items()
    }
    for reading, choice in found["choices"].items():
        chosen = choice["chosen"]
        for source, each in choice["by_source"].items():
            if each.get("own") not in (None, chosen):
                compared["own", reading, source] = Comparison(each["lost"], aurocs=tuple(each["aurocs"]))
        if chosen != default:
            one, other = (test[name_setting(reading, t)][MEAN]["auroc"] for t in (chosen, default))
            compared["gain", reading] = Comparison(choice["gain"], aurocs=(one, other))
    return compared


def as_value(gap: Numbers) -> Value:
    """A gap in the form of an answer's values."""
    return {"mean": gap["relative"], "sd": None, "num_seeds": 0} | {
        name: gap.get(name) for name in ("interval", "se", "n_groups")
    }


def headline(found: Numbers) -> str:
    """Whether a source has a better timestep than the one for all, and what validation chooses."""
    judged = judge(compare(found))
    by_reading = [is_tested(choice) for choice in found["choices"].values()]
    if any(verdict is Verdict.BETTER for key, verdict in judged.items() if key[0] == "own"):
        serves = "No timestep is best for all image sources"
    elif not any(by_reading) or Verdict.FEW_SEEDS in judged.values():
        serves = "Whether one timestep is best for all image sources is not known"
    else:
        serves = "No image source is shown to need a timestep of its own"
    readings: dict[int, list[str]] = {}
    for reading, choice in found["choices"].items():
        readings.setdefault(choice["chosen"], []).append(TITLES[reading])
    chosen = join_names([f"t = {t} ({'; '.join(titles)})" for t, titles in readings.items()], is_simple=True)
    return f"{serves}; validation chooses {chosen}."


def is_tested(choice: Numbers) -> bool:
    """Whether the sources' own timesteps were tested on other images than they were chosen on."""
    return any(each.get("own") is not None for each in choice["by_source"].values())


def find_sides(found: Numbers) -> dict[str, dict[int, list[str]]]:
    """Image source → side of its mean LaRE (1 higher, 0 no significant difference, −1 lower) → timesteps.

    The source whose mean LaRE is lower at the fewest timesteps comes first. Sides without timesteps are left out.
    """
    judged, gaps = judge(compare(found)), found["gaps"]
    sides = {s: {t: judged["gap", s, t].side for t in gaps} for s in next(iter(gaps.values()))}
    ordered = sorted(sides, key=lambda source: -sum(sides[source].values()))
    return {
        source: {
            side: timesteps for side in SIDES if (timesteps := [t for t, each in sides[source].items() if each == side])
        }
        for source in ordered
    }


def finding(found: Numbers) -> str:
    """What is inverted, whether one timestep serves all sources, and what the choice gives; what failed comes first."""
    judged = judge(compare(found))
    return "\n".join([*_tell_sides(found), *_tell_own(found["choices"], judged), *_tell_choices(found, judged)])


def _tell_sides(found: Numbers) -> Iterator[str]:
    by_source, num_all = find_sides(found), len(found["gaps"])
    num_lower = sum(-1 in sides for sides in by_source.values())
    yield (
        f"At some timestep {num_lower} of {len(by_source)} image sources have a significantly lower mean LaRE than "
        "real images."
    )
    for source, sides in by_source.items():
        places = {side: "every t" if len(ts) == num_all else f"t = {', '.join(ts)}" for side, ts in sides.items()}
        parts = [f"{SIDES[side]} at {place}" for side, place in places.items()]
        yield f"- Mean LaRE of {source}: {'. '.join(map(capitalize, parts))}."


def _tell_own(choices: Numbers, judged: Mapping[Key, Verdict]) -> Iterator[str]:
    """Of each source the timestep that is best on one half of the test images, tested on the other half."""
    tested = {reading: choice for reading, choice in choices.items() if is_tested(choice)}
    if len(tested) < len(choices):
        yield (
            "Whether an image source has a better timestep than the chosen one was not tested. The best one is known "
            "only on the images that it was chosen on."
        )
    if tested:
        yield "Timesteps of single image sources, chosen on one half of the test images and tested on the other:"
    for reading, choice in tested.items():
        same = [s for s, each in choice["by_source"].items() if each["own"] == choice["chosen"]]
        if same:
            yield f"- {capitalize(TITLES[reading])}, {join_names(same)}: t = {choice['chosen']} is the best one too."
        for source, each in choice["by_source"].items():
            if ("own", reading, source) in judged:
                yield (
                    f"- {capitalize(TITLES[reading])}, {source}: t = {each['own']} against t = {choice['chosen']}: "
                    f"{judged['own', reading, source]}, AUROC {describe_difference(each['lost'])}."
                )


def _tell_choices(found: Numbers, judged: Mapping[Key, Verdict]) -> Iterator[str]:
    default, test = found["default"], found["readings"]["test"]
    for reading, choice in found["choices"].items():
        chosen = choice["chosen"]
        texts = [f"validation chooses the default t = {default}."]
        if chosen != default:
            texts = [
                f"validation chooses t = {chosen}.",
                f"Against the default t = {default}: {judged['gain', reading]}, AUROC "
                f"{describe_difference(choice['gain'])}.",
            ]
        texts.append(f"Test AUROC {describe_value(test[name_setting(reading, chosen)][MEAN]['auroc'])}.")
        yield f"- {capitalize(TITLES[reading])}: {' '.join(texts)}"
    energy = describe_value(test[TITLES[ENERGY]][MEAN]["auroc"])
    yield f"- {capitalize(TITLES[ENERGY])}, which has no timestep: test AUROC {energy}."


def tables(found: Numbers) -> Iterator[Table]:
    """Gaps, choices, choices by image source, and every reading at every timestep."""
    yield _tabulate_gaps(found["gaps"])
    yield _tabulate_choices(found)
    yield _tabulate_by_source(found)
    for reading in found["choices"]:
        yield _tabulate_aurocs(found, reading)


def _tabulate_gaps(gaps: Numbers) -> Table:
    first = next(iter(gaps.values()))
    paired = ", ".join(source for source, gap in first.items() if gap["is_paired"]) or "none"
    return Table(
        "Gap of the mean LaRE: generated over real, less 1",
        ("image source", "n", *(f"t = {t}" for t in gaps)),
        tuple(
            (s, gap["n"], *(with_interval(by[s]["relative"], by[s]["interval"], 3) for by in gaps.values()))
            for s, gap in first.items()
        ),
        "Test images; 95 % interval by group. Below 0 generated images have the lower error. Image sources paired with "
        f"the real image of the same photograph: {paired}. "
        + describe_groups({source: [by[source] for by in gaps.values()] for source in first}),
    )


def _tabulate_choices(found: Numbers) -> Table:
    readings, default = found["readings"], found["default"]
    rows, shown = list[tuple[Any, ...]](), {split: list[Any]() for split in SPLITS}
    for reading, choice in found["choices"].items():
        name = name_setting(reading, choice["chosen"])
        cells = value_cells(readings, name)
        for split in SPLITS:
            shown[split].append(readings[split][name][MEAN])
        rows.append((TITLES[reading], choice["chosen"], *cells, describe_difference(choice["gain"])))
    known = ", ".join(list_sources(next(iter(readings["validation"].values()))))
    heads = ("AUROC, validation", "AUROC, test", f"AUROC less AUROC at t = {default}, test")
    return Table(
        "Best timestep by mean AUROC over the image sources",
        ("reading", "t chosen on validation", *heads),
        tuple(rows),
        f"{describe_spread(shown)} Validation has images of {known}. {RULE}",
    )


def _tabulate_by_source(found: Numbers) -> Table:
    heads = ("best t, validation", "best t, half of the test", "AUROC at the chosen t", "AUROC lost, other half")
    rows, shown = list[tuple[Any, ...]](), dict[str, list[Any]]()
    for reading, choice in found["choices"].items():
        scores = found["readings"]["test"][name_setting(reading, choice["chosen"])]
        for source, each in choice["by_source"].items():
            own = each.get("own")
            lost = None if own is None else describe_difference(each["lost"])
            shown.setdefault(source, []).append(scores[source]["auroc"])
            shown.setdefault("other halves", []).append(each.get("lost"))
            rows.append(
                (TITLES[reading], source, each["validation"], own, describe_value(scores[source]["auroc"]), lost)
            )
    note = (
        "The chosen t has the best mean AUROC over the image sources on validation. AUROC lost: that at the best t of "
        "one half of the test images less that at the chosen t. Both are of the other half. "
        f"{describe_spread(shown)}"
    )
    return Table("Best timestep by image source", ("reading", "image source", *heads), tuple(rows), note)


def _tabulate_aurocs(found: Numbers, reading: str) -> Table:
    readings, names = found["readings"], {t: name_setting(reading, t) for t in found["gaps"]}
    sources = list_sources(readings["test"][next(iter(names.values()))])
    return Table(
        f"AUROC by timestep: {TITLES[reading]}",
        ("t", "mean, validation", "mean, test", *sources),
        tuple(
            (
                int(t),
                *value_cells(readings, name),
                *(describe_value(readings["test"][name][source]["auroc"]) for source in sources),
            )
            for t, name in names.items()
        ),
        "Columns of image sources: test images. "
        + describe_spread({split: [readings[split][name][MEAN] for name in names.values()] for split in SPLITS}),
    )


def charts(found: Numbers) -> Iterator[Chart]:
    """The gap, the AUROC of the readings, and of each reading's image sources, all over the timestep."""
    gaps, test = found["gaps"], found["readings"]["test"]
    timesteps = [int(t) for t in gaps]
    label = "generated over real, less 1"
    yield Chart("Gap of the mean LaRE", "timestep t", label, tuple(_draw_gaps(gaps)), log_x=True, reference=0.0)

    def along(reading: str, source: str) -> list[Any]:
        return [test[name_setting(reading, t)][source]["auroc"] for t in timesteps]

    def chart(title: str, curves: Sequence[Curve]) -> Chart:
        return Chart(title, "timestep t", "AUROC", tuple(curves), log_x=True, reference=0.5)

    means = [make_curve(TITLES[reading], timesteps, along(reading, MEAN)) for reading in found["choices"]]
    energy = make_curve(TITLES[ENERGY], timesteps, [test[TITLES[ENERGY]][MEAN]["auroc"]] * len(timesteps))
    yield chart("AUROC, mean over the image sources", [*means, energy])
    for reading in found["choices"]:
        sources = list_sources(test[name_setting(reading, timesteps[0])])
        curves = [make_curve(source, timesteps, along(reading, source)) for source in sources]
        yield chart(f"AUROC by image source: {TITLES[reading]}", curves)


def _draw_gaps(gaps: Numbers) -> Iterator[Curve]:
    for source in next(iter(gaps.values())):
        along = [by_source[source] for by_source in gaps.values()]
        ends = [gap["interval"] for gap in along]
        yield Curve.with_intervals(source, map(int, gaps), [gap["relative"] for gap in along], ends)


TELLING = Telling(
    question="Which timestep gives the largest gap, and is it the same for all image sources?",
    limits=LIMITS,
    headline=headline,
    finding=finding,
    tables=tables,
    charts=charts,
)
