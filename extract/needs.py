"""What each method of making maps needs of the model; light, so that settings can be checked before anything loads."""

from dataclasses import dataclass
from typing import Literal

MethodName = Literal["lare", "dire", "one_step", "roundtrip"]


@dataclass(frozen=True)
class Needs:
    """Parts of the model that a method uses besides the encoder, and whether it draws noise."""

    unet: bool
    """UNet, noise schedule, and text encoder if the model has one."""
    decoder: bool
    """The autoencoder's decoder, which is half of its memory."""
    noise: bool
    """Noise draws at a timestep, over which a map is averaged and which can be swept over."""


LARE = Needs(unet=True, decoder=False, noise=True)
NEEDS: dict[MethodName, Needs] = {
    "lare": LARE,
    "dire": Needs(unet=True, decoder=True, noise=False),
    "one_step": Needs(unet=True, decoder=True, noise=True),
    "roundtrip": Needs(unet=False, decoder=True, noise=False),
}
