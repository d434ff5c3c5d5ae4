"""Commands around a cache: what is done, whether it is whole, what is in it, and smaller variants of it."""

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Sequence
from typing import NoReturn

from tqdm import tqdm

from cache_schema.cache import check_dataset, open_cache
from cache_schema.derive import derive_cache
from cache_schema.index import Dataset
from cache_schema.info import describe
from cache_schema.keys import store_name
from cache_schema.likenesses import near_duplicates
from cache_schema.program import OneSentence, expand_home, run_as_process, run_program
from cache_schema.report import STATES, format_status, shard_reports, summarize
from cache_schema.shown import shown
from cache_schema.store import FULL_MANTISSA_BITS
from cache_schema.verify import index_problems, strays, verify

EXIT_DONE, EXIT_ERROR = 0, 1


def run_status(options: argparse.Namespace) -> int:
    """Tell what is done, missing, stale, damaged and rejected, from the stores' attributes alone.

    A store whose texts per sample have changed since is told by the extraction only. Exit status 0 also while tars are
    missing, and 1 if a store is stale or damaged. With --check it is 1 unless all tars are done.
    """
    dataset, cache = Dataset.open(options.data), open_cache(options.cache)
    check_dataset(cache, dataset.dataset_id)
    summary = summarize(cache, shard_reports(cache, dataset), strays(cache, dataset, with_temporary=False))
    sys.stdout.write(json.dumps(summary) + "\n" if options.json else format_status(summary))
    tars = summary["tars"]
    is_wrong = tars["stale"] or tars["damaged"] or (options.check and tars["missing"])
    return EXIT_ERROR if is_wrong else EXIT_DONE


def run_verify(options: argparse.Namespace) -> int:
    """Check every checksum, join every row, compare places in the tars with the index.

    Each problem is a line. Stray files in the cache folder are warnings, and with --deep images of different splits
    that look alike. Exit status 0 if there is no problem, otherwise 1; a missing store is a problem.
    """
    dataset, cache = Dataset.open(options.data), open_cache(options.cache)
    check_dataset(cache, dataset.dataset_id)
    states: Counter[str] = Counter()
    num_problems = 0
    for problem in index_problems(dataset):
        num_problems += 1
        _write_line(problem)
    likenesses = []
    for check in verify(cache, dataset, deep=options.deep, num_workers=options.num_workers):
        likenesses.append(check.likenesses)
        states[check.state] += 1
        num_problems += len(check.problems)
        for problem in check.problems:
            _write_line(problem)
    warnings = strays(cache, dataset) + (near_duplicates(dataset, likenesses) if options.deep else [])
    for warning in warnings:
        _write_line(f"warning: {warning}")
    stores = ", ".join(
        f"{states[state]} {state}" for state in (*STATES, "unchecked") if states[state] or state in STATES
    )
    _write_line(f"{cache.folder}: {stores} stores; {num_problems} problems, {len(warnings)} warnings")
    return EXIT_ERROR if num_problems else EXIT_DONE


def run_info(options: argparse.Namespace) -> int:
    """Tell what is in a store, a cache folder, a dataset folder, or a folder of such folders."""
    sys.stdout.write(describe(options.store))
    return EXIT_DONE


def run_derive(options: argparse.Namespace) -> int:
    """Make a smaller variant of a cache of float32 maps, the same to the bit as an extraction with these settings.

    Stores that are there are checked and skipped. Exit status 0 if every store of the source is in the variant (and,
    with --data, the source has one for every tar), otherwise 1.
    """
    source = open_cache(options.cache)
    dataset = Dataset.open(options.data) if options.data else None
    if dataset:
        check_dataset(source, dataset.dataset_id)
    states: Counter[str] = Counter()
    num_bytes = 0
    for derived in derive_cache(
        source,
        options.out,
        stored_dtype=options.stored_dtype,
        mantissa_bits=options.mantissa_bits,
        overwrite=options.overwrite,
        num_workers=options.num_workers,
        dataset=dataset,
    ):
        states[derived.state] += 1
        num_bytes += derived.num_bytes
        if derived.problem:
            _write_line(f"{derived.name}: {derived.problem}")
    counts = ", ".join(f"{states[state]} {state}" for state in ("written", "skipped", "failed"))
    _write_line(f"{options.out}: {counts} stores; {num_bytes:,} bytes written")
    passed = sorted({*source.shards()} - {*source.stores_of(dataset.tars)}) if dataset else []
    if passed:
        _write_line(f"passed over, as they are of no tar of this dataset: {len(passed)} stores, the first {passed[0]}")
    missing = [t.name for t in dataset.tars if not source.has(store_name(t.name))] if dataset else []
    if missing:
        _write_line(f"{len(missing)} of {len(dataset.tars) if dataset else 0} tars have no store in {source.folder}")
    return EXIT_ERROR if states["failed"] or missing else EXIT_DONE


def _write_line(line: str) -> None:
    tqdm.write(shown(line, None), file=sys.stdout)  # goes round a progress bar on the same terminal


class Parser(OneSentence, argparse.ArgumentParser):
    """Tells what is wrong in one sentence."""


def _add_places(command: argparse.ArgumentParser) -> None:
    command.add_argument("--data", required=True, help="folder with dataset.json")
    command.add_argument("--cache", required=True, help="folder with cache.json")


def _add_workers(command: argparse.ArgumentParser) -> None:
    command.add_argument("--num_workers", type=int, default=os.cpu_count() or 1, help="processes (one a CPU)")


def add_status(command: argparse.ArgumentParser) -> None:
    """Arguments of `status`."""
    _add_places(command)
    command.add_argument("--json", action="store_true", help="one JSON object instead of text")
    command.add_argument("--check", action="store_true", help="exit status 1 unless all tars are done, for scripts")


def add_verify(command: argparse.ArgumentParser) -> None:
    """Arguments of `verify`."""
    _add_places(command)
    command.add_argument(
        "--deep",
        action="store_true",
        help="read every image and json copy in the tars too, and list images of different splits that look alike",
    )
    _add_workers(command)


def add_info(command: argparse.ArgumentParser) -> None:
    """Arguments of `info`."""
    command.add_argument("store", help="a store file, a cache or dataset folder, or a folder of them")


def add_derive(command: argparse.ArgumentParser) -> None:
    """Arguments of `derive`."""
    command.add_argument("--cache", required=True, help="source: a cache of float32 maps with all their bits")
    command.add_argument("--out", required=True, help="folder of the variant; made if absent")
    command.add_argument(
        "--mantissa_bits", "--mantissa-bits", type=int, help="bits to keep; all of the dtype's if not given"
    )
    command.add_argument(
        "--stored_dtype",
        "--stored-dtype",
        choices=sorted(FULL_MANTISSA_BITS),
        default="float16",
        help="number format of the variant",
    )
    command.add_argument("--overwrite", action="store_true", help="replace stores that are there")
    command.add_argument(
        "--data", help="folder with dataset.json: passes over stores of no tar, and tells which tars lack one"
    )
    _add_workers(command)


COMMANDS = {
    "status": (add_status, run_status),
    "verify": (add_verify, run_verify),
    "info": (add_info, run_info),
    "derive": (add_derive, run_derive),
}
"""Name → what adds its arguments, and what does its work."""


def build_parser() -> argparse.ArgumentParser:
    """The parser of all subcommands."""
    parser = Parser(prog="python -m cache_schema", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, (add_arguments, run) in COMMANDS.items():
        command = commands.add_parser(name, help=(run.__doc__ or "").splitlines()[0], description=run.__doc__)
        command.set_defaults(run=run)
        add_arguments(command)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, run, and return the exit status: 0 all is well, 1 an error or problems, 2 wrong settings."""
    return run_program(lambda: _run(arguments))


def _run(arguments: Sequence[str] | None) -> int:
    parser = build_parser()
    options = argparse.Namespace(**expand_home(vars(parser.parse_args(arguments)), addresses=True))
    if getattr(options, "num_workers", 1) < 1:
        parser.error(f"--num_workers is {options.num_workers}: expected 1 or more")
    try:
        status: int = options.run(options)
    except ValueError as error:
        parser.error(str(error))
    return status


def run_as_program() -> NoReturn:
    """`main` as a process of its own: SIGTERM ends it in order, with exit status 143."""
    run_as_process(main)


if __name__ == "__main__":
    run_as_program()
