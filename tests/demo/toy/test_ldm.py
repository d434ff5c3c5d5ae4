from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline

from demo.toy import ldm as toy_ldm
from demo.toy import training as toy_training
from demo.toy.model import ToyConfig, build_pipeline, build_tokenizer, encode_prompts
from tests.demo.toy.conftest import weights

pytestmark = pytest.mark.usefixtures("saved_and_logged_often")

TINY = ToyConfig(
    vae_channels=(8, 8, 8),
    unet_channels=(16, 16),
    vae_steps=6,
    vae_batch_size=2,
    unet_steps=6,
    unet_batch_size=4,
    crops_per_photo=2,
)


@pytest.fixture(scope="module")
def whole(photo_folder: Path, saved_and_logged_often: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an uninterrupted training. It is only read."""
    folder = tmp_path_factory.mktemp("whole")
    toy_ldm.train(photo_folder, folder, TINY)
    return folder


class Interrupted(Exception):
    """Stands in for the power going off."""


@pytest.mark.parametrize("part", ["vae_loss", "draw_latents"])
def test_interrupted_training_ends_where_an_uninterrupted_one_does(
    photo_folder: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    uncut = getattr(toy_ldm, part)
    calls = []

    def interrupted(*args: object) -> torch.Tensor:
        calls.append(args)
        if len(calls) == 5:
            raise Interrupted
        return uncut(*args)

    monkeypatch.setattr(toy_ldm, part, interrupted)
    with pytest.raises(Interrupted):
        toy_ldm.train(photo_folder, tmp_path / "cut", TINY)
    monkeypatch.setattr(toy_ldm, part, uncut)
    toy_ldm.train(photo_folder, tmp_path / "cut", TINY)

    expected, found = weights(whole), weights(tmp_path / "cut")
    assert expected.keys() == found.keys() and len(expected) > 100
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    for name in ("vae-log.csv", "unet-log.csv"):
        assert (whole / name).read_text() == (tmp_path / "cut" / name).read_text()


def test_a_sitting_ends_in_time_and_the_next_one_goes_on(photo_folder: Path, whole: Path, tmp_path: Path) -> None:
    for step in (1, 2):  # a sitting of no time does one step
        toy_ldm.train(photo_folder, tmp_path / "cut", TINY, minutes=0)
        assert torch.load(tmp_path / "cut" / "vae-state.pt", weights_only=True)["step"] == step
        assert not (tmp_path / "cut" / "model").exists()
    toy_ldm.train(photo_folder, tmp_path / "cut", TINY)
    expected, found = weights(whole), weights(tmp_path / "cut")
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_the_weights_that_are_best_on_held_out_photographs_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(toy_training, "LOG_EVERY_STEPS", 2)
    module = torch.nn.Linear(1, 1, bias=False)
    part = toy_training.Part("vae", module, 10, 0.1, TINY, tmp_path, None)
    losses, seen = iter([3.0, 1.0, 2.0, 1.5, 4.0]), []

    def measure() -> dict[str, float]:
        seen.append(module.weight.item())
        return {"held_out_loss": next(losses)}

    for _ in part.rngs():
        part.update(module(torch.ones(1, 1)).square().sum())
        part.evaluate(measure)
    part.finish()
    assert len(set(seen)) == 5 and module.weight.item() == seen[1]
    log = toy_training.read_log(tmp_path / "vae-log.csv")
    assert [line["step"] for line in log] == ["2", "4", "6", "8", "10"]
    assert [float(line["held_out_loss"]) for line in log] == [3.0, 1.0, 2.0, 1.5, 4.0]


def test_other_settings_are_refused_on_resuming(photo_folder: Path, whole: Path) -> None:
    with pytest.raises(ValueError, match="was trained with"):
        toy_ldm.train(photo_folder, whole, ToyConfig(seed=1))


def test_trained_folder_is_a_stable_diffusion_folder_in_float16(whole: Path) -> None:
    assert all(value.dtype == torch.float16 for name, value in weights(whole).items() if "ids" not in name)
    pipeline = StableDiffusionPipeline.from_pretrained(
        whole / "model", dtype=torch.float32, local_files_only=True, low_cpu_mem_usage=False
    )
    pipeline.set_progress_bar_config(disable=True)
    images = pipeline(["a photo of tulips"], num_inference_steps=2, output_type="np").images
    assert images.shape == (1, 64, 64, 3) and np.isfinite(images).all()


def test_tokenizer_knows_the_words_it_was_made_for_and_spells_others() -> None:
    tokenizer = build_tokenizer(["a photo", "a photo of tulips"])
    ids = tokenizer("A photo of tulips").input_ids
    assert ids[0] == tokenizer.bos_token_id and ids[-1] == tokenizer.eos_token_id and len(ids) == 6
    assert tokenizer.decode(tokenizer("a photo of zebras").input_ids, skip_special_tokens=True) == "a photo of zebras"


def test_prompts_differ_after_the_text_encoder() -> None:
    pipeline = build_pipeline(TINY, ["tulips", "hat"])
    embeddings = encode_prompts(pipeline, ["", "a photo", "tulips", "hat"])
    rows = torch.stack(list(embeddings.values())).flatten(1)
    assert torch.cdist(rows, rows).fill_diagonal_(9).min() > 1


def test_prompts_are_dropped_in_the_stated_shares() -> None:
    config = ToyConfig(empty_prompt_fraction=0.15, generic_prompt_fraction=0.10)
    prompts = toy_ldm.drop_prompts(np.array(["tulips"] * 10_000), np.random.default_rng(0), config)
    assert abs((prompts == "").mean() - 0.15) < 0.01 and abs((prompts == "a photo").mean() - 0.10) < 0.01


def test_empty_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no \.jpg or \.png below it"):
        toy_ldm.train(tmp_path, tmp_path / "out", TINY)
