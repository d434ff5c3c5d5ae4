"""Stage 1: packing images into tars, and their latent reconstruction errors into a cache.

The public names are loaded when they are first used (PEP 562): `import extract` loads no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from extract.authors.import_maps import ImportConfig, MapImport
    from extract.canvas_config import CanvasConfig
    from extract.config import ComputeDtype, ExtractConfig, NoiseStudyConfig, TextDtype
    from extract.engines.config import LaunchConfig
    from extract.engines.launch import Launch
    from extract.engines.watch import Watch, WatchConfig
    from extract.lare import Condition, lare_map, reconstruction_error, squared_errors
    from extract.models.base import DiffusionModel
    from extract.models.costs import count_macs, count_macs_by_part
    from extract.models.folder import ModelFolder
    from extract.models.known_hashes import KnownHashes
    from extract.models.latent_diffusion import LatentDiffusion
    from extract.models.registry import load_family
    from extract.models.schedule import load_noising
    from extract.models.stable_diffusion import StableDiffusion
    from extract.noise import POSTERIOR_DRAW, sample_draws, sample_noise
    from extract.packing.config import PackConfig
    from extract.packing.copies import CopyRule
    from extract.packing.degradations import parse_degradation
    from extract.packing.inspecting import jpeg_quality
    from extract.packing.pack import pack
    from extract.rejected import EXIT_TOO_MANY_REJECTED
    from extract.run.canvases import CanvasJob, CanvasRun
    from extract.run.fingerprint import ModelSource, compute_fingerprint
    from extract.run.images import Batch, RowSettings, collate, load_row, scale_pixels
    from extract.run.job import Job
    from extract.run.methods import Inputs, Method, make_method
    from extract.run.noise_study import NoiseStudy
    from extract.run.probe import LoadedProbe, Probe
    from extract.run.tar_batches import load_batches
    from extract.variants import Variant

__all__ = [
    "EXIT_TOO_MANY_REJECTED",
    "POSTERIOR_DRAW",
    "Batch",
    "CanvasConfig",
    "CanvasJob",
    "CanvasRun",
    "ComputeDtype",
    "Condition",
    "CopyRule",
    "DiffusionModel",
    "ExtractConfig",
    "ImportConfig",
    "Inputs",
    "Job",
    "KnownHashes",
    "LatentDiffusion",
    "Launch",
    "LaunchConfig",
    "LoadedProbe",
    "MapImport",
    "Method",
    "ModelFolder",
    "ModelSource",
    "NoiseStudy",
    "NoiseStudyConfig",
    "PackConfig",
    "Probe",
    "RowSettings",
    "StableDiffusion",
    "TextDtype",
    "Variant",
    "Watch",
    "WatchConfig",
    "collate",
    "compute_fingerprint",
    "count_macs",
    "count_macs_by_part",
    "jpeg_quality",
    "lare_map",
    "load_batches",
    "load_family",
    "load_noising",
    "load_row",
    "make_method",
    "pack",
    "parse_degradation",
    "reconstruction_error",
    "sample_draws",
    "sample_noise",
    "scale_pixels",
    "squared_errors",
]

_MODULE_OF = {
    "EXIT_TOO_MANY_REJECTED": "rejected",
    "POSTERIOR_DRAW": "noise",
    "Batch": "run.images",
    "CanvasConfig": "canvas_config",
    "CanvasJob": "run.canvases",
    "CanvasRun": "run.canvases",
    "ComputeDtype": "config",
    "Condition": "lare",
    "CopyRule": "packing.copies",
    "DiffusionModel": "models.base",
    "ExtractConfig": "config",
    "ImportConfig": "authors.import_maps",
    "Inputs": "run.methods",
    "Job": "run.job",
    "KnownHashes": "models.known_hashes",
    "LatentDiffusion": "models.latent_diffusion",
    "Launch": "engines.launch",
    "LaunchConfig": "engines.config",
    "LoadedProbe": "run.probe",
    "MapImport": "authors.import_maps",
    "Method": "run.methods",
    "ModelFolder": "models.folder",
    "ModelSource": "run.fingerprint",
    "NoiseStudy": "run.noise_study",
    "NoiseStudyConfig": "config",
    "PackConfig": "packing.config",
    "Probe": "run.probe",
    "RowSettings": "run.images",
    "StableDiffusion": "models.stable_diffusion",
    "TextDtype": "config",
    "Variant": "variants",
    "Watch": "engines.watch",
    "WatchConfig": "engines.watch",
    "collate": "run.images",
    "compute_fingerprint": "run.fingerprint",
    "count_macs": "models.costs",
    "count_macs_by_part": "models.costs",
    "jpeg_quality": "packing.inspecting",
    "lare_map": "lare",
    "load_batches": "run.tar_batches",
    "load_row": "run.images",
    "load_family": "models.registry",
    "load_noising": "models.schedule",
    "make_method": "run.methods",
    "pack": "packing.pack",
    "parse_degradation": "packing.degradations",
    "reconstruction_error": "lare",
    "sample_draws": "noise",
    "sample_noise": "noise",
    "scale_pixels": "run.images",
    "squared_errors": "lare",
}
"""Public name → the module below this package that it comes from; the imports above say it to type checkers."""


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
