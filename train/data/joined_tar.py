"""One tar with its maps in memory and its images in reach."""

import hashlib
import importlib.metadata
import os
import weakref
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import PIL

from cache_schema import (
    CanvasStore,
    Dataset,
    DatasetError,
    ImageRejected,
    NotPlain,
    ObjectPath,
    Place,
    is_ok,
    open_plain,
    read_image_bytes,
)
from train.data.decoding import decode_pixels, to_canvas


@dataclass(frozen=True)
class JoinedTar:
    """One tar with its maps in memory and its images in reach. Row i is sample i of the tar.

    The tar is opened once, at the first image, and closed with this object. Not to be sent to another process.

    Attributes:
        path: The tar.
        keys: Sample keys.
        offsets: Byte offset of each image in the tar, (n,).
        sizes: Bytes of each image, (n,).
        sha256: Hash of each image's bytes, 64 hexadecimal digits.
        lare: Maps in their stored dtype, the variants' channels one after the other, (n, channels, h, w); None where
            no maps were asked for.
        canvases: The images as extraction saw them, in place of their files; None where there are none.
        dataset: Where the tar is opened; None: at its path.
        number: Its position there.
    """

    path: Place
    keys: list[str]
    offsets: np.ndarray
    sizes: np.ndarray
    sha256: list[str]
    lare: np.ndarray | None
    canvases: CanvasStore | None = None
    dataset: Dataset | None = None
    number: int = 0

    def __post_init__(self) -> None:
        """Have the canvases' file closed with this object."""
        if self.canvases is not None:
            weakref.finalize(self, self.canvases.close)

    def read_canvas(self, row: int) -> np.ndarray:
        """A row's stored canvas, (S, S, 3), uint8.

        Raises:
            DatasetError: If there is none, although the row has a map.
            ShardCorrupt: If it is damaged.
        """
        assert self.canvases is not None
        if not is_ok(int(self.canvases.status[row])):
            raise DatasetError(
                f"{self.canvases.path}: {self.keys[row]} has a map and no canvas. Make the canvases of this tar again "
                "with the versions that its maps were extracted with: --overwrite true."
            )
        return self.canvases.read(row)

    @cached_property
    def _descriptor(self) -> int:
        file = open_plain(self.path) if self.dataset is None else self.dataset.open_tar(self.number, whole=True)
        weakref.finalize(self, file.close)
        return file.fileno()

    def read_image(self, row: int) -> bytes:
        """The bytes of a row's image file, checked against the hash from packing.

        Raises:
            DatasetError: If the tar is missing, shorter than the index says, or has other bytes at that place.
        """
        offset, size = int(self.offsets[row]), int(self.sizes[row])
        try:
            data = os.pread(self._descriptor, size, offset)
        except (FileNotFoundError, NotPlain):
            data = b""
        # What is missing is for the slow reader to find out, which says what is wrong.
        if len(data) != size and isinstance(self.path, ObjectPath):
            raise DatasetError(
                f"{self.path} is missing, or ends inside an image. Restore it or pack the dataset again."
            )
        if len(data) != size:
            data = read_image_bytes(self.path, offset, size)
        if (found := hashlib.sha256(data).hexdigest()) != self.sha256[row]:
            if self.dataset is not None:
                self.dataset.forget_tar(self.number)  # the next run asks for it anew
            raise DatasetError(
                f"{self.path} has changed since it was packed: the bytes of {self.keys[row]} hash to {found}, the "
                f"index says {self.sha256[row]}. Restore the tar; make verify ARGS=--deep finds what else has changed."
            )
        return data


def load_pixels(tar: JoinedTar, row: int) -> np.ndarray:
    """The image of a row, decoded by the rule of both stages.

    Returns:
        (height, width, 3), uint8, at its own size.

    Raises:
        DatasetError: If the image cannot be read, although extraction could, or is not the one that was packed.
    """
    data = tar.read_image(row)
    try:
        return decode_pixels(data)
    except ImageRejected as error:
        raise DatasetError(
            f"{tar.path}: {tar.keys[row]} was readable at extraction and is not here, with the same bytes "
            f"({error.reason}). This is {_versions()}: use the versions that it was extracted with."
        ) from error


def _versions() -> str:
    """What decoding depends on: Pillow, and the rules of this program."""
    try:
        own = importlib.metadata.version("lare2-cache")
    except importlib.metadata.PackageNotFoundError:  # run in a checkout that was never installed
        own = "of a checkout"
    return f"Pillow {PIL.__version__} and lare2-cache {own}"


def load_canvas(tar: JoinedTar, row: int, size_px: int) -> np.ndarray:
    """The image of a row as extraction saw it.

    Returns:
        (size_px, size_px, 3), uint8.

    Raises:
        DatasetError: As `load_pixels`.
    """
    return to_canvas(load_pixels(tar, row), size_px)
