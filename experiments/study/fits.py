"""What a question trains, told before it is begun: detectors, each with its seeds, as runs that tasks can share."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.answers.readings import SPLITS
from experiments.study.counts import count_training_images
from experiments.study.names import run_name
from experiments.study.study import Study
from train.runs import TIME_NAME, Rate, Run, find_rate


@dataclass(frozen=True)
class Fit:
    """A detector as `Study.fit` makes it, with each seed.

    Attributes:
        run: Its name.
        cache: Name of its cache.
        variant: As of `Study.fit`.
        arguments: As of `Study.fit`.
        data: Dataset; None: the study's.
        num_images: Training images of an epoch; None: all of the study's.
    """

    run: str
    cache: str
    variant: str = "full"
    arguments: tuple[str, ...] = ()
    data: Path | None = None
    num_images: int | None = None


@dataclass(frozen=True)
class Work:
    """What a question has to do before its numbers are there.

    Attributes:
        fits: What it trains.
        more: What else it makes by stage 1, in words.
        is_first: Whether that has to be there before anything is trained. Otherwise the study's caches are enough.
    """

    fits: tuple[Fit, ...] = ()
    more: str = ""
    is_first: bool = False

    @classmethod
    def unite(cls, works: Iterable["Work"]) -> "Work":
        """What several questions train from caches. A detector that they share is trained once."""
        fits = dict[str, Fit]()
        for work in works:
            fits |= {fit.run: fit for fit in work.fits if fit.run not in fits}
        return cls(tuple(fits.values()))


def fit_each(variants: Sequence[str], caches: Iterable[str], num_images: int | None = None) -> tuple[Fit, ...]:
    """A detector of each variant on each cache, each once.

    Args:
        variants: Some of `VARIANTS`.
        caches: Names of caches.
        num_images: As of `Fit`.
    """
    names = list(dict.fromkeys(caches))
    return tuple(Fit(run_name(v, name), name, v, num_images=num_images) for v in variants for name in names)


def list_fits(study: Study, work: Work) -> Iterator[tuple[Fit, int, Run]]:
    """Each detector with each seed: the run that it is, in the order of its number.

    Args:
        study: Whose work it is.
        work: What is to be trained.
    """
    all_images = count_training_images(study.config.data)
    for fit in work.fits:
        for seed in range(study.config.num_seeds):
            folder = study.run_folder(fit.run, seed)
            num_images = all_images if fit.num_images is None else fit.num_images
            is_done = not work.is_first and is_done_already(study, fit, seed)
            yield fit, seed, Run(f"{fit.run}, seed {seed}", folder, num_images, study.config.num_epochs, is_done)


def is_done_already(study: Study, fit: Fit, seed: int) -> bool:
    """Whether a detector is trained with a seed, from what its cache and its settings are now."""
    cache = study.config.caches / fit.cache
    if not (cache / "cache.json").is_file():
        return False
    return study.is_fitted(fit.run, cache, seed, fit.variant, fit.arguments, fit.data)


def find_study_rate(study: Study, given: float | None) -> Rate:
    """How fast this study's fits are: as given, or as those that are done were."""
    return find_rate(study.config.out.glob(f"detectors/*/seed-*/{TIME_NAME}"), given)


def do_fit(study: Study, fit: Fit, seed: int) -> None:
    """Train a detector with a seed, and score validation and test images, unless that is done.

    Raises:
        CacheError: If its cache is not there.
    """
    cache = study.cache(fit.cache, fit.data)
    how = {"variant": fit.variant, "arguments": fit.arguments, "data": fit.data, "num_images": fit.num_images}
    runs = study.fit(fit.run, cache, seeds=(seed,), **how)
    for split in SPLITS:
        study.predict(runs, cache, split=split, data=fit.data)
