"""The demo from photographs to report: `python -m demo run`. Both stages run by the commands that anyone uses."""

import importlib.metadata
import json
import logging
import platform
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cache_schema import Dataset
from demo.report.report import DETECTOR, write_report
from demo.report.summary import INTRO, LIMITS, describe_in_a_paragraph
from demo.toy.images import SourceConfig, load_models
from demo.toy.photos import SHORT_SIDE_PX, TABLE, load_table, load_tiles
from demo.toy.sources import make_images, pack_images, plain_task
from train.commands.scoring import format_results
from train.scoring.titles import TITLES
from workflow.code_hash import ROOT, hash_code
from workflow.stages import Stages
from workflow.steps import hash_files

logger = logging.getLogger(__name__)

CONFIGS = ROOT / "demo" / "configs"
MODELS = ROOT / "demo" / "models"
IMAGE_CODE = ("demo.toy.photos", "demo.toy.sources", "demo.toy.images")
"""What decides the images besides settings and models."""
BENCHMARK = ROOT / "docs" / "results" / "toy-benchmark.json"
"""What the toy benchmark has found, as docs/RESULTS.md shows it."""
MAX_ROWS = 256
"""Samples a tar: few, so that even the demo has several shards of each split."""
PACKAGES = ("torch", "diffusers", "transformers", "timm", "lightning", "zarr", "numpy", "pillow")
PHOTO_PACKAGES = ("mvtb-data", "scikit-image", "scikit-learn")


@dataclass(frozen=True)
class DemoConfig:
    """The whole demo: photo tiles, images of two toy models, LaRE maps, detectors, results and report."""

    out: Path = Path("runs/demo")
    """Folder that everything is written to. Steps that are done there already are skipped."""
    model: Path = MODELS / "toy-a"
    """Diffusers folder of the toy model that detectors are trained on and that all maps come from."""
    model_b: Path = MODELS / "toy-b"
    """Diffusers folder of the toy model whose images are in the test only."""
    photos: Path = TABLE
    """Table of photographs."""
    sources: SourceConfig = field(default_factory=SourceConfig)
    """How the images are made."""
    overrides: tuple[str, ...] = ()
    """More arguments of `python -m train fit`, for example --trainer.max_epochs=1."""

    def __post_init__(self) -> None:
        """Check what would fail only after minutes."""
        check_model("model", self.model)
        check_model("model_b", self.model_b)


def model_parts(folder: Path) -> list[Path]:
    """What decides a diffusers folder's images: its parts, not its card and its logs."""
    return [path for path in sorted(folder.iterdir()) if path.is_dir()]


def check_model(setting: str, folder: Path) -> None:
    """Raise ValueError unless a folder holds a diffusers model."""
    if not (folder / "model_index.json").is_file():
        raise ValueError(f"{setting} is {folder}, which holds no model_index.json: expected a diffusers folder")


class Demo:
    """One run.

    Args:
        config: Its settings.
    """

    def __init__(self, config: DemoConfig) -> None:
        """Choose the places of everything."""
        self.config = config
        self.data, self.cache, self.report = (config.out / name for name in ("data", "cache", "report.html"))
        self.stages = Stages(config.out, self.data, self.cache, configs=CONFIGS, overrides=config.overrides)

    def run(self) -> dict[str, Any]:
        """Do all steps, and return the content of results.json."""
        signature = self.make_data()
        signature = self.stages.make_maps(self.config.model, signature)
        self.stages.make_readings(signature)
        self.stages.make_detectors(signature)
        self.stages.evaluate()
        self.write_report()
        return json.loads(self.stages.results.read_text(encoding="utf-8"))  # type: ignore[no-any-return]

    @property
    def intro(self) -> str:
        """What was run on what; the dataset must be there."""
        return INTRO.format(num_photographs=Dataset.open(self.data).settings["num_photographs"])

    def make_data(self) -> str:
        """Photo tiles and the images made from them, packed."""
        config = self.config
        parts = [*model_parts(config.model), *model_parts(config.model_b)]
        settings = [asdict(config.sources), hash_files(config.photos, *parts), hash_code(*IMAGE_CODE)]

        def work() -> None:
            tiles = load_tiles(load_table(config.photos))
            num_photographs = len({t.photo for t in tiles})
            logger.info("%d tiles of %d photographs", len(tiles), num_photographs)
            models = load_models(config.sources, config.model, config.model_b)
            about = {
                **asdict(config.sources),
                "short_side_px": SHORT_SIDE_PX,
                "num_photographs": num_photographs,
            }
            images = make_images(tiles, models)
            pack_images(self.data, images, plain_task(models), about, seed=config.sources.seed, max_rows=MAX_ROWS)

        return self.stages.steps.run("data", [self.data], settings, work)

    def write_report(self) -> None:
        """results.json and all that it was made from as a page."""
        write_report(
            self.stages.results,
            {name: self.stages.files(name)[0] for name in TITLES},
            self.data,
            self.cache,
            self.report,
            title="LaRE² on photographs, with two toy diffusion models",
            intro=self.intro,
            limits=LIMITS,
            about=self._about(),
            ckpt=self.stages.detectors / DETECTOR / "checkpoints" / "best.ckpt",
            matrix=self.config.out / "matrix" / "matrix.json",  # of python -m train matrix --out <out>/matrix
            benchmark=BENCHMARK,
        )

    def _about(self) -> dict[str, dict[str, Any]]:
        dataset = Dataset.open(self.data)
        settings = json.loads(self.stages.results.read_text(encoding="utf-8"))["settings"]
        commit = settings["git_commit"] or "none: not a git work tree"
        versions = {"python": platform.python_version(), **{p: importlib.metadata.version(p) for p in PACKAGES}}
        return {
            "Commit and versions": {
                "command": "make demo",
                "commit": commit + (" with changes" if settings["git_dirty"] else ""),
                **versions,
            },
            "Images": {**{p: importlib.metadata.version(p) for p in PHOTO_PACKAGES}, **dataset.settings},
            "Samples": {s: ", ".join(f"{n} {c}" for n, c in counts.items()) for s, counts in dataset.counts.items()},
            "LaRE maps": {"fingerprint": settings["fingerprint"], **settings["fields"]},
        }


def run(config: DemoConfig) -> None:
    """Run the demo, and print the table and what it says."""
    demo = Demo(config)
    results = demo.run()
    text = f"{demo.intro} {LIMITS} {describe_in_a_paragraph(results)}"
    sys.stdout.write(f"\n{format_results(results)}\n{text}\n\n{demo.stages.results}\n{demo.report}\n")
