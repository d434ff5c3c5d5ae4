"""Every setting of a measurement run, each with a sentence and a check."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from cache_schema import check_least
from extract.config import ComputeDtype


@dataclass(frozen=True, kw_only=True)
class BenchConfig:
    """Measured comparisons: both sides in one run, alternately; a table on the terminal and a JSON file.

    Raises:
        ValueError: If a setting is outside its range.
    """

    measures: str = "quick"
    """`quick`: all but those at Stable Diffusion 1.5 shapes; `all`; or names with commas between, as in docs. Those of
    object storage only by name."""
    out: Path = Path("runs/bench.json")
    """JSON file of the figures, replaced if it is there; machine and versions go to `<name>.machine.json` beside it.
    Temporary data lie in the same folder, so that writing is measured on its disk."""
    runs: int = 5
    """How often each side of a comparison is run, after one run that does not count."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where the models run. Decoding, noise and writing are measured on the CPU whatever this is."""
    compute_dtype: ComputeDtype = "fp32"
    """Number format of our job's models; the authors' way is fp32 with torch's defaults always."""
    num_workers: int = 0
    """Processes that decode for our job; 0 decodes in the main process, as the authors' way does."""
    ensemble_size: int = 4
    """Noise draws an image."""
    timestep: int = 200
    """Scheduler index of the noised latents."""

    feed_images: int = 256
    """Different pictures that the feed is measured on."""
    feed_batch_size: int = 16
    """Images a batch of the feed."""
    feed_image_size: int = 256
    """Side in px of the feed's canvas."""
    feed_picture_px: int = 500
    """Long side in px of the feed's JPEG files; the short one is three quarters of it."""

    toy_model: str = "demo/models/toy-a"
    """Diffusers folder of the small model."""
    toy_images: int = 128
    """Images a run with the small model."""
    toy_batch_size: int = 16
    """Images a batch of our job with the small model."""
    toy_image_size: int = 64
    """Side in px of the small model's canvas."""
    toy_picture_px: int = 64
    """Long side in px of the small model's JPEG files; the demo's pictures have 64."""

    detect_images: int = 512
    """Pictures of the folder that verdicts are given on, with the small model."""
    detect_memory_images: list[int] | None = None
    """Pictures of the small and of the large folder whose memory is compared: 500 and 5000 if not given."""
    detect_clients: int = 8
    """Clients that ask the web service at once."""

    start_workers: int = 8
    """Workers of the training loader whose start is measured."""

    storage: str = ""
    """New folder in object storage that is measured, as `s3://bucket/folder`; what is written there stays."""
    storage_images: int = 1024
    """Images that are extracted from object storage with the small model."""
    storage_epoch_images: int = 8192
    """Images of a training epoch from object storage."""

    sd15_folder: str | None = None
    """Diffusers folder of Stable Diffusion 1.5, or where to save random weights of its shapes (4 GB); a temporary
    folder if not given. Time does not depend on the weights' values."""
    sd15_images: int = 4
    """Images a run at Stable Diffusion 1.5 shapes."""
    sd15_batch_size: int = 4
    """Images a batch of our job at Stable Diffusion 1.5 shapes."""
    sd15_image_size: int = 256
    """Side in px of the canvas at Stable Diffusion 1.5 shapes."""

    memory_tars: list[int] | None = None
    """Tars of the short and of the long job whose memory is compared: 2 and 20 if not given."""
    memory_rows: int = 64
    """Images a tar of those jobs."""
    map_rows: int = 512
    """Maps a store, where bytes on the disk are counted; of the small model's images half as many."""
    matmul_size: int | None = None
    """Side of the square matrices whose product gives the peak rate: 2048 on a CPU, 8192 on a GPU if not given."""

    def __post_init__(self) -> None:
        """Check the settings."""
        for field in fields(self):
            value = getattr(self, field.name)
            least = 0 if field.name in ("num_workers", "timestep") else 1
            if isinstance(value, int):
                check_least(field.name, value, least)
        for name, pair in (("memory_tars", self.tars_compared), ("detect_memory_images", self.folders_compared)):
            low, high = [*pair, 0][:2]
            if len(pair) != 2 or not 0 < low < high:
                raise ValueError(f"{name} is {pair}: expected two numbers, the smaller one first")

    @property
    def tars_compared(self) -> list[int]:
        """Tars of the short and of the long job."""
        return [2, 20] if self.memory_tars is None else self.memory_tars

    @property
    def folders_compared(self) -> list[int]:
        """Pictures of the small and of the large folder that are asked about."""
        return [500, 5000] if self.detect_memory_images is None else self.detect_memory_images

    @property
    def peak_matmul_size(self) -> int:
        """Side of the matrices whose product gives the peak rate."""
        return self.matmul_size or (8192 if self.device == "cuda" else 2048)

    def command(self, measure: str) -> str:
        """The command line that makes a measure's figures again, with every setting that is not the default."""
        changed = [
            f"--{field.name} {str(value).replace(' ', '')}"
            for field in fields(self)
            if field.name not in ("measures", "out") and (value := getattr(self, field.name)) != field.default
        ]
        return " ".join(["python -m bench --measures", measure, *changed])
