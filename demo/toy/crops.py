"""The crops that the toy models are trained on, and that the toy benchmark's photo tiles are cut like."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from cache_schema import open_image
from demo.toy.model import IMAGE_SIZE_PX

SUFFIXES = {".jpg", ".jpeg", ".png"}
SHORT_SIDES_PX = (72, 144)
"""From the whole picture to a quarter of it: the demo's tiles are cut at about the second scale."""
HELD_OUT_FRACTION = 0.04


def list_photographs(folder: Path) -> dict[str, Path]:
    """The photographs below a folder: path below it → file, sorted.

    Raises:
        ValueError: If there is none.
    """
    files = sorted(f for f in folder.rglob("*") if f.suffix.lower() in SUFFIXES)
    if not files:
        raise ValueError(f"{folder}: no .jpg or .png below it; expected <class>/<photograph>")
    return {file.relative_to(folder).as_posix(): file for file in files}


def crop_randomly(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Shrink a whole photograph to a random short side, cut a random square, flip half of them.

    Args:
        pixels: (height, width, 3), uint8.
        rng: Decides side, place and flip.

    Returns:
        (64, 64, 3), uint8.
    """
    image = Image.fromarray(pixels)
    smallest, largest = SHORT_SIDES_PX
    short_side = round(smallest * (largest / smallest) ** rng.random())
    scale = short_side / min(image.size)
    image = image.resize([max(short_side, round(s * scale)) for s in image.size], Image.Resampling.LANCZOS)
    left, top = (int(rng.integers(0, s - IMAGE_SIZE_PX + 1)) for s in image.size)
    tile = np.asarray(image)[top : top + IMAGE_SIZE_PX, left : left + IMAGE_SIZE_PX]
    return tile[:, ::-1] if rng.random() < 0.5 else tile


@dataclass(frozen=True)
class Photos:
    """Decoded photographs, (h, w, 3) uint8 each, with their class names."""

    pixels: list[np.ndarray]
    class_names: list[str]

    @classmethod
    def load(cls, folder: Path) -> tuple["Photos", "Photos"]:
        """Read `…/<class>/<photograph>` below a folder, and split it into (training, held out) photographs."""
        paths = list(list_photographs(folder).values())
        held_out = set(np.random.default_rng(0).permutation(len(paths))[: math.ceil(len(paths) * HELD_OUT_FRACTION)])
        parts: list[Photos] = [cls([], []), cls([], [])]
        for i, path in enumerate(tqdm(paths, desc="photographs")):
            part = parts[i in held_out]
            part.pixels.append(np.asarray(open_image(path).convert("RGB")))
            part.class_names.append(path.parent.name)
        return parts[0], parts[1]

    def batch(self, size: int, rng: np.random.Generator) -> Tensor:
        """Random crops, (size, 3, 64, 64) in [-1, 1]."""
        return self.labelled_batch(size, rng)[0]

    def labelled_batch(self, size: int, rng: np.random.Generator) -> tuple[Tensor, list[str]]:
        """Random crops, (size, 3, 64, 64) in [-1, 1], and their class names."""
        rows = rng.integers(0, len(self.pixels), size).tolist()
        return to_tensor([crop_randomly(self.pixels[i], rng) for i in rows]), [self.class_names[i] for i in rows]


def to_tensor(tiles: list[np.ndarray]) -> Tensor:
    """(h, w, 3) uint8 each → (batch, 3, h, w) float32 in [-1, 1]."""
    return torch.from_numpy(np.stack(tiles)).permute(0, 3, 1, 2).float().div(127.5).sub(1)
