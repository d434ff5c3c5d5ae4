"""What stage 1 loses where it is made cheaper: AUROC against milliseconds on one core, and against operations."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import yaml

from experiments.answers.answer import Answer
from experiments.answers.rule import MARGIN
from experiments.cheap.settings import Candidate, choose_candidates, list_settings, make_cache
from experiments.cheap.telling import READINGS, TELLING, name_setting
from experiments.cheap.timing import Milliseconds, make_work, measure_in_turns, one_thread
from experiments.study.counts import count_training_images
from experiments.study.fits import Work, fit_each
from experiments.study.names import VARIANTS, run_name
from experiments.study.settings import Scored, score, subtract_means, summarize
from experiments.study.some_images import narrow
from experiments.study.stage_1 import count_giga_macs
from experiments.study.study import Study
from extract import LatentDiffusion, load_family, load_noising, make_method


def answer(study: Study) -> Answer:
    """What do cheaper settings of stage 1 lose, and how fast are they on one core? Makes their caches first."""
    study = narrow(study)
    candidates, left_out = choose_candidates(study)
    for candidate in candidates:
        make_cache(study, candidate)
    scored = {reading: score_all(study, reading, candidates) for reading in READINGS}
    found = {**numbers(scored, measure(candidates), candidates, study.config.margin), "left_out": left_out}
    return study.tell(
        "cheap",
        TELLING,
        found,
        max_images=study.config.max_images,
        timestep=study.config.timestep,
        default=found["default"],
        weights={each.setting.title: describe_weights(each) for each in candidates},
    )


def work(study: Study) -> Work:
    """What it trains and makes, where all settings whose models are named can be run."""
    config = study.config
    settings = [
        each
        for each in list_settings(config.ensemble_size)
        if (config.small_model or not each.is_small) and (config.tiny_vae or not each.is_tiny)
    ]
    caches = [each.cache_name(config.timestep) for each in settings]
    images = "all" if config.max_images is None else f"at most {config.max_images:,}"
    num_images = count_training_images(config.data, config.max_images)
    variants = [reading for reading in READINGS if reading in VARIANTS]
    return Work(fit_each(variants, caches, num_images), f"{len(caches)} caches of {images} labelled images", True)


def numbers(
    scored: Mapping[str, Mapping[str, Scored]],
    times: Mapping[int, Mapping[str, Milliseconds]],
    candidates: Sequence[Candidate],
    margin: float = MARGIN,
) -> dict[str, Any]:
    """Costs, differences to the default, and all scores.

    Args:
        scored: Reading → setting → scores.
        times: Images at a time → setting → time an image.
        candidates: The settings, the default first.
        margin: Of AUROCs that are equally good.
    """
    default = candidates[0].setting.title
    gains = {
        reading: {title: subtract_means(each, by[default]) for title, each in by.items() if title != default}
        for reading, by in scored.items()
    }
    return {
        "default": default,
        "giga_macs": {each.setting.title: count_giga_macs(each.config) for each in candidates},
        "milliseconds": {size: {title: asdict(t) for title, t in by.items()} for size, by in times.items()},
        "gains": gains,
        "margin": margin,
        "readings": summarize({name_setting(r, title): each for r, by in scored.items() for title, each in by.items()}),
    }


def describe_weights(candidate: Candidate) -> str:
    """Which UNet and autoencoder it is, by the beginnings of their hashes."""
    parts = {"UNet": candidate.folder.network, "autoencoder": candidate.folder.vae}
    return ", ".join(f"{name} {part.sha256[:8]}" for name, part in parts.items() if part)


def score_all(study: Study, reading: str, candidates: Sequence[Candidate]) -> dict[str, Scored]:
    """Setting → a reading of its cache. A detector sees the same part of a smaller canvas as of the default one."""
    default = candidates[0]
    scored = {default.setting.title: score(study, default.cache, reading)}
    for candidate in candidates[1:]:
        arguments: tuple[str, ...] = ()
        if reading in VARIANTS and candidate.setting.is_half:
            trained = study.fit(run_name(reading, default.cache), study.cache(default.cache), variant=reading)
            arguments = halve_crop(trained[0])
        scored[candidate.setting.title] = score(study, candidate.cache, reading, arguments)
    return scored


def halve_crop(run: Path) -> tuple[str, ...]:
    """The argument for boxes of half the side of a trained detector's; none where they are not of the canvas.

    Args:
        run: Folder of that detector.
    """
    data = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))["data"]
    return (f"--data.crop_px={data['crop_px'] // 2}",) if data["view"] == "canvas" else ()


def measure(candidates: Sequence[Candidate]) -> dict[int, dict[str, Milliseconds]]:
    """Images at a time, one and a batch of the study's → setting → time an image. Each model is loaded once."""
    loaded: dict[tuple[str, str | None], LatentDiffusion] = {}
    times = {}
    with one_thread():
        for each in candidates:
            config = each.config
            if (config.model, config.vae) not in loaded:
                noising, device = load_noising(each.folder, [config.timestep]), torch.device("cpu")
                loaded[config.model, config.vae] = load_family(
                    each.folder, noising, config.compute_dtype, device, config.channels_last
                )
        for size in sorted({1, candidates[0].config.batch_size}):
            works = {
                each.setting.title: make_work(
                    make_method(each.config, each.folder), loaded[each.config.model, each.config.vae], size
                )
                for each in candidates
            }
            times[size] = measure_in_turns(works, size)
    return times
