"""Weights that cannot be read are found in all parts, in a sentence with the file, before a cache is made."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from extract.config import ExtractConfig
from extract.models.folder import ModelFolder
from extract.models.hub import hub_patterns
from extract.models.loading import load_part
from extract.run.job import Job
from tests.extract.conftest import Run

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 3438167534\n"
WEIGHTS = {
    "unet": "diffusion_pytorch_model.safetensors",
    "vae": "diffusion_pytorch_model.safetensors",
    "text_encoder": "model.safetensors",
}
INDEX = "diffusion_pytorch_model.safetensors.index.json"


@pytest.fixture
def copy(models: dict[str, Path], tmp_path: Path) -> Path:
    """A model folder that a test may change."""
    return Path(shutil.copytree(models["sd"], tmp_path / "model"))


def _refused(model: Path) -> str:
    folder = ModelFolder.open(str(model))
    with pytest.raises(ValueError) as refused:
        folder.check_files()
    return str(refused.value)


def _divide(part: Path) -> list[Path]:
    """Weights in two files with their list, as large models have them."""
    whole = part / WEIGHTS["unet"]
    tensors = load_file(whole)
    whole.unlink()
    names = sorted(tensors)
    files = [part / f"diffusion_pytorch_model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    halves = names[::2], names[1::2]
    for file, half in zip(files, halves, strict=True):
        save_file({name: tensors[name] for name in half}, file, {"format": "pt"})
    listed = {name: file.name for file, half in zip(files, halves, strict=True) for name in half}
    (part / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": listed}))
    return files


def test_whole_weights_pass(models: dict[str, Path], copy: Path) -> None:
    for model in ("sd", "unconditional"):
        ModelFolder.open(str(models[model])).check_files()
    _divide(copy / "unet")
    ModelFolder.open(str(copy)).check_files()


@pytest.mark.parametrize("part", WEIGHTS)
def test_a_pointer_is_told_in_every_part(copy: Path, part: str) -> None:
    (copy / part / WEIGHTS[part]).write_bytes(POINTER)
    assert f"{part}/{WEIGHTS[part]} is a pointer of a large-file store, not the file itself: fetch it" in _refused(copy)


def test_a_pointer_in_place_of_the_vocabulary_is_told(copy: Path) -> None:
    (copy / "tokenizer" / "vocab.json").write_bytes(POINTER)
    assert "vocab.json is a pointer of a large-file store" in _refused(copy)


@pytest.mark.parametrize("part", WEIGHTS)
def test_weights_that_are_cut_short_are_told_in_every_part(copy: Path, part: str) -> None:
    path = copy / part / WEIGHTS[part]
    data = path.read_bytes()
    path.write_bytes(data[:-1])
    assert f"{WEIGHTS[part]} has {len(data) - 1:,} bytes, its header says {len(data):,}: download it again" in _refused(
        copy
    )


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"<!doctype html><title>404</title>", b"\xff" * 64])
def test_other_files_under_the_name_of_weights_are_told(copy: Path, content: bytes) -> None:
    (copy / "vae" / WEIGHTS["vae"]).write_bytes(content)
    assert "is damaged or cut short: its header cannot be read. Download it again" in _refused(copy)


@pytest.mark.parametrize(
    ("part", "content", "message"),
    [
        ("unet", POINTER, "is a pointer of a large-file store"),
        ("text_encoder", b"", "is damaged or cut short"),
    ],
)
def test_a_job_refuses_before_it_makes_a_cache(
    run: Run,
    packed: object,
    copy: Path,
    tmp_path: Path,
    part: str,
    content: bytes,
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (copy / part / WEIGHTS[part]).write_bytes(content)
    config = ExtractConfig(data=str(tmp_path / "data"), cache=str(tmp_path / "cache"), model=str(copy), image_size=64)
    with pytest.raises(ValueError, match=message):
        Job.prepare(config)
    assert not (tmp_path / "cache").exists()


def test_a_missing_file_of_several_is_told_and_downloaded_again(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = _divide(copy / "unet")
    whole = Path(shutil.copytree(copy, tmp_path / "whole"))
    files[1].unlink()
    with pytest.raises(ValueError, match=rf"{files[1].name} is missing, which {INDEX} lists: download it again"):
        ModelFolder.open(str(copy))

    calls = []

    def snapshot_download(name: str, *, local_files_only: bool, **_: object) -> str:
        calls.append(local_files_only)
        return str(copy if local_files_only else whole)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    assert ModelFolder.open("someone/some-model", "0" * 40).network.folder == whole / "unet"
    assert calls == [True, False]


@pytest.mark.parametrize("name", ["../vae/diffusion_pytorch_model.safetensors", "/etc/passwd", "/dev/zero", "a/b"])
def test_a_list_leads_out_of_no_folder(copy: Path, name: str) -> None:
    (copy / "unet" / WEIGHTS["unet"]).unlink()
    (copy / "unet" / INDEX).write_text(json.dumps({"weight_map": {"one": name}}))
    with pytest.raises(ValueError, match="names files of other folders, or none"):
        ModelFolder.open(str(copy))


@pytest.mark.parametrize("part", ["unet", "vae"])
def test_a_configuration_without_its_entries_is_told(copy: Path, part: str) -> None:
    path = copy / part / "config.json"
    path.write_text(json.dumps({"_class_name": json.loads(path.read_text())["_class_name"]}))
    with pytest.raises(
        ValueError, match=rf"{part}/config\.json has no .* and no block_out_channels: download it again"
    ):
        ModelFolder.open(str(copy))
    path.write_text("")
    with pytest.raises(ValueError, match=rf"{part}/config\.json cannot be read as JSON"):
        ModelFolder.open(str(copy))


def test_half_precision_copies_are_named_with_their_setting_and_read(copy: Path) -> None:
    expected = load_part(ModelFolder.open(str(copy)).network, torch.float32).state_dict()
    for part, name in WEIGHTS.items():
        path = copy / part / name
        path.rename(path.with_name(name.replace(".safetensors", ".fp16.safetensors")))
    with pytest.raises(ValueError, match=r"\*\.fp16\.safetensors only with --variant fp16"):
        ModelFolder.open(str(copy))
    folder = ModelFolder.open(str(copy), variant="fp16")
    folder.check_files()
    loaded = load_part(folder.network, torch.float32).state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in expected.items())
    with pytest.raises(ValueError, match=r"holds no diffusion_pytorch_model\.bf16\.safetensors: leave --variant out"):
        ModelFolder.open(str(copy), variant="bf16")


def test_a_variant_is_downloaded_by_its_names() -> None:
    patterns = hub_patterns(variant="fp16")
    assert "unet/diffusion_pytorch_model.fp16.safetensors" in patterns
    assert "text_encoder/model.fp16.safetensors" in patterns
    assert "unet/diffusion_pytorch_model.safetensors" not in patterns


def test_a_variant_that_is_no_name_is_refused() -> None:
    with pytest.raises(ValueError, match=r"variant is '\.\./x': expected letters and digits"):
        ExtractConfig(data="d", cache="c", variant="../x")
