"""Folders, parts and settings that a family of models has no use for are refused, each by its name."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cache_schema import Dataset
from extract.models.folder import ModelFolder
from extract.models.loading import check_part
from tests.extract.conftest import Run
from tests.extract.models.test_loading import change_json
from tests.families import save_family


@pytest.fixture
def copy(families: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Path]:
    """A family's folder that a test may change."""
    return lambda name: Path(shutil.copytree(families(name), tmp_path / "model"))


@pytest.mark.parametrize(
    ("name", "file", "changes", "message"),
    [
        ("sdxl", "unet", {"addition_embed_type": None}, "addition_embed_type None: expected text_time"),
        ("sdxl", "unet", {"projection_class_embeddings_input_dim": 80}, "supported is the base model, not its refiner"),
        ("sdxl", "unet", {"cross_attention_dim": 16}, "takes text of width 16, .* give 32"),
        ("pixart_alpha", "transformer", {"out_channels": 12}, "gives 12 channels, the autoencoder .* has 4"),
        ("pixart_sigma", "transformer", {"caption_channels": 64}, "takes text of width 64, .* gives 32"),
        ("sd3", "transformer", {"in_channels": 4}, "takes 4 and gives 16 channels"),
        ("sd3", "transformer", {"pooled_projection_dim": 99}, "takes text of width 99, .* give 32"),
        ("sd3", "transformer", {"_class_name": "FluxTransformer2DModel"}, "supported are SD3Transformer2DModel"),
        ("sd3", "text_encoder_3", {"architectures": ["T5Model"]}, "T5Model: supported are T5EncoderModel"),
        ("sd3", "transformer", {"sample_size": 2**20, "pos_embed_max_size": 2**20}, "describes positions of"),
        ("sd3", "transformer", {"num_layers": 5000}, "describes a network of 5,000 layers"),
        ("flux_dev", "transformer", {"in_channels": 16}, "takes 16 and gives 16 channels of a token"),
        ("flux_dev", "text_encoder_2", {"d_model": 64}, "takes text of width 32, .* gives 64"),
        ("sana", "transformer", {"caption_channels": 2304}, "takes text of width 2304, .* gives 24"),
        ("sana", "transformer", {"in_channels": 16}, "takes 16 and gives 32 channels, the autoencoder .* has 32"),
        ("sana", "transformer", {"guidance_embeds": True}, "takes a guidance: supported is Sana, not Sana Sprint"),
        ("sana", "vae", {"_class_name": "AutoencoderKL"}, "AutoencoderKL: supported are AutoencoderDC"),
        ("sana", "vae", {"encoder_layers_per_block": [2000] * 6}, "describes a network of 12,000 layers"),
        ("sana", "text_encoder", {"architectures": ["GemmaModel"]}, "GemmaModel: supported are Gemma2Model"),
        ("sana", "text_encoder", {"rope_parameters": {"rope_theta": 5.0}}, "has positions of another kind"),
        ("sana", "text_encoder", {"rope_parameters": {"rope_theta": 1e4, "rope_type": "yarn"}}, "of another kind"),
        ("sana", "text_encoder", {"num_hidden_layers": 5000}, "describes a network of 5,000 layers"),
        ("sd3", "vae", {"_class_name": "AutoencoderDC"}, "AutoencoderDC: supported are AutoencoderKL, AutoencoderTiny"),
        ("flux_dev", "vae", {"_class_name": "VQModel"}, "VQModel: supported are AutoencoderKL"),
        ("pixels", "unet", {"in_channels": 4}, "takes 4 and gives 3 channels, images have 3"),
        ("pixels", "unet", {"class_embed_type": "timestep"}, "needs a further condition .class_embed_type: timestep"),
    ],
)
def test_parts_that_do_not_fit_are_refused(
    copy: Callable[[str], Path], name: str, file: str, changes: dict[str, Any], message: str
) -> None:
    folder = copy(name)
    change_json(folder / file / "config.json", **changes)
    with pytest.raises(ValueError, match=message):
        for part in ModelFolder.open(str(folder)).parts.values():
            check_part(part)


@pytest.mark.parametrize(
    ("name", "missing", "message"),
    [
        ("sdxl", "text_encoder_2", "expected a folder of CLIPTextModelWithProjection"),
        ("sdxl", "tokenizer_2", "expected the files of a CLIPTokenizer"),
        ("sd3", "text_encoder_3", "expected a folder of T5EncoderModel"),
        ("sd3", "tokenizer_3", "expected the files of a T5Tokenizer"),
        ("sana", "tokenizer", "expected the files of a GemmaTokenizer"),
        ("flux_dev", "transformer", "expected a folder of FluxTransformer2DModel"),
        ("flux_dev", "vae", "expected a folder of AutoencoderKL"),
        ("pixart_sigma", "scheduler", "the noise schedule is read from it"),
    ],
)
def test_missing_parts_are_named(copy: Callable[[str], Path], name: str, missing: str, message: str) -> None:
    folder = copy(name)
    shutil.rmtree(folder / missing)
    with pytest.raises(ValueError, match=message):
        ModelFolder.open(str(folder))


@pytest.mark.parametrize(
    ("name", "tokenizer", "expected"),
    [
        ("sdxl", "tokenizer_2", "tokenizer.json, or vocab.json and merges.txt"),
        ("sd3", "tokenizer_3", "tokenizer.json, or spiece.model"),
        ("sana", "tokenizer", "tokenizer.json"),
    ],
)
def test_a_tokenizer_without_words_is_refused(
    copy: Callable[[str], Path], name: str, tokenizer: str, expected: str
) -> None:
    folder = copy(name)
    (folder / tokenizer / "tokenizer.json").unlink()
    with pytest.raises(ValueError, match=rf"{tokenizer} holds no vocabulary: expected {expected}$"):
        ModelFolder.open(str(folder))


@pytest.mark.parametrize("part", ["text_encoder_3", "transformer"])
def test_other_weights_are_refused(copy: Callable[[str], Path], part: str) -> None:
    folder = copy("sd3")
    other = "text_encoder" if part == "text_encoder_3" else "vae"
    (weights,) = (folder / part).glob("*.safetensors")
    (theirs,) = (folder / other).glob("*.safetensors")
    weights.write_bytes(theirs.read_bytes())
    with pytest.raises(ValueError, match=rf"{part}: its weights are not those of the .* Download it again"):
        check_part(ModelFolder.open(str(folder)).parts[part])


def test_a_folder_of_another_kind_is_told_with_what_is_supported(copy: Callable[[str], Path]) -> None:
    folder = copy("sd3")
    change_json(folder / "model_index.json", _class_name="KandinskyV22Pipeline")
    message = "model is a KandinskyV22Pipeline: supported are StableDiffusionPipeline, .*DiTPipeline, DDPMPipeline"
    with pytest.raises(ValueError, match=message):
        ModelFolder.open(str(folder))


def test_a_pipeline_of_videos_is_told_by_its_name_although_it_has_a_unet(copy: Callable[[str], Path]) -> None:
    folder = copy("sdxl")
    change_json(folder / "model_index.json", _class_name="StableVideoDiffusionPipeline")
    change_json(folder / "unet" / "config.json", _class_name="UNetSpatioTemporalConditionModel")
    with pytest.raises(ValueError, match="model is a StableVideoDiffusionPipeline: supported are StableDiffusionPip"):
        ModelFolder.open(str(folder))


def write_lora(folder: Path) -> Path:
    (folder / "pytorch_lora_weights.safetensors").write_bytes(bytes(8))
    return folder


def write_adapter(folder: Path) -> Path:
    (folder / "adapter_config.json").write_text("{}")
    return folder


def write_bert(folder: Path) -> Path:
    (folder / "config.json").write_text('{"architectures": ["BertModel"]}')
    return folder


def write_old_network(folder: Path) -> Path:
    (folder / "config.json").write_text('{"model_type": "bert"}')
    return folder


def write_file(folder: Path) -> Path:
    (folder / "v1-5.safetensors").write_bytes(bytes(8))
    return folder / "v1-5.safetensors"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: save_family("sd3", folder) / "transformer", "holds a SD3Transformer2DModel alone: expected"),
        (write_bert, "holds a BertModel alone: expected the folder of a whole model, with model_index.json"),
        (write_old_network, "holds one network alone: expected the folder of a whole model"),
        (write_lora, "holds a LoRA alone, which changes another model: expected the folder of a whole model"),
        (write_adapter, "holds a LoRA alone, which changes another model: expected"),
        (lambda folder: folder, "holds no diffusion model: expected the folder of a whole model"),
        (write_file, "v1-5.safetensors is one file: expected a folder that diffusers saved"),
    ],
)
def test_what_is_no_whole_model_is_told_what_it_is(make: Callable[[Path], Path], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        ModelFolder.open(str(make(tmp_path)))


def test_a_scheduler_of_another_noise_is_refused(copy: Callable[[str], Path], families: Callable[[str], Path]) -> None:
    folder = copy("sd3")
    shutil.copytree(families("sdxl") / "scheduler", folder / "scheduler", dirs_exist_ok=True)
    with pytest.raises(ValueError, match="is of a PNDMScheduler: expected a scheduler of flow matching"):
        ModelFolder.open(str(folder))


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("sdxl", {"sigma": 0.5}, "sigma is 0.5: this model is no flow matching model, and has timesteps"),
        ("sd3", {"method": "dire"}, "is a flow matching model, which DDIM cannot invert"),
        ("sd3", {"timestep": 1000}, "timestep is 1000: Stable Diffusion 1.5, whose noise is meant, has 0 … 999"),
        ("sd3", {"sigma": 1}, "sigma is 1.0: expected a number between 0 and 1"),
        ("sd3", {"sigmas": "[0.1]", "timesteps": "[3]"}, "timesteps is [3] and sigmas is [0.1]: give one of them"),
        ("pixels", {"map_cell": 7}, "map_cell is 7: expected a divisor of 64"),
        ("pixels", {"vae": "x"}, "is a model of pixels, which has none"),
        ("sd3", {"image_size": 72}, "autoencoder and transformer of this model need a multiple of 16"),
    ],
)
def test_settings_that_a_family_has_no_use_for_are_refused(
    name: str,
    settings: dict[str, Any],
    message: str,
    families: Callable[[str], Path],
    packed: Dataset,
    run: Run,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        run(model=families(name), **settings)
    assert message in capsys.readouterr().err
