"""What a settings file may name: classes of these packages, and the trainer's own parts.

A settings file is code: it says which classes are built, with which values. It is read where a person names it, and
this list keeps it from naming a program.
"""

import re
from typing import NoReturn

from jsonargparse import set_parsing_settings

from cache_schema.program import OneSentence

ALLOWED = (
    "train",
    "lightning.pytorch.callbacks",
    "lightning.pytorch.loggers",
    "lightning.pytorch.plugins.environments",
    "lightning.pytorch.profilers",
    "lightning.pytorch.strategies",
)
"""Packages whose classes a settings file may name. A class of your own stands in `train/`."""


def limit_classes() -> None:
    """Let jsonargparse import what `ALLOWED` names alone, and build nothing where a setting takes any value."""
    set_parsing_settings(
        docstring_parse_attribute_docstrings=True,  # the help of settings that are dataclasses
        instantiate_subclass_spec_in_any=False,
        import_path_denylist=["*"],
        import_path_allowlist=[*ALLOWED],
    )


class LimitedClasses(OneSentence):
    """Before a parser class: tells in one sentence what is wrong, also that a class is named which may not be."""

    def error(self, message: str, *more: object) -> NoReturn:
        """Write the message and exit with 2."""
        denied = re.search(r"Importing '([^']{1,200})' is not allowed", message)
        if denied:
            message = (
                f"the settings name {denied[1]}: expected a class of {', '.join(ALLOWED[:-1])} or {ALLOWED[-1]}. "
                "A class of your own stands in train/."
            )
        super().error(message, *more)
