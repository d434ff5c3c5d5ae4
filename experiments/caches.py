"""Stage 1 of the questions that compare settings of it, in as few passes over the images as sweeps allow."""

import logging
import shlex
import sys
from collections.abc import Sequence
from functools import partial

import torch

from cache_schema import (
    CacheError,
    Dataset,
    ShardReport,
    TarEntry,
    derive_cache,
    open_cache,
    shard_reports,
    store_name,
    write_json,
)
from experiments.ensemble import COSTS_NAME
from experiments.passes import Pass, plan
from experiments.precision import list_of
from experiments.study.config import StudyTask
from experiments.study.stage_1 import check_model, open_model, parse_config
from experiments.study.study import Study
from extract import count_macs_by_part
from extract.models.costs import count_macs_by_format, expected_rate
from train.runs import choose_numbers, format_time
from workflow.processes import do_at_once

logger = logging.getLogger(__name__)


def run_task(study: Study, task: StudyTask) -> None:
    """Make the caches that the questions on timesteps, ensembles, EGRE and precision are answered from."""
    passes = plan(study.config)
    numbers = choose_numbers(task.only, len(passes))
    if task.dry_run:
        tell_costs(study, [passes[n] for n in numbers], task.images_per_second)
        sys.stdout.write(list_passes(study, passes))
    else:
        run(study, [passes[n] for n in numbers], task.images_per_second, is_all=task.only is None)


def run(
    study: Study, passes: Sequence[Pass] | None = None, images_per_second: float | None = None, *, is_all: bool = True
) -> None:
    """Make the caches that the questions on timesteps, ensembles, EGRE and precision are answered from.

    What it costs is logged first. Caches that are whole are left alone, others gone on with.

    Args:
        study: Whose caches they are.
        passes: What is to be done; None: all.
        images_per_second: As of `tell_costs`.
        is_all: Whether nothing is missing afterwards, so that smaller caches are made of the default one.

    Raises:
        FingerprintMismatch: If one was made by another model of the same name.
    """
    asked = plan(study.config) if passes is None else passes
    left = [each for each in asked if not all(map(study.is_whole, each.caches))]
    costs = study.config.caches / COSTS_NAME
    if left or not costs.is_file():
        write_json(costs, tell_costs(study, left, images_per_second))
    num_jobs = min(study.config.num_jobs, max(1, len(left)))
    works = [
        partial(study.extract, each.folder, *each.arguments, is_sweep=each.is_sweep, share=num_jobs) for each in left
    ]
    do_at_once(works, num_jobs)
    model = open_model(parse_config(study, ()))
    for name in (name for each in asked for name in each.caches):
        check_model(study, study.cache(name), model)
    if is_all:
        derive(study)


def tell_costs(study: Study, passes: Sequence[Pass], images_per_second: float | None = None) -> dict[str, int]:
    """Tell what passes cost: tars × images × UNet calls, and hours at the rate of what is finished, or an assumed one.

    Args:
        study: Whose passes they are.
        passes: What is to be done.
        images_per_second: Expected rate of one device, by the user.

    Returns:
        What one call of each part of the model does, for whoever has no model.
    """
    settings, dataset = parse_config(study, ()), Dataset.open(study.config.data)
    macs = count_macs_by_part(open_model(settings), settings.image_size)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    for each in passes:
        cost = macs["vae_encoder"] + each.num_unet_calls * macs["unet"]
        tars = [tar for tar in dataset.tars if not all(_has(study, name, tar) for name in each.caches)]
        num_images = sum(tar.num_rows for tar in tars)
        dtype = parse_config(study, each.arguments).compute_dtype
        by_format = count_macs_by_format(open_model(settings), settings.image_size, (each.num_unet_calls, 0), dtype)
        rate = expected_rate(images_per_second, _list_reports(study, each, dataset), by_format, device)
        logger.info(
            "%s: %d tars × %s images × %d UNet calls, %.3g GMAC an image: %s at %s images/s (%s)",
            each.title,
            len(tars),
            f"{num_images:,}",
            each.num_unet_calls,
            cost / 1e9,
            format_time(num_images / rate.images_per_second / 3600),
            f"{rate.images_per_second:,.1f}",
            rate.source,
        )
    return {"image_size_px": settings.image_size, **macs}


def _has(study: Study, name: str, tar: TarEntry) -> bool:
    folder = study.config.caches / name
    return (folder / "cache.json").is_file() and open_cache(folder).has(store_name(tar.name))


def _list_reports(study: Study, each: Pass, dataset: Dataset) -> list[ShardReport]:
    """Of the stores that a pass has made."""
    folder = study.config.caches / each.caches[0]
    return list(shard_reports(open_cache(folder), dataset)) if (folder / "cache.json").is_file() else []


def list_passes(study: Study, passes: Sequence[Pass]) -> str:
    """The passes with their numbers, and for each the command that makes it as tasks of a cluster."""
    config, lines = study.config, []
    for n, each in enumerate(passes):
        state = "done" if all(map(study.is_whole, each.caches)) else "to do"
        places = ("--model", config.model, "--data", str(config.data), "--cache", str(config.caches / each.folder))
        command = ("lare", "launch", "--config", str(config.extract_config), *places, *each.arguments)
        lines.append(f"{n}  {state}  {each.title}\n   as tasks: {shlex.join(command)}\n")
    return "".join(lines)


def derive(study: Study) -> None:
    """Round the default cache's maps to fewer bits, as an extraction would have; takes no model."""
    source = open_cache(study.cache(study.default_cache))
    for precision in list_of(study.config):
        if precision.bits is None:
            continue
        folder = study.config.caches / precision.cache
        for store in derive_cache(source, folder, stored_dtype="float16", mantissa_bits=precision.bits):
            if store.problem:
                raise CacheError(f"{folder}: {store.name}: {store.problem}")
        logger.info("%s: %s", folder, precision.title)
