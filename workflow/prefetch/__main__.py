"""`lare prefetch`: fetch every model that settings name, and print the environment of machines without internet."""

import argparse
import logging
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import constants

from cache_schema.program import OneSentence, run_as_process, run_program
from workflow.prefetch.models import fetch, find_models

EXIT_DONE = 0


class Parser(OneSentence, argparse.ArgumentParser):
    """Tells what is wrong in one sentence."""


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Settings besides --config."""
    command.add_argument("--model", help="diffusion model: hub id with --revision, or a folder that is checked")
    command.add_argument("--revision", help="commit hash of --model on the hub")
    command.add_argument("--vae", help="hub id or folder of another autoencoder")
    command.add_argument("--vae_revision", help="commit hash of --vae on the hub")
    command.add_argument("--variant", help="which of several copies of the weights: fp16 for *.fp16.safetensors")
    command.add_argument("--backbone", help="backbone of a detector: resnet50_clip")
    command.add_argument("--dry_run", action="store_true", help="list the models, and fetch nothing")


def build_parser() -> argparse.ArgumentParser:
    """The parser."""
    parser = Parser(prog="python -m workflow.prefetch", description=__doc__)
    parser.add_argument("--config", action="append", default=[], help="YAML file of an extraction or a training")
    add_arguments(parser)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, fetch, and return the exit status: 0 done, 1 error, 2 wrong settings."""
    logging.basicConfig(format="%(asctime)s %(message)s")
    logging.getLogger("workflow").setLevel(logging.INFO)  # not the library's: it has a line for each request
    return run_program(lambda: _run(arguments))


def _run(arguments: Sequence[str] | None) -> int:
    parser = build_parser()
    options = vars(parser.parse_args(arguments))
    configs, is_dry = [Path(name) for name in options.pop("config")], options.pop("dry_run")
    try:
        models = find_models(configs, options)
        if not is_dry:
            for model in models:
                fetch(model)
    except ValueError as error:
        parser.error(str(error))
    sys.stdout.write("".join(f"{model}\n" for model in models) if is_dry else environment())
    return EXIT_DONE


def environment() -> str:
    """Shell lines that let another machine find the models without asking for them."""
    lines = [f"export HF_HOME={shlex.quote(constants.HF_HOME)}"]
    if Path(constants.HF_HUB_CACHE) != Path(constants.HF_HOME) / "hub":
        lines.append(f"export HF_HUB_CACHE={shlex.quote(constants.HF_HUB_CACHE)}")
    return "\n".join([*lines, "export HF_HUB_OFFLINE=1"]) + "\n"


if __name__ == "__main__":
    run_as_process(main)
