"""The demo from photographs to report: `python -m demo run`. Both stages run by the commands that anyone uses."""

import importlib.metadata
import json
import logging
import platform
import shlex
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cache_schema import Dataset
from demo.photos import TABLE, load_table, load_tiles
from demo.report import write_report
from demo.sources import SourceConfig, ToyModel, build_dataset
from demo.steps import Steps, hash_files
from demo.summary import INTRO, LIMITS, TITLES, describe_in_a_paragraph
from train.commands import format_results
from train.readings import READINGS

logger = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = ROOT / "demo" / "configs"
DETECTORS = {
    "full": ("full.yaml",),
    "map_only": ("full.yaml", "map_only.yaml"),
    "image_only": ("full.yaml", "image_only.yaml"),
}
"""Detector → its settings, later files over earlier ones."""
PERMUTED = "full_maps_permuted"
PACKAGES = ("torch", "diffusers", "transformers", "timm", "lightning", "zarr", "numpy", "pillow")
PHOTO_PACKAGES = ("mvtb-data", "scikit-image", "scikit-learn")


@dataclass(frozen=True)
class DemoConfig:
    """The whole demo: photo tiles, images of the toy model, LaRE maps, detectors, results and report."""

    out: Path = Path("runs/demo")
    """Folder that everything is written to. Steps that are done there already are skipped."""
    model: Path = ROOT / "demo" / "models" / "toy-a"
    """Diffusers folder of the toy model."""
    photos: Path = TABLE
    """Table of photographs."""
    sources: SourceConfig = field(default_factory=SourceConfig)
    """How the images are made."""
    overrides: tuple[str, ...] = ()
    """More arguments of `python -m train fit`, for example --trainer.max_epochs=1."""

    def __post_init__(self) -> None:
        """Check what would fail only after minutes."""
        if not (self.model / "model_index.json").is_file():
            raise ValueError(f"model is {self.model}, which holds no model_index.json: expected a diffusers folder")


class Demo:
    """One run.

    Args:
        config: Its settings.
    """

    def __init__(self, config: DemoConfig) -> None:
        """Choose the places of everything."""
        self.config = config
        self.out = config.out
        self.data, self.cache = self.out / "data", self.out / "cache"
        self.detectors, self.predictions = self.out / "detectors", self.out / "predictions"
        self.results, self.report = self.out / "results.json", self.out / "report.html"
        self.steps = Steps(self.out)

    def run(self) -> dict[str, Any]:
        """Do all steps, and return the content of results.json."""
        signature = self.make_data()
        signature = self.make_maps(signature)
        self.make_readings(signature)
        for name in DETECTORS:
            self.make_detector(name, signature)
        self.evaluate()
        return json.loads(self.results.read_text())  # type: ignore[no-any-return]

    @property
    def intro(self) -> str:
        """What was run on what; the dataset must be there."""
        return INTRO.format(num_photographs=Dataset.open(self.data).settings["num_photographs"])

    def make_data(self) -> str:
        """Photo tiles and the images made from them, packed."""
        files = (self.config.photos, self.config.model, *(ROOT / "demo" / f for f in ("photos.py", "sources.py")))
        settings = [asdict(self.config.sources), hash_files(*files)]

        def work() -> None:
            tiles = load_tiles(load_table(self.config.photos))
            logger.info("%d tiles of %d photographs", len(tiles), len({t.photo for t in tiles}))
            build_dataset(self.data, tiles, ToyModel.load(self.config.model, self.config.sources))

        return self.steps.run("data", [self.data], settings, work)

    def make_maps(self, after: str) -> str:
        """Stage 1: the LaRE map of every image."""
        config = CONFIGS / "extract.yaml"
        paths = {"model": self.config.model, "data": self.data, "cache": self.cache}

        def work() -> None:
            run_module("extract", "run", "--config", config, *(f"--{k}={v}" for k, v in paths.items()))

        code = hash_files(config, ROOT / "extract", ROOT / "cache_schema")
        return self.steps.run("maps", [self.cache], code, work, after=after, resumable=True)

    def make_readings(self, after: str) -> None:
        """Stage 2, the scores that need no detector, of validation (for a threshold) and test images."""

        def work() -> None:
            for split in ("validation", "test"):
                folder = self.predictions / split
                run_module("train", "readings", *self._places(""), f"--split={split}", f"--out_folder={folder}")

        outputs = [self._predicted(name, split) for name in READINGS for split in ("validation", "test")]
        self.steps.run("readings", outputs, self._code(), work, after=after)

    def make_detector(self, name: str, after: str) -> None:
        """Stage 2: train a detector, and score the test images with the weights that are best on validation."""
        folder = self.detectors / name
        configs = [arg for file in DETECTORS[name] for arg in ("-c", CONFIGS / file)]
        common = [*configs, *self._places("data."), f"--out={folder}"]

        def fit() -> None:
            run_module("train", "fit", *common, *self.config.overrides)

        def predict(reading: str, *arguments: str) -> None:
            weights = f"--ckpt_path={folder / 'checkpoints' / 'best.ckpt'}"
            target = f"--predictions.path={self._predicted(reading).resolve()}"
            run_module("train", "predict", *common, weights, target, "--return_predictions=false", *arguments)

        settings = [self._code(), hash_files(*(CONFIGS / file for file in DETECTORS[name])), self.config.overrides]
        fitted = self.steps.run(f"detector-{name}", [folder], settings, fit, after=after)
        self.steps.run(f"predict-{name}", [self._predicted(name)], None, lambda: predict(name), after=fitted)
        if name == "full":
            outputs = [self._predicted(PERMUTED)]
            work = lambda: predict(PERMUTED, "--data.permute_maps=true")  # noqa: E731
            self.steps.run(f"predict-{PERMUTED}", outputs, None, work, after=fitted)

    def evaluate(self) -> None:
        """Predictions to results.json and report.html; takes seconds, and is always done."""
        readings = list(TITLES)
        run_module(
            *("train", "evaluate", f"--data={self.data}", f"--cache={self.cache}", f"--out={self.results}"),
            *("--readings", *(f"{name}={self._predicted(name)}" for name in readings)),
            *("--validation", *(f"{name}={self._predicted(name, 'validation')}" for name in READINGS)),
            quiet=True,
        )
        write_report(
            self.results,
            {name: self._predicted(name) for name in readings},
            self.data,
            self.cache,
            self.report,
            title="LaRE² on photographs, with a toy diffusion model",
            intro=self.intro,
            limits=LIMITS,
            about=self._about(),
        )

    def _predicted(self, reading: str, split: str = "test") -> Path:
        return self.predictions / split / f"{reading}.parquet"

    def _places(self, prefix: str) -> list[str]:
        return [f"--{prefix}data={self.data}", f"--{prefix}cache={self.cache}"]

    def _code(self) -> str:
        return hash_files(ROOT / "train", ROOT / "cache_schema")

    def _about(self) -> dict[str, dict[str, Any]]:
        dataset = Dataset.open(self.data)
        settings = json.loads(self.results.read_text())["settings"]
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


def run_module(module: str, *arguments: str | Path, quiet: bool = False) -> None:
    """Run `python -m <module> …` from the repository's root, and log the command so that it can be repeated.

    Raises:
        RuntimeError: If it fails; its own message stands above.
    """
    command = ["-m", module, *map(str, arguments)]
    logger.info("python %s", shlex.join(command))
    stdout = subprocess.DEVNULL if quiet else None
    status = subprocess.run([sys.executable, *command], stdout=stdout, check=False).returncode
    if status:
        raise RuntimeError(f"python -m {module} {arguments[0]} ended with status {status}, see above")


def run(config: DemoConfig) -> None:
    """Run the demo, and print the table and what it says."""
    demo = Demo(config)
    results = demo.run()
    text = f"{demo.intro} {LIMITS} {describe_in_a_paragraph(results)}"
    sys.stdout.write(f"\n{format_results(results)}\n{text}\n\n{demo.results}\n{demo.report}\n")
