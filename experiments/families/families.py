"""Whose images does whose probe find? Four toy models of four families, each as a probe and as an image source.

Every model makes images from the same photographs. Every model makes the LaRE maps of all images. Mean LaRE needs no
training; detectors are trained on the images of the model whose maps they see. Their training, validation and test
photographs are different ones.
"""

import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from cache_schema import Dataset, write_text
from demo.run import CONFIGS, LIBRARIES, model_parts
from experiments.answers.answer import Answer, Picture
from experiments.answers.markdown import as_section
from experiments.families.heat import PICTURE, draw_heat
from experiments.families.images import TASK_FOLDERS, generated_sources, write_datasets
from experiments.families.numbers import (
    Readings,
    choose_single,
    compare_stack,
    compare_sweep,
    compute_matrix,
    name_columns,
    place_under,
)
from experiments.families.settings import MATCHED, PLAIN, TASKS, VARIANTS, FamiliesConfig, Fit, list_fits, list_stack
from experiments.families.telling import COMMAND, NAME, TELLING
from experiments.study.config import StudyConfig
from experiments.study.study import Study
from extract import ModelFolder, load_noising
from train.record import describe_code
from train.scoring.prediction_file import COLUMNS
from train.scoring.scores import Reading, load_reading
from workflow.code_hash import hash_code
from workflow.processes import do_at_once, run_module
from workflow.stages import CODE, extract_arguments, readings_arguments
from workflow.steps import Steps, hash_files
from workflow.workers import Workers

logger = logging.getLogger(__name__)

IMAGE_CODE = ("experiments.families.images",)
"""What decides the images besides settings, photographs and models."""
EXTRACT_CONFIG = CONFIGS / "extract.yaml"
LEVEL_PROBES = ("a", "c")
"""Models whose noise levels are swept: timesteps, and σ."""
Numbers = dict[str, Any]


class Families:
    """One run.

    Args:
        config: Its settings.
        run: Runs a command; None: `run_module`.
    """

    def __init__(self, config: FamiliesConfig, run: Callable[..., None] | None = None) -> None:
        """Choose the places of everything."""
        self.config, self.out, self._run = config, config.out, run or run_module
        self.data = {task: self.out / folder for task, folder in TASK_FOLDERS.items()}
        self.caches = {letter: self.out / "caches" / letter for letter in config.models}

    @cached_property
    def steps(self) -> Steps:
        """What is done of images, maps and readings."""
        return Steps(self.out)

    @cached_property
    def studies(self) -> dict[str, Study]:
        """Task → what trains and asks its detectors."""
        config = self.config
        return {
            task: Study(
                StudyConfig(
                    data=self.data[task],
                    model=str(config.model),
                    caches=self.out / "caches",
                    out=self.out / task,
                    extract_config=EXTRACT_CONFIG,
                    recipe=CONFIGS / "full.yaml",
                    map_only=CONFIGS / "map_only.yaml",
                    preset=NAME,
                    num_seeds=config.num_seeds,
                    num_epochs=config.num_epochs,
                    num_jobs=config.num_jobs,
                ),
                self._run,
            )
            for task in TASKS
        }

    def run(self) -> Answer:
        """Do all steps. The answer is written when mean LaRE is known, and again with the detectors."""
        after = self.make_data()
        mean_lare = {letter: self.score_maps(letter, after) for letter in self.config.models}
        numbers: Numbers = {"models": [*self.config.models], "matrix": {}, "own_less_other": {}}
        self._add_matrix(numbers, "mean_lare", dict.fromkeys(TASKS, mean_lare))
        numbers["sweep"] = self.sweep(after)
        self.write(numbers)
        self.train()
        for variant in VARIANTS:
            readings = {task: {each: self._matrix_reading(task, variant, each) for each in mean_lare} for task in TASKS}
            self._add_matrix(numbers, variant, readings)
        numbers["stack"] = {task: self._stack(task) for task in TASKS}
        return self.write(numbers)

    def make_data(self) -> str:
        """Photo tiles and the images made from them, packed for both tasks."""
        config = self.config
        inputs = [config.photos, *(part for folder in config.models.values() for part in model_parts(folder))]
        settings = [asdict(config.sources), config.max_photos, hash_files(*inputs), hash_code(*IMAGE_CODE)]
        work = partial(write_datasets, config, *(self.data[task] for task in (PLAIN, MATCHED)))
        return self.steps.run("data", [*self.data.values()], settings, work)

    def score_maps(self, letter: str, after: str) -> Reading:
        """Maps of all images by a model, and mean LaRE of the test images under the labels of the plain task."""
        config = self.config
        level = f"--snr_of_timestep={config.snr_of_timestep}"
        signature = self._make_maps(letter, letter, after, level, f"--ensemble_size={config.ensemble_size}")
        return self._score(letter, self.caches[letter], signature)

    def sweep(self, after: str) -> list[Numbers]:
        """Mean LaRE by the flow-matching model at each σ, and by model A at the timestep of equal noise."""
        config = self.config
        noising: Any = load_noising(ModelFolder.open(str(config.model)))
        timesteps = [noising.nearest_timestep((1 - s) ** 2 / ((1 - s) ** 2 + s**2)) for s in config.sigmas]
        tars = Dataset.open(self.data[PLAIN]).tars
        test = ",".join(str(n) for n, tar in enumerate(tars) if tar.name.startswith("test-"))
        more = (f"--ensemble_sizes=[{config.sweep_ensemble_size}]", f"--shard={test}")
        levels = {"a": f"--timesteps={sorted(set(timesteps))}", "c": f"--sigmas={[*config.sigmas]}"}
        signatures = {each: self._make_maps(f"sweep-{each}", each, after, levels[each], *more) for each in LEVEL_PROBES}
        rows = []
        for sigma, timestep in zip(config.sigmas, timesteps, strict=True):
            names = {"a": f"t{timestep}", "c": f"s{sigma:g}"}
            readings = {
                each: self._score(
                    f"sweep-{each}-{names[each]}",
                    self.out / "caches" / f"sweep-{each}" / f"{names[each]}-e{config.sweep_ensemble_size}",
                    signatures[each],
                )
                for each in LEVEL_PROBES
            }
            by_task = {task: self._under(task, readings) for task in TASKS}
            rows.append({"sigma": sigma, "timestep": timestep, **compare_sweep(by_task)})
        return rows

    def train(self) -> None:
        """Train all detectors, each with each seed, and score their test images; of a stack validation images too."""
        stacked = set(list_stack(self.config))
        works = [
            partial(self._train, fit, seed, ("validation", "test") if fit in stacked else ("test",))
            for seed in range(self.config.num_seeds)
            for fit in list_fits(self.config)
        ]
        do_at_once(works, self.config.num_jobs)

    def write(self, numbers: Numbers) -> Answer:
        """Write the answer with what is known, its picture and RESULTS.md."""
        draw_heat(numbers, self.out / PICTURE)
        picture = Picture("Probe in the row, image source in the column: AUROC", PICTURE, "0.5 is chance.")
        answer = TELLING.tell(NAME, numbers, COMMAND, self.describe(), [picture])
        answer.save(self.out)
        write_text(self.out / "RESULTS.md", as_section(answer))
        return answer

    def describe(self) -> Numbers:
        """What decides the answer, without places on this machine."""
        config = self.config
        names = ("num_seeds", "num_epochs", "num_epochs_full", "ensemble_size", "snr_of_timestep")
        return {
            **Dataset.open(self.data[PLAIN]).settings,
            **{name: getattr(config, name) for name in (*names, "sweep_ensemble_size")},
            "overrides": [*config.overrides],
            **describe_code(),
        }

    def count_fits_left(self) -> int:
        """Detectors that are not trained yet, as far as their steps tell: what decides them may have changed since."""
        is_done = (
            (self.out / fit.task / ".steps").is_dir()
            and self.studies[fit.task].steps.is_marked_done(f"fit-{fit.run}-seed-{seed}")
            for fit in list_fits(self.config)
            for seed in range(self.config.num_seeds)
        )
        return sum(not done for done in is_done)

    def _make_maps(self, name: str, letter: str, after: str, *changes: str) -> str:
        """Stage 1 of a model over all images, or as the changes say."""
        model, cache = self.config.models[letter], self.out / "caches" / name
        arguments = extract_arguments(EXTRACT_CONFIG, model, self.data[PLAIN], cache, *changes)
        settings = [hash_files(EXTRACT_CONFIG), hash_code(*CODE["extract"]), *changes]
        work = partial(self._run, "extract", *arguments)
        return self.steps.run(f"maps-{name}", [cache], settings, work, after=after, resumable=True)

    def _score(self, name: str, cache: Path, after: str) -> Reading:
        """Mean LaRE of the test images of a cache, under the labels of the plain task."""
        data, folder = self.data[PLAIN], self.out / "readings" / name
        target = folder / "mean_lare.parquet"
        work = partial(self._run, "train", *readings_arguments(data, cache, "test", folder), quiet=True)
        self.steps.run(f"readings-{name}", [folder], hash_code(*CODE["readings"]), work, after=after)
        return load_reading(Dataset.open(data).table([*COLUMNS]), [target])

    def _train(self, fit: Fit, seed: int, splits: Sequence[str]) -> None:
        study, caches = self.studies[fit.task], self._caches_of(fit)
        epochs = self.config.num_epochs_full if fit.variant == "full" else self.config.num_epochs
        sources = ", ".join(f'"{source}"' for source in generated_sources(fit.trained_on))
        arguments = (f"--data.image_sources=[{sources}]", f"--trainer.max_epochs={epochs}", *self.config.overrides)
        runs = study.fit(fit.run, caches, variant=fit.variant, arguments=arguments, seeds=(seed,))
        for split in splits:
            study.predict(runs, caches, split=split)

    def _predict(self, fit: Fit, split: str = "test") -> Reading:
        """What a detector's seeds say, from predictions that are there already."""
        study = self.studies[fit.task]
        runs = [study.run_folder(fit.run, seed) for seed in range(self.config.num_seeds)]
        return study.predict(runs, self._caches_of(fit), split=split)

    def _caches_of(self, fit: Fit) -> list[Path]:
        return [self.caches[letter] for letter in fit.probes]

    def _matrix_reading(self, task: str, variant: str, letter: str) -> Reading:
        shares = task == MATCHED and not self.config.has_decoder(letter)
        return self._predict(Fit(PLAIN if shares else task, variant, (letter,), letter))

    def _under(self, task: str, readings: Readings) -> Readings:
        """Readings under a task's labels, generated images named by the letter of their model."""
        index = Dataset.open(self.data[task]).table([*COLUMNS])
        columns = {source: each for each in self.config.models for source in generated_sources(each)}
        return {name: name_columns(place_under(reading, index), columns) for name, reading in readings.items()}

    def _add_matrix(self, numbers: Numbers, name: str, readings: Mapping[str, Readings]) -> None:
        """Fill in a reading of every probe, of both tasks."""
        for task in TASKS:
            found = compute_matrix(self._under(task, readings[task]))
            for part, values in found.items():
                numbers[part].setdefault(task, {})[name] = values

    def _stack(self, task: str) -> Numbers:
        """All probes together against the single one that validation chooses."""
        fits = {"".join(fit.probes): fit for fit in list_stack(self.config) if fit.task == task}
        together = max(fits, key=len)
        validation = self._under(task, {name: self._predict(fit, "validation") for name, fit in fits.items()})
        chosen = choose_single(validation, together, next(iter(self.config.models)))
        test = self._under(task, {name: self._predict(fit) for name, fit in fits.items()})
        return {**chosen, **compare_stack(test, together, chosen["chosen"])}


def describe_cost(config: FamiliesConfig) -> str:
    """What a run makes and trains, and how much of it is left."""
    fits, num_photos = list_fits(config), config.num_photos
    kinds = 1 + sum(3 if config.has_decoder(letter) else 2 for letter in config.models)
    left = Families(config).count_fits_left()
    return (
        f"{num_photos:,} photographs, {num_photos * kinds:,} images of {kinds} kinds, their maps by "
        f"{len(config.models)} models × {config.ensemble_size} draws; test images at {len(config.sigmas)} noise levels "
        f"of {len(LEVEL_PROBES)} models × {config.sweep_ensemble_size} draws; {len(fits)} detectors × "
        f"{config.num_seeds} seeds: {len(fits) * config.num_seeds} fits, {left} of them left. The run can be stopped "
        "at any time: the same command goes on from there."
    )


def run(config: FamiliesConfig) -> None:
    """Whose images does whose probe find? On your photographs, with toy models of four families."""
    logger.info("%s", describe_cost(config))
    if config.dry_run:
        return
    with Workers(LIBRARIES, logger.info, lambda done, total: None) as workers:
        answer = Families(config, workers.run).run()
    sys.stdout.write(f"\n{answer.finding}\n\n{config.out / f'{NAME}.json'}\n{config.out / 'RESULTS.md'}\n")
