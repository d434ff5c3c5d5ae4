"""Commands of the demo or of the experiments: settings parsed and checked, then the work, and its exit status."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from types import MappingProxyType
from typing import Any

from jsonargparse import ArgumentParser, set_parsing_settings
from tqdm.contrib.logging import logging_redirect_tqdm

from cache_schema.program import OneSentence, expand_home, run_program, start_logging


@dataclass(frozen=True)
class Command:
    """A command of a program."""

    config: type[Any]
    """Its settings: a dataclass, fields of which may be dataclasses."""
    run: Callable[[Any], None]
    """The work."""
    description: str | None
    """The help text."""


class Parser(OneSentence, ArgumentParser):
    """Tells what is wrong in one sentence."""


def run_command(
    program: str,
    commands: Mapping[str, Callable[[], Command]],
    args: Sequence[str] | None,
    summaries: Mapping[str, str] = MappingProxyType({}),
) -> int:
    """Run one command of a program.

    Args:
        program: "python -m …".
        commands: Name → loads the command. Only the one that is asked for is loaded.
        args: Arguments after the program; None: those of this process.
        summaries: Name → what it does, in a line, for the help of the program.

    Returns:
        Exit status: 0 done, 1 error. Wrong settings end the process with 2.
    """
    start_logging()
    args = sys.argv[1:] if args is None else args
    return run_program(lambda: _run(program, commands, args, summaries))


def _run(
    program: str, commands: Mapping[str, Callable[[], Command]], args: Sequence[str], summaries: Mapping[str, str]
) -> int:
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = Parser(prog=program)
    subcommands, loaded = parser.add_subcommands(dest="command"), {}
    for name, load in commands.items():
        subparser = Parser()
        if name in args[:1]:
            loaded[name] = load()
            subparser.description = loaded[name].description
            if "config" not in {field.name for field in fields(loaded[name].config)}:  # a setting of its own
                text = "YAML file of settings; flags after it override it."
                subparser.add_argument("--config", action="config", help=text)
            subparser.add_class_arguments(loaded[name].config)
        subcommands.add_subcommand(name, subparser, help=summaries.get(name))
    parsed = parser.parse_args(args)
    command = loaded[parsed.command]
    try:
        config = build_config(command.config, parsed[parsed.command])
    except ValueError as error:
        parser.error(str(error))
    with logging_redirect_tqdm():
        command.run(config)
    return 0


def build_config(config: type[Any], parsed: Any) -> Any:
    """Settings as the dataclass that checks them.

    Args:
        config: The dataclass.
        parsed: jsonargparse's values of its fields.
    """
    values = {field.name: expand_home(parsed[field.name]) for field in fields(config)}
    nested: dict[str, Any] = {field.name: field.type for field in fields(config) if is_dataclass(field.type)}
    return config(**values | {name: build_config(kind, values[name]) for name, kind in nested.items()})
