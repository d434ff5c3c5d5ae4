"""Settings of `lare calibrate`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from cache_schema import check_choice, check_least
from extract import ComputeDtype, ExtractConfig, TextDtype

Score = Literal["mean", "detail"]
GroupBy = Literal["file", "folder"]
StoredDtype = Literal["float16", "float32"]
_OF_THE_MAPS = (
    *("model", "revision", "variant", "vae", "vae_revision", "image_size", "timestep", "ensemble_size", "noise_seed"),
    *("sigma", "snr_of_timestep", "guidance", "error_space", "map_cell"),
    *("prompt_policy", "prompt", "compute_dtype", "text_dtype", "stored_dtype"),
    *("batch_size", "device", "channels_last"),
)
"""Settings that `lare extract` has too, under the same names and defaults."""


@dataclass(frozen=True, kw_only=True)
class CalibrateConfig:
    """A detector from photographs alone. It has seen no generated picture.

    Raises:
        ValueError: If a setting is outside its range.
    """

    model: str
    """Diffusers folder of the diffusion model, or a hub id together with `revision`."""
    out: str
    """Folder to make: detector.json and README.md."""
    photos: tuple[str, ...] = ()
    """Photographs: files, folders, tars, packed datasets. Of a dataset only photographs of training and validation."""
    score: Score = "mean"
    """Minus the mean of the error map (`mean`), or the same less what the local detail predicts (`detail`)."""
    group_by: GroupBy = "file"
    """What counts as one: each `file`, or all files of a `folder`, such as a burst or a film. A packed dataset has its
    own groups."""
    include_model: bool = False
    """Copy the diffusion model into the detector's folder; for small models."""
    revision: str | None = None
    """Commit hash of `model` on the hub, 40 hexadecimal digits."""
    variant: str | None = None
    """Which of several copies of the model's weights: `fp16` for files *.fp16.safetensors."""
    vae: str | None = None
    """Hub id of another autoencoder in place of the model's own."""
    vae_revision: str | None = None
    """Commit hash of `vae` on the hub."""
    image_size: int = 256
    """Side in px of the square that every picture is resized to before encoding."""
    timestep: int = 200
    """Scheduler index of the noised latents."""
    sigma: float | None = None
    """Noise level of a flow matching model in place of `timestep`, between 0 and 1."""
    snr_of_timestep: int | None = None
    """In place of `timestep`: the noise level that Stable Diffusion 1.5 has at this timestep."""
    guidance: float | None = None
    """Guidance that a guidance-distilled model is told of."""
    error_space: Literal["native", "epsilon"] = "native"
    """Error of the model's own prediction, or of the noise that it implies."""
    map_cell: int | None = None
    """Side of the squares of latents over which a map is averaged; 8 for a model of pixels."""
    ensemble_size: int = 4
    """Number of noise draws that are averaged."""
    noise_seed: int = 0
    """Seed of noise draws and posterior samples."""
    prompt_policy: Literal["fixed"] = "fixed"
    """All pictures have the same text: nobody knows what a picture shows."""
    prompt: str = "a photo"
    """The text."""
    compute_dtype: ComputeDtype = "fp32"
    """Number format of the diffusion model; fp32 means TF32 off."""
    text_dtype: TextDtype = "fp32"
    """Number format of text encoders; bf16 halves T5's memory, which is the largest of some models."""
    stored_dtype: StoredDtype = "float32"
    """Number format that the maps are rounded to."""
    batch_size: int = 16
    """Pictures at a time; the UNet sees as many times that as there are noise draws."""
    num_workers: int | None = None
    """Threads that load and decode; by default one a core, at most 8."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the diffusion model runs; auto uses a GPU if there is one."""
    channels_last: bool = True
    """Keep the model's tensors in channels-last memory order, which convolutions on a GPU prefer."""
    verify: bool = False
    """Read the diffusion model's weights in full to hash them, also if they were hashed on this machine before."""

    def __post_init__(self) -> None:
        """Check what can be checked before anything is opened."""
        if not self.photos:
            raise ValueError("no photographs are given: name files, folders, tars or packed datasets")
        check_choice("score", self.score, get_args(Score))
        check_choice("group_by", self.group_by, get_args(GroupBy))
        check_choice("prompt_policy", self.prompt_policy, ("fixed",))
        check_least("num_workers", self.num_workers, 0)
        _ = self.extraction
        if Path(self.out).exists():
            raise ValueError(f"out is {self.out}, which is there already: choose another folder")
        if self.vae is not None and Path(self.vae).is_dir():
            raise ValueError(
                f"vae is the folder {self.vae}, which a detector cannot name for others: "
                "put the autoencoder into the folder of the model, or name one of the hub"
            )
        if self.include_model and not (Path(self.model) / "model_index.json").is_file():
            raise ValueError(
                f"model is {self.model}, which holds no model_index.json: include_model copies a diffusers folder"
            )

    @property
    def extraction(self) -> ExtractConfig:
        """The settings of the maps, as `lare extract` takes them."""
        return ExtractConfig(data="", cache="", **{name: getattr(self, name) for name in _OF_THE_MAPS})
