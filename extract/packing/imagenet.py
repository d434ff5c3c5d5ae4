"""ImageNet's 1,000 classes: names by synset and by index, and what GenImage's file names say of them."""

import functools
import re

NUM_CLASSES = 1000
_REAL_NAME = re.compile(r"(n\d{8})_")
_FIFTH_TOKEN_NAME = re.compile(r"(?:GLIDE|VQDM)_\d+_\d+_\d+_(\d+)_")
_FIRST_TOKEN_NAME = re.compile(r"(\d+)_[A-Za-z]")


def class_name_of(file_name: str, label: int) -> str | None:
    """ImageNet class by GenImage's file name, for example "tench"; None if the name holds none."""
    if label == 0:
        match = _REAL_NAME.match(file_name)
        return name_of_synset(match[1]) if match else None
    match = _FIFTH_TOKEN_NAME.match(file_name) or _FIRST_TOKEN_NAME.match(file_name)
    return name_of_index(int(match[1])) if match else None


def name_of_synset(synset: str) -> str | None:
    """Name of a class by its synset, "n01440764" → "tench"; None if it is none of the 1,000."""
    return _name_of_synset().get(synset)


def name_of_index(index: int) -> str | None:
    """Name of a class by its index in the order of the synsets, 0 → "tench"; None if there is no such class."""
    return _class_names()[index] if 0 <= index < NUM_CLASSES else None


@functools.cache
def _name_of_synset() -> dict[str, str]:
    from timm.data.imagenet_info import ImageNetInfo  # loads torch: seconds that other layouts do not need

    info = ImageNetInfo()
    synsets: list[str] = info.label_names()  # type: ignore[no-untyped-call]
    return {synset: info.label_name_to_description(synset).split(",")[0] for synset in synsets}


@functools.cache
def _class_names() -> tuple[str, ...]:
    return tuple(_name_of_synset().values())
