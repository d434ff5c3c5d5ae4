"""`python -m demo run`: the whole demo, from photographs to report."""

from collections.abc import Sequence

from cache_schema.program import run_as_process
from demo.run import DemoConfig, run
from workflow.command import Command, run_command


def main(args: Sequence[str] | None = None) -> int:
    """Parse, run, and return the exit status: 0 done, 1 error, 2 wrong settings."""
    return run_command("python -m demo", {"run": lambda: Command(DemoConfig, run, run.__doc__)}, args)


if __name__ == "__main__":
    run_as_process(main)
