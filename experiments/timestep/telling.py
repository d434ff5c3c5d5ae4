"""The question on timesteps in words, tables and charts."""

from collections.abc import Iterator, Sequence
from typing import Any

from experiments.answers.answer import Chart, Curve, Table, capitalize, with_interval
from experiments.answers.readings import MEAN, SPREAD, TITLES, list_sources, make_curve, value_cells
from experiments.answers.telling import Numbers, Telling
from experiments.answers.verdicts import RULE, WORDS, describe_difference, describe_value, join_names, judge, side_of

ENERGY = "gradient_energy"
SIDES = {
    1: "significantly higher for generated images (inverted)",
    0: "no significant difference",
    -1: "significantly lower for generated images",
}
"""Side of a gap's interval → how it is said; what fails comes first."""
LIMITS = (
    "The maps come from one diffusion model with its own noise schedule; another model may have another best timestep. "
    "Every detector has one recipe and one number of epochs. Timesteps between the listed ones were not tried. Where "
    "several timesteps are close, chance picks the best one in hindsight: it shows what validation lost, and is no "
    "result."
)


def name_setting(reading: str, timestep: int | str) -> str:
    """Name of a reading at a timestep in the numbers."""
    return f"{TITLES[reading]}, t = {timestep}"


def headline(found: Numbers) -> str:
    """Whether one timestep serves all image sources, and what validation chooses."""
    choices = found["choices"]
    has_losers = any(find_losers(choice) for choice in choices.values())
    serves = "No timestep is best for all image sources" if has_losers else "One timestep serves all image sources"
    readings: dict[int, list[str]] = {}
    for reading, choice in choices.items():
        readings.setdefault(choice["chosen"], []).append(TITLES[reading])
    chosen = join_names([f"t = {t} ({'; '.join(titles)})" for t, titles in readings.items()], is_simple=True)
    return f"{serves}; validation chooses {chosen}."


def find_losers(choice: Numbers) -> list[str]:
    """Image sources with a timestep that is significantly better than the chosen one on the test images."""
    return [source for source, each in choice["by_source"].items() if judge(each["lost"]) == 1]


def find_sides(gaps: Numbers) -> dict[str, dict[int, list[str]]]:
    """Image source → side of its mean LaRE (1 higher, 0 no significant difference, −1 lower) → timesteps.

    The source whose mean LaRE is lower at the fewest timesteps comes first. Sides without timesteps are left out.
    """
    sources = next(iter(gaps.values()))
    sides = {s: {t: side_of(by_source[s]["interval"], 0) for t, by_source in gaps.items()} for s in sources}
    ordered = sorted(sides, key=lambda source: -sum(sides[source].values()))
    return {
        source: {
            side: timesteps for side in SIDES if (timesteps := [t for t, each in sides[source].items() if each == side])
        }
        for source in ordered
    }


def finding(found: Numbers) -> str:
    """What is inverted, whether one timestep serves all sources, and what the choice gives; what failed comes first."""
    return "\n".join([*_tell_sides(found["gaps"]), *_tell_losers(found["choices"]), *_tell_choices(found)])


def _tell_sides(gaps: Numbers) -> Iterator[str]:
    by_source = find_sides(gaps)
    num_lower = sum(-1 in sides for sides in by_source.values())
    yield (
        f"At some timestep {num_lower} of {len(by_source)} image sources have a significantly lower mean LaRE than "
        "real images."
    )
    for source, sides in by_source.items():
        places = {side: "every t" if len(ts) == len(gaps) else f"t = {', '.join(ts)}" for side, ts in sides.items()}
        parts = [f"{SIDES[side]} at {place}" for side, place in places.items()]
        yield f"- Mean LaRE of {source}: {'; '.join(parts)}."


def _tell_losers(choices: Numbers) -> Iterator[str]:
    for reading, choice in choices.items():
        losers = find_losers(choice)
        if losers:
            yield (
                f"No timestep is best for all image sources with {TITLES[reading]}: validation chooses "
                f"t = {choice['chosen']}, and {len(losers)} of {len(choice['by_source'])} sources lose AUROC."
            )
        for source in losers:
            own = choice["by_source"][source]
            yield (
                f"- {capitalize(TITLES[reading])}, {source}: t = {own['hindsight']} is {WORDS[1]} than t = "
                f"{choice['chosen']}, AUROC {describe_difference(own['lost'])}."
            )
    served = [TITLES[reading] for reading, choice in choices.items() if not find_losers(choice)]
    if served:
        yield f"No image source has a significantly better timestep than the chosen one: {'; '.join(served)}."


def _tell_choices(found: Numbers) -> Iterator[str]:
    default, test = found["default"], found["readings"]["test"]
    for reading, choice in found["choices"].items():
        chosen, best = choice["chosen"], choice["hindsight"]
        texts = [f"validation chooses the default t = {default}."]
        if chosen != default:
            texts = [
                f"validation chooses t = {chosen}.",
                f"Against the default t = {default}: {WORDS[judge(choice['gain'])]}, AUROC "
                f"{describe_difference(choice['gain'])}.",
            ]
        texts.append(f"Test AUROC {describe_value(test[name_setting(reading, chosen)][MEAN]['auroc'])}.")
        hindsight = test[name_setting(reading, best)][MEAN]["auroc"]["mean"]
        is_best = chosen == best
        texts.append(
            "The chosen timestep is the best on the test images too."
            if is_best
            else f"In hindsight t = {best} has {hindsight:.2f}."
        )
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
        f"the real image of the same photograph: {paired}.",
    )


def _tabulate_choices(found: Numbers) -> Table:
    readings, default, rows = found["readings"], found["default"], []
    for reading, choice in found["choices"].items():
        best = describe_value(readings["test"][name_setting(reading, choice["hindsight"])][MEAN]["auroc"])
        cells = value_cells(readings, name_setting(reading, choice["chosen"]))
        gain = describe_difference(choice["gain"])
        rows.append((TITLES[reading], choice["chosen"], *cells, gain, choice["hindsight"], best))
    known = ", ".join(list_sources(next(iter(readings["validation"].values()))))
    heads = ("AUROC, validation", "AUROC, test", f"AUROC less AUROC at t = {default}, test")
    return Table(
        "Best timestep by mean AUROC over the image sources",
        ("reading", "t chosen on validation", *heads, "best t in hindsight, test", "AUROC in hindsight"),
        tuple(rows),
        f"{SPREAD} Validation has images of {known}. {RULE}",
    )


def _tabulate_by_source(found: Numbers) -> Table:
    heads = ("best t, validation", "best t in hindsight, test", "AUROC at the chosen t", "AUROC lost against hindsight")
    rows: list[tuple[Any, ...]] = []
    for reading, choice in found["choices"].items():
        scores = found["readings"]["test"][name_setting(reading, choice["chosen"])]
        for source, each in choice["by_source"].items():
            cells = (describe_value(scores[source]["auroc"]), describe_difference(each["lost"]))
            rows.append((TITLES[reading], source, each["validation"], each["hindsight"], *cells))
    note = f"The chosen t has the best mean AUROC over the image sources on validation. {SPREAD}"
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
        f"Columns of image sources: test images. {SPREAD}",
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
