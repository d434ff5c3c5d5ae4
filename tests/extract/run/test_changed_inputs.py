"""What was extracted from, or with, changes afterwards: each command says so, and nothing is mixed."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cache_schema import (
    CacheError,
    Dataset,
    DatasetError,
    ShardStale,
    open_cache,
    write_dataset,
)
from cache_schema.__main__ import main as cache_main
from tests.extract.conftest import Run, assert_same_maps, make_images, read_maps
from tests.samples import make_sample
from tests.train.packed import module

Check = Callable[[str, Path], tuple[int, str]]


@pytest.fixture
def check(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Check:
    """`python -m cache_schema <command>` on a dataset and the cache: exit status, and what it says."""

    def call(command: str, data: Path) -> tuple[int, str]:
        capsys.readouterr()
        verb, *options = command.split()
        status = cache_main([verb, f"--data={data}", f"--cache={tmp_path / 'cache'}", *options])
        output = capsys.readouterr()
        return status, output.out + output.err

    return call


@pytest.fixture
def done(packed: Dataset, run: Run) -> Dataset:
    """The seven pictures in tars of five and two rows, extracted."""
    assert run() == 0
    return packed


def train(dataset: Dataset, cache: Path) -> None:
    """Read an epoch as training does."""
    list(module(dataset, open_cache(cache), crop_px=56, batch_size=2).train_dataloader())


def cut_short(path: Path) -> None:
    with path.open("r+b") as f:
        f.truncate(3000)


@pytest.mark.parametrize(
    ("damage", "found", "in_training"),
    [
        (Path.unlink, "train-000000.tar is missing", "train-000000.tar is missing"),
        (cut_short, "train-000000.tar has 3000 bytes; dataset.json says", "train-000000.tar ends inside an image"),
    ],
    ids=["missing", "cut short"],
)
def test_a_tar_that_went_after_extraction_is_named_everywhere(
    damage: Callable[[Path], None],
    found: str,
    in_training: str,
    done: Dataset,
    run: Run,
    check: Check,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    expected = read_maps(tmp_path / "cache")
    damage(done.tar_path(0))
    assert check("status", done.folder)[0] == 0  # its features are whole, and made of what the index says
    status, text = check("verify", done.folder)
    assert status == 1 and "train-000000.tar" in text and ("missing" in text or "3000 bytes" in text)
    with pytest.raises(DatasetError, match=in_training):
        train(done, tmp_path / "cache")
    assert run(shard=0, overwrite="true") == 1
    assert found in capsys.readouterr().err
    assert_same_maps(expected, read_maps(tmp_path / "cache"))  # a store is not given up for one that cannot be made


def change_picture(dataset: Dataset) -> str:
    """Change the last byte of a picture in its tar, nothing else; returns its key."""
    row = dataset.rows(0).to_pylist()[1]
    with dataset.tar_path(0).open("r+b") as f:
        f.seek(row["offset"] + row["size"] - 1)
        f.write(b"\0")
    return str(row["key"])


def test_a_picture_changed_in_its_tar_alone_is_found_by_verify_deep_and_never_extracted(
    done: Dataset, run: Run, check: Check, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = change_picture(done)
    assert check("verify", done.folder)[0] == 0  # places and checksums of the stores are right; images are not read
    status, text = check("verify --deep", done.folder)
    assert status == 1 and f"row 1 ({key}): the image's bytes hash to" in text
    assert run(shard=0, overwrite="true") == 1
    assert f"row 1 ({key}): the image's sha256 is" in capsys.readouterr().err


def pack_with_another_picture(folder: Path, *, dataset_id: str | None = None) -> Dataset:
    """The seven pictures, of which one has other pixels and the same key, size and number of bytes.

    Args:
        folder: New folder.
        dataset_id: What dataset.json is made to say, as if it were the first packing.
    """
    images = make_images(7)
    # Pillow reads a PNG whose last chunk has another checksum: the same picture from other bytes is a change too.
    images[1] = images[1][:-1] + bytes([images[1][-1] ^ 1])
    write_dataset(folder, [make_sample(i, image=image) for i, image in enumerate(images)], {}, max_rows=5)
    if dataset_id is not None:
        content = json.loads((folder / "dataset.json").read_text())
        (folder / "dataset.json").write_text(json.dumps({**content, "dataset_id": dataset_id}))
    return Dataset.open(folder)


def test_a_dataset_packed_again_with_another_picture_is_another_dataset(
    done: Dataset, run: Run, check: Check, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = pack_with_another_picture(tmp_path / "changed")
    for command in ("status", "verify"):
        status, text = check(command, changed.folder)
        assert status == 1 and "belongs to dataset" in text
    assert run(data=changed.folder) == 1
    assert "belongs to dataset" in capsys.readouterr().err
    with pytest.raises(DatasetError, match="belongs to dataset"):
        train(changed, tmp_path / "cache")


def test_a_picture_changed_with_its_index_makes_the_store_stale(
    done: Dataset, run: Run, check: Check, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = pack_with_another_picture(tmp_path / "changed", dataset_id=done.dataset_id)
    assert [t.num_bytes for t in changed.tars] == [t.num_bytes for t in done.tars]
    for command in ("status", "verify"):
        status, text = check(command, changed.folder)
        assert status == 1 and "train-000000.tar" in text and "1 stale" in text
    with pytest.raises(ShardStale, match=r"train-000000\.tar has changed since its features were made"):
        train(changed, tmp_path / "cache")
    assert run(data=changed.folder) == 1
    assert "train-000000.tar has changed since its features were made" in capsys.readouterr().err
    untouched = (tmp_path / "cache" / "train-000001.zarr.zip").stat().st_ino
    assert run(data=changed.folder, overwrite="stale") == 0
    assert check("verify --deep", changed.folder)[0] == 0
    assert (tmp_path / "cache" / "train-000001.zarr.zip").stat().st_ino == untouched
    train(changed, tmp_path / "cache")


@pytest.mark.parametrize("name", ["unet", "vae", "text_encoder"])
def test_weights_changed_in_place_are_refused(
    name: str, models: dict[str, Path], packed: Dataset, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = shutil.copytree(models["sd"], tmp_path / "model")
    assert run(model=model, shard=0) == 0
    (weights,) = (model / name).glob("*.safetensors")
    content, times = bytearray(weights.read_bytes()), weights.stat()
    content[-1] ^= 1
    weights.write_bytes(content)
    os.utime(weights, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert run(model=model) == 1
    error = capsys.readouterr().err
    assert f"{name}_sha256: " in error and " ≠ " in error and "config_sha256" not in error
    assert open_cache(tmp_path / "cache").shards() == ["train-000000.zarr.zip"]


@pytest.mark.parametrize(
    ("settings", "lines"),
    [
        ({"image_size": 128}, ["image_size: 64 ≠ 128"]),
        ({"stored_dtype": "float16"}, ["stored_dtype: float32 ≠ float16", "mantissa_bits: 23 ≠ 10"]),
        ({"mantissa_bits": 7}, ["mantissa_bits: 23 ≠ 7"]),
        ({"timestep": 100, "noise_seed": 3}, ["timestep: 200 ≠ 100", "noise_seed: 0 ≠ 3"]),
        ({"ensemble_size": 4}, ["ensemble_size: 2 ≠ 4"]),
        ({"compute_dtype": "bf16"}, ["compute_dtype: fp32 ≠ bf16"]),
        ({"prompt": ""}, ["prompt_policy: fixed: 'a photo' ≠ fixed: ''"]),
        ({"prompt_policy": "template", "prompt": "{class_name}"}, ["prompt_policy: fixed: 'a photo' ≠ template"]),
    ],
    ids=str,
)
def test_each_field_that_differs_is_named(
    settings: dict[str, Any],
    lines: list[str],
    packed: Dataset,
    run: Run,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(shard=0) == 0
    assert run(**settings) == 1
    error = capsys.readouterr().err
    assert [line.strip()[: len(expected)] for line, expected in zip(_differences(error), lines, strict=True)] == lines
    assert open_cache(tmp_path / "cache").shards() == ["train-000000.zarr.zip"]


def _differences(error: str) -> list[str]:
    return sorted((line for line in error.splitlines() if " ≠ " in line and "cache ≠" not in line), reverse=True)


def test_a_damaged_manifest_is_no_empty_cache(
    done: Dataset, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = tmp_path / "cache" / "cache.json"
    whole = manifest.read_text()
    manifest.write_text(whole[: len(whole) // 2])
    assert run() == 1
    assert "cache.json cannot be read" in capsys.readouterr().err
    manifest.write_text(whole.replace('"timestep": 200', '"timestep": 100'))
    assert run() == 1
    assert "cache.json was edited" in capsys.readouterr().err
    with pytest.raises(CacheError, match="was edited"):
        open_cache(tmp_path / "cache")
