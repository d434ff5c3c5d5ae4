"""A checkpoint file, read as data: nothing in it is run, and no tensor in it is larger than the file.

A checkpoint may come from a stranger. Its pickle may name tensors and plain values alone, and its tensors lie in the
file as they are. Whatever asks for more memory than the file has bytes is refused before it is copied.
"""

import copy
import pickle
import pickletools
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from torch import Tensor

from cache_schema import new_opened


class CutShort(ValueError):
    """A checkpoint that was written in part, or damaged since."""


MAX_PICKLE_BYTES = 16 * 2**20
"""Of the plain values of a checkpoint; those of ten thousand tensors take two megabytes."""
_NAMES = re.compile(
    r"collections (OrderedDict|Counter)|torch\._utils _rebuild_(tensor_v2|parameter)|_codecs encode|builtins set"
    r"|__builtin__ set|torch (Size|device|\w+Storage|b?float\d+|u?int\d+|bool)"
)
"""What the pickle of a fit calls. torch takes more, of which some make any number of bytes: bytearray, Tensor."""
_UNREADABLE = (
    *(OSError, EOFError, RuntimeError, pickle.UnpicklingError, zipfile.BadZipFile, AttributeError, LookupError),
    *(TypeError, ValueError, ArithmeticError, AssertionError, MemoryError, NotImplementedError),
)
"""What torch raises on bytes that nobody wrote on purpose: its unpickler calls functions with any arguments."""


def load_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a file that `torch.save` wrote.

    Returns:
        Its content on the CPU: names and values, plain or tensors.

    Raises:
        FileNotFoundError: If it is not there.
        CutShort: If it is there in part, or damaged.
        ValueError: If it is no such file, or asks for more memory than it has bytes.
    """
    if not Path(path).exists():
        raise FileNotFoundError(f"there is no checkpoint {path}")
    if not Path(path).is_file():  # reading a pipe would wait for ever
        raise ValueError(f"{path} is no file: expected a checkpoint of python -m train fit")
    try:
        _check_archive(Path(path))
    except zipfile.BadZipFile as error:
        reason = " ".join(str(error).split())
        raise CutShort(f"{path} cannot be read as a checkpoint: {reason}. It was cut short or damaged") from error
    except _UNREADABLE as error:
        raise _unreadable(path, error) from error
    try:
        # Mapped, a tensor is a part of the file. Read, it would be as long as the file says, whatever lies there.
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        if not isinstance(content, dict):
            raise ValueError("it holds no names and values")
        _check_sizes(content, Path(path).stat().st_size)
        found: dict[str, Any] = copy.deepcopy(content)  # or it would change with the file
    except _UNREADABLE as error:
        raise _unreadable(path, error) from error
    return found


def find_whole(path: Path) -> Path | None:
    """The newest checkpoint beside one that is cut short, by its number of steps; None if no other is whole."""
    steps = {}
    for other in sorted(path.parent.glob("*.ckpt")):
        try:
            step = load_checkpoint(other).get("global_step") if other != path else None
        except (OSError, ValueError):
            continue
        if type(step) is int:
            steps[other] = step
    return max(steps, key=lambda other: steps[other], default=None)


def _unreadable(path: str | Path, error: BaseException) -> ValueError:
    return ValueError(f"{path} cannot be read as a checkpoint: {' '.join(str(error).split())[:300]}")


def _check_archive(path: Path) -> None:
    """Refuse damaged bytes, a long pickle, and entries that become longer than the file: compressed, or shared."""
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
                raise ValueError(f"{entry.filename} is compressed in it: expected entries as torch.save writes them")
            if entry.filename.endswith("data.pkl"):
                if entry.file_size > MAX_PICKLE_BYTES:
                    raise ValueError(
                        f"{entry.filename} has {entry.file_size} bytes: at most {MAX_PICKLE_BYTES} are read"
                    )
                _check_names(archive.read(entry))
        _check_length(sum(entry.file_size for entry in archive.infolist()), path.stat().st_size)
        damaged = archive.testzip()
        if damaged is not None:
            raise zipfile.BadZipFile(f"{damaged} in it is damaged: copy the file again")


def _check_names(data: bytes) -> None:
    """Refuse a pickle that names more than tensors and plain values."""
    for opcode, argument, _ in pickletools.genops(data):
        if opcode.name in ("GLOBAL", "INST") and not _NAMES.fullmatch(str(argument)):
            raise ValueError(f"it names {str(argument)[:80]!r}, which a fit does not write")


def _check_sizes(content: Any, num_bytes: int) -> None:
    """Refuse tensors that are longer than the file: those that repeat one number, or that lie nowhere in it."""
    storages: dict[int, int] = {}
    length = 0
    for value in _values(content):
        if isinstance(value, Tensor):
            if value.layout != torch.strided or value.is_quantized or value.device.type != "cpu":
                raise ValueError("it holds a tensor of another kind than a fit writes")
            length += value.numel() * value.element_size()
            storages[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes()
        elif isinstance(value, torch.UntypedStorage | torch.TypedStorage):
            raise ValueError("it holds a bare storage, which a fit does not write")
        else:
            length += len(value) if isinstance(value, bytes | bytearray) else 0
    _check_length(sum(storages.values()), num_bytes)
    _check_length(length, 2 * num_bytes)  # two names may share a tensor


def _check_length(length: int, most: int) -> None:
    if length > most:
        raise ValueError(f"what it holds would take {length} bytes, more than the file has")


def _values(content: Any) -> Iterator[Any]:
    """All values at any depth, each once, however often it is named."""
    seen, waiting = set(), [content]
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, Mapping):
            waiting += [*value.keys(), *value.values()]
        elif isinstance(value, list | tuple | set):
            waiting += value
        else:
            yield value


class CheckpointFiles(TorchCheckpointIO):
    """How a trainer writes, reads and removes checkpoints: whole or not at all, as data, and files alone."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a file beside its place, bring it to the disk and rename it: the one before stays until then.

        Lightning's own way goes through the folder of temporary files. From there a file is copied to another file
        system, and a kill leaves a part of it in the place of the one before.

        Raises:
            OSError: If the disk is full or broken.
            KeyboardInterrupt: After Ctrl-C.
        """
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with new_opened(Path(path)) as file:
            try:
                torch.save(checkpoint, file)
            except RuntimeError as error:
                # torch ends its archive even where a write was broken off, and complains of that instead.
                if isinstance(error.__context__, OSError | KeyboardInterrupt | SystemExit):
                    raise error.__context__ from None
                raise

    def load_checkpoint(
        self, path: str | Path, map_location: Callable[..., Any] | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint as `load_checkpoint` does, whatever else is asked for."""
        return load_checkpoint(path)

    def remove_checkpoint(self, path: str | Path) -> None:
        """Remove a file. A folder, which Lightning would remove with all in it, stays."""
        if Path(path).is_file():
            Path(path).unlink()
