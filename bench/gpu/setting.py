"""Where and at which sizes the checks run: whole on a GPU, tiny on a CPU, by one code."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch

from bench.data.pictures import make_jpegs, pack_jpegs
from bench.data.sd15 import save_sd15
from cache_schema import Dataset, check_choice
from extract import ExtractConfig

Size = Literal["tiny", "full"]
TOY_PX = 64
TOY_PICTURE_PX = 96


@dataclass(frozen=True, kw_only=True)
class GpuCheckConfig:
    """Every claim about a GPU, measured on one.

    Raises:
        ValueError: If a setting is outside its range.
    """

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the checks run. `auto` is the GPU; where there is none, nothing is measured and this is said."""
    size: Size = "full"
    """`full` at Stable Diffusion 1.5's shapes; `tiny` tries the checks themselves, and its figures mean nothing."""
    checks: str = "all"
    """`all`, or names of checks with commas between."""
    out: Path = Path("runs/gpu-check.md")
    """Markdown file of the table, written again after each check."""
    minutes: float = 10
    """Checks that have not begun by then are left out, and named."""
    toy_model: str = "demo/models/toy-a"
    """Diffusers folder of the small model."""
    sd15_folder: str | None = None
    """Diffusers folder of Stable Diffusion 1.5's shapes, made with random weights (4 GB) if it is not there."""

    def __post_init__(self) -> None:
        """Check the settings."""
        check_choice("device", self.device, ("auto", "cpu", "cuda"))
        check_choice("size", self.size, ("tiny", "full"))
        if self.minutes <= 0:
            raise ValueError(f"minutes is {self.minutes}: expected more than 0")
        if self.device == "cuda" and not torch.cuda.is_available():
            raise ValueError("device is cuda, but torch finds no GPU: pass --device cpu --size tiny to try the checks")


@dataclass(frozen=True)
class Setting:
    """What every check gets."""

    config: GpuCheckConfig
    device: torch.device
    folder: Path
    """Temporary folder of all checks."""

    @property
    def is_gpu(self) -> bool:
        """Whether there is something to measure."""
        return self.device.type == "cuda"

    def sized(self, full: int, tiny: int) -> int:
        """A number of one of the two sizes."""
        return full if self.config.size == "full" else tiny

    @cached_property
    def toy_data(self) -> Dataset:
        """Pictures for the small model, in two tars."""
        return self.pack("toy", self.sized(128, 6), TOY_PICTURE_PX, num_tars=2)

    @cached_property
    def large_model(self) -> Path:
        """Models of Stable Diffusion 1.5's shapes; at tiny size the small ones stand for them."""
        if self.config.size == "tiny":
            return Path(self.config.toy_model)
        return save_sd15(Path(self.config.sd15_folder or self.folder / "sd15"))

    @cached_property
    def turned_data(self) -> Dataset:
        """`toy_data`, the last picture first."""
        return self.pack("turned", self.sized(128, 6), TOY_PICTURE_PX, num_tars=2, last_first=True)

    @property
    def large_px(self) -> int:
        """Side of the large model's canvas."""
        return self.sized(256, TOY_PX)

    def pack(
        self, name: str, num_pictures: int, long_side_px: int, num_tars: int, *, last_first: bool = False
    ) -> Dataset:
        """A new dataset of made-up photographs, some of them equal where many are wanted."""
        different = list(make_jpegs(min(num_pictures, 64), long_side_px))
        jpegs = [different[i % len(different)] for i in range(num_pictures)]
        rows = -(-num_pictures // num_tars)
        return pack_jpegs(self.folder / name, jpegs, rows_per_tar=rows, last_first=last_first)

    def extract_config(self, data: Path, name: str, **settings: Any) -> ExtractConfig:
        """Settings of a run on the device, into a cache of its own below the checks' folder."""
        places = {"data": str(data), "cache": str(self.folder / f"cache-{name}"), "device": self.device.type}
        return ExtractConfig(**places | {"num_workers": 0} | settings)

    def synchronize(self) -> None:
        """Wait for the device."""
        if self.is_gpu:
            torch.cuda.synchronize(self.device)
