"""Every setting of an extraction run, each with a sentence and a check."""

from dataclasses import dataclass
from typing import Literal, get_args

from cache_schema import FULL_MANTISSA_BITS

ComputeDtype = Literal["fp32", "tf32", "bf16", "fp16"]
StoredDtype = Literal["float16", "float32"]
PROMPT_POLICIES = ("fixed", "template")


@dataclass(frozen=True)
class ExtractConfig:
    """LaRE maps of a dataset's tars, written to a cache folder. A tar whose maps are there already is skipped.

    Raises:
        ValueError: If a setting is outside its range.
    """

    data: str
    """Folder with dataset.json."""
    cache: str
    """Cache folder of this dataset and these settings, for example cache/genimage/sd15-t200-e4; made if absent."""
    model: str
    """Diffusers folder, or a hub id together with `revision`."""
    revision: str | None = None
    """Commit hash on the hub, 40 hexadecimal digits; not for a folder."""
    vae: str | None = None
    """Folder or hub id of another autoencoder in place of the model's own."""
    vae_revision: str | None = None
    """Commit hash of `vae` on the hub."""
    shard: str | int = "all"
    """Positions of tars in dataset.json's list: "3", "0-31", "3,7,9" or "all"."""
    image_size: int = 256
    """Side in px of the square that every image is squashed to before encoding."""
    timestep: int = 200
    """Scheduler index of the noised latents."""
    ensemble_size: int = 4
    """Number of noise draws that are averaged."""
    noise_seed: int = 0
    """Seed of noise draws and posterior samples."""
    prompt_policy: str = "fixed"
    """`fixed`: the same text for all; `template`: `prompt` with {class_name} filled in for each image."""
    prompt: str = "a photo"
    """The text, or the template."""
    prompt_fallback: str = "a photo"
    """Text for an image without class name, under `template`."""
    allow_label_dependent_prompts: bool = False
    """Go on although fallback texts are more frequent for one label, so that the prompt tells the label."""
    compute_dtype: ComputeDtype = "fp32"
    """Number format of the models; fp32 means TF32 off. Under fp16 the autoencoder stays in fp32."""
    stored_dtype: StoredDtype = "float16"
    """Number format in the cache."""
    mantissa_bits: int | None = None
    """Mantissa bits kept in the cache; all of the stored dtype's if not given."""
    batch_size: int = 16
    """Images at a time; the UNet sees `ensemble_size` times as many."""
    num_workers: int = 2
    """Processes that read and decode; 0 decodes in the main process."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the models run; auto takes a GPU if there is one. Never part of a cache's identity."""
    compile: bool = False
    """Compile UNet and encoder with torch.compile; pays off from a few thousand images on a GPU."""
    channels_last: bool = True
    """Keep the models' tensors in channels-last memory order, which convolutions on a GPU prefer."""
    overwrite: bool = False
    """Make the features again where a store exists; each store is replaced by one rename."""
    max_reject_fraction: float = 0.05
    """Share of a tar's images that may be rejected; above it the command exits 3, with the store written."""

    def __post_init__(self) -> None:
        """Check the settings."""
        for name, choices in (
            ("compute_dtype", get_args(ComputeDtype)),
            ("stored_dtype", get_args(StoredDtype)),
            ("device", ("auto", "cpu", "cuda")),
        ):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} is {getattr(self, name)!r}: expected one of {', '.join(choices)}")
        for name, least in (
            ("image_size", 1),
            ("ensemble_size", 1),
            ("batch_size", 1),
            ("num_workers", 0),
            ("timestep", 0),
        ):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}: expected {least} or more")
        if not 0 <= self.max_reject_fraction <= 1:
            raise ValueError(f"max_reject_fraction is {self.max_reject_fraction}: expected 0 … 1")
        all_bits = FULL_MANTISSA_BITS[self.stored_dtype]
        if self.mantissa_bits is not None and not 1 <= self.mantissa_bits <= all_bits:
            raise ValueError(f"mantissa_bits is {self.mantissa_bits}: {self.stored_dtype} keeps 1 … {all_bits}")
        self._check_prompts()
        parse_shards(self.shard)

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

    @property
    def stored_mantissa_bits(self) -> int:
        """Mantissa bits kept in the cache."""
        return FULL_MANTISSA_BITS[self.stored_dtype] if self.mantissa_bits is None else self.mantissa_bits


def parse_shards(text: str | int, count: int | None = None) -> list[int]:
    """Positions of tars, from "3", "0-31", "3,7,9", "0-3,8" or "all".

    Args:
        text: The setting.
        count: Number of tars that there are; None checks the form alone, and "all" is then empty.

    Returns:
        Positions, ascending, each once.

    Raises:
        ValueError: If the text has another form, or names a tar that is not there.
    """
    text = str(text).strip()
    if text == "all":
        return list(range(count or 0))
    numbers: set[int] = set()
    for part in text.split(","):
        first, dash, last = (p.strip() for p in part.partition("-"))
        if not _is_number(first) or (dash and not _is_number(last)) or (dash and int(last) < int(first)):
            raise ValueError(f"shard is {text!r}: expected a number, a range 0-31, a list 3,7,9 or all")
        # Compared before it is counted out: a range may be of any length.
        if count is not None and int(last or first) >= count:
            raise ValueError(f"shard {int(last or first)} is not there: the dataset has {count} tars, 0 … {count - 1}")
        numbers.update(range(int(first), int(last or first) + 1) if count is not None else ())
    return sorted(numbers)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal()
