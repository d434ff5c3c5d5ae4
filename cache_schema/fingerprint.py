"""What identifies a cached feature: every setting that moves a value, and a hash over them."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

FIELDS = {
    "recipe": "integer in the code, raised by any change that moves a value by more than rounding",
    "method": "what is stored: `lare`, another reconstruction error (`dire`, `one_step`, `roundtrip`), or `canvas`",
    "unet_sha256": "hash of the UNet's weight files",
    "unet_config_sha256": "hash of its configuration",
    "transformer_sha256": "hash of the transformer's weight files, of a model that has one in the UNet's place",
    "transformer_config_sha256": "hash of its configuration",
    "vae_sha256": "hash of the autoencoder's weight files, or `none`",
    "vae_config_sha256": "hash of its configuration, or `none`",
    "text_encoder_sha256": "hash of the text encoder's weight files, or `none`",
    "text_encoder_config_sha256": "hash of its configuration, or `none`",
    "tokenizer_sha256": "hash of the tokenizer's files, or `none`",
    "text_encoder_2_sha256": "hash of the weight files of a second text encoder, or `none`",
    "text_encoder_2_config_sha256": "hash of its configuration, or `none`",
    "tokenizer_2_sha256": "hash of its tokenizer's files, or `none`",
    "text_encoder_3_sha256": "hash of the weight files of a third text encoder, or `none`",
    "text_encoder_3_config_sha256": "hash of its configuration, or `none`",
    "tokenizer_3_sha256": "hash of its tokenizer's files, or `none`",
    "model_family": "family of the diffusion model, where it is not Stable Diffusion 1, 2 or an older one",
    "class_label": "class that a network of classes is told",
    "guidance": "guidance that a guidance-distilled network is told of",
    "alphas_cumprod_sha256": "hash of the noise schedule",
    "num_train_timesteps": "length of the noise schedule, where it is not 1000",
    "trained_betas_sha256": "hash of its values, where they are a list",
    "prediction_type": "`epsilon`, `v_prediction`, or `flow` for the velocity of flow matching",
    "timestep": "scheduler index of the noised latents",
    "sigma": "noise level of a flow matching model, to six decimals, in place of `timestep`",
    "error_space": "`epsilon` where the errors are of the noise that predictions imply, and not of the predictions",
    "ensemble_size": "number of noise draws that are averaged",
    "noise_seed": "seed of the noise draws",
    "noise_rule": "how a draw follows from seed, key and number",
    "noise_probe_sha256": "hash of one rounded draw: another stream of the random library is refused",
    "latent_rule": "posterior sample or mean, or that there is no posterior",
    "inversion_steps": "DDIM steps each way, of `dire`",
    "inversion_rule": "timesteps of the inversion, and the noise level that clean latents are taken to have",
    "error_rule": "what the error of pixels is, and on which scale",
    "map_cell": "side of the squares of latents over which a map is averaged, where it is not 1",
    "image_size": "side of the square canvas that is encoded, in px",
    "formats": "rule of the formats that were added later, where the dataset holds one: `avif/1`",
    "resize": "how an image becomes the canvas",
    "filter": "resampling filter",
    "color": "colour rule of decoding",
    "alpha": "what stands behind transparent pixels",
    "orientation": "whether the EXIF orientation is applied",
    "prompt_policy": "the policy and its texts",
    "compute_dtype": "`fp32` (TF32 off), `tf32`, `bf16` or `fp16`, or a pair of UNet and autoencoder: `fp16/tf32`",
    "text_dtype": "number format of the text encoders, where it is not `fp32`: `bf16`",
    "stored_dtype": "`float16` or `float32`",
    "mantissa_bits": "mantissa bits kept in storage",
}


CANVAS_METHOD = "canvas"
"""Field `method` of caches whose stores hold the images as they were encoded, and no maps."""
AVIF_RULE = "avif/1"
"""Field `formats` of caches whose dataset holds AVIF: Pillow's first frame, in 8 bits."""


def without_formats(fields: Mapping[str, int | str]) -> dict[str, int | str]:
    """The fields of a fingerprint that a map depends on, without the formats that its dataset happens to hold.

    Args:
        fields: Formats by a rule that is not this code's stay.
    """
    return {name: value for name, value in fields.items() if (name, value) != ("formats", AVIF_RULE)}


@dataclass(frozen=True)
class Fingerprint:
    """The settings behind a cache, as integers and strings named in `FIELDS`.

    A field that is added to the format later is left out while it has its historic value, so that old caches keep their
    hash.

    Raises:
        ValueError: If a value is neither an integer nor a string (a float has no canonical text).
    """

    fields: Mapping[str, int | str]

    def __post_init__(self) -> None:
        """Check the values."""
        for name, value in self.fields.items():
            if isinstance(value, bool) or not isinstance(value, int | str):
                raise ValueError(f"fingerprint field {name} is {value!r}: expected an integer or a string")

    @property
    def hexdigest(self) -> str:
        """SHA-256 over the fields as canonical JSON, 64 hexadecimal digits."""
        text = json.dumps(dict(self.fields), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def difference(self, other: "Fingerprint") -> list[str]:
        """Lines "timestep: 200 ≠ 261", this value first, for every field that differs."""
        names = sorted(set(self.fields) | set(other.fields))
        pairs = [(n, self.fields.get(n, "(absent)"), other.fields.get(n, "(absent)")) for n in names]
        return [f"{name}: {mine} ≠ {theirs}" for name, mine, theirs in pairs if mine != theirs]
