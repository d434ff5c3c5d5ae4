"""At which timestep the errors of generated and of real images lie furthest apart: a curve over t for every reading."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from experiments.answers.answer import Answer, Chart, Picture, Table, capitalize
from experiments.answers.maps import draw_png, load_maps
from experiments.study.comparisons import MEAN, RULE, describe_difference, describe_value, judge, sum_up_verdicts
from experiments.study.over_sources import Means
from experiments.study.settings import TITLES, Scored, make_curve, score, subtract_means, summarize, value_cells
from experiments.study.study import Study, cache_name
from experiments.timestep.gaps import Gaps, compute_gaps, describe_share, describe_signs, draw_gaps, tabulate_gaps

ENERGY = "gradient_energy"
SPREAD = "95 % interval by group, ± standard deviation over seeds."
LIMITS = (
    "The maps come from one diffusion model with its own noise schedule, so that its best timestep is not that of "
    "another model. Every detector has one recipe and one number of epochs. Timesteps between those listed were not "
    "tried. Where several timesteps are close, the best one in hindsight is picked from noise: it tells what "
    "validation lost, and is no result."
)
ByTimestep = Mapping[int, Scored]


@dataclass(frozen=True)
class SourceChoice:
    """The best timesteps of one image source."""

    validation: int | None
    """None where it has no validation images."""
    hindsight: int
    lost: Means
    """Test AUROC in hindsight less that at the timestep chosen for all sources."""


@dataclass(frozen=True)
class Choice:
    """The best timestep of a reading by its mean AUROC over the image sources."""

    chosen: int
    """On validation."""
    hindsight: int
    """On the test images: no choice, only what the chosen one is compared with."""
    gain: Means
    """Test AUROC at the chosen one less that at the default."""
    by_source: Mapping[str, SourceChoice]

    def describe(self) -> dict[str, Any]:
        """As plain values."""
        by_source = {source: {**vars(each), "lost": each.lost.describe()} for source, each in self.by_source.items()}
        return {**vars(self), "gain": self.gain.describe(), "by_source": by_source}


def answer(study: Study) -> Answer:
    """Which timestep gives the largest gap, and is it the same for all image sources? From caches alone."""
    config = study.config
    caches = {t: cache_name(t, config.ensemble_size) for t in sorted(config.timesteps)}
    gaps = {t: compute_gaps(study.readings(study.cache(name))["mean_lare"]) for t, name in caches.items()}
    scored = {
        reading: {t: score(study, name, reading) for t, name in caches.items()}
        for reading in ("mean_lare", *config.sweep_variants)
    }
    energy = score(study, study.default_cache, ENERGY)
    choices = {reading: choose(by_timestep, config.timestep) for reading, by_timestep in scored.items()}
    named = {f"{TITLES[reading]}, t = {t}": each for reading, by_t in scored.items() for t, each in by_t.items()}
    return Answer(
        name="timestep",
        question="Which timestep gives the largest gap, and is it the same for all image sources?",
        headline=sum_up(gaps, choices, config.timestep),
        finding=f"{describe_signs(gaps)}\n{describe(choices, scored, energy, config.timestep)}",
        limits=LIMITS,
        command=study.command("timestep"),
        settings={**study.describe(), "timesteps": list(caches), "ensemble_size": config.ensemble_size},
        tables=(
            tabulate_gaps(gaps),
            tabulate_choices(choices, scored, config.timestep),
            tabulate_by_source(choices, scored),
            *(tabulate_aurocs(reading, by_timestep) for reading, by_timestep in scored.items()),
        ),
        charts=(draw_gaps(gaps), *draw(scored, energy)),
        pictures=(draw_maps(study, caches),),
        numbers={
            "gaps": {t: {source: vars(gap) for source, gap in by_source.items()} for t, by_source in gaps.items()},
            "choices": {reading: choice.describe() for reading, choice in choices.items()},
            "readings": summarize({**named, TITLES[ENERGY]: energy}),
        },
    )


def choose(scored: ByTimestep, default: int) -> Choice:
    """The best timesteps of a reading by AUROC; of equals the one chosen on validation, or else the smallest.

    Args:
        scored: Timestep → the reading.
        default: Timestep that the chosen one is compared with.
    """

    def best(split: str, source: str, *first: int) -> int:
        return max((*first, *sorted(scored)), key=lambda t: getattr(scored[t], split)[source]["auroc"].mean)

    chosen, by_source = best("validation", MEAN), {}
    for source in scored[default].test.keys() - {MEAN}:
        own = best("test", source, chosen)
        lost = scored[own].test[source]["auroc"] - scored[chosen].test[source]["auroc"]
        known = source in scored[default].validation
        by_source[source] = SourceChoice(best("validation", source) if known else None, own, lost)
    gain = subtract_means(scored[chosen], scored[default])["test"]
    return Choice(chosen, best("test", MEAN, chosen), gain, dict(sorted(by_source.items())))


def sum_up(gaps: Gaps, choices: Mapping[str, Choice], default: int) -> str:
    """The finding in a line."""
    chosen = [(f"{TITLES[reading]} (t = {choice.chosen})", choice.gain) for reading, choice in choices.items()]
    return (
        f"Generated images have the lower mean LaRE at some timestep for {describe_share(gaps)} image sources. What "
        f"validation chooses against t = {default}: {sum_up_verdicts(chosen)}."
    )


def describe(choices: Mapping[str, Choice], scored: Mapping[str, ByTimestep], energy: Scored, default: int) -> str:
    """Whether one timestep serves all sources, and what the choice gives; what was not found comes first."""
    parts, served = [], []
    for reading, choice in choices.items():
        losers = [
            f"{source}, {describe_difference(each.lost)} against t = {each.hindsight}"
            for source, each in choice.by_source.items()
            if judge(each.lost) == 1
        ]
        if losers:
            parts.append(
                f"One timestep for all image sources was not found for {TITLES[reading]}: at t = {choice.chosen}, "
                f"chosen on validation, AUROC is lost for {'; '.join(losers)}."
            )
        else:
            served.append(TITLES[reading])
    if served:
        parts.append(f"No image source is told to have a better timestep than the chosen one: {'; '.join(served)}.")
    parts += [describe_choice(reading, choice, scored[reading], default) for reading, choice in choices.items()]
    parts.append(f"Gradient energy, which has no timestep: test AUROC {describe_value(energy.test[MEAN]['auroc'])}.")
    return " ".join(parts)


def describe_choice(reading: str, choice: Choice, scored: ByTimestep, default: int) -> str:
    """What validation chooses for a reading, what that gives, and what hindsight would have."""
    verdict = {1: "better than", 0: "not told apart from", -1: "worse than"}[judge(choice.gain)]
    against = f"{verdict} the default t = {default}, {describe_difference(choice.gain)}"
    if choice.chosen == default:
        against = "the default"
    chosen, best = (scored[t].test[MEAN]["auroc"] for t in (choice.chosen, choice.hindsight))
    hindsight = f"in hindsight t = {choice.hindsight} has {best.mean:.2f}"
    if choice.hindsight == choice.chosen:
        hindsight = "the best in hindsight too"
    return (
        f"{capitalize(TITLES[reading])}: validation chooses t = {choice.chosen}, {against}; test AUROC "
        f"{describe_value(chosen)}, {hindsight}."
    )


def tabulate_choices(choices: Mapping[str, Choice], scored: Mapping[str, ByTimestep], default: int) -> Table:
    """The best timestep of each reading."""
    rows = []
    for reading, choice in choices.items():
        chosen, best = (scored[reading][t] for t in (choice.chosen, choice.hindsight))
        gain, hindsight = describe_difference(choice.gain), describe_value(best.test[MEAN]["auroc"])
        rows.append((TITLES[reading], choice.chosen, *value_cells(chosen), gain, choice.hindsight, hindsight))
    known = ", ".join(source for source in next(iter(scored.values()))[default].validation if source != MEAN)
    heads = ("AUROC, validation", "AUROC, test", f"less that at t = {default}, test")
    return Table(
        "Best timestep by mean AUROC over the image sources",
        ("", "t chosen on validation", *heads, "best t in hindsight, test", "AUROC in hindsight"),
        tuple(rows),
        f"{SPREAD} Validation has images of {known}. {RULE}",
    )


def tabulate_by_source(choices: Mapping[str, Choice], scored: Mapping[str, ByTimestep]) -> Table:
    """The best timestep of each image source."""
    heads = ("best t, validation", "best t in hindsight, test", "AUROC at the chosen t", "lost against hindsight")
    rows = []
    for reading, choice in choices.items():
        for source, each in choice.by_source.items():
            value = describe_value(scored[reading][choice.chosen].test[source]["auroc"])
            lost = describe_difference(each.lost)
            rows.append((TITLES[reading], source, each.validation, each.hindsight, value, lost))
    note = f"The chosen t is that of the mean over the image sources on validation. {SPREAD}"
    return Table("Best timestep by image source", ("", "image source", *heads), tuple(rows), note)


def tabulate_aurocs(reading: str, scored: ByTimestep) -> Table:
    """One reading at every timestep."""
    sources = [source for source in next(iter(scored.values())).test if source != MEAN]
    return Table(
        f"AUROC by timestep: {TITLES[reading]}",
        ("t", "mean, validation", "mean, test", *sources),
        tuple(
            (t, *value_cells(each), *(describe_value(each.test[source]["auroc"]) for source in sources))
            for t, each in scored.items()
        ),
        f"Image sources on the test images; {SPREAD}",
    )


def draw(scored: Mapping[str, ByTimestep], energy: Scored) -> list[Chart]:
    """AUROC over the timestep, of the readings and then of each one's image sources."""

    def chart(title: str, curves: Mapping[str, list[Means]]) -> Chart:
        lines = tuple(make_curve(name, timesteps, values) for name, values in curves.items())
        return Chart(title, "timestep t", "AUROC", lines, log_x=True, reference=0.5)

    def along(by_timestep: ByTimestep, source: str) -> list[Means]:
        return [each.test[source]["auroc"] for each in by_timestep.values()]

    timesteps = list(next(iter(scored.values())))
    means = {TITLES[reading]: along(by_timestep, MEAN) for reading, by_timestep in scored.items()}
    means[TITLES[ENERGY]] = [energy.test[MEAN]["auroc"]] * len(timesteps)
    charts = [chart("AUROC, mean over the image sources", means)]
    for reading, by_timestep in scored.items():
        sources = [source for source in by_timestep[timesteps[0]].test if source != MEAN]
        curves = {source: along(by_timestep, source) for source in sources}
        charts.append(chart(f"AUROC by image source: {TITLES[reading]}", curves))
    return charts


def draw_maps(study: Study, caches: Mapping[int, str]) -> Picture:
    """Some test images beside their maps at the first, the default and the last timestep.

    Args:
        study: Whose images they are.
        caches: Timestep → name of its cache.
    """
    shown = sorted({min(caches), study.config.timestep, max(caches)})
    path = study.answers / "timestep.png"
    draw_png(load_maps(study.config.data, [study.cache(caches[t]) for t in shown]), path)
    note = "Maps averaged over their channels, below each its mean; a colour scale for each timestep."
    return Picture(f"Test images and their maps at t = {', '.join(map(str, shown))}", path.name, note)
