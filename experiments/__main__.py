"""`python -m experiments <command>`: questions with images of their own, a study's caches and questions, the report."""

import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module

from cache_schema.program import run_as_process
from experiments.questions import QUESTIONS, SUMMARIES, load_question, load_work
from workflow.command import Command, run_command


def load_toy_benchmark() -> Command:
    """From photographs to RESULTS.md."""
    from experiments.toy.benchmark import ToyBenchmarkConfig, run

    return Command(ToyBenchmarkConfig, run, run.__doc__)


def load_families() -> Command:
    """From photographs to the answer on families."""
    from experiments.families.families import run
    from experiments.families.settings import FamiliesConfig

    return Command(FamiliesConfig, run, run.__doc__)


def load_report() -> Command:
    """From answers to a page and docs/RESULTS.md."""
    from experiments.report import ReportConfig, run

    return Command(ReportConfig, run, run.__doc__)


def load_study_command(module: str) -> Command:
    """A command with a study's settings, which is a module's `run_task(study, task)`."""
    from experiments.study.config import StudyTask
    from experiments.study.study import Study

    run: Callable[[Study, StudyTask], None] = import_module(module).run_task
    return Command(StudyTask, lambda task: run(Study(task.study), task), run.__doc__)


def load_question_command(name: str) -> Command:
    """A question: its answer is written, and the finding printed."""
    from experiments.study.config import StudyTask
    from experiments.study.study import Study
    from experiments.tasks import begin

    answer, work = load_question(name), load_work(name)

    def run(task: StudyTask) -> None:
        study = Study(task.study)
        if begin(study, name, work(study), task):
            found = answer(study)
            path = study.write(found)
            sys.stdout.write(f"\n{found.finding}\n\n{path}\n")

    return Command(StudyTask, run, answer.__doc__)


COMMANDS: dict[str, Callable[[], Command]] = {
    "toy-benchmark": load_toy_benchmark,
    "families": load_families,
    "caches": partial(load_study_command, "experiments.caches"),
    **{name: partial(load_question_command, name) for name in QUESTIONS},
    "ablate": partial(load_study_command, "experiments.ablate"),
    "report": load_report,
}
"""Name → what loads the command, when it is asked for: some load torch, or diffusers."""


def main(args: Sequence[str] | None = None) -> int:
    """Parse, run, and return the exit status: 0 done, 1 error, 2 wrong settings."""
    return run_command("python -m experiments", COMMANDS, args, SUMMARIES)


if __name__ == "__main__":
    run_as_process(main)
