"""What is left of a detector's score after its images went through what images go through, and under attack.

The test images are degraded, photographs and generated images by one codec, stage 1 makes their maps again, and
detectors that were trained on clean images, with thresholds from clean validation images, score them.
"""

from collections.abc import Mapping
from pathlib import Path

from cache_schema import Dataset, open_cache
from experiments.answers.answer import Answer
from experiments.degradation import attack, scores
from experiments.degradation.telling import AS_THEY_ARE, REFERENCE_PX, TELLING, entitle
from experiments.study.fits import Work, fit_each
from experiments.study.image_sets import unite
from experiments.study.names import VARIANTS, run_name
from experiments.study.some_images import choose_images
from experiments.study.stage_1 import make_cache_like
from experiments.study.study import Study
from extract import parse_degradation


def answer(study: Study) -> Answer:
    """What do JPEG, blur, low resolution, noise, crops and an attack on the pixels leave of each score?"""
    name = study.default_cache
    cache = study.cache(name)
    image_px = int(open_cache(cache).fields["image_size"])
    degradations = {each: scale_to(each, image_px) for each in study.config.degradations}
    copies, copies_cache = make_copies(study, degradations, cache)
    runs = {v: study.fit(run_name(v, name), cache, variant=v) for v in VARIANTS}
    readings = {v: study.predict(runs[v], copies_cache, name="degraded", data=copies) for v in VARIANTS}
    without_detector = study.readings(copies_cache, copies, threshold_from=(cache, study.config.data))
    readings["mean_lare"] = without_detector["mean_lare"]
    results, left_out = scores.score_copies(readings, degradations)
    attacks = attack.attack(study, copies, copies_cache, runs, readings, AS_THEY_ARE)
    titles = {name: entitle(name, done) for name, done in degradations.items()}
    numbers = {"titles": titles, **scores.numbers(results), "left_out": left_out, **attack.numbers(attacks)}
    limit, done = study.config.max_test_images, [*titles.values()]
    return study.tell("degradation", TELLING, numbers, max_test_images=limit, degradations=done)


def work(study: Study) -> Work:
    """What it trains and makes."""
    num, limit = len(study.config.degradations), study.config.max_test_images
    copies = f"copies of {'the' if limit is None else f'at most {limit:,}'} test images under {num} degradations"
    return Work(fit_each(VARIANTS, [study.default_cache]), f"{copies} and an attack, and their maps")


def scale_to(degradation: str, image_px: int) -> str:
    """The degradation with the side or sigma that an image of `image_px` has in proportion to one of `REFERENCE_PX`.

    Raises:
        ValueError: If there is no such degradation.
    """
    kind, number = parse_degradation(degradation)
    number *= image_px / REFERENCE_PX
    if kind == "resize":
        return f"resize:{max(1, round(number))}"
    return f"blur:{number:g}" if kind == "blur" else degradation


def make_copies(study: Study, degradations: Mapping[str, str], cache: Path) -> tuple[Path, Path]:
    """Test images as they are and under each degradation, as one dataset, and its cache with the settings of another.

    Args:
        study: Whose test images they are.
        degradations: Name → as packing does it.
        cache: The one with the settings.

    Returns:
        Dataset folder, whose keys begin with the degradation's name, and cache folder.
    """
    images, signature = choose_images(study, "test-images", study.config.max_test_images, ("test",))
    united = images.parent / "degraded"
    copies = {AS_THEY_ARE: images}
    for name, degrade in degradations.items():
        place = f"degraded-{degrade.replace(':', '-')}"
        copies[name] = study.pack(place, images, f"--degrade={degrade}", after=signature)
    parts = {name: Dataset.open(copy).dataset_id for name, copy in copies.items()}
    study.steps.run("unite-degraded", [united], parts, lambda: unite(copies, united), after=signature)
    return united, make_cache_like(study, "degraded", cache, united)
