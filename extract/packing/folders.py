"""Layout `folders`: `real/` and a folder for each image source, directly or below split folders."""

import logging
from collections.abc import Iterator

from cache_schema import SPLITS, ObjectPath, Place
from extract.packing.layouts import Listing, SourceFile, Unused, find_generators
from extract.packing.naming import REAL
from extract.packing.opening import Root, below
from extract.packing.walking import hidden_folders, is_image_name, loose_files, subfolders, tell_hidden, walk_files

logger = logging.getLogger(__name__)

SPELLINGS = {**{split: split for split in SPLITS}, "val": "validation", "valid": "validation"}
"""Names of split folders that are understood, in small letters → split."""
_SPLITS_MEANT = {"training": "train", "trn": "train", "dev": "validation", "eval": "validation", "testing": "test"}
_REAL_MEANT = dict.fromkeys(
    ("0_real", "reals", "real_images", "nature", "natural", "photo", "photos", "photographs", "authentic"), REAL
)
"""Names that are probably meant for another, in small letters → what to call the folder."""
GENIMAGE_LEVELS = 3
"""Folders of GenImage below a generator's: imagenet_*, train or val, ai or nature."""
LOOSE = "lies beside the folders of image sources: put it into one of them"


def find_splits(src: Place) -> dict[str, str]:
    """The split folders that a source has, folder → split; none if the image sources lie directly in it.

    Raises:
        ValueError: If it does not hold `real/` beside image sources, directly or below split folders; if a split or
            the photographs have two folders.
    """
    tops = subfolders(src)
    splits = {name: SPELLINGS[name.lower()] for name in tops if name.lower() in SPELLINGS}
    if splits and len(splits) < len(tops):
        others = sorted(set(tops) - set(splits))
        raise ValueError(
            f"{src} holds split folders {list(splits)} beside {others}{_renames(src, others, _SPLITS_MEANT)}"
        )
    _check_once(src, {name: split for name, split in splits.items()})
    real = [_find_real(below(src, split)) for split in splits or [""]]
    if not any(real):
        found = [
            f"{split}/{name}" if split else name for split in splits or [""] for name in subfolders(below(src, split))
        ]
        renames = _renames(src, found, _REAL_MEANT)
        raise ValueError(
            f"{src}: expected a folder {REAL!r} and one folder per image source, found {found}{renames}{_too_deep(src)}"
        )
    return splits


def _too_deep(src: Place) -> str:
    """Which folder above to give, where one is a source."""
    if isinstance(src, ObjectPath):  # above may lie millions of others
        return ""
    inner = src.absolute()
    try:
        if _find_real(inner.parent):
            source = inner.parent.parent if inner.parent.name.lower() in SPELLINGS else inner.parent
            return f". It lies in a source: give {source} instead"
        for above in inner.parents[:GENIMAGE_LEVELS]:
            if find_generators(above) == [""] and inner.relative_to(above).parts[0].startswith("imagenet_"):
                return f". It lies in a generator's folder of GenImage: give {above} instead"
    except (OSError, ValueError):  # not ours to read, or no source either
        pass
    return ""


def _find_real(folder: Place) -> str | None:
    names = {name: REAL for name in subfolders(folder) if name.lower() == REAL}
    _check_once(folder, names)
    return next(iter(names), None)


def _check_once(folder: Place, meanings: dict[str, str]) -> None:
    first: dict[str, str] = {}
    for name, meaning in meanings.items():
        if (before := first.setdefault(meaning, name)) != name:
            raise ValueError(f"{folder} holds {before!r} and {name!r}, which both mean {meaning!r}: make one of them")


def _renames(src: Place, paths: list[str], meant: dict[str, str]) -> str:
    """The exact renames, where a name has a usual other spelling."""
    names = [(src / path, meant.get(path.rpartition("/")[2].lower())) for path in paths]
    told = [f"{path} to {path.with_name(name)}" for path, name in names if name]
    return f". Rename {', '.join(told)}" if told else ""


def list_folders(src: Place, subset: str, *, follow_links: bool = False) -> Listing:
    """`real/` and a folder for each image source, directly in the source or below split folders."""
    splits = find_splits(src)

    def files() -> Iterator[SourceFile]:
        for folder, split in splits.items() or (("", None),):
            for source in subfolders(below(src, folder)):
                is_real = source.lower() == REAL
                if inner := sorted(
                    {name.lower() for name in subfolders(below(src, folder) / source)} & SPELLINGS.keys()
                ):
                    logger.warning(
                        "%s: its folders %s are not read as splits: those lie above the image sources, %s/%s",
                        below(src, folder) / source,
                        ", ".join(inner),
                        inner[0],
                        source,
                    )
                for path in walk_files(Root(src, follow_links), f"{folder}/{source}" if folder else source):
                    yield SourceFile(path, 0 if is_real else 1, REAL if is_real else source, subset, split)

    return Listing(src, files(), "validation" in splits.values(), lambda: _find_unused(src, ["", *splits]))


def _find_unused(src: Place, folders: list[str]) -> Iterator[Unused]:
    for folder in folders:
        for name in hidden_folders(below(src, folder)):
            tell_hidden(below(src, folder) / name)
        names = loose_files(below(src, folder))
        for name in filter(is_image_name, names):
            yield Unused(f"{folder}/{name}" if folder else name, LOOSE)
        if others := [name for name in names if not is_image_name(name)]:
            logger.warning("%s: %d files are left out: %s", below(src, folder), len(others), ", ".join(others[:8]))
