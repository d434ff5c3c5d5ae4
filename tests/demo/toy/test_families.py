"""Images of a flow-matching transformer and of a model in pixel space."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from demo.toy import flow_model, pixel_images, pixel_model
from demo.toy.config import SourceConfig
from demo.toy.images import CLASS_NAMES, ToyModel, stack_tiles, to_8_bit, to_unit_range
from demo.toy.latent_images import FlowToy
from demo.toy.loading import load_model
from demo.toy.photos import Tile
from demo.toy.pixel_images import PixelToy

CONFIG = SourceConfig(num_steps=4, batch_size=8, img2img_guidance=3.0)


@pytest.fixture(scope="module")
def folders(sd_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("families")
    flow = flow_model.FlowConfig(num_layers=2, num_heads=2, head_dim=8, patch_size=2)
    flow_model.build_pipeline(sd_folder, flow).save_pretrained(root / "c")
    pixel = pixel_model.PixelConfig(channels=(8, 16))
    pixel_model.build_pipeline(len(CLASS_NAMES), pixel).save_pretrained(root / "d")
    return {"c": root / "c", "d": root / "d"}


@pytest.fixture(params=["c", "d"])
def other(request: pytest.FixtureRequest, folders: dict[str, Path]) -> ToyModel:
    return load_model(request.param, folders[request.param], CONFIG)


def test_a_folder_decides_what_makes_its_images(folders: dict[str, Path], sd_folder: Path, tmp_path: Path) -> None:
    assert isinstance(load_model("c", folders["c"], CONFIG), FlowToy)
    assert isinstance(load_model("d", folders["d"], CONFIG), PixelToy)
    (tmp_path / "model_index.json").write_text('{"_class_name": "FluxPipeline"}')
    with pytest.raises(ValueError, match="is of a FluxPipeline: a toy model is of StableDiffusionPipeline, "):
        load_model("e", tmp_path, CONFIG)


def test_two_runs_give_equal_bytes(other: ToyModel, folders: dict[str, Path], tiles: list[Tile]) -> None:
    again = load_model(other.letter, folders[other.letter], CONFIG)
    classes, names = ["hat", "roses"], ["a", "b"]
    (first, second), (again_first, again_second) = (
        (model.sample(classes, model.rngs("noise", names), 3.0), model.img2img(tiles[:2], 0.5))
        for model in (other, again)
    )
    assert first.tobytes() == again_first.tobytes() and second.tobytes() == again_second.tobytes()
    assert first.shape == second.shape == (2, 64, 64, 3) and first.dtype == second.dtype == np.uint8


def test_images_do_not_depend_on_their_batch(other: ToyModel, tiles: list[Tile]) -> None:
    # Not bit for bit: another batch size may sum in another order, and a value on the edge then rounds otherwise.
    for make in (lambda t: other.img2img(t, 0.5), other.roundtrip):
        together, alone = make(tiles[:5]), make(tiles[3:4])
        assert abs(together[3].astype(int) - alone[0].astype(int)).max() <= 1
    names, classes = ["a", "b", "c"], ["hat", "roses", "tulips"]
    together = other.sample(classes, other.rngs("noise", names), 3.0)
    alone = other.sample(classes[1:2], other.rngs("noise", names[1:2]), 3.0)
    assert abs(together[1].astype(int) - alone[0].astype(int)).max() <= 1


def test_images_differ_by_name_class_and_guidance(other: ToyModel, tiles: list[Tile]) -> None:
    def sample(class_name: str, name: str, guidance: float = 3.0) -> np.ndarray:
        return other.sample([class_name], other.rngs("noise", [name]), guidance)

    assert not np.array_equal(sample("hat", "a"), sample("hat", "b"))
    assert not np.array_equal(sample("hat", "a"), sample("roses", "a"))
    assert not np.array_equal(sample("hat", "a"), sample("hat", "a", 9.0))
    same_pixels = Tile("other", 0, 0, "g", "test", tiles[0].pixels)
    assert not np.array_equal(*other.img2img([tiles[0], same_pixels], 0.5))


@torch.no_grad()
def test_a_flow_starts_at_the_share_of_noise_and_follows_the_velocity_to_its_end(
    folders: dict[str, Path], tiles: list[Tile]
) -> None:
    model = load_model("c", folders["c"], SourceConfig(num_steps=4))
    projection = model.pipeline.transformer.proj_out
    projection.weight.zero_()
    projection.bias.fill_(0.5)  # the same velocity everywhere
    vae = model.pipeline.vae
    images = model.img2img(tiles[:2], 0.5)

    rngs = model.rngs("toy-c-img2img", [tile.name for tile in tiles[:2]])
    pixels = to_unit_range(stack_tiles(tiles[:2]))
    latents = vae.encode(pixels).latent_dist.sample(rngs) * vae.config.scaling_factor
    noise = torch.stack([torch.randn(latents.shape[1:], generator=rng) for rng in rngs])
    ended = 0.5 * latents + 0.5 * noise - 0.5 * 0.5
    expected = vae.decode(ended / vae.config.scaling_factor).sample.permute(0, 2, 3, 1).numpy() / 2 + 0.5
    assert abs(images.astype(int) - to_8_bit(expected).astype(int)).max() <= 1


def test_a_pixel_model_starts_at_the_noise_of_its_first_step(
    folders: dict[str, Path], tiles: list[Tile], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model("d", folders["d"], CONFIG)
    asked = SimpleNamespace()

    def denoise(*arguments: object) -> torch.Tensor:
        asked.noisy, asked.labels, asked.guidance, asked.timesteps = arguments[2:]
        return asked.noisy

    monkeypatch.setattr(pixel_images, "denoise", denoise)
    shown = [Tile("a", 0, 0, "g", "test", tiles[0].pixels, "daisy"), tiles[1]]
    model.img2img(shown, 0.5)
    assert asked.timesteps.tolist() == [499, 249] and asked.guidance == 3.0
    assert asked.labels.tolist() == [0, 15]  # the first class, and none
    rngs = model.rngs("toy-d-img2img", [tile.name for tile in shown])
    noise = torch.stack([torch.randn(3, 64, 64, generator=rng) for rng in rngs])
    share = model.sampler.alphas_cumprod[499]
    expected = share.sqrt() * to_unit_range(stack_tiles(shown)) + (1 - share).sqrt() * noise
    assert torch.allclose(asked.noisy, expected, atol=1e-6)
    model.sample(["tulips"], model.rngs("noise", ["a"]), 5.0)
    assert asked.timesteps.tolist() == [999, 749, 499, 249] and asked.labels.tolist() == [14]
    assert np.array_equal(model.roundtrip(tiles[:2]), stack_tiles(tiles[:2])) and model.roundtrip_source == "real-d"


def test_a_pixel_model_of_other_classes_is_refused() -> None:
    pipeline = pixel_model.build_pipeline(2, pixel_model.PixelConfig(channels=(8, 16)))
    with pytest.raises(ValueError, match="toy model d knows 3 classes, expected 16"):
        PixelToy("d", pipeline, CONFIG)
