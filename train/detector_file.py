"""`detector.json`: all that a detector folder says besides its network, written once and checked at every use."""

import hashlib
import importlib.metadata
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from cache_schema import Fingerprint, FormatVersionError, NotPlain, load_json, write_json
from train.facts import TrainingFacts
from train.scoring.calibration import Calibration
from train.scoring.false_alarms import Photographs

DETECTOR_VERSION = 1
NAME = "detector.json"
INCLUDED_MODEL = "diffusion_model"
"""Folder inside a detector's where its diffusion model may lie."""
MAX_BYTES = 16 * 2**20
MAX_NAME = 80
"""Characters of a file's name; file systems take 255 bytes."""
Method = Literal["classifier", "mean_lare"]
COVERAGE = 0.9
"""Share of the validation samples outside of the unsure band."""
_PACKAGES = ("torch", "torchvision", "timm", "diffusers", "transformers", "numpy", "pillow", "zarr")


@dataclass(frozen=True)
class DiffusionModelName:
    """Where the diffusion model of some maps can be had. A folder of the machine that made them is not named."""

    hub_id: str | None = None
    revision: str | None = None
    vae: str | None = None
    vae_revision: str | None = None


@dataclass(frozen=True)
class ProbeFile:
    """The identity of one cache that a detector was trained on, and of the model that made its maps."""

    fingerprint: str
    fields: Mapping[str, int | str]
    model: DiffusionModelName


@dataclass(frozen=True)
class DetectorFile:
    """Content of detector.json.

    Attributes:
        method: "classifier": a network, in the files beside it; "mean_lare": minus the mean of the map, no network.
        probes: Whose maps it reads, stacked in this order.
        photographs: Scores of the validation photographs.
        facts: What the training images are like.
        view: How image and map are cut for the network; None without one.
        calibration: Threshold, temperature and bands; None where nothing was fitted: a detector that has seen no
            generated image, or weights that were never validated.
        detail: Regression of mean LaRE on local detail, as `detect` fits it; None where it is not used.
        dataset_id: Of the dataset it was trained on; None where photographs lay in a folder.
        sources: Generated sources of its training.
        test: Metrics of the test split, as results.json has them; empty where nothing was measured.
        versions: Package → version that made it.
        files: File beside it → SHA-256.
    """

    method: Method
    probes: tuple[ProbeFile, ...]
    photographs: Photographs
    facts: TrainingFacts
    view: Mapping[str, Any] | None = None
    calibration: Calibration | None = None
    detail: Mapping[str, Any] | None = None
    dataset_id: str | None = None
    sources: tuple[str, ...] = ()
    test: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def band(self) -> tuple[float, float] | None:
        """Ends of the unsure scores; None without a calibration."""
        if self.calibration is None:
            return None
        return self.calibration.band(COVERAGE) or (self.calibration.threshold, self.calibration.threshold)

    @property
    def identity(self) -> str:
        """SHA-256 of the content, 64 hexadecimal digits."""
        return _hash(self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "format_version": DETECTOR_VERSION,
            "method": self.method,
            "caches": [
                {"fingerprint": p.fingerprint, "fields": dict(p.fields), "model": vars(p.model)} for p in self.probes
            ],
            "view": None if self.view is None else dict(self.view),
            "calibration": None if self.calibration is None else self.calibration.to_dict(),
            "coverage": COVERAGE,
            "detail": None if self.detail is None else dict(self.detail),
            "validation_photographs": self.photographs.to_dict(),
            "training_facts": self.facts.to_dict(),
            "dataset_id": self.dataset_id,
            "sources": list(self.sources),
            "test": dict(self.test),
            "versions": dict(self.versions),
            "files": dict(self.files),
        }

    def write(self, folder: Path) -> None:
        """Write it into a folder, with a hash over itself."""
        content = json.loads(json.dumps(self.to_dict()))
        write_json(folder / NAME, content | {"sha256": _hash(content)})

    @classmethod
    def read(cls, folder: Path) -> "DetectorFile":
        """Read and check a detector folder's description, and the hashes of the files that it names.

        Raises:
            ValueError: If it is missing, damaged, or a file beside it is missing or has other bytes.
            FormatVersionError: If another version of the format wrote it.
        """
        path = folder / NAME
        content = _read(path)
        if content.get("format_version") != DETECTOR_VERSION:
            raise FormatVersionError(
                f"{path} has format version {content.get('format_version')}, this code reads {DETECTOR_VERSION}. "
                "Export the detector again with this version, or use the version that wrote it."
            )
        stored = content.pop("sha256", None)
        try:
            computed = _hash(content)
        except RecursionError as error:
            raise ValueError(f"{path} is no description of a detector: it is nested too deeply") from error
        if stored != computed:
            raise ValueError(f"{path} is damaged: its content does not have the hash that it names. Copy it again.")
        try:
            found = cls._parse(content)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path} is no description of a detector: {error}") from error
        for name, sha256 in found.files.items():
            _check_file(folder, name, sha256)
        return found

    @classmethod
    def _parse(cls, content: dict[str, Any]) -> "DetectorFile":
        method = content["method"]
        if method not in ("classifier", "mean_lare"):
            raise ValueError(f"its method is {method!r}, expected classifier or mean_lare")
        probes = tuple(_parse_probe(entry) for entry in content["caches"])
        if not probes:
            raise ValueError("it names no cache")
        calibration = None if content["calibration"] is None else Calibration.from_dict(content["calibration"])
        return cls(
            method=method,
            probes=probes,
            photographs=Photographs.from_dict(content["validation_photographs"]),
            facts=TrainingFacts.from_dict(content["training_facts"]),
            view=None if content["view"] is None else dict(content["view"]),
            calibration=calibration if calibration and calibration.is_fitted else None,  # older exports wrote 0.5
            detail=None if content["detail"] is None else dict(content["detail"]),
            dataset_id=content["dataset_id"],
            sources=tuple(map(str, content["sources"])),
            test=dict(content["test"]),
            versions=dict(content["versions"]),
            files=dict(content["files"]),
        )


def versions() -> dict[str, str]:
    """Package → version, of what makes and reads detectors."""
    return {name: importlib.metadata.version(name) for name in _PACKAGES}


def hash_file(path: Path) -> str:
    """SHA-256 of a file's bytes, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _hash(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _read(path: Path) -> dict[str, Any]:
    try:
        content = load_json(path, MAX_BYTES)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ValueError(
            f"{path.parent} holds no {NAME}: it is no detector. Make one with lare export or lare calibrate."
        ) from error
    except (ValueError, NotPlain) as error:
        raise ValueError(f"{path} is damaged: it cannot be read as JSON ({error}). Copy it again.") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} is no description of a detector: expected an object")
    return content


def _check_file(folder: Path, name: str, sha256: str) -> None:
    """Raise ValueError unless a file of the folder is there with its bytes."""
    if not isinstance(name, str) or Path(name).name != name or len(name) > MAX_NAME:
        raise ValueError(f"{folder / NAME} names {str(name)[:100]!r}: expected a file of its own folder")
    path = folder / name
    if not path.is_file():
        raise ValueError(f"{path} is missing: {NAME} names it. Copy the whole folder again.")
    if hash_file(path) != sha256:
        raise ValueError(f"{path} is damaged: its bytes do not have the hash in {NAME}. Copy it again.")


def _parse_probe(entry: Mapping[str, Any]) -> ProbeFile:
    fields = {str(name): value for name, value in entry["fields"].items()}
    if not all(isinstance(value, int | str) for value in fields.values()):
        raise ValueError("a field of its fingerprint is neither a number nor a text")
    if Fingerprint(fields).hexdigest != entry["fingerprint"]:
        raise ValueError("its fingerprint is not that of its fields")
    known = {name: entry["model"].get(name) for name in ("hub_id", "revision", "vae", "vae_revision")}
    if not all(value is None or isinstance(value, str) for value in known.values()):
        raise ValueError("the name of its diffusion model is no text")
    return ProbeFile(entry["fingerprint"], fields, DiffusionModelName(**known))
