"""Settings as they are handed on with stores, results and checkpoints: without the places of this machine."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any


def base_names(settings: Mapping[str, Any], places: Collection[str]) -> dict[str, Any]:
    """Settings in which each folder or file of this machine has its own name alone; a hub id stays as it is.

    Args:
        settings: Plain values, as JSON can hold them, mappings and lists among them.
        places: Names of settings that are paths whatever they look like, also inside of other settings.
    """
    return {name: _base_name(value, name in places, places) for name, value in settings.items()}


def _base_name(value: Any, is_place: bool, places: Collection[str]) -> Any:
    if isinstance(value, Mapping):
        return base_names(value, places)
    if isinstance(value, list | tuple):
        return [_base_name(each, is_place, places) for each in value]
    if isinstance(value, Path):
        return value.name
    if isinstance(value, str) and (is_place or is_path(value)):
        return Path(value).name
    return value


def is_path(text: str) -> bool:
    """Whether a text that may also be a hub id (`owner/name`) is a path of this machine."""
    return text.startswith(("/", "~/", "./", "../")) or (len(text) < 4096 and "\0" not in text and Path(text).is_dir())
