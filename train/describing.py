"""What an exported detector says of itself: its validation photographs, its training images, its model and metrics."""

import hashlib
import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from cache_schema import Cache, CacheError, IndexView, read_json
from train.data.datamodule import LareDataModule
from train.data.join import Join
from train.data.joined_tar import load_canvas
from train.data.loader import BatchReader
from train.data.samples import Samples, scan_samples, select_samples
from train.detector import Detector
from train.detector_file import DetectorFile, DiffusionModelName, ProbeFile, versions
from train.facts import MAX_IMAGES, TrainingFacts
from train.scoring.false_alarms import MAX_PHOTOGRAPHS, Photographs, choose_by_hash
from train.scoring.prediction_file import generated_score
from train.scoring.readings import gradient_energy, mean_lare

logger = logging.getLogger(__name__)

BATCH_SIZE = 64
_REVISION = re.compile(r"[0-9a-f]{40}")


def describe_detector(
    detector: Detector,
    data: str | Path,
    caches: Sequence[str | Path],
    *,
    device: torch.device,
    results: Path | None = None,
    reading: str = "detector",
) -> DetectorFile:
    """Score the validation photographs, and measure the training images.

    Args:
        detector: With its network on any device.
        data: Dataset folder of its training.
        caches: Cache folders of its training, in their order.
        device: Where the network runs meanwhile.
        results: results.json of its test; None: the description has no metrics.
        reading: Its name in there.

    Raises:
        CacheError: If dataset or caches are not those of the training, or cannot be read.
        ValueError: If the dataset is another one, there is no validation photograph, or results has no such reading.
    """
    module = detector.open_data(data, caches, "validation")
    trained_on = detector.trained_on
    if module.dataset_id != trained_on["dataset_id"]:
        raise ValueError(
            f"{data} is not the dataset of the training ({trained_on['dataset_id']} ≠ {module.dataset_id}): which of "
            "its images the detector has seen is unknown. Name that dataset with --data."
        )
    training = select_samples(module.join, "train", image_sources=trained_on.get("image_sources"))
    return DetectorFile(
        method="classifier",
        probes=tuple(_describe_probe(cache, module.join) for cache in module.join.caches),
        photographs=_score_photographs(detector, module, device),
        facts=measure_training(module.join, training),
        view={name: detector.view.get(name) for name in ("view", "alignment", "crop_px")},
        calibration=detector.calibration if detector.is_calibrated else None,
        dataset_id=module.dataset_id,
        sources=_sources(module.join, training),
        test=_read_metrics(results, reading) if results else {},
        versions=versions(),
    )


def _score_photographs(detector: Detector, module: LareDataModule, device: torch.device) -> Photographs:
    join, model = module.join, detector.model.to(device)
    validation = select_samples(join, "validation")
    photographs = np.flatnonzero(validation.labels == 0)
    if not len(photographs):
        raise ValueError(f"{module.data} has no usable validation photographs: nothing can be said about false alarms")
    index = IndexView(join.dataset, ["key", "group"]).take(validation.rows_of(photographs))
    chosen = choose_by_hash(index["key"].to_pylist(), MAX_PHOTOGRAPHS)
    groups = np.asarray(index["group"].to_pylist(), dtype=str)[chosen]
    view = module.make_view(validation)
    reader = BatchReader(join, validation, view, maps=model.needs_lare, images=model.needs_image)
    scores: list[float] = []
    with torch.inference_mode():
        for start in range(0, len(chosen), BATCH_SIZE):
            batch = reader[0, photographs[chosen[start : start + BATCH_SIZE]]]
            logits = model(*(batch[name].to(device) if name in batch else None for name in ("image", "lare")))
            scores += generated_score(logits.float()).tolist()
    reader.close()
    logger.info("%d validation photographs of %d groups scored", len(scores), len(set(groups.tolist())))
    return Photographs.of(scores, groups.tolist())


def measure_training(join: Join, samples: Samples) -> TrainingFacts:
    """Facts of a split's images: sides and formats of all, maps and pixels of some whole tars, chosen by hash."""
    counts = {name: Counter[Any]() for name in ("format", "short_side_px", "long_side_px", "jpeg_quality")}
    for table in scan_samples(join.dataset, samples, ["width", "height", "format", "jpeg_quality"]):
        width, height = table["width"], table["height"]
        for name, column in (
            ("format", table["format"].cast(pa.string())),
            ("short_side_px", pc.min_element_wise(width, height)),
            ("long_side_px", pc.max_element_wise(width, height)),
            ("jpeg_quality", table["jpeg_quality"]),
        ):
            found = pc.value_counts(column)
            counts[name].update(dict(zip(found.field(0).to_pylist(), found.field(1).to_pylist(), strict=True)))
    formats = counts.pop("format")
    measured: dict[str, list[float]] = {"mean_lare": [], "gradient_energy": []}
    tars = sorted(
        np.flatnonzero(samples.counts).tolist(),
        key=lambda n: hashlib.sha256(join.dataset.tars[n].name.encode()).digest(),
    )
    for n in tars:
        if len(measured["mean_lare"]) >= MAX_IMAGES:
            break
        tar, rows = join.load_tar(n, maps=True), samples.of_tar(n)
        assert tar.lare is not None
        measured["mean_lare"] += (-mean_lare(tar.lare[rows])).tolist()
        measured["gradient_energy"] += [-gradient_energy(load_canvas(tar, row, join.canvas_px)) for row in rows]
    return TrainingFacts.measure(formats, {**counts, **measured})


def _sources(join: Join, training: Samples) -> tuple[str, ...]:
    found: set[str] = set()
    for table in scan_samples(join.dataset, training, ["image_source", "label"]):
        found.update(table["image_source"].filter(pc.equal(table["label"], 1)).unique().to_pylist())
    return tuple(sorted(found))


def _describe_probe(cache: Cache, join: Join) -> ProbeFile:
    return ProbeFile(cache.fingerprint, dict(cache.fields), _find_model(cache, join))


def _find_model(cache: Cache, join: Join) -> DiffusionModelName:
    """Hub names by the provenance of a store. What has no commit hash was a folder, whose path helps nobody else."""
    names = cache.stores_of(join.dataset.tars)
    if not names:
        raise CacheError(f"{cache.folder} has no stores")
    settings: Mapping[str, Any] = cache.attributes(names[0]).get("provenance", {}).get("settings", {})
    found: dict[str, str] = {}
    for name, revision in (("model", "revision"), ("vae", "vae_revision")):
        if _REVISION.fullmatch(str(settings.get(revision))):
            found |= {"hub_id" if name == "model" else name: settings[name], revision: settings[revision]}
    return DiffusionModelName(**found)


def _read_metrics(results: Path, reading: str) -> dict[str, Any]:
    content = read_json(results)
    blocks = content.get("readings", {})
    if reading not in blocks:
        raise ValueError(f"{results} has no reading {reading!r}: it has {', '.join(sorted(blocks)) or 'none'}")
    return {"reading": reading, **{name: blocks[reading][name] for name in ("sources", "controls", "mean")}}
