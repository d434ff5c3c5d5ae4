"""The command line of stage 1: exit status, what is skipped, replaced and refused."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from cache_schema import Dataset, open_cache, write_dataset
from extract.__main__ import main
from tests.extract.conftest import Run, assert_same_maps, make_images, pack, read_maps
from tests.samples import make_sample


def test_settings_come_from_yaml_and_flags_override_them(
    models: dict[str, Path], packed: Dataset, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(
        f"model: {models['sd']}\nimage_size: 64\nensemble_size: 2\ntimestep: 100\nnum_workers: 0\nshard: 1\n"
    )
    folders = [f"--data={packed.folder}", f"--cache={tmp_path / 'cache'}"]
    caplog.set_level("INFO")
    assert main(["run", f"--config={config}", *folders, "--timestep=150"]) == 0
    cache = open_cache(tmp_path / "cache")
    assert cache.shards() == ["train-000001.zarr.zip"]
    assert (cache.fields["timestep"], cache.fields["ensemble_size"]) == (150, 2)
    assert "2 images, e = 2, " in caplog.text and " GMAC each; 64 px, t = 150, fp32 on cpu" in caplog.text


def test_shards_may_be_done_one_by_one_in_any_order(packed: Dataset, run: Run, tmp_path: Path) -> None:
    assert run(shard=1) == 0
    assert open_cache(tmp_path / "cache").shards() == ["train-000001.zarr.zip"]
    assert run(shard=0) == 0
    assert run(cache=tmp_path / "other", shard="0-1") == 0
    assert_same_maps(read_maps(tmp_path / "other"), read_maps(tmp_path / "cache"))


def test_a_store_that_exists_is_skipped_without_loading_the_models(
    packed: Dataset, run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO")
    assert run() == 0
    before = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "cache").iterdir()}
    monkeypatch.delattr("extract.run.model.load_family")
    assert run() == 0
    assert {p.name: p.stat().st_mtime_ns for p in (tmp_path / "cache").iterdir()} == before
    assert "2 stores are there already (--overwrite true makes them again)" in caplog.text


def test_overwrite_replaces_the_chosen_store(packed: Dataset, run: Run, tmp_path: Path) -> None:
    assert run() == 0
    before = {p.name: p.stat().st_ino for p in (tmp_path / "cache").iterdir()}
    assert run(shard=0, overwrite="true") == 0
    after = {p.name: p.stat().st_ino for p in (tmp_path / "cache").iterdir()}
    assert {name for name in after if after[name] != before[name]} == {"train-000000.zarr.zip"}


def test_stale_and_damaged_stores_are_refused_and_replaced_on_request(
    packed: Dataset, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run() == 0
    expected = read_maps(tmp_path / "cache")
    changed = [make_sample(i, image=make_images(9)[i + 2]) for i in range(5)]
    one, two = (tmp_path / "cache" / f"train-00000{n}.zarr.zip" for n in (0, 1))
    with two.open("r+b") as f:
        f.truncate(100)
    assert run() == 1
    assert "train-000001.zarr.zip is damaged" in capsys.readouterr().err
    before = one.stat().st_ino
    assert run(overwrite="stale") == 0
    assert one.stat().st_ino == before
    assert_same_maps(expected, read_maps(tmp_path / "cache"))

    content = json.loads((tmp_path / "data" / "dataset.json").read_text())
    packed.folder.rename(tmp_path / "old")
    write_dataset(tmp_path / "data", changed, {})
    repacked = json.loads((tmp_path / "data" / "dataset.json").read_text())
    repacked["dataset_id"] = content["dataset_id"]
    (tmp_path / "data" / "dataset.json").write_text(json.dumps(repacked))
    assert run(shard=0) == 1
    error = capsys.readouterr().err
    assert "train-000000.tar has changed since its features were made" in error and "--overwrite stale" in error
    assert run(shard=0, overwrite="stale") == 0
    one_again = open_cache(tmp_path / "cache").read(one.name)
    assert one_again.attributes["rows_sha256"] == repacked["tars"][0]["rows_sha256"]
    assert not np.array_equal(one_again.lare[0], expected[one_again.keys[0]])


def test_the_same_command_twice_gives_the_same_bits(packed: Dataset, run: Run, tmp_path: Path) -> None:
    for name in ("one", "two"):
        assert run(cache=tmp_path / name, num_workers=2) == 0
    one, two = read_maps(tmp_path / "one"), read_maps(tmp_path / "two")
    assert len(one) == 7 and all(np.array_equal(lare, two[key]) for key, lare in one.items())


def test_changed_texts_make_a_store_stale(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    template = {"prompt_policy": "template", "prompt": "a photo of a {class_name}"}
    pack(tmp_path / "data", [0, 1, 2], class_name="rose")
    assert run(**template) == 0
    assert run(**template) == 0
    (tmp_path / "data").rename(tmp_path / "old")
    pack(tmp_path / "data", [0, 1, 2], class_name="tench")  # same keys and images: the same dataset and rows
    assert run(**template) == 1
    assert "the texts of train-000000.tar have changed" in capsys.readouterr().err


def test_another_model_in_the_same_folder_is_refused(
    models: dict[str, Path], packed: Dataset, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(shard=0) == 0
    assert run(model=models["sd_v"]) == 1
    assert "prediction_type: epsilon ≠ v_prediction" in capsys.readouterr().err
    assert run(vae=models["tiny_vae"]) == 1
    assert "latent_rule: posterior sample ≠ deterministic" in capsys.readouterr().err


def test_another_dataset_in_the_same_folder_is_refused(
    packed: Dataset, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(shard=0) == 0
    pack(tmp_path / "data2", [1, 2])
    assert run(data=tmp_path / "data2") == 1
    assert "belongs to dataset" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ensemble_size": 0}, "ensemble_size is 0: expected 1 or more"),
        ({"shard": 2}, "shard 2 is not there: the dataset has 2 tars, 0 … 1"),
        ({"image_size": 100}, "image_size is 100"),
        ({"timestep": 1000}, "timestep is 1000"),
        ({"model": "someone/some-model"}, "expected a commit hash"),
        ({"compute_dtype": "half"}, "compute_dtype"),
        ({"no_such_setting": 1}, "no_such_setting"),
        ({"method": "dire", "timesteps": "[100,200]"}, "timesteps is [100, 200]: method dire has neither timestep nor"),
        ({"method": "roundtrip", "ensemble_sizes": "[1]"}, "ensemble_sizes is [1]: method roundtrip has neither"),
        ({"method": "dire", "inversion_steps": 0}, "inversion_steps is 0: expected 1 or more"),
        ({"method": "dire", "inversion_steps": 1000}, "1000 DDIM steps: the model has 1000 timesteps"),
        ({"method": "aeroblade"}, "method"),
        (
            {"method": "roundtrip", "image_size": 100},
            "image_size is 100: the autoencoder of this model needs a multiple of 8",
        ),
    ],
)
def test_wrong_settings_end_as_a_usage_error(
    settings: dict[str, object],
    message: str,
    packed: Dataset,
    run: Run,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as exit_info:
        run(**settings)
    assert exit_info.value.code == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "cache").exists()


def test_a_prompt_that_tells_the_label_is_refused_unless_allowed(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    samples = [make_sample(i, image=im, class_name="rose" if i % 2 else None) for i, im in enumerate(make_images(4))]
    write_dataset(tmp_path / "data", samples, {})
    template = {"prompt_policy": "template", "prompt": "a photo of a {class_name}"}
    with pytest.raises(SystemExit):
        run(**template)
    assert "would reveal the label" in capsys.readouterr().err
    assert run(**template, allow_label_dependent_prompts="true") == 0


def test_a_missing_dataset_is_an_error(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 1
    assert "holds no dataset.json" in capsys.readouterr().err


@pytest.mark.parametrize("num_workers", [0, 2])
def test_an_image_that_changed_after_packing_stops_the_run(
    num_workers: int, packed: Dataset, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = packed.rows(1).to_pylist()[1]
    with packed.tar_path(1).open("r+b") as f:
        f.seek(row["offset"] + row["size"] - 1)
        f.write(b"\0")
    assert run(num_workers=num_workers) == 1
    error = capsys.readouterr().err
    assert f"train-000001.tar, row 1 ({row['key']}): the image's sha256 is" in error
    assert f"the index says {row['sha256']}" in error
    assert open_cache(tmp_path / "cache").shards() == ["train-000000.zarr.zip"]


def test_a_tar_that_is_missing_or_cut_short_stops_the_run(
    packed: Dataset, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    with packed.tar_path(0).open("r+b") as f:
        f.truncate(3000)
    assert run(shard=0) == 1
    assert "train-000000.tar has 3000 bytes; dataset.json says" in capsys.readouterr().err
    packed.tar_path(1).unlink()
    assert run(shard=1) == 1
    assert "train-000001.tar is missing" in capsys.readouterr().err


def test_a_broken_tar_can_be_passed_over(
    packed: Dataset, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    packed.tar_path(0).unlink()
    assert run(keep_going="true") == 1
    error = capsys.readouterr().err
    assert "error: 1 of 2 tars could not be extracted: " in error and "train-000000.tar is missing" in error
    assert open_cache(tmp_path / "cache").shards() == ["train-000001.zarr.zip"]


def test_a_tar_with_other_images_than_the_index_stops_the_run(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset, other = pack(tmp_path / "data", [0, 1, 2]), pack(tmp_path / "swapped", [0, 2, 1])
    other.tar_path(0).rename(dataset.tar_path(0))
    content = json.loads((tmp_path / "data" / "dataset.json").read_text())
    content["tars"][0]["num_bytes"] = dataset.tar_path(0).stat().st_size
    (tmp_path / "data" / "dataset.json").write_text(json.dumps(content))
    assert run() == 1
    assert "row 1: found 'real/2%2Epng', the index says 'toy/1%2Epng'" in capsys.readouterr().err


def test_help_tells_each_setting(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main(["run", "--help"])
    assert exit_info.value.code == 0
    assert "Number of noise draws that are averaged." in " ".join(capsys.readouterr().out.split())


@pytest.mark.slow
@pytest.mark.parametrize("whole_group", [False, True])
def test_sigterm_exits_143_and_leaves_nothing_partial(
    models: dict[str, Path], tmp_path: Path, whole_group: bool
) -> None:
    pack(tmp_path / "data", list(range(60)), max_rows=2)
    command = [sys.executable, "-m", "extract", "run", f"--data={tmp_path / 'data'}", f"--cache={tmp_path / 'cache'}"]
    command += [f"--model={models['sd']}", "--image_size=64", "--num_workers=2", "--device=cpu"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 300
    while not list((tmp_path / "cache").glob("*.zarr.zip")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    if whole_group:
        os.killpg(process.pid, signal.SIGTERM)
    else:
        process.terminate()
    _, stderr = process.communicate(timeout=240)
    assert process.returncode == 143, stderr
    assert "Traceback" not in stderr
    cache = open_cache(tmp_path / "cache")
    assert 0 < len(cache.shards()) < 30
    assert sorted(p.name for p in (tmp_path / "cache").iterdir()) == ["cache.json", *cache.shards()]
    for name in cache.shards():
        cache.read(name)
