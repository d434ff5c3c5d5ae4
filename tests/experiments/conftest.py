"""A dozen photographs of a class that the toy models know and one that they do not, and four tiny models."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cache_schema import RULES, Dataset, Fingerprint, create_cache, store_name
from demo.toy import flow_model, pixel_model
from demo.toy.config import SourceConfig
from demo.toy.images import CLASS_NAMES, ToyModel
from demo.toy.loading import load_model
from demo.toy.photos import Tile
from experiments.study import study as study_module
from experiments.study.config import StudyConfig
from experiments.study.study import Study
from experiments.toy.photos import load_photo_tiles
from tests.experiments.made_up import run_here
from tests.models import save_tiny_sd
from tests.samples import make_shard
from workflow.code_hash import ROOT

SOURCES = SourceConfig(
    strengths=(0.3, 0.5, 0.7), img2img_guidance=3.0, sample_guidances=(3.0, 5.0), num_steps=4, batch_size=16
)


def save_photographs(folder: Path, seed: int, per_class: int = 6) -> Path:
    """Smooth colourful noise, 150 × 180 px, in the folders `flowers/daisy` and `pets/cats`."""
    rng = np.random.default_rng(seed)
    for class_folder in ("flowers/daisy", "pets/cats"):
        (folder / class_folder).mkdir(parents=True)
        for i in range(per_class):
            coarse = Image.fromarray(rng.integers(0, 256, (10, 12, 3), dtype=np.uint8))
            coarse.resize((180, 150), Image.Resampling.BICUBIC).save(folder / class_folder / f"{i}.png")
    return folder


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_photographs(tmp_path_factory.mktemp("photographs"), seed=0)


@pytest.fixture(scope="session")
def generator_photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_photographs(tmp_path_factory.mktemp("generator"), seed=1)


@pytest.fixture(scope="session")
def model_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two of Stable Diffusion's kind, a flow-matching transformer on the first one's autoencoder, one of pixels."""
    root = tmp_path_factory.mktemp("models")
    folders = {letter: save_tiny_sd(root / letter, seed=seed) for seed, letter in enumerate("ab")}
    flow = flow_model.FlowConfig(num_layers=2, num_heads=2, head_dim=8, patch_size=2)
    flow_model.build_pipeline(folders["a"], flow).save_pretrained(root / "c")
    pixel = pixel_model.PixelConfig(channels=(8, 16))
    pixel_model.build_pipeline(len(CLASS_NAMES), pixel).save_pretrained(root / "d")
    return folders | {letter: root / letter for letter in "cd"}


@pytest.fixture(scope="session")
def models(model_folders: dict[str, Path]) -> list[ToyModel]:
    return [load_model(letter, folder, SOURCES) for letter, folder in model_folders.items()]


@pytest.fixture(scope="session")
def tiles(photographs: Path) -> list[Tile]:
    return load_photo_tiles(photographs, tiles_per_photo=2, seed=0)


@pytest.fixture
def study(dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    """Four caches of random maps, without the model that they would come from; commands run in the test's process."""
    for seed, (name, timestep, ensemble_size, compute_dtype) in enumerate(
        (
            ("t50-e2", 50, 2, "fp32"),
            ("t200-e1", 200, 1, "fp32"),
            ("t200-e2", 200, 2, "fp32"),
            ("t200-e2-bf16", 200, 2, "bf16"),
        )
    ):
        fields = {
            "timestep": timestep,
            "ensemble_size": ensemble_size,
            "compute_dtype": compute_dtype,
            "image_size": 16,
        }
        fields |= {"method": "lare", "stored_dtype": "float32", "mantissa_bits": 23}
        cache = create_cache(tmp_path / "caches" / name, dataset.dataset_id, Fingerprint(fields | RULES))
        for n, tar in enumerate(dataset.tars):
            cache.write(store_name(tar.name), make_shard(dataset.rows(n), tar, seed=10 * seed + n))
    monkeypatch.setattr(study_module, "run_module", run_here)
    configs = ROOT / "demo" / "configs"
    overrides = (
        "--trainer.accelerator=cpu",
        "--trainer.log_every_n_steps=1",
        "--data.batch_size=4",
        "--data.num_workers=0",
        "--data.crop_px=16",
    )
    return Study(
        StudyConfig(
            data=dataset.folder,
            model="no-such-model",
            caches=tmp_path / "caches",
            out=tmp_path / "study",
            extract_config=configs / "extract.yaml",
            recipe=configs / "full.yaml",
            num_seeds=1,
            num_epochs=1,
            timesteps=(50, 200),
            ensemble_sizes=(1, 2),
            ensemble_size=2,
            mantissa_bits=(4,),
            sweep_variants=(),
            fit_overrides=overrides,
        )
    )
