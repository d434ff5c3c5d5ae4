"""The settings of the question on families, and which detectors they ask for. Loads no model."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cache_schema import check_least
from demo.images import MODELS, check_model
from demo.toy.config import SourceConfig
from demo.toy.crops import list_photographs
from extract import ExtractConfig

PLAIN, MATCHED = TASKS = ("plain", "decoder-matched")
"""Photographs against generated images; VAE reconstructions by an image's own model against them."""
VARIANTS = ("map_only", "full")
"""Detectors of the matrix."""


def default_sources() -> SourceConfig:
    """How the images are made: as the toy benchmark's, with half of its steps."""
    return SourceConfig(strengths=(0.3, 0.5, 0.7), img2img_guidance=3.0, sample_guidances=(3.0, 5.0), num_steps=10)


@dataclass(frozen=True)
class FamiliesConfig:
    """The whole question: images and maps of each toy model, detectors, a sweep of noise levels, the answer."""

    photos: Path
    """Folder of <class>/<photograph>, with a short side of 144 px or more. None of them may have trained a model."""
    out: Path = Path("runs/families")
    """Folder that everything is written to. Steps that are done there already are skipped."""
    model: Path = MODELS / "toy-a"
    """Diffusers folder of toy model A, a latent diffusion model. Stacked probes are trained on its images."""
    model_b: Path = MODELS / "toy-b"
    """Diffusers folder of toy model B, of A's kind with an autoencoder of its own."""
    model_c: Path = MODELS / "toy-c"
    """Diffusers folder of toy model C, a flow-matching transformer on A's autoencoder."""
    model_d: Path = MODELS / "toy-d"
    """Diffusers folder of toy model D, which works in pixel space."""
    max_photos: int = 500
    """At most so many photographs, chosen by the hash of their names. A tile is cut from each."""
    num_seeds: int = 3
    """Detectors of each kind, trained with the seeds from 0. With fewer than five no verdict is given on them."""
    num_epochs: int = 12
    """Passes over the training images of a detector of maps alone."""
    num_epochs_full: int = 6
    """Likewise, of a detector of images and maps."""
    num_jobs: int = 2
    """Detectors trained at once, each with its share of the processor's cores."""
    ensemble_size: int = 2
    """Noise draws an image, of all maps that detectors see."""
    snr_of_timestep: int = 200
    """Noise level of these maps: the signal-to-noise ratio that Stable Diffusion 1.5 has at this timestep."""
    sigmas: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    """Noise levels of the sweep of model C. Model A is swept over the timesteps of equal signal-to-noise ratio."""
    sweep_ensemble_size: int = 1
    """Noise draws an image in the sweep."""
    sources: SourceConfig = field(default_factory=default_sources)
    """How the images are made."""
    overrides: tuple[str, ...] = ()
    """More arguments of `python -m train fit`."""
    dry_run: bool = False
    """Tell what would be made and trained, and do nothing else."""

    def __post_init__(self) -> None:
        """Check what would fail only after minutes."""
        for letter, folder in self.models.items():
            check_model("model" if letter == "a" else f"model_{letter}", folder)
        names = ("max_photos", "num_seeds", "num_epochs", "num_epochs_full", "num_jobs")
        for name in (*names, "ensemble_size", "sweep_ensemble_size"):
            check_least(name, getattr(self, name), 1)
        # Stage 1 knows which noise levels there are.
        ExtractConfig(data="", cache="", sigmas=[*self.sigmas])
        ExtractConfig(data="", cache="", snr_of_timestep=self.snr_of_timestep)
        list_photographs(self.photos)

    @property
    def models(self) -> dict[str, Path]:
        """The folders of the models by letter."""
        return {"a": self.model, "b": self.model_b, "c": self.model_c, "d": self.model_d}

    @property
    def num_photos(self) -> int:
        """Photographs that are used."""
        return min(self.max_photos, len(list_photographs(self.photos)))

    def has_decoder(self, letter: str) -> bool:
        """Whether a model has an autoencoder, whose trace its images carry."""
        return (self.models[letter] / "vae").is_dir()


@dataclass(frozen=True)
class Fit:
    """A detector, with each seed.

    Attributes:
        task: One of `TASKS`.
        variant: One of `VARIANTS`.
        probes: The models whose maps it sees, stacked.
        trained_on: The model whose images it is trained on.
    """

    task: str
    variant: str
    probes: tuple[str, ...]
    trained_on: str

    @property
    def run(self) -> str:
        """Its name, "map_only-abcd-on-a"."""
        return f"{self.variant}-{''.join(self.probes)}-on-{self.trained_on}"


def list_matrix(config: FamiliesConfig) -> Iterator[Fit]:
    """The detectors of a probe that are trained on the probe's own images.

    Without a decoder there is nothing to match: both tasks train on the same images, and share a detector.
    """
    for task in TASKS:
        for letter in config.models:
            for variant in VARIANTS:
                if task == PLAIN or config.has_decoder(letter):
                    yield Fit(task, variant, (letter,), letter)


def list_stack(config: FamiliesConfig) -> Iterator[Fit]:
    """Of each task the detectors of maps alone that are trained on model A's images: each probe, and all stacked."""
    for task in TASKS:
        for probes in (*((letter,) for letter in config.models), (*config.models,)):
            yield Fit(task, "map_only", probes, next(iter(config.models)))


def list_fits(config: FamiliesConfig) -> list[Fit]:
    """All detectors, each once."""
    return list(dict.fromkeys((*list_matrix(config), *list_stack(config))))
