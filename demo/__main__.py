"""`python -m demo run`: the whole demo, from photographs to report."""

import logging
import sys
from collections.abc import Sequence
from dataclasses import fields

from jsonargparse import ArgumentParser, set_parsing_settings
from tqdm.contrib.logging import logging_redirect_tqdm

from cache_schema import CacheError
from demo.run import DemoConfig, run
from demo.toy_images import SourceConfig


def main(args: Sequence[str] | None = None) -> int:
    """Parse, run, and return the exit status: 0 done, 1 error, 2 wrong settings."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = ArgumentParser(prog="python -m demo", description=__doc__)
    command = ArgumentParser(description=run.__doc__)
    command.add_class_arguments(DemoConfig)
    parser.add_subcommands(dest="command").add_subcommand("run", command)
    parsed = parser.parse_args(args)["run"]
    settings = {f.name: parsed[f.name] for f in fields(DemoConfig)}
    try:
        config = DemoConfig(**{**settings, "sources": SourceConfig(**vars(settings["sources"]))})
    except ValueError as error:
        parser.error(str(error))
    try:
        with logging_redirect_tqdm():
            run(config)
    except (CacheError, ValueError, RuntimeError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
