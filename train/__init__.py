"""Stage 2: a detector trained from image tars and a LaRE cache. No UNet, no diffusers, nothing of stage 1.

The public names are loaded when they are first used (PEP 562): `import train` loads no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from train.card import write_card
    from train.commands.readings import compute_readings
    from train.data.augment import ImageChanges
    from train.data.datamodule import LareDataModule
    from train.data.native_views import make_view
    from train.data.views import View
    from train.detector import Detector
    from train.detector_file import INCLUDED_MODEL, DetectorFile, DiffusionModelName, ProbeFile, versions
    from train.egre import ErrorGuidedChannelRefinement, ErrorGuidedSpatialRefinement
    from train.export import copy_model, export_checkpoint
    from train.facts import TrainingFacts
    from train.model import LareClassifier
    from train.official import convert_state_dict
    from train.scoring.calibration import Calibration, fit_calibration
    from train.scoring.evaluate import compare_readings, evaluate
    from train.scoring.false_alarms import MAX_PHOTOGRAPHS, Photographs, choose_by_hash
    from train.scoring.prediction_file import generated_score, prediction_table
    from train.scoring.readings import LUMA, gradient_energy, mean_lare
    from train.scoring.scores import Reading, load_reading
    from train.scoring.titles import TITLES
    from train.task import LareTask
    from train.weights import fetch_backbone

__all__ = [
    "INCLUDED_MODEL",
    "LUMA",
    "MAX_PHOTOGRAPHS",
    "TITLES",
    "Calibration",
    "Detector",
    "DetectorFile",
    "DiffusionModelName",
    "ErrorGuidedChannelRefinement",
    "ErrorGuidedSpatialRefinement",
    "ImageChanges",
    "LareClassifier",
    "LareDataModule",
    "LareTask",
    "Photographs",
    "ProbeFile",
    "Reading",
    "TrainingFacts",
    "View",
    "choose_by_hash",
    "compare_readings",
    "compute_readings",
    "convert_state_dict",
    "copy_model",
    "evaluate",
    "export_checkpoint",
    "fetch_backbone",
    "fit_calibration",
    "generated_score",
    "gradient_energy",
    "load_reading",
    "make_view",
    "mean_lare",
    "prediction_table",
    "versions",
    "write_card",
]

_MODULE_OF = {
    "INCLUDED_MODEL": "detector_file",
    "LUMA": "scoring.readings",
    "MAX_PHOTOGRAPHS": "scoring.false_alarms",
    "TITLES": "scoring.titles",
    "Calibration": "scoring.calibration",
    "Detector": "detector",
    "DetectorFile": "detector_file",
    "DiffusionModelName": "detector_file",
    "ErrorGuidedChannelRefinement": "egre",
    "ErrorGuidedSpatialRefinement": "egre",
    "ImageChanges": "data.augment",
    "LareClassifier": "model",
    "LareDataModule": "data.datamodule",
    "LareTask": "task",
    "Photographs": "scoring.false_alarms",
    "ProbeFile": "detector_file",
    "Reading": "scoring.scores",
    "TrainingFacts": "facts",
    "View": "data.views",
    "choose_by_hash": "scoring.false_alarms",
    "compare_readings": "scoring.evaluate",
    "compute_readings": "commands.readings",
    "convert_state_dict": "official",
    "copy_model": "export",
    "evaluate": "scoring.evaluate",
    "export_checkpoint": "export",
    "fetch_backbone": "weights",
    "fit_calibration": "scoring.calibration",
    "generated_score": "scoring.prediction_file",
    "gradient_energy": "scoring.readings",
    "load_reading": "scoring.scores",
    "make_view": "data.native_views",
    "mean_lare": "scoring.readings",
    "prediction_table": "scoring.prediction_file",
    "versions": "detector_file",
    "write_card": "card",
}
"""Public name → the module below this package that it comes from; the imports above say it to type checkers."""


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
