"""Stage 1 of the questions that compare settings of it, in as few passes over the images as sweeps allow."""

import logging
from functools import partial

import torch

from cache_schema import CacheError, Dataset, derive_cache, open_cache, write_json
from experiments.ensemble import COSTS_NAME
from experiments.passes import Pass, plan
from experiments.precision import list_precisions
from experiments.study.stage_1 import check_model, open_model, parse_config
from experiments.study.study import Study
from extract import count_macs_by_part
from extract.models.costs import ASSUMED_MACS_PER_SECOND
from workflow.steps import do_at_once

logger = logging.getLogger(__name__)


def run(study: Study) -> None:
    """Make the caches that the questions on timesteps, ensembles, EGRE and precision are answered from.

    What it costs is logged first. Caches that are whole are left alone, others gone on with.

    Raises:
        FingerprintMismatch: If one was made by another model of the same name.
    """
    passes = [each for each in plan(study.config) if not all(map(study.is_whole, each.caches))]
    if passes or not (study.config.caches / COSTS_NAME).is_file():
        log_costs(study, passes)
    num_jobs = min(study.config.num_jobs, max(1, len(passes)))
    works = [
        partial(study.extract, each.folder, *each.arguments, is_sweep=each.is_sweep, share=num_jobs) for each in passes
    ]
    do_at_once(works, num_jobs)
    model = open_model(parse_config(study, ()))
    for name in (name for each in plan(study.config) for name in each.caches):
        check_model(study, study.cache(name), model)
    derive(study)


def log_costs(study: Study, passes: list[Pass]) -> None:
    """Tell what the passes cost, and keep what one call of each part of the model does for whoever has no model."""
    config = study.config
    settings = parse_config(study, ())
    macs = count_macs_by_part(open_model(settings), settings.image_size)
    write_json(config.caches / COSTS_NAME, {"image_size_px": settings.image_size, **macs})
    num_images = sum(entry.num_rows for entry in Dataset.open(config.data).tars)
    rate = ASSUMED_MACS_PER_SECOND["cuda" if torch.cuda.is_available() else "cpu"]
    for each in passes:
        cost = macs["vae_encoder"] + each.num_unet_calls * macs["unet"]
        logger.info(
            "%s: %s images, %d UNet calls and %.3g GMAC each: %.2g hours, if this machine does %g TMAC/s",
            each.title,
            f"{num_images:,}",
            each.num_unet_calls,
            cost / 1e9,
            num_images * cost / rate / 3600,
            rate / 1e12,
        )


def derive(study: Study) -> None:
    """Round the default cache's maps to fewer bits, as an extraction would have; takes no model."""
    source = open_cache(study.cache(study.default_cache))
    for precision in list_precisions(study.default_cache, study.config.mantissa_bits):
        if precision.bits is None:
            continue
        folder = study.config.caches / precision.cache
        for store in derive_cache(source, folder, stored_dtype="float16", mantissa_bits=precision.bits):
            if store.problem:
                raise CacheError(f"{folder}: {store.name}: {store.problem}")
        logger.info("%s: %s", folder, precision.title)
