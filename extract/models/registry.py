"""The families of diffusion models. Another one is a file with a class in it, and a line here."""

from typing import Any

from extract.models.dit import Dit
from extract.models.flux import Flux
from extract.models.latent_diffusion import LatentDiffusion
from extract.models.parts import Layout, ModelParts
from extract.models.pixart import PixArtAlpha, PixArtSigma
from extract.models.pixels import PixelDiffusion
from extract.models.sana import Sana
from extract.models.stable_diffusion import StableDiffusion
from extract.models.stable_diffusion_3 import StableDiffusion3
from extract.models.stable_diffusion_xl import StableDiffusionXL

FAMILIES: tuple[type[LatentDiffusion], ...] = (
    *(StableDiffusion, StableDiffusionXL, PixArtAlpha, PixArtSigma, StableDiffusion3, Flux, Sana, Dit, PixelDiffusion),
)
_BY_NAME = {family.layout.family: family for family in FAMILIES}


def layout_of(pipeline: object) -> Layout | None:
    """What a folder must hold, by `_class_name` of its model_index.json; None for a name that is no family's."""
    found = (family.layout for family in FAMILIES if pipeline in family.layout.pipelines)
    return next(found, None)


def family_of(folder: ModelParts) -> type[LatentDiffusion]:
    """The family of a model. An autoencoder alone is of any."""
    return _BY_NAME.get(folder.layout.family, StableDiffusion)


def load_family(folder: ModelParts, *arguments: Any, **settings: Any) -> LatentDiffusion:
    """Load a model's weights; arguments as of `LatentDiffusion`."""
    return family_of(folder)(folder, *arguments, **settings)


def supported() -> str:
    """All names of pipelines, for messages."""
    return ", ".join(name for family in FAMILIES for name in family.layout.pipelines)
