import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub.utils import filter_repo_objects

from extract.models.folder import ModelFolder
from extract.models.hub import hub_patterns


@pytest.fixture
def copy(models: dict[str, Path], tmp_path: Path) -> Path:
    """A model folder that a test may change."""
    return Path(shutil.copytree(models["sd"], tmp_path / "model"))


def change_config(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_parts_are_found_and_hashed(models: dict[str, Path]) -> None:
    folder = ModelFolder.open(str(models["sd"]))
    assert folder.latent_shape(128) == (4, 16, 16)
    hashes = folder.hashes()
    weights = models["sd"] / "unet" / "diffusion_pytorch_model.safetensors"
    assert hashes["unet_sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert len(set(hashes.values())) == 7


def test_a_unet_without_text_needs_no_text_encoder(models: dict[str, Path]) -> None:
    folder = ModelFolder.open(str(models["unconditional"]))
    assert not folder.has_text
    assert folder.hashes()["text_encoder_sha256"] == folder.hashes()["tokenizer_sha256"] == "none"


def test_config_hash_ignores_notes_of_the_saving_library(copy: Path) -> None:
    before = ModelFolder.open(str(copy)).hashes()
    change_config(copy / "unet" / "config.json", _diffusers_version="0.1", _name_or_path="elsewhere")
    assert ModelFolder.open(str(copy)).hashes() == before
    change_config(copy / "unet" / "config.json", norm_eps=1e-3)
    changed = {k for k, v in ModelFolder.open(str(copy)).hashes().items() if v != before[k]}
    assert changed == {"unet_config_sha256"}


def test_weights_in_several_files_are_hashed_in_the_order_of_their_names(copy: Path) -> None:
    (copy / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    (copy / "unet" / "b.safetensors").write_bytes(b"b")
    (copy / "unet" / "a.safetensors").write_bytes(b"a")
    index = {"weight_map": {"one": "b.safetensors", "two": "a.safetensors", "three": "b.safetensors"}}
    (copy / "unet" / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
    assert ModelFolder.open(str(copy)).hashes()["unet_sha256"] == hashlib.sha256(b"ab").hexdigest()


def test_another_autoencoder_takes_the_place_of_the_models_own(models: dict[str, Path]) -> None:
    for vae in (models["tiny_vae"], models["tiny_vae"] / "vae"):
        folder = ModelFolder.open(str(models["sd"]), vae=str(vae))
        assert folder.vae.class_name == "AutoencoderTiny"
        assert folder.latent_shape(64) == (4, 8, 8)


@pytest.mark.parametrize(
    ("file", "changes", "message"),
    [
        (
            "unet/config.json",
            {"_class_name": "FluxTransformer2DModel"},
            "FluxTransformer2DModel: supported are UNet2DCond",
        ),
        ("vae/config.json", {"_class_name": "VQModel"}, "VQModel: supported are AutoencoderKL, AutoencoderTiny"),
        ("text_encoder/config.json", {"architectures": ["T5EncoderModel"]}, "T5EncoderModel: supported are CLIPTextM"),
        ("unet/config.json", {"addition_embed_type": "text_time"}, "further condition .addition_embed_type: text_time"),
        ("unet/config.json", {"num_class_embeds": 10}, "further condition"),
        ("unet/config.json", {"in_channels": 9}, "takes 9 and gives 4 channels, the autoencoder .* has 4"),
        ("unet/config.json", {"out_channels": 8}, "takes 4 and gives 8 channels"),
        ("vae/config.json", {"latents_mean": [0, 0, 0, 0]}, "scales latents by channel"),
        ("unet/config.json", {"cross_attention_dim": 768}, "takes text of width 768, .* gives 16"),
    ],
)
def test_models_of_other_kinds_are_refused(copy: Path, file: str, changes: dict[str, Any], message: str) -> None:
    change_config(copy / file, **changes)
    with pytest.raises(ValueError, match=message):
        ModelFolder.open(str(copy))


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("unet", "config.json does not exist: expected a folder of UNet2DConditionModel or UNet2DModel"),
        ("text_encoder", "expected a folder of CLIPTextModel"),
        ("tokenizer", "expected the files of a CLIPTokenizer"),
        ("scheduler", "the noise schedule is read from it"),
    ],
)
def test_missing_parts_are_named(copy: Path, missing: str, message: str) -> None:
    shutil.rmtree(copy / missing)
    with pytest.raises(ValueError, match=message):
        ModelFolder.open(str(copy))


def test_pickled_weights_are_not_loaded(copy: Path) -> None:
    weights = copy / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(ValueError, match=r"holds no diffusion_pytorch_model.safetensors: pickled weights"):
        ModelFolder.open(str(copy))


def test_image_size_must_suit_autoencoder_and_unet(models: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match=r"image_size is 96: .* need a multiple of 64"):
        ModelFolder.open(str(models["sd"])).latent_shape(96)


@pytest.mark.parametrize("revision", [None, "main", "451f4fe"])
def test_a_hub_id_needs_a_commit_hash(revision: str | None) -> None:
    with pytest.raises(ValueError, match="expected a commit hash of 40 digits"):
        ModelFolder.open("someone/some-model", revision)


def test_a_model_that_is_nowhere_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ValueError, match=r"someone/some-model at 0000.* neither a folder, nor in the local hub cache"):
        ModelFolder.open("someone/some-model", "0" * 40)


@pytest.fixture
def hub(copy: Path, models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """A hub whose local cache is `copy`; gives whether each call was for local files only."""
    calls = []

    def snapshot_download(name: str, *, revision: str, allow_patterns: list[str], local_files_only: bool) -> str:
        assert (name, revision) == ("someone/some-model", "0" * 40)
        calls.append(local_files_only)
        return str(copy if local_files_only else models["sd"])

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    return calls


def test_a_snapshot_in_the_hub_cache_is_enough(hub: list[bool], copy: Path) -> None:
    assert ModelFolder.open("someone/some-model", "0" * 40).network.folder == copy / "unet"
    assert hub == [True]


def test_what_the_hub_cache_lacks_is_downloaded(hub: list[bool], copy: Path, models: dict[str, Path]) -> None:
    shutil.rmtree(copy / "vae")
    assert ModelFolder.open("someone/some-model", "0" * 40).vae.folder == models["sd"] / "vae"
    assert hub == [True, False]


def test_a_cached_model_of_another_kind_is_not_looked_up_again(hub: list[bool], copy: Path) -> None:
    change_config(copy / "unet" / "config.json", num_class_embeds=10)
    with pytest.raises(ValueError, match="further condition"):
        ModelFolder.open("someone/some-model", "0" * 40)
    assert hub == [True]


def test_every_file_that_is_read_is_downloaded() -> None:
    patterns = hub_patterns()
    needed = ["unet/config.json", "unet/diffusion_pytorch_model.safetensors", "vae/config.json"]
    needed += ["vae/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors", "tokenizer/vocab.json"]
    needed += ["scheduler/scheduler_config.json", "unet/diffusion_pytorch_model-00001-of-00002.safetensors"]
    needed += ["config.json", "diffusion_pytorch_model.safetensors"]  # an autoencoder's own repository
    needed += ["model_index.json", "transformer/diffusion_pytorch_model-00003-of-00003.safetensors"]
    needed += ["transformer/config.json", "text_encoder_3/model-00001-of-00002.safetensors", "tokenizer_2/spiece.model"]
    needed += ["text_encoder_2/model.safetensors.index.json", "tokenizer_3/tokenizer.json", "tokenizer_2/merges.txt"]
    assert list(filter_repo_objects(needed, allow_patterns=patterns)) == needed
    others = [
        "v1-5-pruned.safetensors",
        "unet/diffusion_pytorch_model.bin",
        "vae/diffusion_pytorch_model.fp16.safetensors",
    ]
    others += ["unet/diffusion_pytorch_model.non_ema.safetensors", "safety_checker/model.safetensors"]
    assert list(filter_repo_objects(others, allow_patterns=patterns)) == []


@pytest.mark.parametrize("file", ["unet/config.json", "vae/config.json", "scheduler/scheduler_config.json"])
def test_damaged_settings_are_named(copy: Path, file: str) -> None:
    (copy / file).write_text('{"_class_name": ')
    with pytest.raises(ValueError, match=f"{file} cannot be read as JSON"):
        ModelFolder.open(str(copy))


def test_a_damaged_list_of_weights_is_named(copy: Path) -> None:
    (copy / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    for content, message in (("{", "cannot be read as JSON"), ("{}", "has no weight_map of file names")):
        (copy / "unet" / "diffusion_pytorch_model.safetensors.index.json").write_text(content)
        with pytest.raises(ValueError, match=rf"index\.json {message}"):
            ModelFolder.open(str(copy))
