"""Every setting of an extraction run and of a study of its noise, each with a sentence and a check."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from cache_schema import FULL_MANTISSA_BITS, Place, check_choice, check_least, place
from extract.needs import NEEDS, MethodName, Needs
from extract.shards import parse_shards
from extract.variants import NO_DRAWS, Variant, check_sigma

ComputeDtype = Literal["fp32", "tf32", "bf16", "fp16", "tf32/fp32", "bf16/tf32", "bf16/fp32", "fp16/tf32"]
"""Number format of both networks, or of the denoiser and of the autoencoder: "fp16/tf32"."""
TextDtype = Literal["fp32", "bf16"]
"""Number format of text encoders; T5 overflows in fp16."""
StoredDtype = Literal["float16", "float32"]
ErrorSpace = Literal["native", "epsilon"]
DEFAULT_MODEL = "stable-diffusion-v1-5/stable-diffusion-v1-5"
DEFAULT_REVISION = "451f4fe16113bff5a5d2269ed5ad43b0592e9a14"
PROMPT_POLICIES = ("fixed", "template")
MAX_GUIDANCE = 100


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Which model sees which images under which text, and how it runs: the settings that every use of it shares.

    Raises:
        ValueError: If a setting is outside its range.
    """

    data: str
    """Folder with dataset.json."""
    model: str = DEFAULT_MODEL
    """Diffusers folder, or a hub id together with `revision`."""
    revision: str | None = None
    """Commit hash of `model` on the hub, 40 hexadecimal digits; the default model's is known, a folder has none."""
    vae: str | None = None
    """Folder or hub id of another autoencoder in place of the model's own."""
    vae_revision: str | None = None
    """Commit hash of `vae` on the hub."""
    variant: str | None = None
    """Which of several copies of the model's weights: `fp16` for files *.fp16.safetensors."""
    image_size: int = 256
    """Side in px of the square that every image is resized to before encoding."""
    timestep: int = 200
    """Scheduler index of the noised latents. A flow matching model has none, and takes the noise level that Stable
    Diffusion 1.5 has there, as by `snr_of_timestep`."""
    sigma: float | None = None
    """Noise level of a flow matching model in place of `timestep`: the share of noise, between 0 and 1."""
    snr_of_timestep: int | None = None
    """In place of `timestep`: the noise level of the signal-to-noise ratio that Stable Diffusion 1.5 has at this
    timestep. What it is for the model goes into the fingerprint."""
    guidance: float | None = None
    """Guidance that a guidance-distilled model (Flux.1 dev) is told of, its own pipeline's 3.5 if not given. Other
    models take none."""
    noise_seed: int = 0
    """Seed of noise draws and posterior samples."""
    prompt_policy: str = "fixed"
    """`fixed`: the same text for all; `template`: `prompt` with {class_name} filled in for each image."""
    prompt: str = "a photo"
    """The text, or the template."""
    prompt_fallback: str = "a photo"
    """Text for an image without class name, under `template`."""
    allow_label_dependent_prompts: bool = False
    """Allow fallback texts to be more frequent for one label, although the prompt then gives the label away."""
    compute_dtype: ComputeDtype = "fp32"
    """Number format of the models, or a pair: of the UNet, then of the autoencoder, whose rounding moves a map most.
    fp32 means TF32 off. fp16 alone leaves the autoencoder in fp32."""
    text_dtype: TextDtype = "fp32"
    """Number format of text encoders, which are freed before the network is loaded. bf16 halves the 19 GB that T5 takes
    for that moment, of the device's memory and of the host's."""
    batch_size: int = 16
    """Images at a time; the UNet sees as many times that as there are noise draws."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the models run; auto uses a GPU if there is one. Never part of a cache's identity."""
    channels_last: bool = True
    """Keep the models' tensors in channels-last memory order, which convolutions on a GPU prefer."""

    def __post_init__(self) -> None:
        """Check the settings."""
        check_choice("compute_dtype", self.compute_dtype, get_args(ComputeDtype))
        check_choice("text_dtype", self.text_dtype, get_args(TextDtype))
        check_choice("device", self.device, ("auto", "cpu", "cuda"))
        if self.variant is not None and not re.fullmatch(r"\w+", self.variant):
            raise ValueError(f"variant is {self.variant!r}: expected letters and digits, such as fp16")
        check_least("image_size", self.image_size, 1)
        check_least("timestep", self.timestep, 0)
        check_least("snr_of_timestep", self.snr_of_timestep, 0)
        check_sigma("sigma", self.sigma)
        if self.sigma is not None and self.snr_of_timestep is not None:
            raise ValueError(f"sigma is {self.sigma} and snr_of_timestep {self.snr_of_timestep}: give one of them")
        if self.guidance is not None and not 0 <= self.guidance <= MAX_GUIDANCE:
            raise ValueError(f"guidance is {self.guidance}: expected 0 … {MAX_GUIDANCE}")
        check_least("batch_size", self.batch_size, 1)
        self._check_prompts()

    @property
    def pinned_revision(self) -> str | None:
        """Commit hash of `model` on the hub."""
        if self.model == DEFAULT_MODEL:
            return self.revision or DEFAULT_REVISION
        # Settings files name it beside the default model, and a flag may have replaced that one alone.
        return None if self.revision == DEFAULT_REVISION or Path(self.model).is_dir() else self.revision

    def _check_prompts(self) -> None:
        if self.prompt_policy not in PROMPT_POLICIES:
            raise ValueError(
                f"prompt_policy is {self.prompt_policy!r}: expected one of {', '.join(PROMPT_POLICIES)}. "
                "Captions of single images cannot be used: the index has no such column."
            )
        if self.prompt_policy == "template" and "{class_name}" not in self.prompt:
            raise ValueError(f"prompt is {self.prompt!r}: a template needs {{class_name}} in it")
        if self.prompt_policy == "fixed" and "{class_name}" in self.prompt:
            raise ValueError(
                f"prompt is {self.prompt!r}: {{class_name}} is filled in under prompt_policy template only"
            )


@dataclass(frozen=True, kw_only=True)
class ExtractConfig(ModelConfig):
    """LaRE maps of a dataset's tars, written to a cache folder. Tars that already have their maps are skipped.

    Other reconstruction errors (`method`) are stored in the same way, for comparison. A sweep (`timesteps`,
    `ensemble_sizes`) makes one cache for each pair of values in a single pass over the images.

    Raises:
        ValueError: If a setting is outside its range.
    """

    cache: str
    """Cache folder of this dataset and these settings, for example cache/genimage/sd15-t200-e4; made if absent. For a
    sweep the folder above its caches, which are called t200-e4 and so on."""
    shard: str | int = "all"
    """Positions of tars in dataset.json's list: "3", "0-31", "3,7,9" or "all"."""
    method: MethodName = "lare"
    """What a map is. `lare`: the squared error of the noise prediction. The others reconstruct the image and store the
    absolute error of its pixels, averaged by latent cell. `dire`: DDIM inversion and sampling. `one_step`: one
    prediction at `timestep`. `roundtrip`: the autoencoder alone."""
    inversion_steps: int = 20
    """DDIM steps of method dire, as many each way."""
    ensemble_size: int = 4
    """Number of noise draws that are averaged. Methods dire and roundtrip have none."""
    error_space: ErrorSpace = "native"
    """Of method lare. `native`: the error of the model's own prediction. `epsilon`: of the noise that it implies, to
    compare models that predict different things."""
    map_cell: int | None = None
    """Side of the squares of latents over which a map is averaged; 1 if not given, and 8 for a model of pixels."""
    timesteps: list[int] | None = None
    """A sweep over these in place of `timestep`."""
    sigmas: list[float] | None = None
    """A sweep over these in place of `sigma`."""
    ensemble_sizes: list[int] | None = None
    """A sweep over these in place of `ensemble_size`; smaller ones use the first draws of the largest."""
    stored_dtype: StoredDtype = "float16"
    """Number format in the cache."""
    mantissa_bits: int | None = None
    """Mantissa bits kept in the cache; all of the stored dtype's if not given."""
    canvases: bool = False
    """Also write the canvas of each image, in the same pass: training in view canvas reads them in place of the
    originals (data.canvases)."""
    canvas_folder: str | None = None
    """Cache folder of the canvases; canvas-256 beside the maps' cache if not given, by the image size."""
    num_workers: int = 2
    """Processes that read and decode; 0 decodes in the main process."""
    compile: bool = False
    """Compile UNet and encoder with torch.compile; pays off from a few thousand images on a GPU."""
    overwrite: bool | Literal["stale"] = False
    """Compute existing stores again: all of them, or only stores that are damaged or whose tar, settings or texts have
    changed (`stale`). Each store is replaced by one rename."""
    keep_going: bool = False
    """If a tar is missing, damaged or differs from the index, continue with the others, and exit 1 at the end."""
    max_reject_fraction: float = 0.05
    """Share of a tar's images that may be rejected; above it the command exits 3, with the store written."""

    def __post_init__(self) -> None:
        """Check the settings."""
        super().__post_init__()
        check_choice("method", self.method, get_args(MethodName))
        check_least("inversion_steps", self.inversion_steps, 1)
        check_choice("error_space", self.error_space, get_args(ErrorSpace))
        check_least("map_cell", self.map_cell, 1)
        check_choice("stored_dtype", self.stored_dtype, get_args(StoredDtype))
        check_choice("overwrite", self.overwrite, (False, True, "stale"))
        check_least("num_workers", self.num_workers, 0)
        check_least("ensemble_size", self.ensemble_size, 1)
        self._check_sweep()
        if not 0 <= self.max_reject_fraction <= 1:
            raise ValueError(f"max_reject_fraction is {self.max_reject_fraction}: expected 0 … 1")
        all_bits = FULL_MANTISSA_BITS[self.stored_dtype]
        if self.mantissa_bits is not None and not 1 <= self.mantissa_bits <= all_bits:
            raise ValueError(f"mantissa_bits is {self.mantissa_bits}: {self.stored_dtype} keeps 1 … {all_bits}")
        if self.canvas_folder is not None and not self.canvases:
            raise ValueError(f"canvas_folder is {self.canvas_folder}: it needs --canvases true")
        parse_shards(self.shard)

    def _check_sweep(self) -> None:
        for name, least in (("timesteps", 0), ("ensemble_sizes", 1), ("sigmas", 0)):
            values = getattr(self, name)
            if values is not None and (not values or len(set(values)) != len(values) or min(values) < least):
                raise ValueError(f"{name} is {values}: expected different values of {least} or more")
            if values is not None and not self.needs.noise:
                raise ValueError(
                    f"{name} is {values}: method {self.method} has neither timestep nor noise draws to sweep over. "
                    "Leave it out, or use method lare or one_step."
                )
        for sigma in self.sigmas or ():
            check_sigma("sigmas", sigma)
        levels = {name: getattr(self, name) for name in ("timesteps", "sigmas", "sigma", "snr_of_timestep")}
        given = [f"{name} is {value}" for name, value in levels.items() if value is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)}: give one of them")

    @property
    def canvases_at(self) -> Place:
        """Cache folder of the canvases."""
        if self.canvas_folder is not None:
            return place(self.canvas_folder)
        return self.cache_folder(self.variants[0]).parent / f"canvas-{self.image_size}"

    @property
    def needs(self) -> Needs:
        """What the method needs of the model."""
        return NEEDS[self.method]

    @property
    def is_sweep(self) -> bool:
        """Whether `cache` is the folder above several caches."""
        return any(values is not None for values in (self.timesteps, self.sigmas, self.ensemble_sizes))

    @property
    def variants(self) -> list[Variant]:
        """The caches of this run, one noise level after the other. Settings of `Model.prepare` name the model's own."""
        if not self.needs.noise:
            return [NO_DRAWS]
        sizes = self.ensemble_sizes or [self.ensemble_size]
        sigmas = self.sigmas or ([] if self.sigma is None else [self.sigma])
        levels = [(0, sigma) for sigma in sigmas] or [(t, 0.0) for t in self.timesteps or [self.timestep]]
        return [Variant(timestep, e, sigma) for timestep, sigma in levels for e in sizes]

    def cache_folder(self, variant: Variant) -> Place:
        """Where a variant's stores lie."""
        folder = place(self.cache)
        return folder / variant.name if self.is_sweep else folder

    @property
    def stored_mantissa_bits(self) -> int:
        """Mantissa bits kept in the cache."""
        return FULL_MANTISSA_BITS[self.stored_dtype] if self.mantissa_bits is None else self.mantissa_bits


@dataclass(frozen=True, kw_only=True)
class NoiseStudyConfig(ModelConfig):
    """Standard errors of LaRE over noise draws, as a CSV file with a line for each image source and ensemble size.

    Raises:
        ValueError: If a setting is outside its range.
    """

    out: str
    """CSV file to write; must not exist."""
    images_per_source: int = 100
    """Images of each source, chosen by the noise seed; all, if there are fewer."""
    num_draws: int = 16
    """Draws an image, from which the variance of one is estimated."""
    ensemble_sizes: list[int] | None = None
    """Numbers of draws to estimate the standard error for: 1, 2, 4 and 8 if not given."""

    def __post_init__(self) -> None:
        """Check the settings."""
        super().__post_init__()
        check_least("images_per_source", self.images_per_source, 1)
        check_least("num_draws", self.num_draws, 2)
        for size in self.sizes:
            check_least("ensemble_sizes", size, 1)
        if Path(self.out).exists():
            raise ValueError(f"out is {self.out}: it exists. Choose another file, or remove this one yourself.")

    @property
    def sizes(self) -> list[int]:
        """Ensemble sizes of the table."""
        return self.ensemble_sizes or [1, 2, 4, 8]
