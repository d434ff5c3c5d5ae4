"""Configurations of strangers: known settings within bounds, or one sentence with the file and the setting."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as settings_of_tests

from extract.config import ExtractConfig
from extract.models import settings
from extract.models.folder import ModelFolder
from extract.models.loading import check_part
from extract.models.schedule import load_noising, noising_identity
from extract.models.weights import read_tensors
from extract.needs import NEEDS
from extract.run.model import Model
from tests.extract.models.test_loading import change_json
from tests.extract.models.test_weights import copy
from tests.hostile import REPEATABLE, mutated

__all__ = ["copy"]


def prepare(model: Path) -> Model:
    """All checks of a run, up to the weights."""
    config = ExtractConfig(data="", cache="", model=str(model), image_size=64)
    return Model.prepare(config, None, NEEDS["lare"])


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("file", "changes", "message"),
    [
        ("scheduler/scheduler_config.json", {"num_train_timesteps": 10**12}, "num_train_timesteps is 1000000000000"),
        ("scheduler/scheduler_config.json", {"num_train_timesteps": "1000"}, "num_train_timesteps is 1000, which"),
        ("scheduler/scheduler_config.json", {"num_train_timesteps": 10**400}, "is a number of many digits"),
        ("scheduler/scheduler_config.json", {"beta_end": float("nan")}, "beta_end is nan"),
        ("scheduler/scheduler_config.json", {"beta_schedule": "own"}, "beta_schedule is own"),
        ("scheduler/scheduler_config.json", {"trained_betas": [0.1] * 999}, "has 999 trained_betas for 1000 timesteps"),
        ("scheduler/scheduler_config.json", {"trained_betas": [2.0] * 1000}, r"trained_betas is \[2.0"),
        ("unet/config.json", {"layers_per_block": 10**9}, "layers_per_block is 1000000000"),
        ("unet/config.json", {"layers_per_block": 500}, "describes a network of 2,000 layers"),
        ("unet/config.json", {"transformer_layers_per_block": [1, [900, 1]]}, "describes a network of 3,600 layers"),
        ("unet/config.json", {"block_out_channels": [8] * 1000}, r"block_out_channels is \[8, 8"),
        ("unet/config.json", {"sample_size": [[[[8]]]]}, r"sample_size is \[\[8"),
        ("unet/config.json", {"act_fn": {"import": "os"}}, "act_fn is {'import': 'os'}"),
        ("unet/config.json", {"act_fn": "own"}, r"config\.json describes no UNet2DConditionModel \(ValueError"),
        ("unet/config.json", {"norm_num_groups": 0}, "describes no UNet2DConditionModel"),
        ("unet/config.json", {"block_out_channels": 8}, "block_out_channels is 8"),
        ("unet/config.json", {"_class_name": ["own", "Own"]}, r"holds a \['own', 'Own'\]: supported are UNet2DCond"),
        ("vae/config.json", {"layers_per_block": 10**4}, "describes a network of 40,000 layers"),
        ("vae/config.json", {"scaling_factor": "x"}, "scaling_factor is x"),
        ("text_encoder/config.json", {"num_hidden_layers": 10**5}, "describes a network of 100,000 layers"),
        ("text_encoder/config.json", {"vocab_size": 10**9}, "vocab_size is 1000000000"),
        ("text_encoder/config.json", {"architectures": {"a": 1}}, "holds a unknown: supported are CLIPTextModel"),
    ],
)
def test_what_is_beyond_a_bound_is_told_with_file_and_setting(
    copy: Path, file: str, changes: dict[str, Any], message: str
) -> None:
    change_json(copy / file, **changes)
    with pytest.raises(ValueError, match=message) as refused:
        prepare(copy)
    assert file.split("/")[0] in str(refused.value) and "\n" not in str(refused.value)


def test_large_json_is_not_read(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "MAX_JSON_BYTES", 1000)
    with pytest.raises(ValueError, match=r"unet/config\.json has \d,\d+ bytes: expected at most 1,000"):
        prepare(copy)


@pytest.mark.parametrize("name", ["vocab.json", "merges.txt"])
def test_a_large_vocabulary_is_not_read(copy: Path, name: str) -> None:
    with (copy / "tokenizer" / name).open("wb") as file:
        file.truncate(2**30)  # takes no room on the disk
    with pytest.raises(ValueError, match=rf"{name} has 1,073,741,824 bytes: expected at most 67,108,864"):
        prepare(copy)


def test_settings_that_a_class_does_not_have_are_left_out(copy: Path) -> None:
    """Weights that were saved with a moving average carry its settings."""
    change_json(copy / "unet" / "config.json", decay=0.9999, optimization_step=10**9, power=2 / 3)
    prepare(copy)


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [10**6, 10**6], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [-1, -1], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]},
        {"dtype": "F32", "shape": [1], "data_offsets": [0, 10**15]},
        {"dtype": "PICKLE", "shape": [1], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": 1, "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1.0], "data_offsets": [0, 4]},
        [],
        None,
    ],
)
def test_tensors_are_held_to_the_file_s_length(tmp_path: Path, entry: Any) -> None:
    header = json.dumps({"weight": entry}).encode()
    path = tmp_path / "model.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    with pytest.raises(ValueError, match=r"model\.safetensors (is damaged|has \d+ bytes)"):
        read_tensors([path])


@pytest.mark.timeout(60)
def test_a_header_that_claims_to_be_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    with path.open("wb") as file:
        file.write((2**33).to_bytes(8, "little"))
        file.truncate(2**34)
    with pytest.raises(ValueError, match="its header cannot be read"):
        read_tensors([path])


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder", "scheduler"])
def test_one_changed_setting_gives_a_model_or_one_sentence(models: dict[str, Path], copy: Path, part: str) -> None:
    file = copy / part / ("scheduler_config.json" if part == "scheduler" else "config.json")
    whole = json.loads(file.read_text())

    @given(mutated(whole) | mutated(whole).map(lambda content: {**content, "trained_betas": [0.5] * 1000}))
    @settings_of_tests(REPEATABLE, max_examples=80)
    def check(content: Any) -> None:
        file.write_text(json.dumps(content))
        try:
            prepare(copy)
        except ValueError as error:
            assert "\n" not in str(error)

    check()


# The schedule's identity


def identity(copy: Path, **changes: Any) -> dict[str, int | str]:
    change_json(copy / "scheduler" / "scheduler_config.json", **changes)
    return noising_identity(load_noising(ModelFolder.open(str(copy)), [200]))


def test_usual_schedules_keep_their_identity(copy: Path) -> None:
    assert identity(copy).keys() == {"alphas_cumprod_sha256", "prediction_type"}


def test_a_schedule_of_another_length_is_told_apart(copy: Path) -> None:
    usual = identity(copy)
    longer = identity(copy, num_train_timesteps=2000, beta_start=0.000425, beta_end=0.006)
    assert longer["num_train_timesteps"] == 2000 and longer != usual


def test_each_trained_beta_is_part_of_the_identity(copy: Path) -> None:
    betas = [0.001] * 1000
    one = identity(copy, trained_betas=betas)
    betas[201:203] = 0.0, 0.002  # behind the step that is used; the next probe of the schedule sees nothing
    other = identity(copy, trained_betas=betas)
    assert one["alphas_cumprod_sha256"] == other["alphas_cumprod_sha256"] and one != other


def test_parts_that_pass_stay_what_they_were(models: dict[str, Path]) -> None:
    for name in ("sd", "unconditional", "tiny_vae"):
        for part in ModelFolder.open(str(models[name])).parts.values():
            check_part(part)
