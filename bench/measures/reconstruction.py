"""What other reconstruction errors cost beside LaRE, at Stable Diffusion 1.5's shapes, one image at a time."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import get_args

import torch

from bench.data.sd15 import PROMPT, find_sd15, save_tiny_autoencoder
from bench.runner import Context, Figure, device_timed, ratio, reading
from extract import ExtractConfig, Inputs, Method, ModelFolder, StableDiffusion, count_macs, load_noising, make_method
from extract.needs import MethodName
from workflow.timing import alternate

NAME = "dire_over_lare"
METHOD_NAMES: tuple[MethodName, ...] = get_args(MethodName)


class Model:
    """Stable Diffusion 1.5's shapes with one autoencoder, and an image on the device.

    Args:
        context: Settings.
        folder: The model.
        unet_of: Another model whose UNet is used too, as a second one would fill a small machine's memory.
    """

    def __init__(self, context: Context, folder: ModelFolder, unet_of: "Model | None" = None) -> None:
        self.config, self.folder = context.config, folder
        noising = load_noising(folder, [self.config.timestep])
        without = {name: part for name, part in folder.parts.items() if name != "unet"}
        parts = folder if unet_of is None else replace(folder, parts=without)
        self.diffusion = StableDiffusion(
            parts, noising, self.config.compute_dtype, context.device, channels_last=True, with_decoder=True
        )
        if unet_of is not None:
            self.diffusion.network = unet_of.diffusion.network
        size, latents = self.config.sd15_image_size, folder.latent_shape(self.config.sd15_image_size)
        rng = torch.Generator().manual_seed(0)
        self.inputs = Inputs(
            (torch.rand(1, 3, size, size, generator=rng) * 2 - 1).to(context.device),
            torch.randn(1, *latents, generator=rng).to(context.device),
            torch.randn(1, self.config.ensemble_size, *latents, generator=rng).to(context.device),
            self.diffusion.condition([PROMPT]),
        )

    def method(self, name: MethodName) -> Method:
        """A method with the settings of extraction; only timestep and ensemble size are the measurement's own."""
        config = ExtractConfig(
            data="",
            cache="",
            method=name,
            image_size=self.config.sd15_image_size,
            timestep=self.config.timestep,
            ensemble_size=self.config.ensemble_size,
        )
        return make_method(config, self.folder)

    def run(self, method: Method) -> None:
        """One image to its map."""
        method.compute_maps(self.diffusion, self.inputs, method.config.variants)

    def gmac(self, method: Method) -> float:
        """Operations of `run` by the counter that tells what an extraction costs."""
        return count_macs(self.folder, self.config.sd15_image_size, *method.count_calls()) / 1e9


def measure_reconstruction(context: Context) -> list[Figure]:
    """Seconds and operations of an image by each method, with both autoencoders, all of them in turns."""
    sd15 = find_sd15(context)
    tiny = save_tiny_autoencoder(context.folder / "autoencoder-tiny")
    kl_model = Model(context, ModelFolder.open(str(sd15)))
    models = {"kl": kl_model, "tiny": Model(context, ModelFolder.open(str(sd15), vae=str(tiny)), unet_of=kl_model)}
    methods = {(a, name): model.method(name) for a, model in models.items() for name in METHOD_NAMES}
    works: dict[str, Callable[[], None]] = {
        f"{NAME}_{a}.{name}": partial(models[a].run, method) for (a, name), method in methods.items()
    }
    seconds = alternate({name: device_timed(work, context.device) for name, work in works.items()}, context.config.runs)

    figures = []
    for a, model in models.items():
        gmac = {name: model.gmac(methods[a, name]) for name in METHOD_NAMES}
        of_dire, of_lare = (seconds[f"{NAME}_{a}.{name}"] for name in ("dire", "lare"))
        steps = f"{methods[a, 'dire'].work} over LaRE with e = {context.config.ensemble_size}"
        autoencoder = model.folder.vae.class_name
        figures += [
            ratio(f"{NAME}_{a}", of_dire, of_lare, f"time of {steps}; {autoencoder}, one image at a time"),
            reading(f"{NAME}_{a}.operations", [gmac["dire"] / gmac["lare"]], "×", "by operations instead of time"),
        ]
        for name in METHOD_NAMES:
            what = f"an image of {context.config.sd15_image_size} px: {methods[a, name].work}"
            figures += [
                reading(f"{NAME}_{a}.{name}", seconds[f"{NAME}_{a}.{name}"], "s", what),
                reading(f"{NAME}_{a}.{name}_operations", [gmac[name]], "GMAC", "by operations instead of time"),
            ]
    return figures
