"""`python -m demo run`: the whole demo, from photographs to report; `images`, `verdicts` and `report` are its steps."""

import os
from collections.abc import Sequence

from cache_schema.program import run_as_process
from workflow.command import Command, run_command

SUMMARIES = {
    "run": "Run both stages on real photographs with two toy models.",
    "images": "Make the demo's images, and pack them.",
    "report": "Write the demo's page again from its results.",
    "verdicts": "Ask the demo's detector about pictures.",
}


def load_run() -> Command:
    """The whole demo."""
    from demo.run import DemoConfig, run

    return Command(DemoConfig, run, run.__doc__)


def load_images() -> Command:
    """The images."""
    from demo.images import ImagesConfig, make

    return Command(ImagesConfig, make, make.__doc__)


def load_report() -> Command:
    """The page."""
    from demo.page import PageConfig, write_page

    return Command(PageConfig, write_page, write_page.__doc__)


def load_verdicts() -> Command:
    """The verdicts."""
    from demo.verdicts import VerdictsConfig, write_verdicts

    return Command(VerdictsConfig, write_verdicts, write_verdicts.__doc__)


def main(args: Sequence[str] | None = None) -> int:
    """Parse, run, and return the exit status: 0 done, 1 error, 2 wrong settings, 130 after Ctrl-C."""
    # Images are made by two processes with all cores' threads each: those that wait must not spin. Read by OpenMP when
    # torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    commands = {"run": load_run, "images": load_images, "report": load_report, "verdicts": load_verdicts}
    return run_command("python -m demo", commands, args, SUMMARIES)


if __name__ == "__main__":
    run_as_process(main)
