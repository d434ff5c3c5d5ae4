"""One step along the sign of the loss's gradient on the pixels that a detector sees (FGSM, Goodfellow et al. 2015).

The attacker knows the detector and changes the image, real and generated alike, towards the other class. The map is
left as it is at first: that is an attacker who does not think of it. A map that is made after the attack is another
one, so that stage 1 then makes the maps of attacked images again.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
import torch.nn.functional as F
from torch import Tensor

from cache_schema import Dataset, Sample, new_opened, open_cache, write_dataset
from experiments.degradation.attack_telling import AGAIN, BEFORE, CALLS, TITLES
from experiments.study.image_sets import MAX_ROWS, divide, read_samples, with_pixels
from experiments.study.over_sources import Means, compute_means, match_samples
from experiments.study.stage_1 import make_cache_like
from experiments.study.study import Study
from train.data.join import Join
from train.data.loader import Batch, BatchReader
from train.data.samples import Samples, select_samples
from train.data.views import CanvasView
from train.detector import Detector
from train.model import LareClassifier
from train.scoring.prediction_file import COLUMNS, prediction_table
from train.scoring.scores import Reading, load_reading
from workflow.code_hash import hash_code
from workflow.steps import hash_files

EPSILONS = (1, 2, 4, 8)
"""Steps, of 255."""
VICTIMS = ("image_only", "full")
BATCH_SIZE = 64
Attacks = Mapping[str, Mapping[int, Mapping[str, Means]]]
"""Reading, with `AGAIN` after it where the maps are made again → step, 0 for none → metric → mean over the sources."""


def fgsm(
    model: LareClassifier, image: Tensor, lare: Tensor, label: Tensor, epsilons: Sequence[int]
) -> dict[int, Tensor]:
    """Move every pixel by a step that raises the loss, as far as 0 … 255 allows.

    Args:
        model: The detector, in evaluation mode.
        image: (batch, 3, S, S), uint8.
        lare: Maps that go with it, (batch, channels, h, w), float32.
        label: 0 real, 1 generated, (batch,).
        epsilons: Sizes of the step.

    Returns:
        Size → attacked images, as `image`.
    """
    pixels = (image.float() / 255).requires_grad_()
    loss = F.cross_entropy(model(pixels, lare), label, reduction="sum")
    (gradient,) = torch.autograd.grad(loss, pixels)
    direction = gradient.sign().int()
    return {size: (image.int() + size * direction).clamp(0, 255).to(torch.uint8) for size in epsilons}


@dataclass(frozen=True)
class Victim:
    """A trained detector before the images that it is attacked with."""

    detector: Detector
    join: Join
    samples: Samples
    view: CanvasView

    @classmethod
    def load(cls, checkpoint: Path, data: Path, cache: Path, folder: str) -> "Victim":
        """Load a detector, and choose the labelled test images whose keys begin with "<folder>/".

        Raises:
            ValueError: If it was trained on another view than `canvas`, whose pixels are not those that stage 1 sees.
        """
        detector, join = Detector.load(checkpoint), Join.open(data, [cache])
        seen = detector.view
        if seen["view"] != "canvas":
            raise ValueError(f"{checkpoint} was trained on view {seen['view']}: the attack needs view canvas")
        samples = select_samples(join, "test")
        in_folder = pc.starts_with(join.dataset.table(["key"])["key"], f"{folder}/").to_numpy()
        samples = replace(samples, chosen=samples.chosen & np.packbits(in_folder))
        view = CanvasView(join.canvas_px, join.load_map_shape()[1], seen["crop_px"])
        detector.model.to("cuda" if torch.cuda.is_available() else "cpu")
        return cls(detector, join, samples, view)

    def attack(self) -> Iterator[tuple[np.ndarray, Batch, dict[int, Tensor]]]:
        """Batches in the samples' order: positions, the batch on the model's device, step → attacked images."""
        reader, device = BatchReader(self.join, self.samples, self.view), next(self.detector.model.parameters()).device
        for start in range(0, len(self.samples), BATCH_SIZE):
            positions = np.arange(start, min(start + BATCH_SIZE, len(self.samples)))
            batch = {name: values.to(device) for name, values in reader[0, positions].items()}
            yield positions, batch, fgsm(self.detector.model, batch["image"], batch["lare"], batch["label"], EPSILONS)

    @torch.no_grad()
    def predict(self, image: Tensor, lare: Tensor) -> Tensor:
        """Logits (batch, 2), float32, on the CPU."""
        logits: Tensor = self.detector.model(image, lare).float().cpu()
        return logits

    def write_predictions(self, folder: Path) -> None:
        """Write `<step>.parquet` with the predictions of each step, the maps being those of the images before it."""
        rows: list[Tensor] = []
        logits: dict[int, list[Tensor]] = {size: [] for size in EPSILONS}
        for _, batch, attacked in self.attack():
            rows.append(batch["row"].cpu())
            for size, images in attacked.items():
                logits[size].append(self.predict(images, batch["lare"]))
        index = self.join.dataset.table(COLUMNS)
        folder.mkdir(parents=True)
        for size, parts in logits.items():
            table = prediction_table(index, torch.cat(rows), torch.cat(parts), self.detector.calibration)
            with new_opened(folder / f"{size}.parquet") as file:
                pq.write_table(table, file)

    def write_images(self, folder: Path) -> Dataset:
        """Write the attacked images as a dataset: canvases as PNG, attacked where the detector sees them.

        Keys begin with the step in place of the folder.
        """
        keys = self.join.dataset.table(["key"])["key"].take(self.samples.rows).to_pylist()
        return write_dataset(folder, self._attacked_samples(keys), {"attack": "fgsm"}, max_rows=MAX_ROWS)

    def _attacked_samples(self, keys: Sequence[str]) -> Iterator[Sample]:
        whole = BatchReader(self.join, self.samples, replace(self.view, crop_px=self.view.canvas_px), maps=False)
        samples = read_samples(self.join.dataset, set(keys))
        start = self.view.centre().top * self.view.stride
        box = slice(start, start + self.view.crop_px)
        for positions, _, attacked in self.attack():
            canvases = whole[0, positions]["image"]
            for i, position in enumerate(positions):
                sample = next(samples)
                assert sample.key == keys[position]  # both go by the index
                for size, images in attacked.items():
                    pixels = canvases[i].clone()
                    pixels[:, box, box] = images[i].cpu()
                    key = f"{size}/{sample.key.partition('/')[2]}"
                    yield with_pixels(sample, key, pixels.permute(1, 2, 0).contiguous().numpy())


def attack(
    study: Study,
    data: Path,
    cache: Path,
    runs: Mapping[str, Sequence[Path]],
    readings: Mapping[str, Reading],
    folder: str,
) -> Attacks:
    """Attack each detector of `VICTIMS` with its own gradient, and make the maps of the full one's images again.

    Args:
        study: The study.
        data: Dataset with the images.
        cache: Its maps.
        runs: Detector → its runs.
        readings: Scores of that dataset, of each detector and of mean LaRE.
        folder: What the keys of the images begin with.
    """
    before = {name: divide(reading, [folder])[folder] for name, reading in readings.items()}
    attacked = {name: _attack_pixels(study, data, cache, runs[name], folder) for name in VICTIMS}
    attacks = {name: _score(attacked[name], before[name]) for name in VICTIMS}
    first = {size: _first_seed(reading) for size, reading in attacked["full"].items()}
    attacks["full" + BEFORE] = _score(first, _first_seed(before["full"]))
    images, maps = _make_maps_again(study, data, cache, runs["full"][0], folder)
    place = {"name": "attacked", "data": images}
    scored = {name: study.predict(runs[name][:1], maps, **place) for name in ("full", "map_only")}
    threshold_from = study.cache(study.default_cache), study.config.data
    scored["mean_lare"] = study.readings(maps, images, threshold_from=threshold_from)["mean_lare"]
    for name, reading in scored.items():
        parts = divide(reading, [str(size) for size in EPSILONS])
        attacks[name + AGAIN] = _score({int(size): part for size, part in parts.items()}, _first_seed(before[name]))
    return attacks


def _attack_pixels(study: Study, data: Path, cache: Path, runs: Sequence[Path], folder: str) -> dict[int, Reading]:
    """Step → scores of the attacked images with the maps of those before the attack, a seed a run."""
    index, places = Dataset.open(data).table([*COLUMNS]), []
    for run in runs:
        checkpoint = run / "checkpoints" / "best.ckpt"
        places.append(run / "predictions" / "attack")
        work = lambda c=checkpoint, p=places[-1]: Victim.load(c, data, cache, folder).write_predictions(p)  # noqa: E731
        name = f"attack-{run.parent.name}-{run.name}"
        study.steps.run(name, [places[-1]], _decides(data, cache, checkpoint), work)
    readings = {size: load_reading(index, [place / f"{size}.parquet" for place in places]) for size in EPSILONS}
    return {size: divide(reading, [folder])[folder] for size, reading in readings.items()}


def _make_maps_again(study: Study, data: Path, cache: Path, run: Path, folder: str) -> tuple[Path, Path]:
    """The images attacked through one detector, and their cache."""
    images, checkpoint = study.config.out / "data" / "attacked", run / "checkpoints" / "best.ckpt"
    work = lambda: Victim.load(checkpoint, data, cache, folder).write_images(images)  # noqa: E731
    study.steps.run("attacked-images", [images], _decides(data, cache, checkpoint), work)
    return images, make_cache_like(study, "attacked", cache, images)


def _decides(data: Path, cache: Path, checkpoint: Path) -> list[str]:
    return [Dataset.open(data).dataset_id, open_cache(cache).fingerprint, hash_files(checkpoint), hash_code(__name__)]


def _score(attacked: Mapping[int, Reading], before: Reading) -> dict[int, dict[str, Means]]:
    """Step → metric → mean over the sources; all of the same images."""
    keys = attacked[EPSILONS[0]].table["key"].to_pylist()
    return {size: compute_means(match_samples(r, keys)) for size, r in {0: before, **attacked}.items()}


def _first_seed(reading: Reading) -> Reading:
    return replace(reading, scores=reading.scores[:1], calibrations=reading.calibrations[:1])


def numbers(attacks: Attacks) -> dict[str, Any]:
    """The scores as plain values, and what new maps change of the first seed's calls at the largest step."""
    again, before = (attacks["full" + which][EPSILONS[-1]][CALLS] for which in (AGAIN, BEFORE))
    change = (again - before).describe()
    described = {
        TITLES[name]: {
            str(size): {metric: value.describe() for metric, value in each.items()} for size, each in values.items()
        }
        for name, values in attacks.items()
    }
    return {"attacks": described, "new_maps": {CALLS: change}}
