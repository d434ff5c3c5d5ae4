"""At which timestep the errors of generated and of real images lie furthest apart: a curve over t for every reading."""

from collections.abc import Mapping
from typing import Any

from experiments.answers.answer import Answer, Picture
from experiments.answers.maps import draw_png, load_maps
from experiments.answers.readings import MEAN, TITLES
from experiments.study.fits import Work, fit_each
from experiments.study.names import timestep_caches
from experiments.study.settings import Scored, load, score, score_splits, subtract_means, summarize
from experiments.study.study import Study
from experiments.timestep.gaps import compute_gaps
from experiments.timestep.own import compare_own
from experiments.timestep.telling import ENERGY, TELLING, name_setting
from train.scoring.scores import Reading

ByTimestep = Mapping[int, Scored]
Readings = Mapping[int, Reading]
"""Timestep → scores of the test images."""


def answer(study: Study) -> Answer:
    """Which timestep gives the largest gap, and is it the same for all image sources? From caches alone."""
    config = study.config
    caches = timestep_caches(config)
    scored: dict[str, ByTimestep] = {}
    tests: dict[str, Readings] = {}
    for reading in ("mean_lare", *config.sweep_variants):
        loaded = {t: load(study, name, reading) for t, name in caches.items()}
        scored[reading] = {t: score_splits(each) for t, each in loaded.items()}
        tests[reading] = {t: each[-1] for t, each in loaded.items()}
    return study.tell(
        "timestep",
        TELLING,
        numbers(study, caches, scored, tests),
        pictures=[draw_maps(study, caches)],
        timesteps=list(caches),
        ensemble_size=config.ensemble_size,
    )


def work(study: Study) -> Work:
    """What it trains."""
    return Work(fit_each(study.config.sweep_variants, timestep_caches(study.config).values()))


def numbers(
    study: Study, caches: Mapping[int, str], scored: Mapping[str, ByTimestep], tests: Mapping[str, Readings]
) -> dict[str, Any]:
    """Gaps of the mean LaRE, the best timesteps, and all scores.

    Args:
        study: Whose images they are.
        caches: Timestep → name of its cache.
        scored: Reading → timestep → its values.
        tests: Reading → timestep → scores of the test images.
    """
    default = study.config.timestep
    gaps = {t: compute_gaps(study.readings(study.cache(name))["mean_lare"]) for t, name in caches.items()}
    named = {name_setting(reading, t): each for reading, by_t in scored.items() for t, each in by_t.items()}
    return {
        "default": default,
        "gaps": {t: {source: vars(gap) for source, gap in by_source.items()} for t, by_source in gaps.items()},
        "choices": {reading: choose(by_t, tests[reading], default) for reading, by_t in scored.items()},
        "readings": summarize({**named, TITLES[ENERGY]: score(study, study.default_cache, ENERGY)}),
    }


def choose(scored: ByTimestep, tests: Readings, default: int) -> dict[str, Any]:
    """The timestep of a reading with the best AUROC on validation; of equals the smallest.

    Args:
        scored: Timestep → the reading's values.
        tests: Timestep → its scores of the test images.
        default: Timestep that the chosen one is compared with.

    Returns:
        By the mean over the image sources: "chosen", and "gain" (test AUROC at the chosen one less that at the
        default). "by_source": image source → "validation" (the best one there; None without validation images), and
        as of `compare_own`.
    """

    def best(source: str) -> int:
        return max(sorted(scored), key=lambda t: scored[t].validation[source]["auroc"].mean)

    chosen, known = best(MEAN), scored[default].validation
    by_source = {
        source: {"validation": best(source) if source in known else None, **own}
        for source, own in compare_own(tests, chosen).items()
    }
    gain = subtract_means(scored[chosen], scored[default])["test"]
    return {"chosen": chosen, "gain": gain, "by_source": by_source}


def draw_maps(study: Study, caches: Mapping[int, str]) -> Picture:
    """Some test images beside their maps at the first, the default and the last timestep.

    Args:
        study: Whose images they are.
        caches: Timestep → name of its cache.
    """
    shown = sorted({min(caches), study.config.timestep, max(caches)})
    path = study.answers / "timestep.png"
    draw_png(load_maps(study.config.data, [study.cache(caches[t]) for t in shown]), path)
    note = (
        "Maps averaged over their channels. The figure below a map is its mean. Each timestep has its own colour scale."
    )
    return Picture(f"Test images and their maps at t = {', '.join(map(str, shown))}", path.name, note)
