"""What a command of a study is about to do: told with its cost, listed by numbers, or done in parts by many tasks."""

import logging
import sys

from experiments.study.config import StudyTask
from experiments.study.fits import Work, do_fit, find_study_rate, list_fits
from experiments.study.study import Study
from train.runs import choose_numbers, describe_cost, list_runs

logger = logging.getLogger(__name__)


def begin(study: Study, name: str, work: Work, task: StudyTask) -> bool:
    """Tell what a command trains and what it costs, and do the part that a task is asked for.

    Args:
        study: Whose work it is.
        name: The command's.
        work: What it trains.
        task: Which part.

    Returns:
        Whether the command goes on to its answer: neither a dry run nor a part.

    Raises:
        ValueError: If there are no such runs, or they cannot be done before others.
        CacheError: If a cache is not there.
    """
    planned = [*list_fits(study, work)]
    runs = [run for _, _, run in planned]
    numbers = choose_numbers(task.only, len(runs))
    if runs:
        rate = find_study_rate(study, task.images_per_second)
        kinds, seeds = len(work.fits), study.config.num_seeds
        cost = describe_cost([runs[n] for n in numbers], rate, study.config.num_jobs if task.only is None else 1)
        logger.info("%s: %d detectors × %d seeds; %s", name, kinds, seeds, cost)
    if work.more:
        logger.info("%s: makes %s", name, work.more)
    if not runs and not work.more:
        logger.info("%s: trains nothing, and makes nothing by stage 1", name)
    if task.dry_run:
        sys.stdout.write(list_runs(runs))
        return False
    if task.only is None:
        return True
    if work.is_first:
        raise ValueError(f"only: {name} trains on what it makes first ({work.more}): run it as one task, without only")
    for n in numbers:
        fit, seed, _ = planned[n]
        do_fit(study, fit, seed)
    return False
