"""Command line of stage 1: `python -m extract pack --src … --out …`, `python -m extract run --data … --cache … …`."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, NoReturn

from jsonargparse import ArgumentParser, set_parsing_settings
from tqdm.contrib.logging import logging_redirect_tqdm

from cache_schema.program import OneSentence, expand_home, run_as_process, run_program, start_logging
from extract.authors.import_maps import ImportConfig, MapImport
from extract.canvas_config import CanvasConfig
from extract.config import ExtractConfig, NoiseStudyConfig
from extract.engines.config import LaunchConfig
from extract.engines.watch import Watch, WatchConfig
from extract.packing.config import PackConfig
from extract.packing.pack import pack
from extract.rejected import EXIT_TOO_MANY_REJECTED
from extract.run.canvases import CanvasRun

EXIT_DONE = 0


def prepare_run(config: ExtractConfig) -> Callable[[], int]:
    """Write the LaRE maps of a dataset's tars to a cache folder."""
    from extract.run.job import Job  # loads torch and diffusers: seconds that --help and a typing error do not need

    job = Job.prepare(config)
    return lambda: EXIT_TOO_MANY_REJECTED if job.run() else EXIT_DONE


def prepare_launch(config: LaunchConfig) -> Callable[[], int]:
    """Write the LaRE maps of a dataset's tars by many tasks: SLURM jobs, or processes on this machine's devices."""
    from extract.engines.launch import Launch

    launch = Launch.prepare(config)
    return lambda: EXIT_TOO_MANY_REJECTED if launch.run() else EXIT_DONE


def prepare_canvases(config: CanvasConfig) -> Callable[[], int]:
    """Write the canvas of every image of a dataset's tars to a cache folder, without any model."""
    run = CanvasRun.prepare(config)
    return lambda: EXIT_TOO_MANY_REJECTED if run.run() else EXIT_DONE


def prepare_watch(config: WatchConfig) -> Callable[[], int]:
    """Show the tasks that fill a cache, again every few seconds."""
    watch = Watch(config)

    def work() -> int:
        watch.run()
        return EXIT_DONE

    return work


def prepare_pack(config: PackConfig) -> Callable[[], int]:
    """Pack images, in one of five layouts, into tars with an index."""

    def work() -> int:
        pack(config)
        return EXIT_DONE

    return work


def prepare_noise_study(config: NoiseStudyConfig) -> Callable[[], int]:
    """Tell how much of LaRE is chance: its standard error over noise draws, by ensemble size and image source."""
    from extract.run.noise_study import NoiseStudy

    study = NoiseStudy(config)

    def work() -> int:
        study.run()
        return EXIT_DONE

    return work


def prepare_import_maps(config: ImportConfig) -> Callable[[], int]:
    """Take a folder of maps that the LaRE² authors' scripts made into a cache that training reads."""
    maps = MapImport.prepare(config)
    return lambda: EXIT_TOO_MANY_REJECTED if maps.run() else EXIT_DONE


@dataclass(frozen=True)
class Command:
    """A subcommand: its settings, and the check of them, which returns the work that gives the exit status."""

    config: type[Any]
    prepare: Callable[[Any], Callable[[], int]]
    addresses: tuple[str, ...] = ()
    """Settings that may name a place in object storage."""


COMMANDS = {
    "pack": Command(PackConfig, prepare_pack, ("src", "root", "out")),
    "run": Command(ExtractConfig, prepare_run, ("data", "cache", "canvas_folder")),
    "canvases": Command(CanvasConfig, prepare_canvases, ("data", "cache")),
    "launch": Command(LaunchConfig, prepare_launch, ("data", "cache", "canvas_folder")),
    "watch": Command(WatchConfig, prepare_watch, ("data", "cache")),
    "noise-study": Command(NoiseStudyConfig, prepare_noise_study),
    "import-maps": Command(ImportConfig, prepare_import_maps),
}


class Parser(OneSentence, ArgumentParser):
    """Tells what is wrong in one sentence."""


def build_parser() -> ArgumentParser:
    """The parser of all subcommands; each takes a YAML file by --config, and flags that override it."""
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = Parser(prog="python -m extract", description=__doc__)
    subcommands = parser.add_subcommands(dest="command")
    for name, command in COMMANDS.items():
        subparser = Parser(description=command.prepare.__doc__)
        subparser.add_argument("--config", action="config", help="YAML file of settings; flags after it override it.")
        subparser.add_class_arguments(command.config)
        subcommands.add_subcommand(name, subparser, help=(command.prepare.__doc__ or "").splitlines()[0])
    return parser


def main(args: Sequence[str] | None = None) -> int:
    """Parse, run, and return the exit status: 0 done, 1 error, 2 wrong settings, 3 more rejected than allowed."""
    start_logging()
    return run_program(lambda: _run(args))


def _run(args: Sequence[str] | None) -> int:
    parser = build_parser()
    parsed = parser.parse_args(args)
    command = COMMANDS[parsed.command]
    given = parsed[parsed.command]
    try:
        settings = {
            field.name: expand_home(given[field.name], addresses=field.name in command.addresses)
            for field in fields(command.config)
        }
        work = command.prepare(command.config(**settings))
    except ValueError as error:
        parser.error(str(error))
    warnings.filterwarnings("ignore", "This DataLoader will create")  # more workers than cores do no harm
    with logging_redirect_tqdm():
        return work()


def run_as_program() -> NoReturn:
    """`main` as a process of its own: SIGTERM ends it in order, with exit status 143."""
    run_as_process(main)


if __name__ == "__main__":
    run_as_program()
