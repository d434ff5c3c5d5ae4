"""The comparison of methods at tiny sizes: that it runs, and its operations, which need no clock."""

import json
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderTiny

from bench.data.sd15 import build_text_encoder, build_unet, build_vae
from bench.measures.reconstruction import METHOD_NAMES, measure_reconstruction
from bench.runner import Context
from extract.models.costs import count_macs, count_macs_by_part
from extract.models.folder import ModelFolder
from extract.models.parts import Component
from extract.models.stable_diffusion import StableDiffusion


def test_every_method_is_timed_and_counted_with_both_autoencoders(context: Context):
    figures = {figure.measure: figure for figure in measure_reconstruction(context)}
    for name in ("dire_over_lare_kl", "dire_over_lare_tiny"):
        parts = {f"{name}.{method}{kind}" for method in METHOD_NAMES for kind in ("", "_operations")}
        assert {name, f"{name}.operations", *parts} <= figures.keys()
        gmac = {method: figures[f"{name}.{method}_operations"].value for method in METHOD_NAMES}
        assert min(gmac["dire"], gmac["one_step"]) > gmac["lare"] > 0 and gmac["one_step"] > gmac["roundtrip"] > 0
        assert figures[f"{name}.operations"].value == gmac["dire"] / gmac["lare"]
        assert all(figures[part].low > 0 and len(figures[part].runs) == 1 for part in parts)
        assert "dire, 20 + 20 steps over LaRE with e = 2" in figures[name].against
    assert len(figures) == 2 * (2 + 8)


def test_operations_at_stable_diffusion_shapes_are_the_known_ones():
    with torch.device("meta"):
        parts = {"unet": build_unet(), "kl": build_vae(), "tiny": AutoencoderTiny(), "text": build_text_encoder()}
    assert sum(p.numel() for p in parts["tiny"].parameters()) == 2_445_063
    components = {
        name: Component(Path(name), type(part).__name__, json.loads(json.dumps(dict(part.config))), ())
        for name, part in parts.items()
        if name != "text"
    }
    text = Component(Path("text"), "CLIPTextModel", parts["text"].config.to_dict(), ())
    layout = StableDiffusion.layout
    gmac, ratio = {}, {}
    for name in ("kl", "tiny"):
        of_folders = {"unet": components["unet"], "vae": components[name], "text_encoder": text}
        folder = ModelFolder(layout, of_folders, {}, {})
        gmac[name] = {part: macs / 1e9 for part, macs in count_macs_by_part(folder, 256).items()}
        ratio[name] = count_macs(folder, 256, 40, 1) / count_macs(folder, 256, 4)
    assert gmac["kl"] == pytest.approx({"unet": 90.05, "vae_encoder": 136.36, "vae_decoder": 311.09}, abs=0.01)
    assert gmac["tiny"] == pytest.approx({"unet": 90.05, "vae_encoder": 15.29, "vae_decoder": 17.67}, abs=0.01)
    assert ratio == pytest.approx({"kl": 8.155, "tiny": 9.681}, abs=0.001)
