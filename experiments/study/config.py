"""The settings of a study."""

import json
import shlex
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, Self

from jsonargparse import ArgumentParser

from cache_schema import check_least, file_name
from experiments.answers.rule import MARGIN
from workflow.code_hash import ROOT
from workflow.command import build_config

PRESETS = "experiments/configs"
PLACES = ("data", "caches", "out")
"""Settings that are other ones on every machine and do not decide an answer."""
PATHS = {
    **dict.fromkeys(("model", "photos", "mixed_data", "raw", "small_model", "tiny_vae", "detector"), "FOLDER"),
    **dict.fromkeys(("extract_config", "recipe", "map_only", "image_only"), "FILE"),
}
"""Settings that name files or folders → how a command shows them."""


@dataclass(frozen=True, kw_only=True)
class StudyConfig:
    """Where the images and caches of a study are, and how long it may take."""

    data: Path
    """Dataset folder."""
    model: str
    """Diffusers folder, or a hub id, of the model that makes the maps."""
    caches: Path
    """Folder above the caches, one for each setting: t200-e4 and so on."""
    out: Path
    """Folder of detectors, predictions and answers. What is done there already is skipped."""
    extract_config: Path
    """Settings of stage 1."""
    recipe: Path
    """Settings of `python -m train fit` for image and map."""
    map_only: Path = Path("demo/configs/map_only.yaml")
    """What differs for the detector that sees the map alone."""
    image_only: Path = Path("demo/configs/image_only.yaml")
    """What differs for the detector that sees the image alone."""
    preset: str = "toy-quick"
    """Name of these settings, shown with every answer: the name of their file in experiments/configs."""
    num_seeds: int = 2
    """Detectors of each kind, trained with the seeds from 0."""
    num_epochs: int = 3
    """Passes over the training images."""
    margin: float = MARGIN
    """AUROC or AP: what differs by less is called equally good, where tests show that it does. 0.01 is the last digit
    that tables of these metrics show, and about what two seeds of one recipe differ by."""
    num_jobs: int = 1
    """Seeds trained and scored at once, and passes of stage 1, each with its share of the processor's cores."""
    compute_dtype: Literal["fp32", "bf16"] = "fp32"
    """Number format of the models in the passes of `caches`. bf16 is several times faster on a GPU. The question on
    precision then compares stored bits alone, because there are no maps of fp32 models beside them."""
    timesteps: tuple[int, ...] = (50, 100, 200, 300, 400, 500, 700, 900)
    """Of the question on timesteps, each at the default ensemble size."""
    ensemble_sizes: tuple[int, ...] = (1, 2, 4, 8)
    """Of the question on ensembles, each at the default timestep."""
    mantissa_bits: tuple[int, ...] = (10, 9, 8, 7, 6, 5, 4)
    """Of the question on precision, each of float16, which has 10."""
    sweep_variants: tuple[Literal["map_only", "full"], ...] = ("map_only", "full")
    """Detectors that are trained for each timestep and each ensemble size."""
    timestep: int = 200
    """The default."""
    ensemble_size: int = 4
    """The default."""
    fit_overrides: tuple[str, ...] = field(default=())
    """More arguments of every `python -m train fit`."""
    photos: Path | None = None
    """Folder of <class>/<photograph> that the toy benchmark was made from, for questions that make images anew."""
    mixed_data: Path | None = None
    """Dataset of images of several sizes, for the question on views; its cache has the default one's
    name after "mixed-". None: the one that the question on formats packs as it is, where it has done so."""
    raw: Path | None = None
    """Source of packing whose photographs and generated images have the file formats and sizes that they came with
    (GenImage's tree), for the question on formats. Null: made from `photos` and the generated images of `data`."""
    select_px: tuple[int, int] = (450, 550)
    """Sides of the photographs that `--match select` keeps of it: around those of the generated images."""
    max_test_images: int | None = None
    """Of the question on degradation: at most so many test images, in whole groups chosen by hash. Null: all."""
    max_images: int | None = None
    """Of the questions on whole reconstructions and on cheap settings, which run stage 1 many times: at most so many
    labelled images of all splits, in whole groups chosen by hash. Null: all."""
    degradations: tuple[str, ...] = (
        *("jpeg:90", "jpeg:65", "jpeg:30", "webp:80", "webp:40", "resize:192", "resize:112", "resize:64"),
        *("blur:1", "blur:3", "blur:5", "noise:4", "noise:8", "noise:16", "crop:0.8", "crop:0.5", "crop:0.25"),
        *("blend:0.1", "blend:0.25", "blend:0.5", "social"),
    )
    """Of the question on degradation, as of `--degrade` of packing. A side to resize to and a blur's sigma are those of
    images of 256 px; where stage 1 sees smaller ones they are smaller in proportion."""
    small_model: str | None = None
    """Diffusers folder of a smaller model, for the question on cheap settings."""
    tiny_vae: str | None = None
    """Folder of an AutoencoderTiny for the model's latents, for the question on cheap settings."""
    detector: Path | None = None
    """Folder of `lare export`, for the question on verdicts. Not trained on the test images of `data`."""
    false_alarm_rates: tuple[float, ...] = (0.01, 0.05, 0.1)
    """Of the question on verdicts: shares of photographs that may be called generated."""
    num_images: int = 300
    """Of the question on verdicts: so many test photographs, and as many generated images, are also given as other
    files and with other noise. Chosen by hash."""

    def __post_init__(self) -> None:
        """Check what would fail only after minutes."""
        for name in ("num_seeds", "num_epochs", "num_jobs", "num_images"):
            check_least(name, getattr(self, name), 1)
        if not 0 < self.margin < 0.5:
            raise ValueError(f"margin is {self.margin}: expected a difference of AUROCs between 0 and 0.5, 0.01")
        if file_name(self.preset) != self.preset:  # files and folders are called so
            raise ValueError(f"preset is {self.preset!r}: expected a name of letters, digits, spaces and _.-~")
        if not self.false_alarm_rates or not all(0 < rate < 1 for rate in self.false_alarm_rates):
            raise ValueError(f"false_alarm_rates is {self.false_alarm_rates}: expected numbers between 0 and 1")
        for name in ("extract_config", "recipe", "map_only", "image_only"):
            if not getattr(self, name).is_file():
                raise ValueError(f"{name} is {getattr(self, name)}: there is no such file")
        for default, name in (("timestep", "timesteps"), ("ensemble_size", "ensemble_sizes")):
            if getattr(self, default) not in getattr(self, name):
                raise ValueError(f"{name} is {getattr(self, name)}: expected the default among them, see {default}")

    @classmethod
    def load(cls, path: Path) -> Self:
        """The settings of a YAML file."""
        parser = ArgumentParser()
        parser.add_class_arguments(cls)
        config: Self = build_config(cls, parser.parse_path(path))
        return config

    @property
    def arguments(self) -> str:
        """What a command line needs for these settings, but for `PLACES`: a preset's file, and what differs from it."""
        file = f"{PRESETS}/{self.preset}.yaml"
        if not (ROOT / file).is_file():
            return "--config FILE"
        preset = self.load(ROOT / file)
        values = {each.name: getattr(self, each.name) for each in fields(self) if each.name not in PLACES}
        changed = {name: value for name, value in values.items() if value != getattr(preset, name)}
        flags = (f"--{name} {PATHS.get(name) or shlex.quote(_as_flag(value))}" for name, value in changed.items())
        return " ".join((f"--config {file}", *flags))


@dataclass(frozen=True, kw_only=True)
class StudyTask(StudyConfig):
    """The settings of a study, and which part of a command's work is done."""

    dry_run: bool = False
    """List what would be trained or made, with numbers and cost, and do nothing else."""
    only: str | None = None
    """Numbers of the listed runs to do, for tasks that share a study: 3, 0-3 or 0,2,5-7. No answer is given then."""
    images_per_second: float | None = None
    """Images that a fit is expected to take in, for the estimated hours; of `caches`, that stage 1 makes maps of. If
    not given: the mean of what is finished."""

    def __post_init__(self) -> None:
        """Check the settings."""
        super().__post_init__()
        if self.images_per_second is not None and not self.images_per_second > 0:
            raise ValueError(f"images_per_second is {self.images_per_second}: expected more than 0")

    @property
    def study(self) -> StudyConfig:
        """The study's settings alone."""
        return StudyConfig(**{each.name: getattr(self, each.name) for each in fields(StudyConfig)})


def _as_flag(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
