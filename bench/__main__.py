"""Measured comparisons, each with its command: `python -m bench`, `python -m bench --measures feed_rate --runs 3`."""

import logging
import sys
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from jsonargparse import ArgumentParser, set_parsing_settings

from bench.config import BenchConfig
from cache_schema.program import OneSentence, expand_home, run_as_process, run_program

logger = logging.getLogger("bench")


class Parser(OneSentence, ArgumentParser):
    """Tells what is wrong in one sentence."""


def build_parser() -> ArgumentParser:
    """The parser of all settings; takes a YAML file by --config, and flags that override it."""
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = Parser(prog="python -m bench", description=__doc__)
    parser.add_argument("--config", action="config", help="YAML file of settings; flags after it override it.")
    parser.add_argument("--all", action="store_true", help="Short for --measures all.")
    parser.add_class_arguments(BenchConfig)
    return parser


def run(config: BenchConfig, selected: Sequence[Any]) -> None:
    """Run measure after measure; every one that is finished is printed and in the file."""
    import torch

    from bench.machine import describe_machine
    from bench.registry import run_measure
    from bench.report import as_entries, format_table, machine_path, write_json

    write_json(machine_path(config.out), describe_machine(torch.device(config.device)))
    entries: list[dict[str, Any]] = []
    for measure in selected:
        command = config.command(measure.names[0])
        figures = run_measure(measure, config)
        entries += as_entries(figures, command)
        write_json(config.out, entries)
        sys.stdout.write(f"\n{command}\n{format_table(figures)}")
        sys.stdout.flush()
    sys.stdout.write(f"\n{config.out}\n")


def main(args: Sequence[str] | None = None) -> int:
    """Parse, run, and return the exit status: 0 done, 1 error, 2 wrong settings."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    logger.setLevel(logging.INFO)
    return run_program(lambda: _run(args))


def _run(args: Sequence[str] | None) -> int:
    parser = build_parser()
    parsed = parser.parse_args(args)
    settings = {
        field.name: expand_home(parsed[field.name], addresses=field.name == "storage") for field in fields(BenchConfig)
    }
    if parsed.all:
        settings["measures"] = "all"
    try:
        config = BenchConfig(**settings)
        import torch  # seconds that --help and a typing error do not need

        from bench.registry import select_measures

        selected = select_measures(config.measures)
        if config.device == "cuda" and not torch.cuda.is_available():
            raise ValueError("device is cuda, but torch finds no GPU: pass --device cpu")
    except ValueError as error:
        parser.error(str(error))
    run(config, selected)
    return 0


if __name__ == "__main__":
    run_as_process(main)
