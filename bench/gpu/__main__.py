"""`python -m bench.gpu`: every claim about a GPU, measured on one; a line a check, and a table in Markdown."""

import logging
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import torch
from jsonargparse import ArgumentParser, set_parsing_settings

from bench.gpu.checks import CHECKS, select_checks
from bench.gpu.outcome import Outcome, format_report
from bench.gpu.setting import GpuCheckConfig, Setting
from bench.machine import describe_machine
from cache_schema import write_text
from cache_schema.program import OneSentence, expand_home, run_as_process, run_program

NO_GPU = (
    "torch finds no CUDA device: nothing is measured. "
    "`--device cpu --size tiny` tries the checks themselves on this machine."
)


class Parser(OneSentence, ArgumentParser):
    """Tells what is wrong in one sentence."""


def run(config: GpuCheckConfig, names: Sequence[str], command: str) -> bool:
    """Run check after check; whether every promise holds."""
    device = torch.device("cuda" if config.device == "auto" else config.device)
    machine, start = describe_machine(device), time.monotonic()
    outcomes: list[Outcome] = []
    config.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".gpu-check-", dir=config.out.parent) as folder:
        setting = Setting(config, device, Path(folder))
        for name in names:
            if time.monotonic() - start > 60 * config.minutes:
                found = [Outcome(name, f"{config.minutes:g} minutes had passed", "left out")]
            else:
                found = _check(name, setting)
            outcomes += found
            sys.stdout.write("".join(f"{each.line}\n" for each in found))
            sys.stdout.flush()
            write_text(config.out, format_report(machine, outcomes, command))
    sys.stdout.write(f"\n{config.out}\n")
    return not any(each.verdict == "FAILS" for each in outcomes)


def _check(name: str, setting: Setting) -> list[Outcome]:
    """What a check finds; an error is found too, and the next check has its turn."""
    try:
        return CHECKS[name](setting)
    except Exception as error:
        logging.getLogger("bench").exception("%s", name)
        return [Outcome(name, " ".join(f"{type(error).__name__}: {error}".split())[:300], "FAILS")]


def main(args: Sequence[str] | None = None) -> int:
    """Parse, run, and return the exit status: 0 all promises hold or there is no GPU, 1 otherwise, 2 wrong settings."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    return run_program(lambda: _run(args))


def _run(args: Sequence[str] | None) -> int:
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = Parser(prog="python -m bench.gpu", description=__doc__)
    parser.add_class_arguments(GpuCheckConfig)
    given = sys.argv[1:] if args is None else [*args]
    parsed = parser.parse_args(given)
    try:
        config = GpuCheckConfig(**{field.name: expand_home(parsed[field.name]) for field in fields(GpuCheckConfig)})
        names = select_checks(config.checks)
    except ValueError as error:
        parser.error(str(error))
    if config.device == "auto" and not torch.cuda.is_available():
        sys.stdout.write(f"{NO_GPU}\n")
        return 0
    return 0 if run(config, names, " ".join(["python -m bench.gpu", *given])) else 1


if __name__ == "__main__":
    run_as_process(main)
