"""Sources that are a list: an annotation file, a table, a packed dataset."""

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Literal, get_args

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from cache_schema import SPLITS, Dataset, sample_key, source_path
from extract.packing.folders import find_splits, list_folders
from extract.packing.layouts import (
    CONTROL,
    GENERATED,
    Listing,
    SourceFile,
    find_generators,
    imagenet_folder,
    list_genimage,
    parse_genimage_path,
    path_below,
)
from extract.packing.naming import REAL, name_generators, tell_guessed_names

logger = logging.getLogger(__name__)

Layout = Literal["folders", "genimage", "annotation", "table", "dataset"]
LABELS: Mapping[Any, int | None] = {"0": 0, "1": 1, 0: 0, 1: 1, "": None, None: None}
TABLE_COLUMNS = ("path", "label", "image_source", "subset", "split", "group", "derived_from", "class_name")
TABLE_SUFFIXES = (".csv", ".parquet")
BATCH_ROWS = 8192


def find_layout(src: Path, layout: str) -> Layout:
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


def _auto_layout(src: Path) -> Layout:
    if src.is_file():
        return "table" if src.suffix.lower() in TABLE_SUFFIXES else "annotation"
    if (src / "dataset.json").exists():
        return "dataset"
    return "genimage" if find_generators(src) else "folders"


def list_source(src: Path, layout: Layout, root: Path | None, subset: str) -> Listing:
    """The files of a source.

    Args:
        src: Folder or file.
        layout: What `find_layout` found.
        root: What paths of an annotation file or a table are relative to; None: the folder that it lies in.
        subset: For files whose layout does not say it.

    Raises:
        ValueError: If the source is not in this layout; errors of single lines come from the listing's iterator.
        DatasetError: If a packed dataset cannot be read.
    """
    below = src.parent if root is None else root
    listings: dict[Layout, Callable[[], Listing]] = {
        "folders": lambda: list_folders(src, subset),
        "genimage": lambda: list_genimage(src),
        "annotation": lambda: list_annotation(src, below, subset),
        "table": lambda: list_table(src, below, subset),
        "dataset": lambda: list_dataset(src),
    }
    return listings[layout]()


def list_annotation(src: Path, root: Path, subset: str) -> Listing:
    """A text file with `path label` a line, separated by the last tab or else the last space.

    Where a path has GenImage's layout, its fields come from there.
    """

    def files() -> Iterator[SourceFile]:
        folders = (imagenet_folder(path) for _, path, _ in _annotation_lines(src, root))
        names = name_generators({folder for folder in folders if folder}, root.absolute().name)
        tell_guessed_names(names)
        for number, path, label in _annotation_lines(src, root):
            file = parse_genimage_path(path, root.absolute().name, names)
            if file is not None and file.label != label:
                raise ValueError(f"{src}, line {number}: label {label}, but the folder says {file.label}: {path!r}")
            yield file or SourceFile(path, label, GENERATED if label else REAL, subset)

    return Listing(root, files())


def _annotation_lines(src: Path, root: Path) -> Iterator[tuple[int, str, int]]:
    """Number, path below the root and label of each line that is not empty."""
    # A file name need not be UTF-8; such a one is rejected with its reason when it is inspected.
    with src.open(encoding="utf-8-sig", errors="surrogateescape") as lines:
        for number, line in enumerate(lines, 1):
            if not (text := line.rstrip("\r\n")).strip():
                continue
            parts = text.rsplit("\t", 1) if "\t" in text else text.rsplit(None, 1)
            if len(parts) != 2 or parts[1].strip() not in ("0", "1") or not parts[0].strip():
                raise ValueError(f"{src}, line {number}: expected a path and the label 0 or 1, found {text!r}")
            try:
                yield number, path_below(root, parts[0].strip()), int(parts[1])
            except ValueError as error:
                raise ValueError(f"{src}, line {number}: {error}") from error


def list_table(src: Path, root: Path, subset: str) -> Listing:
    """A CSV or Parquet file with a row a file.

    Columns: path, label (0, 1, or empty for a control), and optionally image_source, subset, split, group, derived_from
    (a path) and class_name. Others are ignored.

    Raises:
        ValueError: If it cannot be read, or has no column path or label.
    """
    try:
        table = _read_csv(src) if src.suffix.lower() == ".csv" else _read_parquet(src)
    except pa.ArrowException as error:
        raise ValueError(f"{src} cannot be read as a table: {error}") from error
    has_validation = "split" in table.column_names and "validation" in table["split"].unique().to_pylist()

    def files() -> Iterator[SourceFile]:
        groups = _explicit_groups(table)
        number = 0
        for batch in table.to_batches(BATCH_ROWS):
            for row in batch.to_pylist():
                number += 1
                try:
                    yield _parse_row({**row, "path": _text(row["path"])}, root, subset, groups)
                except ValueError as error:
                    raise ValueError(f"{src}, row {number}: {error}") from error

    return Listing(root, files(), has_validation)


def _read_csv(src: Path) -> pa.Table:
    with pa.csv.open_csv(src) as reader:
        names = _used_columns(src, reader.schema.names)
    options = pa.csv.ConvertOptions(
        include_columns=names,
        # A path need not be UTF-8; such a file is rejected with its reason when it is inspected.
        column_types={name: pa.binary() if name == "path" else pa.string() for name in names},
        null_values=[""],  # nothing else: a file may be called NA
        strings_can_be_null=True,
    )
    return pa.csv.read_csv(src, convert_options=options)


def _text(path: bytes | str | None) -> str | None:
    """A path of a table: bytes in a CSV file, text in Parquet."""
    return os.fsdecode(path) if path else None


def _read_parquet(src: Path) -> pa.Table:
    table = pq.read_table(src, columns=_used_columns(src, pq.read_schema(src).names))
    # Labels may be numbers, and groups too; text is the form that both kinds of file have.
    return table.cast(pa.schema([(name, pa.string()) for name in table.column_names]))


def _used_columns(src: Path, names: list[str]) -> list[str]:
    missing = [name for name in TABLE_COLUMNS[:2] if name not in names]
    if missing:
        raise ValueError(
            f"{src} has no column {missing[0]!r}: expected {', '.join(TABLE_COLUMNS)}, the last six optional"
        )
    if others := [name for name in names if name not in TABLE_COLUMNS]:
        logger.info("%s: columns that are ignored: %s", src, ", ".join(others))
    return [name for name in names if name in TABLE_COLUMNS]


def _explicit_groups(table: pa.Table) -> dict[PurePosixPath, str]:
    """Path → group of the rows that say one and that others may be derived from."""
    if not {"group", "derived_from"} <= set(table.column_names):
        return {}
    rows = table.select(["path", "group"]).filter(pc.field("group").is_valid()).to_pylist()
    return {PurePosixPath(os.fsdecode(row["path"])): row["group"] for row in rows if row["path"]}


def _parse_row(
    row: Mapping[str, str | None], root: Path, subset: str, groups: Mapping[PurePosixPath, str]
) -> SourceFile:
    values = {name: row.get(name) or None for name in TABLE_COLUMNS}
    if values["path"] is None:
        raise ValueError("path is empty")
    path = path_below(root, values["path"])
    if values["label"] not in LABELS:
        raise ValueError(f"label of {path} is {values['label']!r}: expected 0, 1, or nothing for a control")
    label = LABELS[values["label"]]
    source = values["image_source"] or {0: REAL, 1: GENERATED, None: CONTROL}[label]
    if source == REAL and label != 0:
        raise ValueError(f"{path} has image_source {REAL!r} and label {values['label']}: expected label 0")
    if values["split"] not in (None, *SPLITS):
        raise ValueError(f"split of {path} is {values['split']!r}: expected {', '.join(SPLITS)}, or nothing")
    photograph, group = values["derived_from"], values["group"]
    if photograph is not None and group is None:  # an image must not be divided from what it was made from
        group = groups.get(PurePosixPath(photograph)) or sample_key(path_below(root, photograph))
    return SourceFile(
        path,
        label,
        source,
        values["subset"] or subset,
        values["split"],
        group,
        derived_from=None if photograph is None else sample_key(path_below(root, photograph)),
        class_name=values["class_name"],
    )


def list_dataset(src: Path) -> Listing:
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
