"""A command of the demo or of an experiment: settings parsed and checked, then the run, and its exit status."""

import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

from jsonargparse import ArgumentParser, set_parsing_settings
from tqdm.contrib.logging import logging_redirect_tqdm

from cache_schema import CacheError
from demo.toy_images import SourceConfig


def run_command(
    program: str, name: str, config_class: type[Any], run: Callable[[Any], None], args: Sequence[str] | None
) -> int:
    """Run the one command of a program.

    Args:
        program: "python -m …".
        name: Name of the command.
        config_class: Its settings, a dataclass with a field `sources`.
        run: The command; its docstring is the help.
        args: Arguments after the program; None: those of this process.

    Returns:
        Exit status: 0 done, 1 error. Wrong settings end the process with 2.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = ArgumentParser(prog=program)
    command = ArgumentParser(description=run.__doc__)
    command.add_class_arguments(config_class)
    parser.add_subcommands(dest="command").add_subcommand(name, command)
    parsed = parser.parse_args(args)[name]
    settings = {f.name: parsed[f.name] for f in fields(config_class)}
    try:
        config = config_class(**{**settings, "sources": SourceConfig(**vars(settings["sources"]))})
    except ValueError as error:
        parser.error(str(error))
    try:
        with logging_redirect_tqdm():
            run(config)
    except (CacheError, ValueError, RuntimeError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0
