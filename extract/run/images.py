"""A tar's images in row order: bytes to RGB tensors in [-1, 1] with their noise, or a rejection with its reason."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info
from webdataset.tariterators import tar_file_iterator

from cache_schema import ImageRejected, Status, decode_image, encode_canvas, open_plain, resize_canvas, share_turns
from extract.noise import POSTERIOR_DRAW, sample_draws, sample_noise


def load_image(data: bytes, image_size: int) -> Tensor:
    """Decode a file's bytes and squash the picture to a square.

    Args:
        data: A whole image file.
        image_size: Side of the square in px.

    Returns:
        RGB image, (3, image_size, image_size), float32 in [-1, 1].

    Raises:
        ImageRejected: If the image cannot be used.
    """
    return scale_canvas(resize_canvas(decode_image(data), image_size))


def scale_canvas(canvas: NDArray[np.uint8]) -> Tensor:
    """A canvas as the models take it: (S, S, 3), uint8, to (3, S, S), float32 in [-1, 1]."""
    return torch.from_numpy(canvas.transpose(2, 0, 1).astype(np.float32)).div_(127.5).sub_(1)


@dataclass(frozen=True)
class RowSettings:
    """What a row's tensors depend on besides its bytes and key."""

    image_size: int
    latent_shape: tuple[int, int, int]
    """(c, h, w) of one image's latents."""
    num_draws: int
    """Noise draws an image."""
    noise_seed: int
    canvases: bool = False
    """Whether rows bring their canvas, as a store keeps it."""


class Row(NamedTuple):
    """One image with its noise."""

    key: str
    image: Tensor
    """(3, S, S), float32 in [-1, 1]; zeros, whose map is thrown away, if the image is rejected."""
    posterior_noise: Tensor
    """(c, h, w), float32."""
    noise: Tensor
    """(draw, c, h, w), float32."""
    sha256: bytes
    status: Status
    reason: str
    number: int = 0
    """Its place in its tar."""
    canvas: bytes = b""
    """As `encode_canvas` gives it; empty if the image is rejected, or none was asked for."""


class Batch(NamedTuple):
    """Consecutive rows of a tar. The tensors always have the full batch size: zeros follow the last row."""

    start: int
    """The tar's row that comes first; keys and the other fields are of this row and those behind it."""
    keys: list[str]
    images: Tensor
    """(batch, 3, S, S), float32 in [-1, 1]."""
    posterior_noise: Tensor
    """(batch, c, h, w), float32."""
    noise: Tensor
    """(batch, draw, c, h, w), float32."""
    image_sha256: NDArray[np.uint8]
    """(len(keys), 32)."""
    status: NDArray[np.uint8]
    """`Status` of each key."""
    reasons: list[str]
    """Why each key was rejected, or ""."""
    canvases: list[bytes] = []  # noqa: RUF012  never changed
    """`Row.canvas` of each key."""


def load_row(key: str, data: bytes, settings: RowSettings) -> Row:
    """Everything about a row that does not need the models."""
    status, reason, encoded = Status.OK, "", b""
    try:
        canvas = resize_canvas(decode_image(data), settings.image_size)
        image = scale_canvas(canvas)
        encoded = encode_canvas(canvas) if settings.canvases else b""
    except ImageRejected as rejection:
        image = torch.zeros(3, settings.image_size, settings.image_size)
        status, reason = rejection.status, rejection.reason
    row = add_noise(key, image, hashlib.sha256(data).digest(), settings)
    return row._replace(status=status, reason=reason, canvas=encoded)


def add_noise(key: str, image: Tensor, sha256: bytes, settings: RowSettings) -> Row:
    """A usable image's row: the image, as `scale_canvas` gives it, with the noise of its key."""
    seed, shape = settings.noise_seed, settings.latent_shape
    posterior_noise = torch.from_numpy(sample_noise(seed, key, POSTERIOR_DRAW, shape))
    noise = torch.from_numpy(sample_draws(seed, key, settings.num_draws, shape))
    return Row(key, image, posterior_noise, noise, sha256, Status.OK, "")


class TarRows(IterableDataset[Row]):
    """The rows of one tar, streamed in order.

    Worker w of W yields the rows of batches w, w + W, …; a `DataLoader` takes its workers in turns, so batches come out
    in row order. Every worker reads through the whole tar, and keeps its own rows only.
    """

    def __init__(self, tar: Path, settings: RowSettings, batch_size: int) -> None:
        self.tar, self.settings, self.batch_size = tar, settings, batch_size

    def __iter__(self) -> Iterator[Row]:
        worker = get_worker_info()
        first, step = (worker.id, worker.num_workers) if worker is not None else (0, 1)
        number = -1

        def is_mine(name: str) -> bool:
            nonlocal number
            if name.endswith(".json"):
                return False
            number += 1
            return number // self.batch_size % step == first

        with open_plain(self.tar) as file:
            # skip_meta=None: webdataset would pass over keys that begin with two underscores.
            for member in tar_file_iterator(file, skip_meta=None, select_files=is_mine):
                row = load_row(member["fname"].rpartition(".")[0], member["data"], self.settings)
                yield row._replace(number=number)


def collate(rows: list[Row], batch_size: int) -> Batch:
    """Stack rows and fill the tensors up to the batch size, so that a compiled model sees one shape."""

    def stack(tensors: list[Tensor]) -> Tensor:
        padding = [torch.zeros_like(tensors[0])] * (batch_size - len(tensors))
        return torch.stack([*tensors, *padding])

    return Batch(
        start=rows[0].number,
        keys=[row.key for row in rows],
        images=stack([row.image for row in rows]),
        posterior_noise=stack([row.posterior_noise for row in rows]),
        noise=stack([row.noise for row in rows]),
        image_sha256=np.frombuffer(b"".join(row.sha256 for row in rows), np.uint8).reshape(-1, 32),
        status=np.array([row.status for row in rows], np.uint8),
        reasons=[row.reason for row in rows],
        canvases=[row.canvas for row in rows],
    )


def load_batches(
    tar: Path, settings: RowSettings, batch_size: int, num_workers: int, pin_memory: bool
) -> DataLoader[Any]:
    """A loader of a tar's batches in row order.

    Args:
        tar: Path of the tar.
        settings: What the rows' tensors depend on.
        batch_size: Rows a batch.
        num_workers: Processes that decode; 0 decodes in this one.
        pin_memory: Whether the batches are copied to page-locked memory, for copies to a GPU.
    """
    if num_workers > 0:
        share_turns()
    return DataLoader(
        TarRows(tar, settings, batch_size),
        batch_size=batch_size,
        num_workers=num_workers,
        collate_fn=partial(collate, batch_size=batch_size),
        pin_memory=pin_memory,
    )
