"""A detector with all that belongs to its weights: view, calibration, and the features that it was trained on."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from cache_schema import read_json
from train.checkpoint import load_checkpoint
from train.data.datamodule import LareDataModule
from train.hyperparameters import read_record, read_settings, read_view
from train.model import WEIGHTS_NAME, LareClassifier
from train.record import TRAINED_ON, check_same_features, describe_code, describe_features
from train.scoring.calibration import Calibration

CONFIG_NAME = "config.json"
MAX_CONFIG_BYTES = 16 * 2**20


@dataclass(frozen=True)
class Detector:
    """A trained classifier that knows how images and maps are cut for it, and what its scores mean.

    Attributes:
        model: In evaluation mode, on the CPU as loaded, with its `record`.
    """

    model: LareClassifier

    @classmethod
    def load(cls, path: str | Path) -> "Detector":
        """Load a checkpoint of `python -m train fit`, or a folder of `python -m train export`.

        Raises:
            ValueError: If the path holds neither.
        """
        return cls.from_folder(path) if Path(path).is_dir() else cls.from_checkpoint(path)

    @classmethod
    def from_folder(cls, folder: str | Path) -> "Detector":
        """Load a folder of `python -m train export`.

        Raises:
            ValueError: If config.json or model.safetensors is missing, or they do not belong together.
        """
        _check_folder(Path(folder))
        model = LareClassifier.from_pretrained(Path(folder))
        assert isinstance(model, LareClassifier)
        return cls(model)

    @classmethod
    def from_checkpoint(cls, path: str | Path) -> "Detector":
        """Load a checkpoint of `python -m train fit`. Nothing but tensors and plain values is unpickled.

        Raises:
            ValueError: If the file is no such checkpoint.
        """
        settings, weights, record = _read_checkpoint(path)
        model = LareClassifier(**settings, pretrained=False, record=record)
        try:
            model.load_state_dict({name.removeprefix("model."): value for name, value in weights.items()})
        except RuntimeError as error:
            reason = " ".join(str(error).split())
            raise ValueError(f"{path}: its weights do not fit its settings: {reason}") from error
        return cls(model.eval())

    @property
    def calibration(self) -> Calibration:
        """Threshold, temperature and unsure bands, fitted on validation for these weights.

        Raises:
            ValueError: If the weights have none.
        """
        if not self.is_calibrated:
            raise ValueError(
                "nothing was calibrated for these weights: their fit had no validation, which the threshold is chosen "
                "on. Train with validation samples."
            )
        return Calibration.from_dict(self._entry("calibration", "how they were calibrated"))

    @property
    def is_calibrated(self) -> bool:
        """Whether anything was fitted on validation; raises ValueError if the weights do not say."""
        return Calibration.from_dict(self._entry("calibration", "how they were calibrated")).is_fitted

    @property
    def trained_on(self) -> dict[str, Any]:
        """What `train.record.describe_training` kept: dataset_id, caches, view and code.

        Raises:
            ValueError: If the weights do not say.
        """
        return self._entry(TRAINED_ON, "what they were trained on")

    @cached_property
    def view(self) -> dict[str, Any]:
        """`view`, `alignment` and `crop_px` of training, as `LareDataModule` takes them, where set.

        Raises:
            ValueError: If the weights do not say what they were trained on, or say what no datamodule takes.
        """
        view = read_view(self.trained_on)
        view.setdefault("crop_px", self.model.image_size)  # older checkpoints
        return view

    def open_data(self, data: str | Path, cache: Sequence[str | Path], split: str) -> LareDataModule:
        """Open a split of a dataset with the view that the detector was trained with.

        Args:
            data: Folder with dataset.json.
            cache: Cache folders, in the order of training.
            split: `train`, `validation` or `test`.

        Raises:
            FingerprintMismatch: If the maps were made by other settings than in training.
            ValueError: If the weights do not say what they were trained on.
        """
        settings: dict[str, Any] = {"num_workers": 0, "predict_split": split, **self.view}
        module = LareDataModule(str(data), [str(folder) for folder in cache], **settings)
        check_same_features(self.trained_on, describe_features(module))
        return module

    def _entry(self, name: str, what: str) -> dict[str, Any]:
        entry: dict[str, Any] | None = (self.model.record or {}).get(name)
        if not entry:
            raise ValueError(f"the weights do not say {what}: use a checkpoint of python -m train fit")
        return entry


def _check_folder(folder: Path) -> None:
    """Refuse what would be read for ever, or as more than settings; raises ValueError."""
    for name in (CONFIG_NAME, WEIGHTS_NAME):
        path = folder / name
        if path.exists() and not path.is_file():
            raise ValueError(f"{path} is no file: export the detector again")
    config = folder / CONFIG_NAME
    if not config.exists():
        return
    if config.stat().st_size > MAX_CONFIG_BYTES:
        raise ValueError(f"{config} has {config.stat().st_size} bytes: expected at most {MAX_CONFIG_BYTES}")
    read_json(config)


def _read_checkpoint(path: str | Path) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Settings, weights and record of a checkpoint; raises ValueError as `Detector.from_checkpoint` does."""
    try:
        checkpoint = load_checkpoint(path)
    except FileNotFoundError as error:
        raise ValueError(str(error)) from error
    try:
        found, weights = checkpoint["hyper_parameters"], dict(checkpoint["state_dict"])
        calibration = Calibration.from_tensor(weights.pop("_extra_state"))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{path} is no checkpoint of python -m train fit: it has no {error}") from error
    try:
        settings, trained_on = read_settings(found, LareClassifier), read_record(checkpoint.get(TRAINED_ON))
        if not all(isinstance(name, str) for name in weights):
            raise ValueError("its weights have no names")
    except ValueError as error:
        raise ValueError(f"{path} is no checkpoint of python -m train fit: {error}") from error
    record = {
        "calibration": calibration.to_dict(),
        TRAINED_ON: trained_on,
        "exported_by": describe_code(),
    }
    return settings, weights, record
