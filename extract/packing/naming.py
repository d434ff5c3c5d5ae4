"""Names of image sources in GenImage's layout: after the generator's folder, or after each `imagenet_*` folder."""

import logging
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping

logger = logging.getLogger(__name__)

REAL = "real"
GENIMAGE_SOURCES = {
    "midjourney": "midjourney",
    "stable_diffusion_v_1_4": "sdv4",
    "stable_diffusion_v_1_5": "sdv5",
    "adm": "adm",
    "glide": "glide",
    "wukong": "wukong",
    "vqdm": "vqdm",
    "biggan": "biggan",
}
"""GenImage's generator folders, lower-cased → image source."""
_ENDING = re.compile(r"imagenet_(?:ai_)?(?:\d{4}_)?(.+)")


def source_of(generator: str) -> str:
    """Image source of a generator's name."""
    return GENIMAGE_SOURCES.get(generator.lower(), generator.lower())


def name_generators(folders: Iterable[str], root_name: str) -> dict[str, str]:
    """The generator's name of each `imagenet_*` folder.

    One that lies alone in its folder, or in a folder with a name of GenImage's, has that folder's name. Of several in
    one folder each has its own: "imagenet_ai_0419_biggan" → "biggan".

    Args:
        folders: Paths of `imagenet_*` folders below the root.
        root_name: Name of the root.

    Raises:
        ValueError: If two folders would come to share an image source that neither names, or one is called "real".
    """
    below: dict[str, list[str]] = defaultdict(list)
    for folder in sorted(folders):
        below[folder.rpartition("/")[0]].append(folder)
    names, own = {}, set()
    for parent, children in below.items():
        name = parent.rpartition("/")[2] or root_name
        if len(children) == 1 or name.lower() in GENIMAGE_SOURCES:
            names.update(dict.fromkeys(children, name))
            continue
        for child in children:
            base = child.rpartition("/")[2]
            match = _ENDING.fullmatch(base)
            names[child] = match[1] if match else base
            own.add(child)
    _check_shared(names, own)
    return names


def _check_shared(names: Mapping[str, str], own: set[str]) -> None:
    first: dict[str, str] = {}
    for folder, name in names.items():
        source = source_of(name)
        if source == REAL:
            raise ValueError(
                f"the generated images in {folder} would have the image source {REAL!r}, which photographs have: "
                "name it, or the folder that it lies in, after the generator"
            )
        before = first.setdefault(source, folder)
        is_same_word = names[before].lower() == name.lower()
        if before != folder and not (is_same_word and folder not in own and before not in own):
            raise ValueError(
                f"{before} and {folder} would share the image source {source!r}: rename one of them, or put them into "
                f"one folder with a name of GenImage's ({', '.join(GENIMAGE_SOURCES)}) if one model made both"
            )


def tell_guessed_names(names: Mapping[str, str]) -> None:
    """Log each image source whose name is none of GenImage's generator folders."""
    for folder, name in names.items():
        if name.lower() not in GENIMAGE_SOURCES or folder.rpartition("_")[2] == name:
            logger.info(
                "%s: generated images have the image source %r and the subset %r", folder, source_of(name), name
            )
