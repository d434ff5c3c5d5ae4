"""What lies in a source, and how it is labelled: one small function a layout, one record a file."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import NamedTuple

from cache_schema import ObjectPath, Place, is_address, list_names, sample_key
from extract.packing.imagenet import class_name_of
from extract.packing.naming import REAL, name_generators, source_of, tell_guessed_names
from extract.packing.opening import Root, below
from extract.packing.walking import is_hidden, is_image_name, subfolders, walk_files

logger = logging.getLogger(__name__)

GENERATED, CONTROL = "generated", "control"
GENIMAGE_SPLITS = {"train": "train", "val": "test"}
"""GenImage's own `val` is the benchmark's test set."""
GENIMAGE_LABELS = {"nature": 0, "ai": 1}
OUTSIDE_GENIMAGE = "lies outside GenImage's layout, <generator>/imagenet_*/train|val/ai|nature/"
_MEANT = {
    "training": "train",
    **dict.fromkeys(("valid", "validation", "test"), "val"),
    **dict.fromkeys(("fake", "generated", "1_fake"), "ai"),
    **dict.fromkeys(("real", "natural", "0_real"), "nature"),
    **{name: name for name in ("train", "val", "ai", "nature")},
}
"""Names that are probably meant for another of the layout, in small letters → what to call the folder."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of a source, before it is inspected."""

    path: str
    """Below the root, with forward slashes; what the key is made from."""
    label: int | None
    """0 real, 1 generated, None for a control."""
    image_source: str
    subset: str
    split: str | None = None
    """None: test and validation are cut out by group."""
    group: str | None = None
    """None: its key."""
    derived_from: str | None = None
    """Key of the photograph it was made from."""
    class_name: str | None = None
    source_path: str | None = None
    """Where a packed dataset has it from, if that is another than `path`."""
    tar: str | None = None
    """Tar below the root whose bytes [offset, offset + size) the file is; None: it is a file of its own."""
    offset: int = 0
    size: int = 0
    sha256: str | None = None
    """What its bytes must hash to, 64 hexadecimal digits; None: unknown."""

    @property
    def key(self) -> str:
        """Its sample key.

        Raises:
            ValueError: If a path like this has none.
        """
        return sample_key(self.path)


class Unused(NamedTuple):
    """An image of a source that belongs to nothing in it."""

    path: str
    """Below the root."""
    reason: str


@dataclass(frozen=True)
class Listing:
    """The files of a source."""

    root: Place
    """The folder that their paths are below."""
    files: Iterator[SourceFile]
    has_validation: bool = False
    """Whether the source says itself what is `validation`; otherwise that is cut from `train`."""
    unused: Callable[[], Iterator[Unused]] = lambda: iter(())
    """Images that lie where the layout has no place for them."""


def path_below(root: Place, text: str) -> str:
    """Path below the root of a file that a list names, relative to the root or absolute, or an object's address.

    Raises:
        ValueError: If it is not below the root, or no path at all.
    """
    path = PurePosixPath(text)
    if is_address(text):
        path = PurePosixPath(_key_below(root, text))
    elif path.is_absolute():
        if isinstance(root, ObjectPath):
            raise ValueError(f"{text!r} is a path of this machine: expected one below {root}, say another --root")
        roots = [r for r in (root.absolute(), root.resolve()) if path.is_relative_to(r)]
        if not roots:
            raise ValueError(f"{text!r} does not lie below {root.absolute()}: say with --root what it lies below")
        path = path.relative_to(roots[0])
    if ".." in path.parts:
        raise ValueError(f"{text!r} may leave {root}: '..' is not taken; say with --root what the paths lie below")
    if not path.parts:
        raise ValueError(f"{text!r} is no path of a file")
    return path.as_posix()


def _key_below(root: Place, text: str) -> str:
    """What an object's address has behind that of the root."""
    if not isinstance(root, ObjectPath) or not text.startswith(f"{root}/"):
        raise ValueError(f"{text!r} does not lie below {root}: say with --root what it lies below")
    return text.removeprefix(f"{root}/")


def find_generators(src: Place) -> list[str]:
    """Generator folders of a GenImage tree; [""] if the source is one of them, none if it is no such tree."""
    tops = subfolders(src)
    if any(map(_is_imagenet_folder, tops)):
        return [""]
    return [top for top in tops if any(map(_is_imagenet_folder, subfolders(below(src, top))))]


def _is_imagenet_folder(name: str) -> bool:
    return name.startswith("imagenet_")


def list_genimage(src: Place, *, follow_links: bool = False) -> Listing:
    """`<generator>/<imagenet_*>/{train,val}/{ai,nature}/…`; the source is the whole tree or one generator's folder.

    Args:
        src: The tree.
        follow_links: Whether links that lead out of it are followed.

    Raises:
        ValueError: If it is neither, or two generators would share an image source.
    """
    generators = find_generators(src)
    if not generators:
        raise ValueError(f"{src}: expected <generator>/imagenet_*/train|val/ai|nature/, found {subfolders(src)}")
    names = name_generators(_imagenet_folders(src, generators), name_of(src))
    root = Root(src, follow_links)

    def files() -> Iterator[SourceFile]:
        tell_guessed_names(names)
        levels = _levels(src, generators)
        for folder, others in _others(src, levels):
            logger.warning("%s: %d entries are left out: %s", below(src, folder), len(others), ", ".join(others[:8]))
        for folder in (path for _, chosen in levels[-1] for path in chosen):
            for path in walk_files(root, folder):
                # The folder itself is given where it is a link that leads out.
                file = parse_genimage_path(f"{folder}/." if path == folder else path, name_of(src), names)
                assert file is not None, path
                yield replace(file, path=path)

    return Listing(src, files(), unused=lambda: _find_unused(root, generators))


def name_of(root: Place) -> str:
    """Name of a root: of a folder, or of a bucket."""
    return root.absolute().name or (root.bucket if isinstance(root, ObjectPath) else "")


_Level = list[tuple[str, list[str]]]


def _levels(src: Place, generators: list[str]) -> list[_Level]:
    """The tree from its root to ai|nature: for each level its folders, each with those below it that the layout has."""
    levels: list[_Level] = []
    if generators != [""]:
        levels.append([("", _chosen(src, "", lambda name: name in generators))])
    above = generators if not levels else levels[-1][0][1]
    for is_chosen in (_is_imagenet_folder, GENIMAGE_SPLITS.__contains__, GENIMAGE_LABELS.__contains__):
        levels.append([(folder, _chosen(src, folder, is_chosen)) for folder in above])
        above = [path for _, chosen in levels[-1] for path in chosen]
    return levels


def _others(src: Place, levels: list[_Level]) -> Iterator[tuple[str, list[str]]]:
    """The folders that hold what the layout has no place for, with its names."""
    for folder, chosen in (pair for level in levels for pair in level):
        if others := sorted({*list_names(below(src, folder))} - {path.rpartition("/")[2] for path in chosen}):
            yield folder, others


def _find_unused(root: Root, generators: list[str]) -> Iterator[Unused]:
    src = root.folder
    for folder, others in _others(src, _levels(src, generators)):
        for path in (f"{folder}/{name}" if folder else name for name in others if not is_hidden(name)):
            at, is_folder = src / path, (src / path).is_dir()
            meant = _MEANT.get(at.name.lower()) if is_folder else None
            reason = OUTSIDE_GENIMAGE + (f"; rename {at} to {at.with_name(meant)}" if meant else "")
            inner = walk_files(root, path) if is_folder else iter([path])
            yield from (Unused(file, reason) for file in inner if is_image_name(file))


def _imagenet_folders(src: Place, generators: Iterable[str]) -> list[str]:
    """Paths of the `imagenet_*` folders that hold generated images."""
    paths = [f"{g}/{name}" if g else name for g in generators for name in subfolders(below(src, g))]
    return [p for p in paths if imagenet_folder(f"{p}/train/ai/") and _holds_generated(src / p)]


def _holds_generated(folder: Place) -> bool:
    return any((folder / split / "ai").is_dir() for split in GENIMAGE_SPLITS)


def imagenet_folder(path: str) -> str | None:
    """The `imagenet_*` folder of a generated image's path in GenImage's layout; None of any other path."""
    parts = path.split("/")
    at = _place_of_imagenet_folder(parts)
    return None if at is None or not GENIMAGE_LABELS[parts[at + 2]] else "/".join(parts[: at + 1])


def _place_of_imagenet_folder(parts: Sequence[str]) -> int | None:
    for i, part in enumerate(parts[:-3]):
        if _is_imagenet_folder(part) and parts[i + 1] in GENIMAGE_SPLITS and parts[i + 2] in GENIMAGE_LABELS:
            return i
    return None


def _chosen(src: Place, folder: str, is_chosen: Callable[[str], bool]) -> list[str]:
    """Paths of a folder's chosen subfolders."""
    return [f"{folder}/{name}" if folder else name for name in subfolders(below(src, folder)) if is_chosen(name)]


def parse_genimage_path(path: str, root_name: str, names: Mapping[str, str] | None = None) -> SourceFile | None:
    """What a path below a root says in GenImage's layout, or None if it has not that layout.

    Args:
        path: Holds `<generator>/<imagenet_*>/{train,val}/{ai,nature}/…`, perhaps below other folders.
        root_name: Name of the root itself: the generator, where the path begins with `<imagenet_*>`.
        names: The generator's name of each `imagenet_*` folder, from `name_generators`.
    """
    parts = path.split("/")
    i = _place_of_imagenet_folder(parts)
    if i is None:
        return None
    generator = (names or {}).get("/".join(parts[: i + 1])) or (parts[i - 1] if i else root_name)
    label = GENIMAGE_LABELS[parts[i + 2]]
    source = source_of(generator) if label else REAL
    split = GENIMAGE_SPLITS[parts[i + 1]]
    return SourceFile(path, label, source, generator, split, class_name=class_name_of(parts[-1], label))
