"""`python -m train fit|validate|test|predict|evaluate|readings|export …`: train, apply, score a detector."""

import signal
import sys
from collections.abc import Sequence

from cache_schema.program import EXIT_WRONG_SETTINGS, run_as_process, run_program, start_logging
from train.commands.scoring import COMMANDS

LIGHTNING_COMMANDS = {
    "fit": "Train a detector.",
    "validate": "Measure a detector on the validation split.",
    "test": "Measure a detector on a split.",
    "predict": "Score the images of a split.",
}
"""Name → what it does. These load Lightning and the model."""


def main(args: Sequence[str] | None = None) -> int:
    """Run a command, and return the exit status.

    Args:
        args: Name of the command and its flags; None: the arguments of this process.

    Returns:
        0 done, 1 error, 2 wrong settings, 130 after Ctrl-C, 143 ended by SIGTERM.
    """
    start_logging("%(asctime)s %(levelname)s %(name)s: %(message)s")
    return run_program(lambda: _run(args))


def _run(args: Sequence[str] | None) -> int:
    given = sys.argv[1:] if args is None else args
    command = given[0] if given else "--help"
    if command in COMMANDS:
        COMMANDS[command](given[1:])
    elif command in ("-h", "--help"):
        sys.stdout.write(describe_commands())
    elif command in LIGHTNING_COMMANDS or command.startswith("-"):
        from train.commands.lightning import run_lightning

        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # or Lightning would not end a fit in its own order
        run_lightning(args)
    else:
        known = ", ".join((*LIGHTNING_COMMANDS, *COMMANDS))
        sys.stderr.write(f"error: {command} is no command: expected one of {known}\n")
        return EXIT_WRONG_SETTINGS
    return 0


def describe_commands() -> str:
    """The commands, a line each."""
    scoring = {name: (command.__doc__ or "").splitlines()[0] for name, command in COMMANDS.items()}
    lines = (f"  {name:<10}{text}" for name, text in (LIGHTNING_COMMANDS | scoring).items())
    return "\n".join(
        ["Usage: python -m train COMMAND [--flag value …]", "", *lines, "", "COMMAND --help: its flags.\n"]
    )


if __name__ == "__main__":
    run_as_process(main)
