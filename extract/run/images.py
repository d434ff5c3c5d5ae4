"""Images one by one: bytes to pixels with their noise, or a rejection with its reason; and their scale for models.

Pixels stay bytes until they are on the models' device: a quarter of the memory that workers share, and of the copy.
"""

import hashlib
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cache_schema import ImageRejected, Status, decode_image, encode_canvas, resize_canvas
from extract.noise import POSTERIOR_DRAW, sample_draws, sample_noise


def load_image(data: bytes, image_size: int) -> Tensor:
    """Decode a file's bytes and squash the picture to a square.

    Args:
        data: A whole image file.
        image_size: Side of the square in px.

    Returns:
        RGB image, (3, image_size, image_size), uint8.

    Raises:
        ImageRejected: If the image cannot be used.
    """
    return canvas_pixels(resize_canvas(decode_image(data), image_size))


def canvas_pixels(canvas: NDArray[np.uint8]) -> Tensor:
    """A canvas, (S, S, 3), uint8, in the order of the models' images, (3, S, S), uint8."""
    return torch.from_numpy(np.array(canvas.transpose(2, 0, 1), order="C"))


def scale_pixels(pixels: Tensor) -> Tensor:
    """Pixels as the models take them, where they are: uint8 to float32 in [-1, 1], of the same shape.

    By a table that a CPU made: a GPU multiplies by 1 / 127.5 where it is asked to divide, and would be a bit off.
    """
    return _levels(pixels.device).index_select(0, pixels.flatten().int()).view(pixels.shape)


@cache
def _levels(device: torch.device) -> Tensor:
    """The value of each byte, (256,), float32."""
    return torch.arange(256, dtype=torch.float32).div_(127.5).sub_(1).to(device)


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
    """(3, S, S), uint8; zeros, whose map is thrown away, if the image is rejected."""
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
    """(batch, 3, S, S), uint8; `scale_pixels` gives what the models take."""
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
        image = canvas_pixels(canvas)
        encoded = encode_canvas(canvas) if settings.canvases else b""
    except ImageRejected as rejection:
        image = torch.zeros(3, settings.image_size, settings.image_size, dtype=torch.uint8)
        status, reason = rejection.status, rejection.reason
    row = add_noise(key, image, hashlib.sha256(data).digest(), settings)
    return row._replace(status=status, reason=reason, canvas=encoded)


def add_noise(key: str, image: Tensor, sha256: bytes, settings: RowSettings) -> Row:
    """A usable image's row: the image, as `canvas_pixels` gives it, with the noise of its key."""
    seed, shape = settings.noise_seed, settings.latent_shape
    posterior_noise = torch.from_numpy(sample_noise(seed, key, POSTERIOR_DRAW, shape))
    noise = torch.from_numpy(sample_draws(seed, key, settings.num_draws, shape))
    return Row(key, image, posterior_noise, noise, sha256, Status.OK, "")


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
