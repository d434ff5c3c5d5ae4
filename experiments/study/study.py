"""What every question works with: a dataset, caches of its images, and the two stages' commands, done once.

A question asks for a cache, for readings or for detectors, and gets the files; what is done already and unchanged is
not done again. Stage 1 runs only where a question says so (`Study.extract`): questions that are answered from caches
alone use `Study.cache`, which never makes one.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from cache_schema import CacheError, Dataset, check_dataset, open_cache, remove
from experiments.answers.answer import Answer, Picture
from experiments.answers.telling import Numbers, Telling
from experiments.study.config import StudyConfig
from experiments.study.counts import count_training_images
from experiments.study.names import cache_name
from train.record import describe_code
from train.runs import Run, timing
from train.scoring.prediction_file import COLUMNS
from train.scoring.readings import READINGS
from train.scoring.scores import Reading, load_reading
from workflow.code_hash import hash_code
from workflow.processes import do_at_once, run_module
from workflow.stages import CODE, Caches, extract_arguments, fit_arguments, predict_arguments, readings_arguments
from workflow.steps import Steps, hash_files


class Study:
    """The stages' commands over one dataset, each done once.

    Args:
        config: Places and lengths.
        run: Runs a command; None: `run_module`.
    """

    def __init__(self, config: StudyConfig, run: Callable[..., None] | None = None) -> None:
        """Start with what is there; nothing is made before it is asked for."""
        self.config, self._given_run = config, run
        self.answers = config.out / "answers"

    @cached_property
    def steps(self) -> Steps:
        """What is done."""
        return Steps(self.config.out)

    @property
    def default_cache(self) -> str:
        """Name of the cache with the default settings."""
        return cache_name(self.config.timestep, self.config.ensemble_size)

    def cache(self, name: str, data: Path | None = None) -> Path:
        """A cache that is there.

        Args:
            name: Its folder below `caches`.
            data: Dataset that it must belong to; None: the study's.

        Raises:
            CacheError: If it is not there or belongs to another dataset; says which command makes caches.
        """
        folder = self.config.caches / name
        if not (folder / "cache.json").is_file():
            raise CacheError(
                f"there is no cache {folder}. `python -m experiments caches` with this study's settings makes it."
            )
        check_dataset(open_cache(folder), Dataset.open(data or self.config.data).dataset_id)
        return folder

    def extract(
        self, name: str, *arguments: str, data: Path | None = None, is_sweep: bool = False, share: int = 1
    ) -> Path:
        """Stage 1: make a cache, or go on with one that was begun. Stores that are there stay.

        Args:
            name: Folder below `caches`; of a sweep "", its caches are t200-e4 and so on below `caches`.
            arguments: What differs from the study's stage 1 settings, "--timestep=100".
            data: Dataset; None: the study's.
            is_sweep: Whether the arguments ask for several caches.
            share: How many such commands run at once.
        """
        config = self.config
        folder = config.caches / name
        if not is_sweep and self.is_whole(name, data):
            return folder
        command = extract_arguments(config.extract_config, config.model, data or config.data, folder, *arguments)
        self._run("extract", *command, share=share)
        return folder

    def is_whole(self, name: str, data: Path | None = None) -> bool:
        """Whether a cache has a store for every tar.

        Args:
            name: Its folder below `caches`.
            data: Dataset; None: the study's.

        Raises:
            CacheError: If it belongs to another dataset.
        """
        folder = self.config.caches / name
        if not (folder / "cache.json").is_file():
            return False
        cache, dataset = open_cache(folder), Dataset.open(data or self.config.data)
        check_dataset(cache, dataset.dataset_id)
        return len(cache.stores_of(dataset.tars)) == len(dataset.tars)

    def pack(self, name: str, src: Path, *arguments: str, after: str = "") -> Path:
        """Stage 1: pack a source.

        Args:
            name: Name of the dataset within the study.
            src: What is packed, in any layout.
            arguments: What differs from packing's own settings, "--match=common".
            after: Signature of the step that made the source.

        Returns:
            Dataset folder.
        """
        folder = self.config.out / "data" / name
        code = hash_code(*CODE["pack"])
        command = (f"--src={src}", f"--out={folder}", *arguments)
        work = partial(self._run, "extract", "pack", *command)
        self.steps.run(f"pack-{name}", [folder], [code, *arguments], work, after=after)
        return folder

    def settings_of(self, cache: Path) -> tuple[str, ...]:
        """Arguments of `extract` that make other images' features comparable with those of a cache."""
        fields = open_cache(cache).fields
        names = ("image_size", "timestep", "ensemble_size", "noise_seed", "compute_dtype", "stored_dtype")
        return tuple(f"--{name}={fields[name]}" for name in (*names, "mantissa_bits"))

    def readings(
        self,
        cache: Path,
        data: Path | None = None,
        split: str = "test",
        *,
        threshold_from: tuple[Path, Path] | None = None,
    ) -> dict[str, Reading]:
        """The scores that need no detector, with thresholds from validation.

        Args:
            cache: Folder of the maps.
            data: Dataset; None: the study's.
            split: What is scored.
            threshold_from: Cache and dataset whose validation images give the thresholds; None: these.

        Returns:
            Reading → scores.
        """
        data = data or self.config.data
        scored = self._score_without_detector(cache, data, split)
        other_cache, other_data = threshold_from or (cache, data)
        validation = self._score_without_detector(other_cache, other_data, "validation")
        index, fitted_on = (Dataset.open(each).table([*COLUMNS]) for each in (data, other_data))
        readings = {}
        for name in READINGS:
            fitted = load_reading(fitted_on, [validation[name]], [validation[name]])
            readings[name] = replace(load_reading(index, [scored[name]]), calibrations=fitted.calibrations)
        return readings

    def _score_without_detector(self, cache: Path, data: Path, split: str) -> dict[str, Path]:
        """Reading → predictions file."""
        folder = self.config.out / "readings" / self._place_name(cache, data) / split
        files = {name: folder / f"{name}.parquet" for name in READINGS}
        work = partial(self._run, "train", *readings_arguments(data, cache, split, folder), quiet=True)
        settings = [hash_code(*CODE["readings"]), *self._describe(cache, data)]
        self.steps.run(f"readings-{folder.parent.name}-{split}", list(files.values()), settings, work)
        return files

    def fit(
        self,
        run: str,
        cache: Caches,
        *,
        variant: str = "full",
        arguments: Sequence[str] = (),
        data: Path | None = None,
        seeds: Sequence[int] | None = None,
        num_images: int | None = None,
    ) -> list[Path]:
        """Stage 2: train a detector with each seed.

        Args:
            run: Name of the detector within the study.
            cache: Folder of the maps, or several that are stacked.
            variant: One of `VARIANTS`.
            arguments: What differs from the recipe, "--model.spatial=false".
            data: Dataset; None: the study's.
            seeds: Other than the study's.
            num_images: Training images of an epoch, for estimates; None: all of the dataset.

        Returns:
            The run's folder for each seed.
        """
        data, changes, folders, works = data or self.config.data, self._changes(arguments), [], []
        images = count_training_images(data) if num_images is None else num_images
        for seed in range(self.config.num_seeds) if seeds is None else seeds:
            name, folder, settings = self._plan_fit(run, cache, seed, variant, arguments, data)
            command = fit_arguments(self._recipe(variant), data, cache, folder, f"--seed_everything={seed}", *changes)
            work = partial(self._run_fit, Run(run, folder, images, self.config.num_epochs), *command)
            works.append(partial(self.steps.run, name, [folder], settings, work, resumable=True))
            folders.append(folder)
        do_at_once(works, self.config.num_jobs)
        return folders

    def run_folder(self, run: str, seed: int) -> Path:
        """Where a detector of a seed lies, or will lie."""
        return self.config.out / "detectors" / run / f"seed-{seed}"

    def is_fitted(
        self, run: str, cache: Caches, seed: int, variant: str, arguments: Sequence[str], data: Path | None
    ) -> bool:
        """Whether `fit` would skip a seed; arguments as of it. Makes nothing."""
        name, folder, settings = self._plan_fit(run, cache, seed, variant, arguments, data or self.config.data)
        return folder.is_dir() and self.steps.is_done(name, [folder], settings)

    def _plan_fit(
        self, run: str, cache: Caches, seed: int, variant: str, arguments: Sequence[str], data: Path
    ) -> tuple[str, Path, list[Any]]:
        """A step's name, its output, and all that decides it."""
        recipe = [hash_files(file) for file in self._recipe(variant)]
        decides = [hash_code(*CODE["fit"]), recipe, self._changes(arguments), *self._describe(cache, data), seed]
        return f"fit-{run}-seed-{seed}", self.run_folder(run, seed), decides

    def _changes(self, arguments: Sequence[str]) -> list[str]:
        return [f"--trainer.max_epochs={self.config.num_epochs}", *self.config.fit_overrides, *arguments]

    def predict(
        self,
        runs: Sequence[Path],
        cache: Caches,
        *,
        split: str = "test",
        name: str = "",
        arguments: Sequence[str] = (),
        data: Path | None = None,
    ) -> Reading:
        """Stage 2: score a split with trained detectors, weights, threshold and temperature being validation's best.

        Args:
            runs: Folders from `fit`.
            cache: Folder of the maps to score with, or several; may be another than that trained on.
            split: What is scored.
            name: What is particular about these predictions; names their files.
            arguments: What differs from training, "--data.permute_maps=true".
            data: Dataset; None: the study's.
        """
        data, files, works = data or self.config.data, [], []
        for folder in runs:
            target = folder / "predictions" / f"{'-'.join(filter(None, (split, name)))}.parquet"
            changes = (f"--data.predict_split={split}", *arguments)
            command = predict_arguments([folder / "config.yaml"], data, cache, folder, target, *changes)
            fitted = json.loads((self.steps.folder / f"fit-{folder.parent.name}-{folder.name}.json").read_text())
            name_of_step = f"predict-{folder.parent.name}-{folder.name}-{target.stem}"
            settings, after = [*arguments, *self._describe(cache, data)], fitted["signature"]
            work = partial(self._run_train, *command)
            works.append(partial(self.steps.run, name_of_step, [target], settings, work, after=after))
            files.append(target)
        do_at_once(works, self.config.num_jobs)
        return load_reading(Dataset.open(data).table([*COLUMNS]), files)

    def describe(self) -> dict[str, Any]:
        """What decides an answer, without places on this machine."""
        config = self.config
        return {
            "preset": config.preset,
            "num_seeds": config.num_seeds,
            "num_epochs": config.num_epochs,
            "fit_overrides": list(config.fit_overrides),
            "dataset_id": Dataset.open(config.data).dataset_id,
            **describe_code(),
        }

    def command(self, name: str) -> str:
        """What makes the answer of a question again."""
        return f"python -m experiments {name} {self.config.arguments}"

    def tell(
        self, name: str, telling: Telling, numbers: Numbers, *, pictures: Sequence[Picture] = (), **settings: Any
    ) -> Answer:
        """The answer of a question from its numbers; `settings` decided it besides those of `describe`."""
        return telling.tell(name, numbers, self.command(name), {**self.describe(), **settings}, pictures)

    def write(self, answer: Answer) -> Path:
        """Keep an answer."""
        return answer.save(self.answers)

    def _run(self, module: str, *arguments: str | Path, **how: Any) -> None:
        (self._given_run or run_module)(module, *arguments, **how)

    def _run_fit(self, run: Run, *command: str) -> None:
        last = run.folder / "checkpoints" / "last.ckpt"
        if last.is_file():  # of this fit, cut short
            self._run_train(*command, f"--ckpt_path={last}")
            return
        remove(run.folder)  # what an attempt left that ended before its first checkpoint
        with timing(run):
            self._run_train(*command)

    def _run_train(self, *command: str) -> None:
        self._run("train", *command, share=self.config.num_jobs)

    def _recipe(self, variant: str) -> list[Path]:
        config = self.config
        more = {"full": None, "map_only": config.map_only, "image_only": config.image_only}[variant]
        return [file for file in (config.recipe, more) if file]

    def _describe(self, cache: Caches, data: Path) -> list[str]:
        dataset, caches = Dataset.open(data), [cache] if isinstance(cache, Path) else cache
        fingerprints = [open_cache(each).fingerprint for each in caches]
        return [dataset.dataset_id, hash_files(dataset.folder / "index.parquet"), *fingerprints]

    def _place_name(self, cache: Path, data: Path) -> str:
        return cache.name if data == self.config.data else f"{data.name}-{cache.name}"
