"""At which timestep the errors of generated and of real images lie furthest apart: a curve over t for every reading."""

from collections.abc import Mapping
from typing import Any

from experiments.answers.answer import Answer, Picture
from experiments.answers.maps import draw_png, load_maps
from experiments.answers.readings import MEAN, TITLES
from experiments.study.fits import Work, fit_each
from experiments.study.names import timestep_caches
from experiments.study.settings import Scored, score, subtract_means, summarize
from experiments.study.study import Study
from experiments.timestep.gaps import compute_gaps
from experiments.timestep.telling import ENERGY, TELLING, name_setting

ByTimestep = Mapping[int, Scored]


def answer(study: Study) -> Answer:
    """Which timestep gives the largest gap, and is it the same for all image sources? From caches alone."""
    config = study.config
    caches = timestep_caches(config)
    scored = {
        reading: {t: score(study, name, reading) for t, name in caches.items()}
        for reading in ("mean_lare", *config.sweep_variants)
    }
    return study.tell(
        "timestep",
        TELLING,
        numbers(study, caches, scored),
        pictures=[draw_maps(study, caches)],
        timesteps=list(caches),
        ensemble_size=config.ensemble_size,
    )


def work(study: Study) -> Work:
    """What it trains."""
    return Work(fit_each(study.config.sweep_variants, timestep_caches(study.config).values()))


def numbers(study: Study, caches: Mapping[int, str], scored: Mapping[str, ByTimestep]) -> dict[str, Any]:
    """Gaps of the mean LaRE, the best timesteps, and all scores.

    Args:
        study: Whose images they are.
        caches: Timestep → name of its cache.
        scored: Reading → timestep → scores.
    """
    default = study.config.timestep
    gaps = {t: compute_gaps(study.readings(study.cache(name))["mean_lare"]) for t, name in caches.items()}
    named = {name_setting(reading, t): each for reading, by_t in scored.items() for t, each in by_t.items()}
    return {
        "default": default,
        "gaps": {t: {source: vars(gap) for source, gap in by_source.items()} for t, by_source in gaps.items()},
        "choices": {reading: choose(by_timestep, default) for reading, by_timestep in scored.items()},
        "readings": summarize({**named, TITLES[ENERGY]: score(study, study.default_cache, ENERGY)}),
    }


def choose(scored: ByTimestep, default: int) -> dict[str, Any]:
    """The best timesteps of a reading by AUROC; of equals the one chosen on validation, or else the smallest.

    Args:
        scored: Timestep → the reading.
        default: Timestep that the chosen one is compared with.

    Returns:
        By the mean over the image sources: "chosen" (on validation), "hindsight" (on the test images: no choice, only
        what the chosen one is compared with), "gain" (test AUROC at the chosen one less that at the default). And
        "by_source": image source → "validation" (None without validation images), "hindsight", and "lost" (test AUROC
        in hindsight less that at the timestep chosen for all sources).
    """

    def best(split: str, source: str, *first: int) -> int:
        return max((*first, *sorted(scored)), key=lambda t: getattr(scored[t], split)[source]["auroc"].mean)

    chosen, by_source = best("validation", MEAN), {}
    for source in sorted(scored[default].test.keys() - {MEAN}):
        own = best("test", source, chosen)
        lost = scored[own].test[source]["auroc"] - scored[chosen].test[source]["auroc"]
        validation = best("validation", source) if source in scored[default].validation else None
        by_source[source] = {"validation": validation, "hindsight": own, "lost": lost.describe()}
    gain = subtract_means(scored[chosen], scored[default])["test"]
    return {"chosen": chosen, "hindsight": best("test", MEAN, chosen), "gain": gain, "by_source": by_source}


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
