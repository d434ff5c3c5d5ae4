"""`python -m train fit|validate|test|predict|evaluate|readings|export …`: train, apply, score a detector."""

import logging
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence

from cache_schema import CacheError
from train.commands.scoring import COMMANDS

logger = logging.getLogger("train")


def main() -> int:
    """Run the command that `sys.argv` names. Exit code 0 done, 1 error, 143 ended by SIGTERM."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    command = sys.argv[1] if len(sys.argv) > 1 else "--help"
    try:
        if command in COMMANDS:
            return _run(COMMANDS[command], sys.argv[2:])
        return _run_lightning()
    except (CacheError, FileExistsError) as error:
        logger.error("%s", error)
        return 1


def _run_lightning() -> int:
    """Run a command that a trainer runs; only these load Lightning and the model."""
    from lightning.pytorch.utilities.exceptions import SIGTERMException

    from train.commands.lightning import run_lightning

    try:
        run_lightning()
    except SIGTERMException:
        logger.error("ended by SIGTERM")
        return 143
    return 0


def _run(command: Callable[[Sequence[str]], None], arguments: Sequence[str]) -> int:
    """Run a command that needs no trainer; what is wrong with its input is told in a sentence."""
    try:
        command(arguments)
    except ValueError as error:
        logger.error("%s", error)
        return 1
    except subprocess.CalledProcessError as error:
        logger.error("a command ended with status %d, see above: %s", error.returncode, shlex.join(error.cmd))
        return error.returncode if error.returncode == 143 else 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
