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
    "views": "experiments.views.views",
    "sources": "experiments.sources",
    "degradation": "experiments.degradation.degradation",
    "formats": "experiments.formats.formats",
    "precision": "experiments.precision",
    "frequency": "experiments.frequency.frequency",
    "cheap": "experiments.cheap.cheap",
    "verdicts": "experiments.verdicts.verdicts",
}
"""Name of the command → module, in the order of the report. Loaded when asked: some load torch or a model."""
SUMMARIES = {
    "timestep": "Which timestep separates generated from real images best?",
    "ensemble": "What is each further noise draw worth, and what does it cost?",
    "reconstruction": "What do DIRE and other reconstruction errors give beside LaRE? Extracts.",
    "egre": "What do the map, ESR and ECR add to the image?",
    "views": "What does the view change: the canvas, or a box of the picture as it is?",
    "sources": "What is a detector of one image source worth on another?",
    "degradation": "What do JPEG, blur, crops and an attack leave of each score? Extracts.",
    "formats": "How much of a score comes from the file's format and size? Packs and extracts.",
    "precision": "How few bits of a map does a detector need?",
    "frequency": "Is LaRE a measure of local detail?",
    "cheap": "What does a cheaper stage 1 lose? Extracts.",
    "verdicts": "How far can the verdicts of --detector be trusted?",
    "caches": "Make the caches that questions read, by sweeps of stage 1.",
    "ablate": "Compare all settings that caches alone can compare, in one table.",
    "families": "What is left on images of another architecture? On your photographs with four toy models.",
    "toy-benchmark": "Does LaRE see more than smoothness? On your photographs with four toy models.",
    "report": "Show a study's answers as a page.",
}
"""Command → what it asks or does, in a line. Those that extract run stage 1; `dry_run` tells on what."""
FROM_CACHES = ("timestep", "ensemble", "egre", "views", "precision")
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
