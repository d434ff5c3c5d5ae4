"""A checkpoint as a folder that anyone can load: weights without pickle, and all that belongs to them as JSON."""

import logging
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
import yaml

from cache_schema import new_folder, read_json
from train.card import write_card
from train.describing import describe_detector
from train.detector import CONFIG_NAME, Detector
from train.detector_file import INCLUDED_MODEL, DetectorFile, hash_file
from train.model import WEIGHTS_NAME
from train.scoring.calibration import describe_fits

logger = logging.getLogger(__name__)

_MAX_CONFIG_BYTES = 2**20
_MODEL_FILES = (".json", ".txt", ".safetensors")
"""What a diffusers folder needs; pickles and images stay behind."""
_VOCABULARY = "spiece.model"
"""Of a T5 tokenizer without tokenizer.json."""


def export_checkpoint(
    ckpt: str,
    out: str,
    data: str | None = None,
    cache: str | list[str] | None = None,
    include_model: str | None = None,
    results: str | None = None,
    reading: str = "detector",
    device: Literal["auto", "cpu", "cuda"] = "auto",
) -> None:
    """Write a checkpoint's detector as a folder that `lare detect` takes, whole or not at all.

    Args:
        ckpt: Checkpoint of `python -m train fit`.
        out: Folder to make: model.safetensors, config.json, detector.json, README.md.
        data: Dataset folder of its training (default: the one in the run's config.yaml). Its validation photographs
            are scored, its training images measured.
        cache: Cache folders of its training (default: those in the run's config.yaml).
        include_model: Diffusers folder of the maps' model, copied into the detector's; for small models.
        results: results.json of its test (default: the one in the run's folder, if it is of this checkpoint).
        reading: Name of the detector in results.json.
        device: Where the validation photographs are scored; auto uses a GPU if there is one.

    Raises:
        FileExistsError: If the folder is there already.
        ValueError: If the file is no such checkpoint, data and cache are not those of its training, results are of
            another checkpoint, or there is no GPU.
        CacheError: If data or cache cannot be read.
    """
    folder = Path(out)
    if folder.exists():
        raise FileExistsError(f"{folder} is there already: choose another --out")
    used = _find_device(device)
    detector = Detector.from_checkpoint(ckpt)
    if not detector.is_calibrated:
        logger.warning(
            "%s: nothing was calibrated, as its fit had no validation. Verdicts have no probability, and none is real. "
            "Export a checkpoint of a fit with validation samples.",
            ckpt,
        )
    run = Path(ckpt).absolute().parent.parent
    data, caches = _find_features(run, data, [cache] if isinstance(cache, str) else cache)
    description = None
    if data is None:
        logger.warning(
            "%s: without the dataset of its training there is no detector.json, and lare detect refuses the folder. "
            "Name --data and --cache.",
            folder,
        )
    else:
        known = _find_results(results, run, ckpt, reading)
        description = describe_detector(
            detector,
            data,
            caches,
            device=used,
            results=known,
            reading=reading,
        )
        if include_model:
            _check_one_model(include_model, description)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with new_folder(folder) as temporary:
        _write(temporary, detector, description, include_model)
    for line in describe_fits([description.calibration]) if description and description.calibration else []:
        logger.info("%s", line)
    logger.info("detector in %s", folder)


def _check_one_model(include_model: str, description: DetectorFile) -> None:
    """Check that the maps are of one model, as a detector's folder holds no more.

    Raises:
        ValueError: If they are of several.
    """
    parts = ("unet_sha256", "transformer_sha256", "vae_sha256")
    models = {tuple(probe.fields.get(part) for part in parts) for probe in description.probes}
    if len(models) > 1:
        raise ValueError(
            f"include_model is {include_model}: the maps are of {len(models)} diffusion models, a folder holds one. "
            "Leave it out; lare detect takes all by --model, with commas between"
        )


def _write(folder: Path, detector: Detector, description: DetectorFile | None, include_model: str | None) -> None:
    detector.model.cpu().save_pretrained(folder)
    card = folder / "README.md"
    if description is None:
        card.write_text(_BARE_CARD, encoding="utf-8")
    else:
        if include_model:
            copy_model(Path(include_model), folder / INCLUDED_MODEL)
        files = {name: hash_file(folder / name) for name in (CONFIG_NAME, WEIGHTS_NAME)}
        description = replace(description, files=files)
        description.write(folder)
        card.write_text(write_card(description, has_model=bool(include_model)), encoding="utf-8")
    with suppress(PermissionError):  # file systems without permissions, which have nothing to mend
        # safetensors lets only the owner read
        (folder / WEIGHTS_NAME).chmod(card.stat().st_mode)


def copy_model(source: Path, target: Path) -> None:
    """Copy what a diffusers folder needs to be loaded.

    Raises:
        ValueError: If the source is no diffusers folder, or a link in it leads out of it: a private file of this
            machine would be handed on with the detector.
    """
    if not (source / "model_index.json").is_file():
        raise ValueError(f"include_model is {source}, which holds no model_index.json: expected a diffusers folder")
    inside = source.resolve()
    # A snapshot of the hub is made of links to the files beside it.
    roots = (inside, inside.parents[1] / "blobs") if inside.parent.name == "snapshots" else (inside,)
    for path in sorted(source.rglob("*")):
        if path.is_file() and (path.suffix in _MODEL_FILES or path.name == _VOCABULARY):
            if not any(path.resolve().is_relative_to(root) for root in roots):
                raise ValueError(f"{path} is a link that leads out of {source}: remove it, or put the file there")
            place = target / path.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, place)


_BARE_CARD = """\
# Detector of diffusion-generated images

A `LareClassifier`: weights in `model.safetensors`, settings in `config.json`. `train.Detector.load` reads it.
It has no `detector.json`, so that `lare detect` refuses it: nothing is known about its false alarms.
"""


def _find_features(
    run: Path, data: str | None, caches: Sequence[str] | None
) -> tuple[str, list[str]] | tuple[None, list[str]]:
    """Dataset and caches of a training: as named, or by its config.yaml."""
    config = run / "config.yaml"
    named = _read_names(config) if config.is_file() and (data is None or caches is None) else (None, [])
    data, found = data or named[0], list(caches or named[1])
    if data is not None and not found:
        raise ValueError(f"the caches of the training are unknown: {config} names none. Name --cache.")
    return (None, []) if data is None else (data, found)


def _read_names(config: Path) -> tuple[str | None, list[str]]:
    """Dataset and caches in a run's config.yaml, as texts: nothing that it names is built."""
    try:
        if config.stat().st_size > _MAX_CONFIG_BYTES:
            raise ValueError(f"it has more than {_MAX_CONFIG_BYTES} bytes")
        settings = yaml.safe_load(config.read_text(encoding="utf-8"))["data"]
        data, caches = settings.get("data"), settings.get("cache") or []
        caches = [caches] if isinstance(caches, str) else caches
        if not all(isinstance(name, str) for name in (data or "", *caches)):
            raise TypeError("a folder is no text")
    except (yaml.YAMLError, LookupError, TypeError, AttributeError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{config} does not name dataset and caches ({reason}): name --data and --cache") from error
    return data, caches


def _find_results(named: str | None, run: Path, ckpt: str, reading: str) -> Path | None:
    """Results of a checkpoint: as named, or in its run's folder; raises ValueError if a named file is of another."""
    path = Path(named) if named else run / "results.json"
    if not named and not path.is_file():
        return None
    settings = read_json(path).get("settings")
    recorded = settings.get("checkpoints_sha256") if isinstance(settings, dict) else None
    hashes = recorded.get(reading) if isinstance(recorded, dict) else None
    if not isinstance(hashes, list) or None in hashes or hash_file(Path(ckpt)) in hashes:  # older ones do not say
        return path
    if named:
        raise ValueError(f"{path} is of another checkpoint than {ckpt}: score this one with make eval")
    logger.warning("%s is of another checkpoint, and left out. Score this one with make eval, and export again.", path)
    return None


def _find_device(name: str) -> torch.device:
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("device is cuda, but torch finds no GPU: pass --device cpu")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")
