"""The description of an exported detector: every number against one that is computed otherwise, and no path in it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from cache_schema import decode_image, open_cache, read_image_bytes, resize_canvas, store_name
from detect import Detector
from tests.detect.conftest import CALIBRATION, TINY, Made
from tests.detect.test_detector import predicted_scores
from tests.extract.conftest import make_images
from train import DetectorFile
from train.detector_file import hash_file
from train.export import export_checkpoint
from train.task import LareTask


def rows_of(made: Made, split: str) -> list[dict]:
    rows = [row for n in range(len(made.dataset.tars)) for row in made.dataset.rows(n).to_pylist()]
    return [row for row in rows if row["split"] == split]


def test_validation_photographs_are_scored_as_predict_scores_them(made: Made) -> None:
    photographs = DetectorFile.read(made.folder).photographs
    pairs = zip(predicted_scores(made, "validation"), rows_of(made, "validation"), strict=True)
    expected = sorted(score for score, row in pairs if row["label"] == 0)
    assert photographs.scores == pytest.approx(expected, abs=1e-6)
    assert photographs.num_groups == 6 and sorted(np.bincount(photographs.groups)) == [2] * 6


def test_training_images_are_measured(made: Made) -> None:
    facts, cache = DetectorFile.read(made.folder).facts, open_cache(made.cache)
    rows = rows_of(made, "train")
    assert facts.num_images == 16 and facts.formats == {"PNG": 16}
    short = [min(row["width"], row["height"]) for row in rows]
    assert facts.ranges["short_side_px"] == pytest.approx(np.quantile(short, [0.005, 0.995]))
    maps = [cache.read(store_name(t.name)).lare for t in made.dataset.tars if t.name.startswith("train")]
    means = np.concatenate(maps).mean(axis=(1, 2, 3), dtype=np.float64)
    assert facts.ranges["mean_lare"] == pytest.approx(np.quantile(means, [0.005, 0.995]))
    energies = []
    for row in rows:
        data = read_image_bytes(made.data / row["tar"], row["offset"], row["size"])
        grey = resize_canvas(decode_image(data), 64).astype(np.float64) @ [0.299, 0.587, 0.114] / 255
        steps = np.concatenate([np.diff(grey, axis=0).ravel(), np.diff(grey, axis=1).ravel()])
        energies.append((steps**2).mean())
    assert facts.ranges["gradient_energy"] == pytest.approx(np.quantile(energies, [0.005, 0.995]))


def test_the_rest_of_the_description(made: Made) -> None:
    found, cache = DetectorFile.read(made.folder), open_cache(made.cache)
    (probe,) = found.probes
    assert (probe.fingerprint, dict(probe.fields)) == (cache.fingerprint, dict(cache.fields))
    assert probe.model.hub_id is None and found.calibration == CALIBRATION and found.band == CALIBRATION.bands[1]
    assert found.dataset_id == made.dataset.dataset_id and found.sources == ("toy",) and found.method == "classifier"
    assert found.view == {"view": "canvas", "alignment": None, "crop_px": 56}
    assert {path.name for path in made.folder.iterdir()} == {
        *("config.json", "model.safetensors", "detector.json", "README.md")
    }


def test_no_path_of_this_machine_is_in_the_folder(made: Made, tmp_path: Path) -> None:
    export_checkpoint(str(made.checkpoint), str(tmp_path / "out"), str(made.data), str(made.cache), str(made.model))
    for path in (tmp_path / "out").rglob("*"):
        if path.is_file() and path.suffix in (".json", ".md"):
            assert str(made.data.parent) not in path.read_text(), path


def test_a_run_tells_its_dataset_and_its_results(made: Made, tmp_path: Path) -> None:
    run = Path(shutil.copytree(made.checkpoint.parents[1], tmp_path / "run"))
    (run / "config.yaml").write_text(yaml.safe_dump({"data": {"data": str(made.data), "cache": str(made.cache)}}))
    block = {"n_real": 4, "n_generated": 4, "n_groups": 3, "auroc": 0.625, "balanced_accuracy_at_val_threshold": 0.5}
    results = {"readings": {"detector": {"sources": {"toy": block}, "controls": {}, "mean": {"auroc": 0.625}}}}
    (run / "results.json").write_text(json.dumps(results))
    checkpoint = run / "checkpoints" / "best.ckpt"
    export_checkpoint(str(checkpoint), str(tmp_path / "out"))
    found = DetectorFile.read(tmp_path / "out")
    assert found.test == {"reading": "detector", **results["readings"]["detector"]}
    assert "| toy | 4 | 3 | 0.625 | 0.500 |" in (tmp_path / "out" / "README.md").read_text()
    with pytest.raises(ValueError, match=r"results\.json has no reading 'full': it has detector"):
        export_checkpoint(str(checkpoint), str(tmp_path / "other"), reading="full")
    assert not (tmp_path / "other").exists()


def test_results_of_another_checkpoint_are_left_out(
    made: Made, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = Path(shutil.copytree(made.checkpoint.parents[1], tmp_path / "run"))
    (run / "config.yaml").write_text(yaml.safe_dump({"data": {"data": str(made.data), "cache": str(made.cache)}}))
    block = {"sources": {}, "controls": {}, "mean": {"auroc": 0.999}}
    checkpoint = run / "checkpoints" / "best.ckpt"
    for sha256, kept in (("0" * 64, False), (hash_file(checkpoint), True)):
        settings = {"checkpoints_sha256": {"detector": [sha256]}}
        (run / "results.json").write_text(json.dumps({"settings": settings, "readings": {"detector": block}}))
        caplog.clear()
        export_checkpoint(str(checkpoint), str(tmp_path / sha256))
        assert bool(DetectorFile.read(tmp_path / sha256).test) == kept
        assert ("results.json is of another checkpoint, and left out" in caplog.text) != kept
    (run / "results.json").write_text((run / "results.json").read_text().replace(hash_file(checkpoint), "0" * 64))
    with pytest.raises(ValueError, match=r"is of another checkpoint than .*: score this one with make eval"):
        export_checkpoint(str(checkpoint), str(tmp_path / "named"), results=str(run / "results.json"))


def test_the_lines_of_the_model_card_run(made: Made, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    export_checkpoint(str(made.checkpoint), str(folder), str(made.data), str(made.cache), str(made.model))
    (tmp_path / "picture.png").write_bytes(make_images(1)[0])
    card = (folder / "README.md").read_text()
    lines = card.partition("```python\n")[2].partition("```")[0]
    names: dict = {}
    exec(lines.replace("FOLDER", str(folder)).replace("picture.jpg", str(tmp_path / "picture.png")), names)
    assert names["verdict"].verdict in ("generated", "real", "unsure")
    assert "12 validation photographs of 6 groups" in card and "kept is 14 %" in card
    assert 'Detector.from_pretrained("FOLDER", model="DIFFUSION_MODEL")' in (made.folder / "README.md").read_text()


def test_a_gpu_that_is_not_there_is_refused_and_not_passed_over(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    places = str(made.checkpoint), str(tmp_path / "out"), str(made.data), str(made.cache)
    with pytest.raises(ValueError, match="device is cuda, but torch finds no GPU: pass --device cpu"):
        export_checkpoint(*places, device="cuda")
    assert not (tmp_path / "out").exists()


def test_another_dataset_is_refused(made: Made, tmp_path: Path) -> None:
    content = torch.load(made.checkpoint, weights_only=True)
    content["trained_on"]["dataset_id"] = "0" * 64
    torch.save(content, tmp_path / "other.ckpt")
    with pytest.raises(ValueError, match=r"is not the dataset of the training \(0{64} ≠ [0-9a-f]{64}\)"):
        export_checkpoint(str(tmp_path / "other.ckpt"), str(tmp_path / "out"), str(made.data), str(made.cache))


def test_a_folder_that_is_no_diffusion_model_is_not_included(made: Made, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"which holds no model_index\.json"):
        places = str(made.checkpoint), str(tmp_path / "out"), str(made.data), str(made.cache)
        export_checkpoint(*places, include_model=str(tmp_path))
    assert not (tmp_path / "out").exists()


def test_a_detector_of_the_map_or_the_image_alone_is_described_and_asked(made: Made, tmp_path: Path) -> None:
    trained_on = torch.load(made.checkpoint, weights_only=True)["trained_on"]
    for number, kind in enumerate(({"image": False}, {"spatial": False, "channel": False})):
        task = LareTask(**TINY, **kind)
        content = {"state_dict": task.state_dict(), "hyper_parameters": dict(task.hparams), "trained_on": trained_on}
        torch.save(content, tmp_path / "one.ckpt")
        folder = tmp_path / f"out-{number}"
        export_checkpoint(str(tmp_path / "one.ckpt"), str(folder), str(made.data), str(made.cache))
        (verdict,) = Detector.from_pretrained(folder, made.model, "cpu", explain=True)(make_images(1)[0])
        assert verdict.attention is None and 0 <= verdict.score <= 1
