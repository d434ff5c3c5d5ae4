"""What lies in a source, and how it is labelled: one small function a layout, one record a file."""

import functools
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from cache_schema import SPLITS, sample_key
from extract.packing.naming import REAL, name_generators, source_of, tell_guessed_names

logger = logging.getLogger(__name__)

GENERATED, CONTROL = "generated", "control"
GENIMAGE_SPLITS = {"train": "train", "val": "test"}
"""GenImage's own `val` is the benchmark's test set."""
GENIMAGE_LABELS = {"nature": 0, "ai": 1}

_REAL_NAME = re.compile(r"(n\d{8})_")
_FIFTH_TOKEN_NAME = re.compile(r"(?:GLIDE|VQDM)_\d+_\d+_\d+_(\d+)_")
_FIRST_TOKEN_NAME = re.compile(r"(\d+)_[A-Za-z]")


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


@dataclass(frozen=True)
class Listing:
    """The files of a source."""

    root: Path
    """The folder that their paths are below."""
    files: Iterator[SourceFile]
    has_validation: bool = False
    """Whether the source says itself what is `validation`; otherwise that is cut from `train`."""


def path_below(root: Path, text: str) -> str:
    """Path below the root of a file that a list names, relative to the root or absolute.

    Raises:
        ValueError: If it is not below the root, or no path at all.
    """
    path = PurePosixPath(text)
    if path.is_absolute():
        roots = [r for r in (root.absolute(), root.resolve()) if path.is_relative_to(r)]
        if not roots:
            raise ValueError(f"{text!r} does not lie below {root.absolute()}: say with --root what it lies below")
        path = path.relative_to(roots[0])
    if ".." in path.parts:
        raise ValueError(f"{text!r} may leave {root}: '..' is not taken; say with --root what the paths lie below")
    if not path.parts:
        raise ValueError(f"{text!r} is no path of a file")
    return path.as_posix()


def walk_files(root: Path, folder: str, above: tuple[tuple[int, int], ...] = ()) -> Iterator[str]:
    """Paths below `root` of all that is no folder below `folder`, in sorted order. Links to folders are followed.

    What is no file either (a broken link, a pipe) is given too, so that it is rejected instead of forgotten.
    """
    status = os.stat(root / folder)
    identity = (status.st_dev, status.st_ino)
    if identity in above:
        logger.warning("%s: a link to a folder that it lies in, left out", root / folder)
        return
    with os.scandir(root / folder) as scan:
        entries = sorted((entry.name, entry.is_dir()) for entry in scan)
    for name, is_folder in entries:
        path = f"{folder}/{name}"
        if is_folder:
            yield from walk_files(root, path, (*above, identity))
        else:
            yield path


def subfolders(folder: Path) -> list[str]:
    """Names of the folders in a folder, sorted."""
    with os.scandir(folder) as scan:
        return sorted(entry.name for entry in scan if entry.is_dir())


def find_splits(src: Path) -> list[str]:
    """The split folders that a source of layout `folders` has; none if the image sources lie directly in it.

    Raises:
        ValueError: If it does not hold `real/` beside image sources, directly or below split folders.
    """
    tops = subfolders(src)
    splits = [name for name in SPLITS if name in tops]
    if splits and len(splits) < len(tops):
        raise ValueError(f"{src} holds split folders {splits} beside {sorted(set(tops) - set(splits))}")
    if not any((src / split / REAL).is_dir() for split in splits or [""]):
        raise ValueError(f"{src}: expected a folder {REAL!r} and one folder per image source, found {tops}")
    return splits


def list_folders(src: Path, subset: str) -> Listing:
    """`real/` and a folder for each image source, directly in the source or below `train`, `validation`, `test`."""
    splits = find_splits(src)

    def files() -> Iterator[SourceFile]:
        for split in splits or (None,):
            for source in subfolders(src / (split or "")):
                label = 0 if source == REAL else 1
                for path in walk_files(src, f"{split}/{source}" if split else source):
                    yield SourceFile(path, label, source, subset, split)

    return Listing(src, files(), "validation" in splits)


def find_generators(src: Path) -> list[str]:
    """Generator folders of a GenImage tree; [""] if the source is one of them, none if it is no such tree."""
    tops = subfolders(src)
    if any(map(_is_imagenet_folder, tops)):
        return [""]
    return [top for top in tops if any(map(_is_imagenet_folder, subfolders(src / top)))]


def _is_imagenet_folder(name: str) -> bool:
    return name.startswith("imagenet_")


def list_genimage(src: Path) -> Listing:
    """`<generator>/<imagenet_*>/{train,val}/{ai,nature}/…`; the source is the whole tree or one generator's folder.

    Raises:
        ValueError: If it is neither, or two generators would share an image source.
    """
    generators = find_generators(src)
    if not generators:
        raise ValueError(f"{src}: expected <generator>/imagenet_*/train|val/ai|nature/, found {subfolders(src)}")
    names = name_generators(_imagenet_folders(src, generators), src.absolute().name)

    def files() -> Iterator[SourceFile]:
        tell_guessed_names(names)
        folders = [""] if generators == [""] else _chosen(src, "", lambda name: name in generators)
        folders = [f for g in folders for f in _chosen(src, g, _is_imagenet_folder)]
        folders = [f for g in folders for f in _chosen(src, g, lambda name: name in GENIMAGE_SPLITS)]
        for folder in [f for g in folders for f in _chosen(src, g, lambda name: name in GENIMAGE_LABELS)]:
            for path in walk_files(src, folder):
                file = parse_genimage_path(path, src.absolute().name, names)
                assert file is not None, path
                yield file

    return Listing(src, files())


def _imagenet_folders(src: Path, generators: Iterable[str]) -> list[str]:
    """Paths of the `imagenet_*` folders that hold generated images."""
    paths = [f"{g}/{name}" if g else name for g in generators for name in subfolders(src / g)]
    return [p for p in paths if imagenet_folder(f"{p}/train/ai/") and _holds_generated(src / p)]


def _holds_generated(folder: Path) -> bool:
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


def _chosen(src: Path, folder: str, is_chosen: Callable[[str], bool]) -> list[str]:
    """Paths of a folder's chosen subfolders; names what else lies there, which is left out."""
    names = subfolders(src / folder)
    others = sorted({*os.listdir(src / folder)} - {name for name in names if is_chosen(name)})
    if others:
        logger.warning("%s: %d entries are left out: %s", src / folder, len(others), ", ".join(others[:8]))
    return [f"{folder}/{name}" if folder else name for name in names if is_chosen(name)]


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


def class_name_of(file_name: str, label: int) -> str | None:
    """ImageNet class by GenImage's file name, for example "tench"; None if the name holds none."""
    if label == 0:
        match = _REAL_NAME.match(file_name)
        return _name_of_synset().get(match[1]) if match else None
    match = _FIFTH_TOKEN_NAME.match(file_name) or _FIRST_TOKEN_NAME.match(file_name)
    if match is None or int(match[1]) >= len(_class_names()):
        return None
    return _class_names()[int(match[1])]


@functools.cache
def _name_of_synset() -> dict[str, str]:
    from timm.data.imagenet_info import ImageNetInfo  # loads torch: seconds that other layouts do not need

    info = ImageNetInfo()
    synsets: list[str] = info.label_names()  # type: ignore[no-untyped-call]
    return {synset: info.label_name_to_description(synset).split(",")[0] for synset in synsets}


@functools.cache
def _class_names() -> tuple[str, ...]:
    return tuple(_name_of_synset().values())
