"""Weights in several files, of a variant, or in the hub's local cache give the maps that one file gives."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch

from extract.models.folder import ModelFolder
from tests.extract.conftest import Run, assert_same_maps, pack, read_maps

REVISION = "0123456789abcdef0123456789abcdef01234567"
SHARDS = {"sd3": ("transformer", "text_encoder_3"), "flux_dev": ("transformer", "text_encoder_2"), "sana": ("vae",)}
"""Parts that are larger than a file of `MAX_SHARD`."""
MAX_SHARD = "40KB"


def save_again(folder: Path, to: Path, **settings: Any) -> Path:
    """A pipeline loaded and saved by diffusers."""
    pipeline = getattr(diffusers, json.loads((folder / "model_index.json").read_text())["_class_name"])
    loaded = pipeline.from_pretrained(folder, low_cpu_mem_usage=False)
    if variant := settings.get("variant"):
        assert variant == "fp16"
        loaded.to(torch.float16)
    loaded.save_pretrained(to, **settings)
    return to


def files_of(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.safetensors"))


@pytest.mark.parametrize("name", SHARDS)
def test_weights_in_several_files_give_the_maps_of_one(
    name: str, families: Callable[[str], Path], run: Run, tmp_path: Path
) -> None:
    pack(tmp_path / "data", [0, 1])
    sharded = save_again(families(name), tmp_path / "sharded", max_shard_size=MAX_SHARD)
    assert all(len(files_of(sharded / part)) > 1 for part in SHARDS[name])
    assert run(model=families(name)) == 0 and run(model=sharded, cache=tmp_path / "b") == 0
    assert_same_maps(read_maps(tmp_path / "cache"), read_maps(tmp_path / "b"), tolerance=0)


@pytest.mark.parametrize("name", SHARDS)
def test_a_missing_file_of_several_is_named(
    name: str, families: Callable[[str], Path], run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pack(tmp_path / "data", [0])
    sharded = save_again(families(name), tmp_path / "sharded", max_shard_size=MAX_SHARD)
    for part in SHARDS[name]:
        missing = sharded / part / files_of(sharded / part)[-1]
        kept = missing.rename(tmp_path / "kept")
        with pytest.raises(SystemExit):
            run(model=sharded)
        assert f"{missing} is missing, which " in capsys.readouterr().err
        assert not (tmp_path / "cache").exists()
        kept.rename(missing)


def test_a_file_of_several_without_some_tensors_is_told_by_them(
    families: Callable[[str], Path], run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pack(tmp_path / "data", [0])
    sharded = save_again(families("sd3"), tmp_path / "sharded", max_shard_size=MAX_SHARD)
    index = sharded / "transformer" / "diffusion_pytorch_model.safetensors.index.json"
    content = json.loads(index.read_text())
    gone = files_of(sharded / "transformer")[0]
    left_out = sorted(tensor for tensor, file in content["weight_map"].items() if file == gone)
    content["weight_map"] = {tensor: file for tensor, file in content["weight_map"].items() if file != gone}
    index.write_text(json.dumps(content))
    with pytest.raises(SystemExit):
        run(model=sharded)
    told = capsys.readouterr().err
    assert "transformer: its weights are not those of the SD3Transformer2DModel" in told and left_out[0] in told


@pytest.mark.parametrize("settings", [{}, {"max_shard_size": "20KB"}], ids=["one file", "several files"])
def test_a_variant_gives_the_maps_of_its_weights(
    settings: dict[str, Any], families: Callable[[str], Path], run: Run, tmp_path: Path
) -> None:
    pack(tmp_path / "data", [0, 1])
    half = save_again(families("sd3"), tmp_path / "half", variant="fp16", **settings)
    assert (len(files_of(half / "transformer")) > 1) == bool(settings)
    assert all(".fp16" in name for part in ("transformer", "vae", "text_encoder_3") for name in files_of(half / part))
    plain = save_again(families("sd3"), tmp_path / "plain")
    for part in ("transformer", "vae", "text_encoder", "text_encoder_2", "text_encoder_3"):  # as fp16 weights, in fp32
        network = getattr(diffusers.StableDiffusion3Pipeline.from_pretrained(plain, low_cpu_mem_usage=False), part)
        network.half().float().save_pretrained(plain / part)
    assert run(model=half, variant="fp16") == 0 and run(model=plain, cache=tmp_path / "b") == 0
    assert_same_maps(read_maps(tmp_path / "cache"), read_maps(tmp_path / "b"), tolerance=1e-6)


def test_a_hub_id_is_read_from_the_hub_s_local_cache(
    families: Callable[[str], Path], run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "hub"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    pack(tmp_path / "data", [0, 1])
    snapshot = cache / "models--someone--sd3" / "snapshots" / REVISION
    save_again(families("sd3"), tmp_path / "sharded", max_shard_size=MAX_SHARD)
    shutil.copytree(tmp_path / "sharded", snapshot)
    assert run(model="someone/sd3", revision=REVISION) == 0
    assert run(model=tmp_path / "sharded", cache=tmp_path / "b") == 0
    assert_same_maps(read_maps(tmp_path / "cache"), read_maps(tmp_path / "b"), tolerance=0)
    missing = snapshot / "transformer" / files_of(snapshot / "transformer")[0]
    missing.unlink()
    with pytest.raises(
        ValueError, match=f"{missing.name} is missing, which diffusion_pytorch_model.safetensors.index.json"
    ):
        ModelFolder.open("someone/sd3", REVISION)
