"""Stage 2: a detector trained from image tars and a LaRE cache. No UNet, no diffusers, nothing of stage 1.

The public names are loaded when they are first used (PEP 562): `import train` loads no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from train.commands.readings import compute_readings
    from train.data.augment import ImageChanges
    from train.data.datamodule import LareDataModule
    from train.detector import Detector
    from train.egre import ErrorGuidedChannelRefinement, ErrorGuidedSpatialRefinement
    from train.export import export_checkpoint
    from train.model import LareClassifier
    from train.official import convert_state_dict
    from train.scoring.calibration import Calibration, fit_calibration
    from train.scoring.evaluate import compare_readings, evaluate
    from train.scoring.prediction_file import prediction_table
    from train.scoring.readings import gradient_energy, mean_lare
    from train.scoring.scores import Reading, load_reading
    from train.scoring.titles import TITLES
    from train.task import LareTask

__all__ = [
    "TITLES",
    "Calibration",
    "Detector",
    "ErrorGuidedChannelRefinement",
    "ErrorGuidedSpatialRefinement",
    "ImageChanges",
    "LareClassifier",
    "LareDataModule",
    "LareTask",
    "Reading",
    "compare_readings",
    "compute_readings",
    "convert_state_dict",
    "evaluate",
    "export_checkpoint",
    "fit_calibration",
    "gradient_energy",
    "load_reading",
    "mean_lare",
    "prediction_table",
]

_MODULE_OF = {
    "TITLES": "scoring.titles",
    "Calibration": "scoring.calibration",
    "Detector": "detector",
    "ErrorGuidedChannelRefinement": "egre",
    "ErrorGuidedSpatialRefinement": "egre",
    "ImageChanges": "data.augment",
    "LareClassifier": "model",
    "LareDataModule": "data.datamodule",
    "LareTask": "task",
    "Reading": "scoring.scores",
    "compare_readings": "scoring.evaluate",
    "compute_readings": "commands.readings",
    "convert_state_dict": "official",
    "evaluate": "scoring.evaluate",
    "export_checkpoint": "export",
    "fit_calibration": "scoring.calibration",
    "gradient_energy": "scoring.readings",
    "load_reading": "scoring.scores",
    "mean_lare": "scoring.readings",
    "prediction_table": "scoring.prediction_file",
}
"""Public name → the module below this package that it comes from; the imports above say it to type checkers."""


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
