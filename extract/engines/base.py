"""What an engine must offer: it runs the tasks of a launch, each a `python -m extract run` over some tars."""

import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal

from extract.engines.config import LaunchConfig


class Engine(ABC):
    """Where and how tasks run. Light to import: a task may load its engine before its work begins.

    Args:
        config: The launch's settings.

    Raises:
        ValueError: If a setting does not fit this machine.
    """

    def __init__(self, config: LaunchConfig) -> None:
        self.config = config

    @property
    @abstractmethod
    def device(self) -> Literal["cpu", "cuda"]:
        """Setting `device` of every task. Never "auto": a GPU that is not there is to be an error."""

    @property
    @abstractmethod
    def max_at_once(self) -> int:
        """Tasks that run at the same time, at most."""

    @property
    def min_tasks(self) -> int:
        """Tasks that the work is divided into at least, so that nothing that was asked for stands idle."""
        return 1

    @property
    def devices_a_task(self) -> int:
        """Devices that share a task's tars."""
        return 1

    @property
    def resources(self) -> str:
        """What each task is lent, in words; "" where it takes what this machine has."""
        return ""

    @abstractmethod
    def describe(self, flags: Sequence[str], tasks: Sequence[str]) -> str:
        """What a dry run shows besides the plan; "" for nothing. Arguments as in `run`."""

    @abstractmethod
    def run(self, flags: Sequence[str], tasks: Sequence[str]) -> bool:
        """Run the tasks, or hand them over to what runs them.

        Args:
            flags: The run's settings, as flags. No file holds them: others might write to it before a task reads it.
            tasks: Tars of each task, "0-25"; at least one.

        Returns:
            Whether a task had more rejected images than allowed, as far as that is known on return.

        Raises:
            OSError: If tasks cannot be started, or failed.
        """


def run_command(flags: Sequence[str]) -> list[str]:
    """The command line of a task, without its tars.

    Args:
        flags: The run's settings, as flags.
    """
    return [sys.executable, "-u", "-m", "extract", "run", *flags]
