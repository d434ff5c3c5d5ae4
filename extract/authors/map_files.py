"""Maps that the LaRE² authors' scripts left behind: a flat folder of `.pt` files and the list of their labels.

Their extraction saves one float tensor (c, h, w) an image as `<base name up to the first dot>.pt`. It writes `ann.txt`
with a line an image: the map's path, a tab, the label. A resumed run lists only the images that it still processed.
Their trainer finds the map of an image by its name.
"""

import io
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache_schema import ImageRejected, Status, decode_file, decode_image, open_image
from extract.tables.annotation import read_annotation_lines
from extract.tables.labels import parse_label
from extract.tables.table import TABLE_SUFFIXES, read_table
from extract.tables.text_files import as_windows_text

_OPAQUE_MODES = ("RGB", "L", "1", "P", "CMYK", "YCbCr")
_ORIENTED_BY = ("exif", "xmp", "XML:com.adobe.xmp")


def map_name(path: str) -> str:
    """File name of an image's map, "val/n01440764_11602.v2.JPEG" → "n01440764_11602.pt"."""
    return re.split(r"[/\\]", path)[-1].split(".", 1)[0] + ".pt"


def read_annotation(path: Path) -> dict[str, list[tuple[str, int]]]:
    """Lines of an annotation, or rows of a table, by the name of the map that they mean; read as packing reads them.

    Args:
        path: A line an image: its path, or its map's (`.pt`), then a tab or space, then 0 for real or 1 for generated.
            A name that ends in .csv or .parquet: a table with columns path and label.

    Returns:
        Map name → (path, label) of each image with that name. More than one: their maps overwrote each other.

    Raises:
        ValueError: If there is no such file, or a line has another form.
    """
    if not path.is_file():
        raise ValueError(f"annotation is {path}: no such file")
    lines: dict[str, list[tuple[str, int]]] = {}
    for entry in _table_rows(path) if path.suffix.lower() in TABLE_SUFFIXES else _annotation_lines(path):
        entries = lines.setdefault(map_name(as_windows_text(entry[0])), [])
        # An image may be listed twice. Two lines with one map's path are two images: that is how it was overwritten.
        if entry not in entries or entry[0].endswith(".pt"):
            entries.append(entry)
    return lines


def _annotation_lines(path: Path) -> Iterator[tuple[str, int]]:
    return ((written, label) for _, written, label in read_annotation_lines(path))


def _table_rows(path: Path) -> Iterator[tuple[str, int]]:
    """Path and label of each row that is no control."""
    for place, row in read_table(path):
        if not row["path"]:
            raise ValueError(f"{path}, {place}: path is empty")
        if row["label"] is None:
            continue
        try:
            yield row["path"].strip(), parse_label(row["label"])
        except ValueError as error:
            raise ValueError(f"{path}, {place}: label of {row['path']} is {row['label']!r}: {error}") from error


def find_unusable(rows: Iterable[Mapping[str, Any]], annotation: Mapping[str, list[tuple[str, int]]]) -> dict[str, str]:
    """Which images cannot have a map of their own.

    Args:
        rows: Key, source_path and label of each image.
        annotation: From `read_annotation`.

    Returns:
        Sample key → reason.

    Raises:
        ValueError: If a label in the annotation is not the index's.
    """
    rows_of: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        rows_of.setdefault(map_name(row["source_path"]), []).append(row)
    unusable: dict[str, str] = {}
    differing = []
    for name, same in rows_of.items():
        entries = annotation.get(name, [])
        if len(same) > 1:
            for row in same:
                other = next(r["key"] for r in same if r is not row)
                unusable[row["key"]] = f"{other} has the same map name, {name}: one map overwrote the other"
        elif not entries:
            unusable[same[0]["key"]] = f"the annotation has no line for {name}"
        elif len(entries) > 1:
            paths = " and ".join(path for path, _ in entries[:2])
            unusable[same[0]["key"]] = f"the annotation has {len(entries)} images of the name {name}, {paths}"
        elif same[0]["label"] not in (None, entries[0][1]):  # a control has no label
            differing.append(f"{same[0]['key']} is {same[0]['label']} in the index, {entries[0][1]} in the annotation")
    if differing:
        raise ValueError(
            f"{len(differing)} labels of the annotation are not the index's: {'; '.join(differing[:5])}"
            + (" …" if len(differing) > 5 else "")
        )
    return unusable


def load_map(data: bytes) -> NDArray[np.float32]:
    """A map from the bytes of its `.pt` file. Nothing in the file is executed.

    Returns:
        (c, h, w), float32, finite, h = w.

    Raises:
        ImageRejected: If the bytes are no such map, or one that stands for an image that could not be read.
    """
    import torch  # takes seconds, which --help does not need

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # files of old versions warn; what counts is whether the values can be had
            tensor = torch.load(io.BytesIO(data), weights_only=True, map_location="cpu")
    except MemoryError:
        raise
    except Exception as error:
        # torch, zipfile and pickle answer hostile bytes with many exception classes; each means the file is no map.
        message = str(error).partition("\n")[0]
        raise _rejected(f"the map cannot be loaded ({type(error).__name__}: {message})") from error
    if not isinstance(tensor, torch.Tensor):
        raise _rejected(f"the map's file holds a {type(tensor).__name__}: expected a tensor")
    if tensor.layout != torch.strided or tensor.device.type != "cpu" or not tensor.is_floating_point():
        raise _rejected(
            f"the map is a tensor of {tensor.dtype}, {tensor.layout}, on {tensor.device}: expected dense floating point"
        )
    shape = tuple(tensor.shape[1:] if tensor.ndim == 4 and tensor.shape[0] == 1 else tensor.shape)
    # A stride of 0 lets a small file claim a tensor that fills the memory.
    if len(shape) != 3 or 0 in shape or shape[1] != shape[2] or tensor.numel() * tensor.element_size() > len(data):
        raise _rejected(f"the map has shape {tuple(tensor.shape)}: expected (c, h, w) or (1, c, h, w), with h = w")
    values: NDArray[np.float32] = tensor.detach().reshape(shape).to(torch.float32).numpy()
    if not np.isfinite(values).all():
        raise ImageRejected(Status.NON_FINITE, "the map is not finite")
    if not values.any():
        raise _rejected("the map is all zero: the authors' script writes that for an image that it could not read")
    return values


def check_same_picture(data: bytes) -> None:
    """Check that the authors' script decoded an image to the picture that this project decodes.

    It neither turns a picture as its EXIF data says nor puts transparency over white, and takes 16-bit grey otherwise.

    Args:
        data: The image's file, known to be one that can be decoded.

    Raises:
        ImageRejected: If the two pictures differ, so that the map lies over another one.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            image = open_image(io.BytesIO(data))
        except Exception:  # metadata that Pillow gives up at, in nearly any class; the pixels are known to be whole
            image = decode_file(data).opened
        is_plain = image.mode in _OPAQUE_MODES and not image.has_transparency_data
        if is_plain and not any(name in image.info for name in _ORIENTED_BY):
            return  # most files: no decoding needed
        theirs = np.asarray(image.convert("RGB"))
    if not np.array_equal(theirs, np.asarray(decode_image(data))):
        raise _rejected(
            "the map is of another picture: the authors' script does not turn an image as its EXIF data says, nor put "
            "its transparency over white"
        )


def _rejected(reason: str) -> ImageRejected:
    return ImageRejected(Status.UNREADABLE, reason)
