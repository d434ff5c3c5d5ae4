"""`python -m detect run FILE… --detector FOLDER`: verdicts; `serve`: over HTTP; `calibrate PHOTOS…`: a detector."""

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from importlib import import_module
from typing import Any, NoReturn

from jsonargparse import ArgumentParser, set_parsing_settings
from tqdm.contrib.logging import logging_redirect_tqdm

from cache_schema.program import OneSentence, expand_home, run_as_process, run_program, start_logging


@dataclass(frozen=True)
class Command:
    """A subcommand. What it names is loaded when it is asked for."""

    config: str
    """Its settings, a dataclass: "package.module:Name"."""
    summary: str
    """What it does, in a line."""
    work: str
    """What it does: a function of the settings that returns the exit status."""
    addresses: tuple[str, ...] = ()
    """Settings that may name a place in object storage."""
    words: str = ""
    """The setting whose values stand without a flag, before all flags: a tuple of texts."""


COMMANDS = {
    "run": Command(
        "detect.files.config:DetectConfig",
        "Give verdicts on pictures.",
        "detect.files.run:run",
        addresses=("files", "out"),
        words="files",
    ),
    "calibrate": Command(
        "detect.calibrate.config:CalibrateConfig",
        "Make a detector from photographs alone.",
        "detect.calibrate.run:run",
        addresses=("photos",),
        words="photos",
    ),
    "serve": Command("detect.server.config:ServeConfig", "Give verdicts over HTTP.", "detect.server.serve:serve"),
}


class Parser(OneSentence, ArgumentParser):
    """Tells what is wrong in one sentence."""


def main(args: Sequence[str] | None = None) -> int:
    """Parse, run, and return the exit status.

    Args:
        args: Name of the command, its words and flags; None: those of this process.

    Returns:
        0 done, 1 error, 2 wrong settings, 3 done but some files could not be read, 130 after Ctrl-C, 143 after SIGTERM.
    """
    # Threads that decode share the cores with the networks: those that wait must not spin. Read by OpenMP when torch is
    # loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    start_logging()
    return run_program(lambda: _run(sys.argv[1:] if args is None else args))


def _run(args: Sequence[str]) -> int:
    parser = _build_parser(args)
    parsed = parser.parse_args(args)
    command, values = COMMANDS[parsed.command], parsed[parsed.command]
    config = _load(command.config)
    try:
        settings = {
            field.name: expand_home(values[field.name], addresses=field.name in command.addresses)
            for field in fields(config)
        }
        if command.words:
            settings[command.words] = tuple(settings[command.words])
        checked = config(**settings)
    except ValueError as error:
        parser.error(str(error))
    work: Callable[[Any], int] = _load(command.work)
    with logging_redirect_tqdm():
        return work(checked)


def _build_parser(args: Sequence[str]) -> ArgumentParser:
    """The parser, with the settings of the command that is asked for."""
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = Parser(prog="python -m detect", description=__doc__)
    subcommands = parser.add_subcommands(dest="command")
    for name, command in COMMANDS.items():
        subparser = Parser()
        if name in args[:1]:
            subparser.description = (_load(command.config).__doc__ or "").strip()
            subparser.add_argument("--config", action="config", help="YAML file of settings; flags override it.")
            if command.words:
                subparser.add_argument(command.words, nargs="*", default=[], help="Stand before all flags.")
            subparser.add_class_arguments(_load(command.config), skip={command.words} - {""})
        subcommands.add_subcommand(name, subparser, help=command.summary)
    return parser


def _load(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)


def run_as_program() -> NoReturn:
    """`main` as a process of its own: SIGTERM ends it in order, with exit status 143."""
    run_as_process(main)


if __name__ == "__main__":
    run_as_program()
