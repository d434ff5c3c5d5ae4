"""The questions that have a command each: modules with `answer(study) -> Answer`, `work(study) -> Work`, `TELLING`."""

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # they load torch, which a list of the commands does without
    from experiments.answers.answer import Answer
    from experiments.answers.telling import Telling
    from experiments.study.fits import Work
    from experiments.study.study import Study

QUESTIONS = {
    "timestep": "experiments.timestep.timestep",
    "ensemble": "experiments.ensemble",
    "reconstruction": "experiments.reconstruction",
    "egre": "experiments.egre.egre",
    "sources": "experiments.sources",
    "degradation": "experiments.degradation.degradation",
    "formats": "experiments.formats.formats",
    "precision": "experiments.precision",
    "frequency": "experiments.frequency.frequency",
    "cheap": "experiments.cheap.cheap",
    "verdicts": "experiments.verdicts.verdicts",
}
"""Name of the command → module, in the order of the report. Loaded when asked: some load torch or a model."""
FROM_CACHES = ("timestep", "ensemble", "egre", "precision")
"""Those that are answered from caches alone, with no diffusion model. Under "readings" their numbers have split →
setting → "mean" and each image source → metric → mean, sd over seeds, interval."""


def load_question(name: str) -> Callable[["Study"], "Answer"]:
    """The function that answers a question."""
    answer: Callable[[Study], Answer] = import_module(QUESTIONS[name]).answer
    return answer


def load_work(name: str) -> Callable[["Study"], "Work"]:
    """The function that tells what a question trains and makes."""
    work: Callable[[Study], Work] = import_module(QUESTIONS[name]).work
    return work


def load_telling(name: str) -> "Telling":
    """The words of a question."""
    telling: Telling = import_module(QUESTIONS[name]).TELLING
    return telling
