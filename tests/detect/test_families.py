"""Detectors of maps of other families, and of several models: from pictures to verdicts, each by its command."""

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from cache_schema import Dataset, FingerprintMismatch, open_cache, read_image_bytes, stack_maps, write_dataset
from detect import Detector
from detect.picture import Picture
from detect.server.config import ServeConfig
from detect.server.serve import load_detector
from extract.__main__ import main as extract_main
from tests.detect.conftest import CALIBRATION
from tests.detect.server.conftest import running
from tests.detect.server.fake import FakeDetector
from tests.detect.server.waiting import wait_until
from tests.extract.conftest import make_images
from tests.families import save_family
from tests.models import save_tiny_sd
from tests.samples import make_sample
from train import DetectorFile
from train.__main__ import main as train_main
from train.data.datamodule import LareDataModule
from train.export import export_checkpoint
from train.record import describe_training
from train.task import LareTask
from workflow import lare

CONFIGS = Path(__file__).parents[2] / "train" / "configs"
SPLITS = ("train",) * 16 + ("validation",) * 8 + ("test",) * 6
PROBES: dict[str, Mapping[str, Any]] = {
    "sd": {},
    "sd3": {},
    "sd3_coarse": {"map_cell": 2},
    "flux_dev": {"guidance": 1.5},
    "sana": {},
    "pixels": {"map_cell": 4},
}
"""Name of a cache → settings of its extraction; the model is the name's beginning."""


@dataclass(frozen=True)
class Places:
    """A packed dataset, and above it what is made of it, each when it is first asked for."""

    root: Path

    @property
    def data(self) -> Path:
        return self.root / "data"

    def model(self, probe: str) -> Path:
        name = probe.removesuffix("_coarse")
        folder = self.root / "models" / name
        if not folder.exists():
            save_tiny_sd(folder) if name == "sd" else save_family(name, folder)
        return folder

    def cache(self, probe: str) -> Path:
        """Maps of a probe, by the command."""
        folder = self.root / "caches" / probe
        if not folder.exists():
            settings = {"ensemble_size": 2, "image_size": 64, "batch_size": 4, "num_workers": 0, **PROBES[probe]}
            flags = [f"--{name}={value}" for name, value in settings.items()]
            places = [f"--data={self.data}", f"--cache={folder}", f"--model={self.model(probe)}"]
            assert extract_main(["run", *places, *flags, "--device=cpu", "--stored_dtype=float32"]) == 0
        return folder


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Places:
    root = tmp_path_factory.mktemp("families")
    images = make_images(len(SPLITS))
    samples = [make_sample(i, image=images[i], split=split) for i, split in enumerate(SPLITS)]
    write_dataset(root / "data", samples, {"made_by": "a test"}, max_rows=8)
    return Places(root)


@pytest.fixture
def train(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Commands of training, in this process."""

    def run(*arguments: object) -> None:
        monkeypatch.setattr(sys, "argv", ["train", *map(str, arguments)])
        assert train_main() == 0

    return run


def make_detector(places: Places, probes: tuple[str, ...], out: Path, **settings: Any) -> Path:
    """An exported detector of random weights that reads the probes' maps."""
    caches = [str(places.cache(probe)) for probe in probes]
    module = LareDataModule(str(places.data), caches, num_workers=0, crop_px=64)
    torch.manual_seed(0)
    task = LareTask(
        backbone="resnet_tiny_clip", image_size=64, map_channels=module.map_channels, map_transform="log", **settings
    )
    task.calibration = CALIBRATION
    checkpoint = out.with_suffix(".ckpt")
    content = {"state_dict": task.state_dict(), "hyper_parameters": dict(task.hparams)}
    torch.save({**content, "trained_on": describe_training(module)}, checkpoint)
    export_checkpoint(str(checkpoint), str(out), str(places.data), caches)
    return out


def pictures_of(places: Places, split: str) -> list[Picture]:
    """The samples of a split, with their keys, in the order of the index."""
    dataset = Dataset.open(places.data)
    rows = [row for n in range(len(dataset.tars)) for row in dataset.rows(n).to_pylist() if row["split"] == split]
    read = [read_image_bytes(places.data / row["tar"], row["offset"], row["size"]) for row in rows]
    return [Picture.of(data, row["key"], row["key"]) for data, row in zip(read, rows, strict=True)]


def stored_maps(places: Places, probes: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Key → the probes' maps in their caches, side by side on the coarsest grid."""
    found: dict[str, list[np.ndarray]] = {}
    for probe in probes:
        cache = open_cache(places.cache(probe))
        for shard in map(cache.read, cache.shards()):
            for key, one in zip(shard.keys, shard.lare, strict=True):
                found.setdefault(key, []).append(one[None])
    return {key: stack_maps(maps)[0] for key, maps in found.items()}


# Each recipe on maps of other channels; two families in one detector


RUNS = {
    "16 channels": ("lare2", ("sd3",), (16, 8, 8)),
    "16 channels, map alone": ("lare2_map_only", ("flux_dev",), (16, 8, 8)),
    "32 channels": ("lare2", ("sana",), (32, 2, 2)),
    "two families": ("lare2", ("sd", "sd3_coarse"), (20, 4, 4)),
    "three families, map alone": ("lare2_map_only", ("sana", "pixels", "sd"), (39, 2, 2)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_from_pictures_to_verdicts(
    name: str, places: Places, train: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    recipe, probes, shape = RUNS[name]
    caches = [str(places.cache(probe)) for probe in probes]
    run, where = tmp_path / "run", [f"--data.data={places.data}", f"--data.cache={json.dumps(caches)}"]
    tiny = ["--model.backbone=resnet_tiny_clip", "--model.pretrained=false", "--data.crop_px=64"]
    how = ["--trainer.max_epochs=1", "--trainer.accelerator=cpu", "--trainer.precision=32-true"]
    how += ["--trainer.log_every_n_steps=1", "--trainer.enable_model_summary=false"]
    loader = ["--data.batch_size=8", "--data.num_workers=0"]
    train("fit", "-c", CONFIGS / f"{recipe}.yaml", *where, *tiny, *how, *loader, f"--out={run}")
    best = run / "checkpoints" / "best.ckpt"
    for split in ("validation", "test"):
        out = ["--return_predictions=false", f"--out={tmp_path / split}", f"--data.predict_split={split}"]
        train("predict", "-c", run / "config.yaml", *where, f"--ckpt_path={best}", *out)
    predictions = tmp_path / "test" / "predictions.parquet"
    readings = [f"--readings=detector={predictions}", f"--data={places.data}"]
    train("evaluate", *readings, f"--cache={json.dumps(caches)}", f"--out={run / 'results.json'}")
    settings = json.loads((run / "results.json").read_text())["settings"]
    told = settings.get("caches", [settings])
    assert [cache["fingerprint"] for cache in told] == [open_cache(folder).fingerprint for folder in caches]
    drawn = [f"--ckpt={best}", f"--cache={json.dumps(caches)}", f"--out={tmp_path / 'plots'}"]
    train("plots", *readings, *drawn)
    assert {path.suffix for path in (tmp_path / "plots").iterdir()} == {".png"}

    folder = tmp_path / "detector"
    train("export", f"--ckpt={best}", f"--out={folder}")
    models = ",".join(str(places.model(probe)) for probe in probes)
    saved = {row["key"]: row for row in pq.read_table(predictions).to_pylist()}
    detector = Detector.from_pretrained(folder, models, "cpu", batch_size=4)
    answers = [*detector.stream(pictures_of(places, "test"))]
    assert len(answers) == len(saved) == 6
    stored = stored_maps(places, probes)
    for answer in answers:
        assert answer.verdict is not None and answer.verdict.lare.shape == shape
        np.testing.assert_allclose(answer.verdict.score, saved[answer.name]["score"], atol=1e-5)
        np.testing.assert_allclose(answer.verdict.lare, stored[answer.name], rtol=1e-4, atol=1e-5)

    command = ["detect", str(places.data), "--detector", str(folder), "--model", models, "--device", "cpu"]
    maps = ["--maps", str(tmp_path / "maps"), "--out", str(tmp_path / "r.parquet"), "--batch_size", "4"]
    assert lare.main([*command, *maps]) == 0
    told = {row["name"]: row for row in pq.read_table(tmp_path / "r.parquet").to_pylist()}
    for answer in answers:
        np.testing.assert_allclose(told[answer.name]["probability"], answer.verdict.probability, atol=1e-5)
    assert len(list((tmp_path / "maps").glob("*.png"))) == len(SPLITS)


@pytest.mark.parametrize("kind", [{}, {"channel": False}, {"spatial": False}, {"image": False}, {"concat": True}])
def test_every_detector_takes_maps_of_16_channels(kind: dict[str, bool], places: Places, tmp_path: Path) -> None:
    detector = Detector.from_pretrained(
        make_detector(places, ("sd3",), tmp_path / "out", **kind), places.model("sd3"), "cpu"
    )
    (verdict,) = detector(make_images(1)[0])
    assert verdict.lare.shape == (16, 8, 8) and 0 <= verdict.score <= 1


# What a detector of two models needs


@pytest.fixture(scope="module")
def both(places: Places) -> Path:
    """A detector of Stable Diffusion's and Stable Diffusion 3's maps."""
    return make_detector(places, ("sd", "sd3_coarse"), places.root / "both")


def test_a_detector_says_which_models_it_needs(both: Path, places: Places) -> None:
    sd, sd3 = (probe.fields for probe in DetectorFile.read(both).probes)
    needed = f"stable_diffusion, SHA-256 of .*{sd['unet_sha256']}; stable_diffusion_3, SHA.*{sd3['transformer_sha256']}"
    with pytest.raises(ValueError, match=rf"{needed}\)\. Name their folders with --model, in this order"):
        Detector.from_pretrained(both, device="cpu")
    card = (both / "README.md").read_text()
    assert f"1. UNet {str(sd['unet_sha256'])[:12]}…: 64 px, timestep 200" in card
    assert f"2. transformer {str(sd3['transformer_sha256'])[:12]}… of stable" in card and "σ 0.363732" in card
    assert "--model DIFFUSION_MODEL_1,DIFFUSION_MODEL_2" in card


def test_one_model_of_two_is_not_included(both: Path, places: Places, tmp_path: Path) -> None:
    caches = [str(places.cache(probe)) for probe in ("sd", "sd3_coarse")]
    where = str(both.with_suffix(".ckpt")), str(tmp_path / "out"), str(places.data), caches
    with pytest.raises(ValueError, match="the maps are of 2 diffusion models, a folder holds one"):
        export_checkpoint(*where, include_model=str(places.model("sd")))
    assert not (tmp_path / "out").exists()


def test_a_missing_model_is_named(both: Path, places: Places) -> None:
    sd, sd3 = places.model("sd"), places.model("sd3")
    for named in (str(sd), f"{sd},{sd}"):  # one model for both probes
        with pytest.raises(FingerprintMismatch, match=r"sd is a stable_diffusion model, .* by a stable_diffusion_3"):
            Detector.from_pretrained(both, named, "cpu")
    with pytest.raises(FingerprintMismatch, match=r"sd3 is a stable_diffusion_3 model, .* by a stable_diffusion m"):
        Detector.from_pretrained(both, f"{sd3},{sd}", "cpu")
    with pytest.raises(ValueError, match=r"model names 3 models, the detector has 2 probes .*; stable_diffusion_3, S"):
        Detector.from_pretrained(both, f"{sd},{sd3},{sd3}", "cpu")
    with pytest.raises(ValueError, match="nowhere is no folder"):
        Detector.from_pretrained(both, f"{sd},{places.root / 'nowhere'}", "cpu")


def test_the_service_gives_verdicts_by_two_models(both: Path, places: Places) -> None:
    models = f"{places.model('sd')},{places.model('sd3')}"
    config = ServeConfig(detector=str(both), model=models, device="cpu", false_alarm_rate=0.5, batch_size=4)
    pictures = make_images(2)
    with running(FakeDetector(), lambda: load_detector(config)) as service:
        wait_until(lambda: service.service.models.state != "loading")
        answers = service.detect(*pictures, params={"maps": "true"}).json()["verdicts"]
        facts = service.client.get("/v1/detector").json()
    for answer, verdict in zip(answers, Detector.from_pretrained(both, models, "cpu")(pictures), strict=True):
        np.testing.assert_allclose(answer["mean_lare"], verdict.lare.mean(), rtol=1e-5)
        np.testing.assert_allclose(answer["probability"], verdict.probability, atol=1e-5)
        assert answer["map_png"].startswith("iVBOR")
    assert [cache["fields"].get("model_family") for cache in facts["caches"]] == [None, "stable_diffusion_3"]
