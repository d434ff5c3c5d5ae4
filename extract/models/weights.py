"""Which files hold the weights of a model's part, and whether they can be read: told before anything is loaded."""

import json
import math
import operator
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from extract.models.settings import read_settings

STEMS = ("diffusion_pytorch_model", "model")
"""File names of weights, in diffusers and in transformers."""
MAX_HEADER_BYTES = 2**23
"""Of a safetensors file; a tensor takes some 100 bytes in it."""
_DTYPE_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "I64": 8, "I32": 4}
_POINTERS = (b"version https://git-lfs", b"/annex/objects/")


class MissingFile(ValueError):
    """A file of the model is not on the disk."""


def weight_files(folder: Path, stem: str, variant: str | None = None) -> tuple[Path, ...]:
    """The safetensors files of a part, in the order of their names.

    Args:
        folder: Of the part.
        stem: What its library calls them, one of `STEMS`.
        variant: As in `diffusion_pytorch_model.fp16.safetensors`; None: without one.

    Raises:
        MissingFile: If there are none, or one of several is missing.
        ValueError: If there are two candidates, or the list of several is damaged or names a file of another folder.
    """
    mark = f".{variant}" if variant else ""
    names = [(f"{each}.safetensors.index{mark}.json", f"{each}{mark}.safetensors") for each in STEMS]
    found = [name for pair in names for name in pair if (folder / name).is_file()]
    if len(found) > 1:
        raise ValueError(
            f"{folder} holds weights twice, {' and '.join(found)}: keep those that are meant, and no others"
        )
    index, whole = names[STEMS.index(stem)]
    if found == [index]:
        return _listed_files(folder / index)
    if found == [whole]:
        return (folder / whole,)
    if variant:
        raise MissingFile(f"{folder} holds no {stem}.{variant}.safetensors: leave --variant out, or name another")
    raise MissingFile(
        f"{folder} holds no {stem}.safetensors: pickled weights (.bin, .pt, .ckpt) are not loaded, and "
        f"*.{_variant_of(folder)}.safetensors only with --variant {_variant_of(folder)}"
    )


def check_weights(files: Iterable[Path]) -> None:
    """Check the beginning and the length of weight files.

    Raises:
        ValueError: If one is a pointer to a large-file store, is cut short, or is no safetensors file.
    """
    for path in files:
        check_no_pointer(path)
        read_tensors([path])


def read_tensors(files: Iterable[Path]) -> dict[str, int]:
    """Names of the tensors in safetensors files → how many numbers they have. Only headers are read.

    Raises:
        ValueError: If a file is damaged, cut short or longer than it says, or two hold a tensor of the same name.
    """
    counts: dict[str, int] = {}
    for path in files:
        tensors, num_bytes = _read_header(path)
        found = path.stat().st_size
        if found != num_bytes:
            raise ValueError(f"{path} has {found:,} bytes, its header says {num_bytes:,}: download it again")
        if twice := sorted(counts.keys() & tensors.keys()):
            raise ValueError(f"{path} holds {twice[0]}, which another file of the part holds too: download them again")
        counts |= tensors
    return counts


def check_no_pointer(path: Path) -> None:
    """Raise ValueError if a file only says where a large-file store has its content."""
    with path.open("rb") as file:
        start = file.read(max(map(len, _POINTERS)))
    if start.startswith(_POINTERS):
        raise ValueError(
            f"{path} is a pointer of a large-file store, not the file itself: fetch it, for example with git lfs pull"
        )


def _variant_of(folder: Path) -> str:
    """The variant that a folder has weights of, or the usual one."""
    found = sorted(path.name.split(".")[1] for stem in STEMS for path in folder.glob(f"{stem}.*.safetensors"))
    return found[0] if found else "fp16"


def _listed_files(index: Path) -> tuple[Path, ...]:
    try:
        names = sorted(set(read_settings(index)["weight_map"].values()))
        files = tuple(index.parent / name for name in names if Path(name).name == name)
    except (KeyError, AttributeError, TypeError) as error:
        raise ValueError(f"{index} has no weight_map of file names: download it again") from error
    if len(files) < len(names) or not files:
        raise ValueError(f"{index} names files of other folders, or none: download it again")
    for file in files:
        if not file.is_file():
            raise MissingFile(f"{file} is missing, which {index.name} lists: download it again")
    return files


def _read_header(path: Path) -> tuple[dict[str, int], int]:
    """Tensors of a safetensors file with their counts of numbers, and the length that it must have."""
    with path.open("rb") as file:
        num_header = int.from_bytes(file.read(8), "little")
        header = file.read(num_header) if 2 <= num_header <= MAX_HEADER_BYTES else b""
    try:
        entries = {name: entry for name, entry in json.loads(header).items() if name != "__metadata__"}
        counts = {name: _count_numbers(entry) for name, entry in entries.items()}
        end = max((int(entry["data_offsets"][1]) for entry in entries.values()), default=0)
    except (ValueError, KeyError, IndexError, AttributeError, TypeError, RecursionError, OverflowError) as error:
        raise ValueError(f"{path} is damaged or cut short: its header cannot be read. Download it again") from error
    return counts, 8 + num_header + end


def _count_numbers(entry: dict[str, Any]) -> int:
    """How many numbers a tensor has, by its shape and its bytes alike."""
    start, end = entry["data_offsets"]
    shape = [operator.index(side) for side in entry["shape"]]
    count = math.prod(shape)
    if not 0 <= start <= end or min(shape, default=1) < 0 or count * _DTYPE_BYTES[entry["dtype"]] != end - start:
        raise ValueError("shape and bytes differ")
    return count
