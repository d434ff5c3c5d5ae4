"""The toy benchmark: does LaRE tell generated from real, beyond smoothness and beyond the decoder's trace?

Four toy diffusion models make images from photographs and from class prompts; detectors are trained on the first one's
only. The second is of its kind, the third is a flow-matching transformer, the fourth works in pixel space. The same
images serve two tasks. *plain*: photographs against generated images. *decoder-matched*: the VAE reconstruction of each
photograph, by the model whose images it meets, so that both classes have the decoder's trace; without a decoder it is
the photograph as it is. All LaRE maps come from the first model, whatever made an image.
"""

import json
import logging
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cache_schema import Dataset, check_least, read_json, write_json, write_text
from demo.run import CONFIGS, IMAGE_CODE, MODELS, check_model, model_parts
from demo.toy.config import SourceConfig
from demo.toy.crops import SHORT_SIDES_PX, list_photographs
from demo.toy.loading import load_model
from demo.toy.photos import ROLES
from experiments.answers.markdown import as_section
from experiments.answers.rule import MIN_SEEDS
from experiments.toy.answers import answer
from experiments.toy.data import GUIDANCES, TASKS, build_datasets
from experiments.toy.photos import (
    check_disjoint,
    load_generator_tiles,
    load_other_domain_tiles,
    load_photo_tiles,
)
from experiments.toy.tables import as_answer
from train.scoring.readings import READINGS
from workflow.code_hash import hash_code
from workflow.stages import CONTROLS, DETECTORS, Stages
from workflow.steps import Steps, hash_files

logger = logging.getLogger(__name__)

CODE = (*IMAGE_CODE, "experiments.toy.photos", "experiments.toy.data")
"""What decides the images besides settings, photographs and models."""
SHORT_COMMIT = 7
MEASURED = "With 1,849 photographs, four models, 5 seeds and 14 epochs it took two hours on two cores"
"""What the last measured run was, and what "it took": docs/experiments.md says the same, and a test compares both."""
DIFFERENCES = tuple(f"full:{other}" for other in (*CONTROLS, "image_only"))


def default_sources() -> SourceConfig:
    """How the benchmark's images are made."""
    return SourceConfig(strengths=(0.3, 0.5, 0.7), img2img_guidance=3.0, sample_guidances=(3.0, 5.0))


@dataclass(frozen=True)
class ToyBenchmarkConfig:
    """The whole benchmark: photo tiles, images of toy models, LaRE maps, detectors for two tasks, answers."""

    photos: Path
    """Folder of <class>/<photograph>, with a short side of 144 px or more. None of them may have trained a model."""
    generator_photos: Path | None = None
    """Folder of the photographs that trained the models, for the control `generator-real`."""
    out: Path = Path("runs/toy-benchmark")
    """Folder that everything is written to. Steps that are done there already are skipped."""
    model: Path = MODELS / "toy-a"
    """Diffusers folder of the toy model that detectors are trained on and that all maps come from."""
    model_b: Path = MODELS / "toy-b"
    """Diffusers folder of the toy model whose images are in the test only."""
    model_c: Path | None = MODELS / "toy-c"
    """Likewise, the flow-matching transformer; null leaves its images out."""
    model_d: Path | None = MODELS / "toy-d"
    """Likewise, the model in pixel space; null leaves its images out."""
    tiles_per_photo: int = 2
    """Tiles that are cut from each photograph."""
    num_seeds: int = MIN_SEEDS
    """Detectors of each kind, trained with the seeds from 0. With fewer than five no verdict is given on them."""
    num_epochs: int = 14
    """Passes over the training images: four minutes for the largest detector at 1,800 photographs on two cores."""
    num_jobs: int = 2
    """Detectors trained at once, each with its share of the processor's cores."""
    sources: SourceConfig = field(default_factory=default_sources)
    """How the images are made."""
    overrides: tuple[str, ...] = ()
    """More arguments of `python -m train fit`."""
    dry_run: bool = False
    """Tell what would be made and trained, and do nothing else."""
    answers_only: bool = False
    """Answer again from the predictions in `out`, with the code of today. Nothing is made and nothing is trained, even
    where the code that made it has changed since."""

    def __post_init__(self) -> None:
        """Check what would fail only after minutes."""
        for letter, folder in self.models.items():
            check_model("model" if letter == "a" else f"model_{letter}", folder)
        for name in ("tiles_per_photo", "num_seeds", "num_epochs", "num_jobs"):
            check_least(name, getattr(self, name), 1)
        list_photographs(self.photos)
        if self.generator_photos is not None:
            check_disjoint(self.photos, self.generator_photos)

    @property
    def models(self) -> dict[str, Path]:
        """The folders of the models by letter, the one that detectors are trained on first."""
        folders = {"a": self.model, "b": self.model_b, "c": self.model_c, "d": self.model_d}
        return {letter: folder for letter, folder in folders.items() if folder is not None}


class ToyBenchmark:
    """One run.

    Args:
        config: Its settings.
    """

    def __init__(self, config: ToyBenchmarkConfig) -> None:
        """Choose the places of everything."""
        self.config, self.out = config, config.out
        self.steps = Steps(self.out)
        cache, readings = self.out / "cache", self.out / TASKS[0] / "predictions"
        overrides = (f"--trainer.max_epochs={config.num_epochs}", *config.overrides)
        self.stages = {
            task: Stages(
                self.out / task,
                self.out / task / "data",
                cache,
                configs=CONFIGS,
                overrides=overrides,
                seeds=range(config.num_seeds),
                readings=readings,
                num_jobs=config.num_jobs,
            )
            for task in TASKS
        }

    def run(self) -> dict[str, Any]:
        """Do all steps, or those that are left; return the answers as of `answer`."""
        first = self.stages[TASKS[0]]
        signature = first.make_maps(self.config.model, self.make_data())
        first.make_readings(signature)
        for stages in self.stages.values():
            stages.make_detectors(signature)
        return self.answer()

    def check_predictions(self) -> None:
        """Raise FileNotFoundError unless all is there that `answer` reads, but for results.json."""
        needed = [stages.data / "index.parquet" for stages in self.stages.values()]
        for stages in self.stages.values():
            needed += [file for name in stages.names for file in stages.files(name)]
            needed += [file for name in READINGS for file in stages.files(name, "validation")]
        missing = [path for path in dict.fromkeys(needed) if not path.is_file()]
        if missing:
            raise FileNotFoundError(
                f"answers_only needs the files of a whole run. Not there: {len(missing)} files, first {missing[0]}. "
                "Name the folder and the seeds of that run, or leave out --answers_only."
            )

    def answer(self) -> dict[str, Any]:
        """Write results.json, answers.json, toy-benchmark.json (for pages) and RESULTS.md; return the answers."""
        for stages in self.stages.values():
            stages.evaluate(*DIFFERENCES)
        results = {task: json.loads(stages.results.read_text()) for task, stages in self.stages.items()}
        answers = {"settings": self.describe(), **answer(self.stages, results)}
        write_json(self.out / "answers.json", answers)
        shown = as_answer(answers, results)
        shown.save(self.out)
        write_text(self.out / "RESULTS.md", as_section(shown))
        return answers

    def make_data(self) -> str:
        """Photo tiles and the images made from them, packed for both tasks."""
        config = self.config
        folders = {task: stages.data for task, stages in self.stages.items()}
        parts = [part for folder in config.models.values() for part in model_parts(folder)]
        inputs = [config.photos, config.generator_photos, *parts]
        settings = [
            asdict(config.sources),
            config.tiles_per_photo,
            hash_files(*(path for path in inputs if path)),
            hash_code(*CODE),
        ]

        def work() -> None:
            seed = config.sources.seed
            tiles = load_photo_tiles(config.photos, config.tiles_per_photo, seed)
            test = [tile for tile in tiles if tile.role == "test"]
            models = [load_model(letter, folder, config.sources) for letter, folder in config.models.items()]
            about = {
                **asdict(config.sources),
                "short_side_px": SHORT_SIDES_PX,
                "tiles_per_photo": config.tiles_per_photo,
                "num_photographs": {role: len({t.photo for t in tiles if t.role == role}) for role in ROLES},
                "guidances": GUIDANCES,
            }
            generator = load_generator_tiles(config.generator_photos, test, seed) if config.generator_photos else []
            build_datasets(folders, tiles, models, load_other_domain_tiles(seed), generator, about)

        return self.steps.run("data", list(folders.values()), settings, work)

    def describe(self) -> dict[str, Any]:
        """What decides the answers, without places on this machine."""
        return {
            **Dataset.open(self.stages[TASKS[0]].data).settings,
            "num_seeds": self.config.num_seeds,
            "num_epochs": self.config.num_epochs,
            "overrides": list(self.config.overrides),
            "generator_photos": self.config.generator_photos is not None,
            "trained_at": self.list_commits(),
        }

    def list_commits(self) -> list[str]:
        """Git commits of the code that trained the detectors: answers may be of a later one."""
        files = [file for stages in self.stages.values() for file in stages.detectors.glob("**/provenance.json")]
        found = {str(read_json(file)["git_commit"]) for file in files}
        return sorted(commit[:SHORT_COMMIT] for commit in found)


def describe_cost(config: ToyBenchmarkConfig) -> str:
    """What a run makes and trains, in a sentence, how many fits are left, and what it took where it was measured."""
    num_photos, fits = len(list_photographs(config.photos)), len(TASKS) * len(DETECTORS) * config.num_seeds
    left = (
        sum(stages.count_fits_left() for stages in ToyBenchmark(config).stages.values()) if is_begun(config) else fits
    )
    return (
        f"{num_photos:,} photographs × {config.tiles_per_photo} tiles, and the images made from them; {len(TASKS)} "
        f"tasks × {len(DETECTORS)} detectors × {config.num_seeds} seeds × {config.num_epochs} epochs: {fits} fits, "
        f"{left} of them left. {MEASURED}. The run can be stopped at any time: the same command goes on from there."
    )


def is_begun(config: ToyBenchmarkConfig) -> bool:
    """Whether a run was begun in the folder; asked without making anything."""
    return (config.out / ".steps").is_dir()


def run(config: ToyBenchmarkConfig) -> None:
    """Run the toy benchmark, and print its answers."""
    if config.answers_only and not config.dry_run:
        if not is_begun(config):
            raise FileNotFoundError(
                f"answers_only needs the folder of a run: out is {config.out}, where none was begun"
            )
        benchmark = ToyBenchmark(config)
        benchmark.check_predictions()
        answers = benchmark.answer()
    else:
        logger.info("%s", describe_cost(config))
        if config.dry_run:
            return
        answers = ToyBenchmark(config).run()
    sys.stdout.write(f"\n{answers['verdict']}\n\n{config.out / 'answers.json'}\n{config.out / 'RESULTS.md'}\n")
