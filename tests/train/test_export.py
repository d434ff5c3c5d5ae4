"""Exported detectors: the same logits, all that belongs to the weights, and files that are refused."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from train.__main__ import main
from train.export import copy_model, export_checkpoint
from train.model import LareClassifier
from train.scoring.calibration import Calibration
from train.task import LareTask

TINY = {"backbone": "resnet_tiny_clip", "image_size": 16, "map_channels": 2}
TRAINED_ON = {
    "dataset_id": "d" * 64,
    "caches": [{"fingerprint": "f" * 64, "fields": {"timestep": 200}}],
    "view": {"view": "canvas", "alignment": None, "crop_px": 16},
    "code": {"git_commit": "c" * 40},
}


@pytest.fixture
def task() -> LareTask:
    """With running statistics and a calibration that differ from their start."""
    torch.manual_seed(0)
    task = LareTask(**TINY, learning_rate=1e-3, map_transform="log")
    task.model(torch.rand(4, 3, 16, 16), torch.rand(4, 2, 8, 8))
    task.calibration = Calibration(0.25, 1.5, ((0.2, 0.3), (0.1, 0.4)))
    return task.eval()


@pytest.fixture
def checkpoint(task: LareTask, tmp_path: Path) -> Path:
    path = tmp_path / "best.ckpt"
    content = {"state_dict": task.state_dict(), "hyper_parameters": dict(task.hparams), "trained_on": TRAINED_ON}
    torch.save(content, path)
    return path


def test_an_exported_detector_gives_the_same_logits_and_knows_what_it_was_trained_on(
    task: LareTask, checkpoint: Path, tmp_path: Path
) -> None:
    export_checkpoint(str(checkpoint), str(tmp_path / "out"))
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"model.safetensors", "config.json", "README.md"}
    model = LareClassifier.from_pretrained(tmp_path / "out")
    inputs = torch.rand(3, 3, 16, 16), torch.rand(3, 2, 8, 8)
    with torch.no_grad():
        assert torch.equal(model(*inputs), task.model(*inputs))
    assert not model.training
    assert model.record["trained_on"] == TRAINED_ON
    assert model.record["exported_by"]["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert Calibration.from_dict(model.record["calibration"]) == task.calibration
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["backbone"] == "resnet_tiny_clip"
    assert config["map_transform"] == "log"
    assert "learning_rate" not in config


def test_without_its_dataset_the_folder_says_that_it_cannot_be_asked(
    checkpoint: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    export_checkpoint(str(checkpoint), str(tmp_path / "out"))
    assert "there is no detector.json, and lare detect refuses the folder. Name --data and --cache." in caplog.text
    assert "It has no `detector.json`" in (tmp_path / "out" / "README.md").read_text()


def test_a_dataset_without_its_caches_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"the caches of the training are unknown: .*names none\. Name --cache"):
        export_checkpoint(str(checkpoint), str(tmp_path / "out"), data=str(tmp_path))


@pytest.mark.parametrize(
    "text", ["[]", "data: [x]", "data: {data: {a: b}, cache: c}", "data: {data: d, cache: 3}", "\0", "x" * 2**21]
)
def test_a_run_that_names_no_folders_is_refused(checkpoint: Path, tmp_path: Path, text: str) -> None:
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    checkpoint.rename(run / "checkpoints" / "best.ckpt")
    (run / "config.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"config\.yaml does not name dataset and caches .*: name --data and --cache"):
        export_checkpoint(str(run / "checkpoints" / "best.ckpt"), str(tmp_path / "out"))


def test_saved_and_loaded_again_it_is_still_the_same(checkpoint: Path, tmp_path: Path) -> None:
    export_checkpoint(str(checkpoint), str(tmp_path / "first"))
    LareClassifier.from_pretrained(tmp_path / "first").save_pretrained(tmp_path / "second")
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


def test_a_detector_without_images_is_exported_too(tmp_path: Path) -> None:
    LareClassifier(**TINY, image=False).save_pretrained(tmp_path / "out")
    assert not LareClassifier.from_pretrained(tmp_path / "out").needs_image


def test_a_folder_that_is_there_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(FileExistsError, match="is there already: choose another --out"):
        export_checkpoint(str(checkpoint), str(tmp_path))


def test_a_missing_checkpoint_is_one_sentence_on_the_command_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["export", f"--ckpt={tmp_path / 'no.ckpt'}", f"--out={tmp_path / 'out'}"]) == 1
    assert capsys.readouterr().err == f"error: there is no checkpoint {tmp_path / 'no.ckpt'}\n"


def test_a_wrong_folder_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    export_checkpoint(str(checkpoint), str(folder))
    weights = load_file(folder / "model.safetensors")
    del weights["head.bias"]
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(ValueError, match=r"does not hold what config\.json beside it describes.*head\.bias"):
        LareClassifier.from_pretrained(folder)
    (folder / "model.safetensors").write_bytes(b"PK")
    with pytest.raises(ValueError, match="does not hold what"):
        LareClassifier.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"has no model\.safetensors"):
        LareClassifier.from_pretrained(folder)
    (folder / "config.json").write_text('{"hidden_size": 768}')
    with pytest.raises(ValueError, match=r"has no config\.json of a LareClassifier"):
        LareClassifier.from_pretrained(folder)


def test_a_private_file_is_not_handed_on_with_a_diffusion_model(tmp_path: Path) -> None:
    private = tmp_path / "private.json"
    private.write_text("{}")
    model, snapshot = tmp_path / "model", tmp_path / "hub" / "snapshots" / "abc"
    for folder in (model, snapshot, tmp_path / "hub" / "blobs"):
        folder.mkdir(parents=True)
    (model / "model_index.json").write_text("{}")
    (model / "notes.json").symlink_to(private)
    with pytest.raises(ValueError, match=r"notes\.json is a link that leads out of .*model: remove it"):
        copy_model(model, tmp_path / "copy")
    (tmp_path / "hub" / "blobs" / "0").write_text("{}")
    (snapshot / "model_index.json").symlink_to("../../blobs/0")  # as the hub's cache lays its files
    copy_model(snapshot, tmp_path / "other")
    assert (tmp_path / "other" / "model_index.json").read_text() == "{}"
    (snapshot / "notes.json").symlink_to(private)
    with pytest.raises(ValueError, match="leads out of"):
        copy_model(snapshot, tmp_path / "third")


def test_all_that_loads_a_diffusion_model_is_copied_and_nothing_else(tmp_path: Path) -> None:
    kept = ["model_index.json", "tokenizer/spiece.model", "tokenizer/merges.txt", "transformer/x.safetensors"]
    for name in (*kept, "transformer/x.bin", "tokenizer/other.model", "samples.png"):
        (tmp_path / "model" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "model" / name).write_text("{}")
    copy_model(tmp_path / "model", tmp_path / "copy")
    copied = [str(path.relative_to(tmp_path / "copy")) for path in (tmp_path / "copy").rglob("*") if path.is_file()]
    assert sorted(copied) == sorted(kept)
