from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

import extract
from extract.config import ExtractConfig
from extract.shards import parse_shards


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3", [3]),
        (3, [3]),
        ("0-3", [0, 1, 2, 3]),
        ("7,3,9,3", [3, 7, 9]),
        ("0-2, 8", [0, 1, 2, 8]),
        ("all", list(range(10))),
    ],
)
def test_parse_shards(text: str | int, expected: list[int]) -> None:
    assert parse_shards(text, 10) == expected


@pytest.mark.parametrize("text", ["", "x", "-1", "3-", "1-2-3", "3-1", "1,,2", "1.5", "²", -1])
def test_parse_shards_refuses_other_forms(text: str | int) -> None:
    with pytest.raises(ValueError, match="expected a number, a range 0-31, a list 3,7,9 or all"):
        parse_shards(text, 10)


@pytest.mark.parametrize("text", ["10", "8-10", "0,99", "0-999999999999"])
def test_parse_shards_refuses_a_tar_that_is_not_there(text: str) -> None:
    with pytest.raises(ValueError, match="the dataset has 10 tars, 0 … 9"):
        parse_shards(text, 10)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"compute_dtype": "float32"}, "compute_dtype is 'float32': expected one of fp32, tf32, bf16, fp16"),
        ({"stored_dtype": "bfloat16"}, "stored_dtype is 'bfloat16': expected one of float16, float32"),
        ({"device": "tpu"}, "device is 'tpu'"),
        ({"ensemble_size": 0}, "ensemble_size is 0: expected 1 or more"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"num_workers": -1}, "num_workers is -1"),
        ({"timestep": -1}, "timestep is -1"),
        ({"method": "aeroblade"}, "method is 'aeroblade': expected one of lare, dire, one_step, roundtrip"),
        ({"method": "dire", "inversion_steps": 0}, "inversion_steps is 0: expected 1 or more"),
        ({"method": "dire", "timesteps": [100]}, r"timesteps is \[100\]: method dire has neither timestep nor noise"),
        ({"max_reject_fraction": 1.5}, "max_reject_fraction is 1.5"),
        ({"mantissa_bits": 11}, r"mantissa_bits is 11: float16 keeps 1 … 10"),
        ({"shard": "first"}, "shard is 'first'"),
        ({"prompt_policy": "caption"}, "prompt_policy is 'caption': expected one of fixed, template. Captions"),
        ({"prompt_policy": "template"}, r"prompt is 'a photo': a template needs \{class_name\}"),
        ({"prompt": "a photo of {class_name}"}, "is filled in under prompt_policy template only"),
    ],
)
def test_settings_outside_their_range_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ExtractConfig(data="data", cache="cache", model="model", **settings)


def test_every_setting_has_a_sentence() -> None:
    source = Path(extract.__path__[0], "config.py").read_text()
    for field in fields(ExtractConfig):
        declaration = source[source.index(f"\n    {field.name}:") :].splitlines()
        assert declaration[2].strip().startswith('"""'), field.name


def test_the_papers_settings_are_a_valid_configuration() -> None:
    with open(f"{extract.__path__[0]}/configs/sd15.yaml") as f:
        settings = yaml.safe_load(f)
    config = ExtractConfig(data="data", cache="cache", **settings)
    assert (config.image_size, config.timestep, config.ensemble_size, config.prompt) == (256, 200, 4, "a photo")
    assert config.compute_dtype == "fp16/tf32"


def test_revision_of_the_default_model_is_not_another_s(tmp_path: Path) -> None:
    """`--config sd15 --model X` replaces the model alone, and leaves the file's revision."""
    file = yaml.safe_load((Path(extract.__file__).parent / "configs" / "sd15.yaml").read_text())
    pinned = "451f4fe16113bff5a5d2269ed5ad43b0592e9a14"

    def revision(**changes: Any) -> str | None:
        return ExtractConfig(**{**file, "data": "d", "cache": "c", **changes}).pinned_revision

    assert revision() == revision(revision=None) == pinned
    assert revision(model=str(tmp_path)) is None and revision(model="someone/else") is None
    assert revision(model="someone/else", revision="f" * 40) == "f" * 40
    assert revision(model=str(tmp_path), revision="f" * 40) is None
