"""Both stages on a packed dataset, by the commands that anyone uses: maps, readings, detectors, results.json."""

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from cache_schema import remove
from train.scoring.readings import READINGS
from train.scoring.titles import TITLES
from workflow.code_hash import hash_code
from workflow.how_far import epochs_done, images_done
from workflow.processes import do_at_once, run_module
from workflow.steps import Show, Steps, hash_files

DETECTORS = {
    "full": ("full.yaml",),
    "map_only": ("full.yaml", "map_only.yaml"),
    "image_only": ("full.yaml", "image_only.yaml"),
    "permuted_maps": ("full.yaml", "permuted_maps.yaml"),
    "constant_map": ("full.yaml", "constant_map.yaml"),
}
"""Detector → files of its settings, later ones over earlier ones."""
Caches = Path | Sequence[Path]
"""A cache folder, or several whose maps are stacked."""
CONTROLS = ("permuted_maps", "constant_map")
"""Detectors of the architecture of "full", trained and scored with maps that say nothing of the image. What the map
adds is what "full" has more than they; "image_only" has no refinement, so that it differs in more than the map."""
CODE = {
    "pack": ("extract.packing.pack",),
    "extract": ("extract.run.job",),
    "readings": ("train.commands.readings",),
    "fit": ("train.data.datamodule", "train.commands.prediction_writer", "train.data.random_state", "train.task"),
}
"""Command → the modules that do its work. A step is done again when one of them, or one that they import, changes."""


class Stages:
    """The steps from a dataset to results.json.

    Args:
        out: Folder of detectors, predictions and results.json. Steps that are done there already are skipped.
        data: Dataset folder.
        cache: Cache folder.
        configs: Folder of settings: extract.yaml, and the files of `DETECTORS`.
        overrides: More arguments of `python -m train fit`.
        seeds: A detector of each kind for each.
        kinds: Which of `DETECTORS`.
        readings: Folder of the scores that need no detector; None: they lie with the other predictions. They do not
            depend on labels, so that datasets that differ in nothing else can share them.
        num_jobs: Detectors trained at once, each with its share of the processor's cores. Small ones gain from it: two
            with a core each are faster than one after the other with both.
        run: Runs a command; None: `run_module`.
        show: What a person sees of the steps; None: lines of the log.
    """

    def __init__(
        self,
        out: Path,
        data: Path,
        cache: Path,
        *,
        configs: Path,
        overrides: Sequence[str] = (),
        seeds: Sequence[int] = (0,),
        kinds: Sequence[str] = tuple(DETECTORS),
        readings: Path | None = None,
        num_jobs: int = 1,
        run: Callable[..., None] | None = None,
        show: Show | None = None,
    ) -> None:
        """Choose the places of everything."""
        self.data, self.cache, self.configs = data, cache, configs
        self.overrides, self.seeds, self.kinds = tuple(overrides), tuple(seeds), tuple(kinds)
        self.detectors, self.predictions, self.results = out / "detectors", out / "predictions", out / "results.json"
        self.readings = readings or self.predictions
        self.num_jobs = num_jobs
        self._run = run or run_module
        self.steps = Steps(out, show)

    def make_maps(self, model: Path, after: str) -> str:
        """Stage 1: the LaRE map of every image."""
        config = self.configs / "extract.yaml"

        def work() -> None:
            self._run("extract", *extract_arguments(config, model, self.data, self.cache))

        code, poll = [hash_files(config), hash_code(*CODE["extract"])], partial(images_done, self.cache)
        return self.steps.run("maps", [self.cache], code, work, after=after, resumable=True, poll=poll)

    def make_readings(self, after: str) -> None:
        """Stage 2, the scores that need no detector, of validation (for a threshold) and test images."""

        def work() -> None:
            for split in ("validation", "test"):
                self._run("train", *readings_arguments(self.data, self.cache, split, self.readings / split))

        outputs = [file for name in READINGS for split in ("validation", "test") for file in self.files(name, split)]
        self.steps.run("readings", outputs, hash_code(*CODE["readings"]), work, after=after)

    def make_detectors(self, after: str) -> None:
        """Stage 2: train the detectors, and score the test images with the weights that are best on validation."""
        works = [partial(self._make_detector, name, seed, after) for seed in self.seeds for name in self.kinds]
        do_at_once(works, self.num_jobs)

    def count_fits_left(self) -> int:
        """Detectors that are not trained yet, as far as their steps tell: what decides them may have changed since."""
        return sum(not self._is_fitted(self._run_name(name, seed)) for seed in self.seeds for name in self.kinds)

    def _is_fitted(self, run: str) -> bool:
        return self.steps.is_marked_done(f"detector-{run}") and (self.detectors / run).is_dir()

    def _make_detector(self, name: str, seed: int, after: str) -> None:
        run = self._run_name(name, seed)
        folder = self.detectors / run
        files, seeded = [self.configs / file for file in DETECTORS[name]], f"--seed_everything={seed}"

        def fit() -> None:
            command = fit_arguments(files, self.data, self.cache, folder, seeded, *self.overrides)
            last = folder / "checkpoints" / "last.ckpt"
            if last.is_file():  # of this fit, cut short
                command.append(f"--ckpt_path={last}")
            else:
                remove(folder)  # what an attempt left that ended before its first checkpoint
            self._run("train", *command, share=self.num_jobs)

        def predict() -> None:
            command = predict_arguments(files, self.data, self.cache, folder, target, seeded)
            self._run("train", *command, share=self.num_jobs)

        settings = [
            hash_code(*CODE["fit"]),
            hash_files(*files),
            self.overrides,
            seed,
        ]
        poll = partial(epochs_done, folder)
        fitted = self.steps.run(f"detector-{run}", [folder], settings, fit, after=after, poll=poll, resumable=True)
        target = self._file(name, seed)
        self.steps.run(f"predict-{run}", [target], None, predict, after=fitted)

    def evaluate(self, *differences: str) -> None:
        """Predictions to results.json; takes seconds, and is always done.

        Args:
            differences: Pairs of readings, "full:image_only", whose AUROCs are subtracted.
        """
        validation = [f"{name}={file}" for name in READINGS for file in self.files(name, "validation")]
        command = (
            *("train", "evaluate", f"--data={self.data}", f"--cache={self.cache}", f"--out={self.results}"),
            *("--readings", *(f"{name}={file}" for name in self.names for file in self.files(name))),
            *("--validation", *validation),
            *(("--differences", *differences) if differences else ()),
        )
        with self.steps.show.step("results"):
            self._run(*command, quiet=True)

    @property
    def names(self) -> list[str]:
        """Its readings, in the order in which they are shown."""
        return [name for name in TITLES if name in READINGS or name in self.kinds]

    def files(self, reading: str, split: str = "test") -> list[Path]:
        """A reading's predictions, a file a seed."""
        if reading in READINGS:
            return [self.readings / split / f"{reading}.parquet"]
        return [self._file(reading, seed, split) for seed in self.seeds]

    def _file(self, reading: str, seed: int, split: str = "test") -> Path:
        return self.predictions / split / f"{self._run_name(reading, seed)}.parquet"

    def _run_name(self, name: str, seed: int) -> str:
        return name if len(self.seeds) == 1 else f"{name}-seed-{seed}"


def extract_arguments(config: Path, model: str | Path, data: Path, cache: Path, *changes: str) -> list[str]:
    """Of `python -m extract`: make the maps of a dataset.

    Args:
        config: YAML file of settings.
        model: Diffusers folder or hub id.
        data: Dataset folder.
        cache: Cache folder.
        *changes: What differs from the settings, "--timestep=100".
    """
    return ["run", "--config", str(config), f"--model={model}", f"--data={data}", f"--cache={cache}", *changes]


def readings_arguments(data: Path, cache: Path, split: str, folder: Path) -> list[str]:
    """Of `python -m train`: the scores of a split that need no detector, written to a folder."""
    return ["readings", f"--data={data}", f"--cache={cache}", f"--split={split}", f"--out_folder={folder}"]


def fit_arguments(settings: Sequence[Path], data: Path, cache: Caches, folder: Path, *changes: str) -> list[str]:
    """Of `python -m train`: train a detector.

    Args:
        settings: YAML files, later ones over earlier ones.
        data: Dataset folder.
        cache: Cache folder, or several whose maps are stacked.
        folder: The detector's.
        *changes: What differs from the settings, "--seed_everything=1".
    """
    files = [arg for file in settings for arg in ("-c", str(file))]
    caches = str(cache) if isinstance(cache, Path) else json.dumps([*map(str, cache)])
    return ["fit", *files, f"--data.data={data}", f"--data.cache={caches}", f"--out={folder}", *changes]


def predict_arguments(
    settings: Sequence[Path], data: Path, cache: Caches, folder: Path, target: Path, *changes: str
) -> list[str]:
    """Of `python -m train`: score images with a trained detector's weights that are best on validation.

    Args:
        settings: As of `fit_arguments`.
        data: Dataset folder.
        cache: As of `fit_arguments`.
        folder: The detector's.
        target: Predictions file.
        *changes: What differs from the settings, "--data.predict_split=test".
    """
    place = target.resolve()
    _, *common = fit_arguments(settings, data, cache, place.parent)
    weights = folder / "checkpoints" / "best.ckpt"
    scoring = (f"--ckpt_path={weights}", f"--predictions.path={place.name}", "--return_predictions=false")
    return ["predict", *common, *scoring, *changes]
