"""Sources that are a list: an annotation file, a table, a packed dataset."""

from collections.abc import Callable, Iterator, Mapping
from typing import Literal, get_args

from cache_schema import SPLITS, Dataset, Place, sample_key, source_path
from extract.packing.chains import Chains
from extract.packing.folders import find_splits, list_folders
from extract.packing.layouts import (
    CONTROL,
    GENERATED,
    Listing,
    SourceFile,
    find_generators,
    imagenet_folder,
    list_genimage,
    name_of,
    parse_genimage_path,
)
from extract.packing.naming import REAL, name_generators, tell_guessed_names
from extract.packing.written_paths import find_path
from extract.tables.annotation import read_annotation_lines
from extract.tables.labels import parse_label
from extract.tables.table import TABLE_COLUMNS, TABLE_SUFFIXES, read_table, tell_ignored_columns

Layout = Literal["folders", "genimage", "annotation", "table", "dataset"]


def find_layout(src: Place, layout: str) -> Layout:
    """The layout that is asked for, or for `auto` the one that the source has.

    Raises:
        ValueError: If there is no such source, or not in this layout.
    """
    if not src.exists():
        raise ValueError(f"src is {src}: no such folder or file")
    found: Layout = _auto_layout(src) if layout == "auto" else _parse_layout(layout)
    is_list = found in ("annotation", "table")
    if is_list != src.is_file():
        raise ValueError(f"layout is {found}: expected src to be a {'file' if is_list else 'folder'}, {src} is not")
    if found == "table" and src.suffix.lower() not in TABLE_SUFFIXES:
        raise ValueError(f"layout is table: expected src to end in {' or '.join(TABLE_SUFFIXES)}, it is {src}")
    if found == "folders":
        find_splits(src)
    if found == "genimage":
        list_genimage(src)
    return found


def _parse_layout(layout: str) -> Layout:
    for known in get_args(Layout):
        if layout == known:
            return known  # type: ignore[no-any-return]
    raise ValueError(f"layout is {layout!r}: expected auto, {', '.join(get_args(Layout))}")


def _auto_layout(src: Place) -> Layout:
    if src.is_file():
        return "table" if src.suffix.lower() in TABLE_SUFFIXES else "annotation"
    if (src / "dataset.json").exists():
        return "dataset"
    return "genimage" if find_generators(src) else "folders"


def list_source(src: Place, layout: Layout, root: Place | None, subset: str, *, follow_links: bool = False) -> Listing:
    """The files of a source.

    Args:
        src: Folder or file.
        layout: What `find_layout` found.
        root: What paths of an annotation file or a table are relative to; None: the folder that it lies in.
        subset: For files whose layout does not say it.
        follow_links: Whether folders are walked that links outside of the source lead to.

    Raises:
        ValueError: If the source is not in this layout; errors of single lines come from the listing's iterator.
        DatasetError: If a packed dataset cannot be read.
    """
    below = src.parent if root is None else root
    listings: dict[Layout, Callable[[], Listing]] = {
        "folders": lambda: list_folders(src, subset, follow_links=follow_links),
        "genimage": lambda: list_genimage(src, follow_links=follow_links),
        "annotation": lambda: list_annotation(src, below, subset),
        "table": lambda: list_table(src, below, subset),
        "dataset": lambda: list_dataset(src),
    }
    return listings[layout]()


def list_annotation(src: Place, root: Place, subset: str) -> Listing:
    """A text file with `path label` a line, separated as `read_annotation_lines` says.

    Where a path has GenImage's layout, its fields come from there.
    """

    def files() -> Iterator[SourceFile]:
        folders = (imagenet_folder(path) for _, path, _ in _annotation_lines(src, root))
        names = name_generators({folder for folder in folders if folder}, name_of(root))
        tell_guessed_names(names)
        for place, path, label in _annotation_lines(src, root):
            file = parse_genimage_path(path, name_of(root), names)
            if file is not None and file.label != label:
                raise ValueError(f"{src}, {place}: label {label}, but the folder says {file.label}: {path!r}")
            yield file or SourceFile(path, label, GENERATED if label else REAL, subset)

    return Listing(root, files())


def _annotation_lines(src: Place, root: Place) -> Iterator[tuple[str, str, int]]:
    """Place, path below the root and label of each line that is not empty."""
    for place, path, label in read_annotation_lines(src):
        try:
            yield place, find_path(root, path), label
        except ValueError as error:
            raise ValueError(f"{src}, {place}: {error}") from error


def list_table(src: Place, root: Place, subset: str) -> Listing:
    """A CSV or Parquet file with a row a file.

    Columns: path, label (0, 1, or empty for a control), and optionally image_source, subset, split, group, derived_from
    (a path) and class_name. Others are ignored. An image without a group belongs to the root of its chain of
    derived_from, or to the nearest group that is said on the way there.

    Raises:
        ValueError: If it cannot be read, or has no column path or label.
    """
    tell_ignored_columns(src)
    has_validation = False
    groups: dict[str, str] = {}
    parents: dict[str, str] = {}
    for place, row in read_table(src):
        has_validation = has_validation or (row.get("split") or "").casefold() == "validation"
        if row["path"] and "derived_from" in row and (row.get("group") or row["derived_from"]):
            try:
                path = find_path(root, row["path"])
                if row.get("group"):
                    groups[path] = str(row["group"])
                if row["derived_from"]:
                    parents[path] = find_path(root, row["derived_from"])
            except ValueError as error:
                raise ValueError(f"{src}, {place}: {error}") from error
    chains = Chains(parents, groups)

    def files() -> Iterator[SourceFile]:
        for place, row in read_table(src):
            try:
                yield _parse_row(row, root, subset, chains)
            except ValueError as error:
                raise ValueError(f"{src}, {place}: {error}") from error

    return Listing(root, files(), has_validation)


def _parse_row(row: Mapping[str, str | None], root: Place, subset: str, chains: Chains) -> SourceFile:
    values = {name: row.get(name) for name in TABLE_COLUMNS}
    if values["path"] is None:
        raise ValueError("path is empty")
    path = find_path(root, values["path"])
    try:
        label = None if values["label"] is None else parse_label(values["label"])
    except ValueError as error:
        raise ValueError(f"label of {path} is {values['label']!r}: {error}; or nothing for a control") from error
    source = values["image_source"] or {0: REAL, 1: GENERATED, None: CONTROL}[label]
    if source == REAL and label != 0:
        raise ValueError(f"{path} has image_source {REAL!r} and label {values['label']}: expected label 0")
    split = None if values["split"] is None else values["split"].casefold()
    if split not in (None, *SPLITS):
        raise ValueError(f"split of {path} is {values['split']!r}: expected {', '.join(SPLITS)}, or nothing")
    photograph = None if values["derived_from"] is None else find_path(root, values["derived_from"])
    group = values["group"] or chains.group_of(path)  # not to be divided from what it was made of
    return SourceFile(
        path,
        label,
        source,
        values["subset"] or subset,
        split,
        group,
        derived_from=None if photograph is None else sample_key(photograph),
        class_name=values["class_name"],
    )


def list_dataset(src: Place) -> Listing:
    """A packed dataset: all fields are carried on, splits as they are; the bytes come from its tars.

    Raises:
        DatasetError: If it cannot be read.
    """
    dataset = Dataset.open(src)

    def files() -> Iterator[SourceFile]:
        for n in range(len(dataset.tars)):
            for row in dataset.rows(n).to_pylist():
                path = source_path(row["key"])
                yield SourceFile(
                    path,
                    row["label"],
                    row["image_source"],
                    row["subset"],
                    row["split"],
                    row["group"],
                    row["derived_from"],
                    row["class_name"],
                    None if row["source_path"] == path else row["source_path"],
                    row["tar"],
                    row["offset"],
                    row["size"],
                    row["sha256"],
                )

    return Listing(src, files(), has_validation=True)
