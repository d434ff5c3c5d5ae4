"""A list of files and their classes, for photographs whose names say none: the validation images of ImageNet.

| list | its lines |
| --- | --- |
| CSV | a header with a column for the file and one for the class: a name, a synset, or an index below 1,000 |
| Kaggle's `LOC_val_solution.csv` | `ILSVRC2012_val_00000001,n01751748 111 108 441 193`, below `ImageId,…` |
| Caffe's `val.txt` and its kin | `ILSVRC2012_val_00000001.JPEG 65`: the index, or the synset in its place |
| `imagenet_2012_validation_synset_labels.txt` | synsets alone: line n is that of `ILSVRC2012_val_<n>` |
| `valprep.sh` | `mv ILSVRC2012_val_00000001.JPEG n01751748/` |
"""

import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from extract.packing.imagenet import NUM_CLASSES, name_of_index, name_of_synset
from extract.packing.layouts import SourceFile
from extract.packing.walking import is_image_name
from extract.tables.table import SEPARATORS
from extract.tables.text_files import text_lines

FILE_COLUMNS = ("path", "file", "file_name", "filename", "image", "image_id", "imageid", "name")
CLASS_COLUMNS = ("class_name", "class", "classname", "category", "synset", "wnid", "predictionstring")
_SYNSET = re.compile(r"n\d{8}")
_MOVE = re.compile(r"mv\s+(\S+)\s+(n\d{8})/?")
_PAIR = re.compile(r"(\S+)\s+(n\d{8}|\d{1,3})")
_IDS_OF_THE_KIT = "ids of the ILSVRC2012 kit need its meta.mat: take one of the lists that docs/your-data.md names"

Entry = tuple[str, str]
"""File and class, as written."""


@dataclass(frozen=True)
class ClassNames:
    """Names of classes by file."""

    by_path: Mapping[str, str]
    """Paths with folders, as the list writes them."""
    by_name: Mapping[str, str | None]
    """Names of files without folder and ending; None where several files of that name have different classes."""

    @classmethod
    def read(cls, path: Path) -> "ClassNames":
        """Read a list in one of the forms above.

        Raises:
            ValueError: If it cannot be read, or a line has none of the forms; the line is named.
        """
        by_path: dict[str, str] = {}
        by_name: dict[str, str | None] = {}
        for place, (file, written) in _read_csv(path) if path.suffix.lower() == ".csv" else _read_text(path):
            name = _class_of(written)
            if name is None:
                raise ValueError(f"{path}, {place}: {written!r} is no class of ImageNet's 1,000")
            if "/" in file and by_path.setdefault(_normal(file), name) != name:
                raise ValueError(f"{path}, {place}: {file} comes twice, with different classes")
            if by_name.setdefault(_stem(file), name) != name:
                by_name[_stem(file)] = None
        if not by_name:
            raise ValueError(f"{path} names no file")
        return cls(by_path, by_name)

    def complete(self, file: SourceFile) -> SourceFile:
        """A file with its class: what its source says, or else what the list says of its path or its name."""
        if file.class_name:
            return file
        return replace(file, class_name=self.by_path.get(file.path) or self.by_name.get(_stem(file.path)))


def _normal(path: str) -> str:
    return PurePosixPath(path).as_posix()


def _stem(path: str) -> str:
    """Name of a file without its folder, and without what marks it as an image."""
    name = PurePosixPath(path).name
    return PurePosixPath(name).stem if is_image_name(name) else name


def _class_of(written: str) -> str | None:
    """Name of a class that is written as a synset, an index or a name; None if there is no such one."""
    if _SYNSET.fullmatch(written):
        return name_of_synset(written)
    if written.isascii() and written.isdecimal():
        return name_of_index(int(written[:9]))
    return written


def _read_text(path: Path) -> Iterator[tuple[str, Entry]]:
    number_of_image, form = 0, None
    for number, line in enumerate(text_lines(path), 1):
        text, place = line.strip(), f"line {number}"
        if not text or text.startswith("#") or text.startswith("mkdir "):
            continue
        if _SYNSET.fullmatch(text) and form in (None, "ordered"):
            form, number_of_image = "ordered", number_of_image + 1
            yield place, (f"ILSVRC2012_val_{number_of_image:08d}", text)
        elif (found := _MOVE.fullmatch(text) or _PAIR.fullmatch(text)) and form in (None, "pairs"):
            form = "pairs"
            yield place, (found[1], found[2])
        else:
            hint = f" ({_IDS_OF_THE_KIT})" if text.isdecimal() and 0 < int(text[:9]) <= NUM_CLASSES else ""
            raise ValueError(
                f"{path}, {place}: expected a file and its class (a synset such as n01751748, or an index below 1000), "
                f"found {text[:80]!r}{hint}"
            )


def _read_csv(path: Path) -> Iterator[tuple[str, Entry]]:
    lines = text_lines(path)
    header = next(lines, "").rstrip("\r\n")
    names = max((header.split(separator) for separator in SEPARATORS), key=len)
    separator = next(s for s in SEPARATORS if header.split(s) == names)
    plain = ["_".join(name.strip(' "').casefold().replace("_", " ").split()) for name in names]
    at = [next((plain.index(name) for name in known if name in plain), None) for known in (FILE_COLUMNS, CLASS_COLUMNS)]
    file_at, class_at = at
    if file_at is None or class_at is None:
        raise ValueError(
            f"{path}: expected a header with a column for the file ({', '.join(FILE_COLUMNS)}) and one for the class "
            f"({', '.join(CLASS_COLUMNS)}), found {header[:120]!r}"
        )
    reader = csv.reader(lines, delimiter=separator, strict=True)
    try:
        for row in reader:
            if not any(value.strip() for value in row):
                continue
            place = f"line {reader.line_num + 1}"
            values = [row[i].strip() if i < len(row) else "" for i in (file_at, class_at)]
            if not all(values):
                raise ValueError(f"{path}, {place}: expected a file and a class, found {row[:8]}")
            file, written = values
            yield place, (file, written.split()[0] if plain[class_at] == "predictionstring" else written)
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num + 1}: cannot be read as a row ({error})") from error
