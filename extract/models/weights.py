"""Which files hold the weights of a model's part, and whether they can be read: told before anything is loaded."""

import json
from collections.abc import Iterable
from pathlib import Path

from cache_schema import read_json

STEMS = ("diffusion_pytorch_model", "model")
"""File names of weights, in diffusers and in transformers."""
MAX_HEADER_BYTES = 100_000_000
"""Of a safetensors file, as its library has it."""
_POINTERS = (b"version https://git-lfs", b"/annex/objects/")


class MissingFile(ValueError):
    """A file of the model is not on the disk."""


def weight_files(folder: Path, variant: str | None = None) -> tuple[Path, ...]:
    """The safetensors files of a part, in the order of their names.

    Args:
        folder: Of the part.
        variant: As in `diffusion_pytorch_model.fp16.safetensors`; None: without one.

    Raises:
        MissingFile: If there are none, or one of several is missing.
        ValueError: If the list of several is damaged, or names a file of another folder.
    """
    mark = f".{variant}" if variant else ""
    for stem in STEMS:
        index, whole = folder / f"{stem}.safetensors.index{mark}.json", folder / f"{stem}{mark}.safetensors"
        if index.is_file():
            return _listed_files(index)
        if whole.is_file():
            return (whole,)
    if variant:
        raise MissingFile(f"{folder} holds no {STEMS[0]}.{variant}.safetensors: leave --variant out, or name another")
    raise MissingFile(
        f"{folder} holds no {STEMS[0]}.safetensors: pickled weights (.bin, .pt, .ckpt) are not loaded, and "
        f"*.{_variant_of(folder)}.safetensors only with --variant {_variant_of(folder)}"
    )


def check_weights(files: Iterable[Path]) -> None:
    """Check the beginning and the length of weight files.

    Raises:
        ValueError: If one is a pointer to a large-file store, is cut short, or is no safetensors file.
    """
    for path in files:
        check_no_pointer(path)
        found = path.stat().st_size
        expected = _expected_bytes(path)
        if found != expected:
            raise ValueError(f"{path} has {found:,} bytes, its header says {expected:,}: download it again")


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
        names = sorted(set(read_json(index)["weight_map"].values()))
        files = tuple(index.parent / name for name in names if Path(name).name == name)
    except (KeyError, AttributeError, TypeError) as error:
        raise ValueError(f"{index} has no weight_map of file names: download it again") from error
    if len(files) < len(names) or not files:
        raise ValueError(f"{index} names files of other folders, or none: download it again")
    for file in files:
        if not file.is_file():
            raise MissingFile(f"{file} is missing, which {index.name} lists: download it again")
    return files


def _expected_bytes(path: Path) -> int:
    """Length of a safetensors file by its header."""
    with path.open("rb") as file:
        num_header = int.from_bytes(file.read(8), "little")
        header = file.read(num_header) if 2 <= num_header <= MAX_HEADER_BYTES else b""
    try:
        tensors = [entry for name, entry in json.loads(header).items() if name != "__metadata__"]
        return 8 + num_header + max((int(entry["data_offsets"][1]) for entry in tensors), default=0)
    except (ValueError, KeyError, IndexError, AttributeError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} is damaged or cut short: its header cannot be read. Download it again") from error
