"""The loop over one tar: its images, their maps, and the shards that hold them."""

import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from cache_schema import CanvasWriter, Dataset, DatasetError, ShardData, Status, base_names, file_size
from extract.config import ExtractConfig
from extract.models.base import DiffusionModel
from extract.models.prompts import PromptPolicy, prompts_sha256
from extract.run.canvases import DecodedRows
from extract.run.images import Batch, RowSettings
from extract.run.maps import MapMaker
from extract.run.methods import Method
from extract.run.tar_batches import TarBatches
from extract.variants import Variant

logger = logging.getLogger(__name__)

_LIBRARIES = ("torch", "diffusers", "transformers", "numpy", "pillow", "zarr")


class _Rows:
    """What becomes of a tar's rows under one variant, filled batch by batch."""

    def __init__(self, num_rows: int, map_shape: tuple[int, int, int]) -> None:
        self.lare = np.full((num_rows, *map_shape), np.nan, np.float32)
        self.status = np.full(num_rows, Status.MISSING, np.uint8)
        self.reasons: dict[str, str] = {}

    def fill(self, start: int, maps: NDArray[np.float32], status: NDArray[np.uint8], reasons: list[str]) -> None:
        part = slice(start, start + len(maps))
        self.lare[part], self.status[part] = maps, status
        self.reasons |= {str(start + i): reason for i, reason in enumerate(reasons) if reason}


class Extractor:
    """The loaded model with everything that the maps of a tar depend on.

    Args:
        config: The run's settings.
        dataset: The packed images.
        policy: Their texts.
        method: What their maps are.
        model: What makes them.
    """

    def __init__(
        self, config: ExtractConfig, dataset: Dataset, policy: PromptPolicy, method: Method, model: DiffusionModel
    ) -> None:
        self.config, self.dataset, self.policy, self.method, self.model = config, dataset, policy, method, model
        self.maps = MapMaker(config, method, model)

    def open(self, tars: Mapping[int, Sequence[Variant]], canvases: Collection[int] = ()) -> TarBatches:
        """A loader of tars, whose workers end with its context.

        Args:
            tars: Position of a tar → what is wanted of it, in the order in which they are extracted.
            canvases: Those of them whose canvases are wanted too.
        """
        config, shape = self.config, self.method.latent_shape
        settings = {
            n: RowSettings(
                config.image_size, shape, max(v.ensemble_size for v in variants), config.noise_seed, n in canvases
            )
            for n, variants in tars.items()
        }
        is_gpu = self.model.device.type == "cuda"
        return TarBatches(self.dataset, settings, config.batch_size, config.num_workers, pin_memory=is_gpu)

    def extract(
        self,
        n: int,
        variants: Sequence[Variant],
        batches: TarBatches,
        progress: Callable[[int], object],
        canvases: CanvasWriter | None = None,
    ) -> list[ShardData]:
        """The features of tar n, one shard a variant, in one pass over its images.

        Args:
            n: Position of the tar.
            variants: What is wanted of it; no more draws than its loader was opened for.
            batches: From `open`.
            progress: Called with the number of images that were finished.
            canvases: Takes the tar's canvases in the same pass; the loader was opened for them.

        Raises:
            DatasetError: If the tar is missing, cut short, or holds other images than the index says.
        """
        start = time.perf_counter()
        entry, table = self.dataset.tars[n], self.dataset.rows(n)
        prompts = self.policy.prompts(table)
        results = [_Rows(entry.num_rows, self.method.map_shape) for _ in variants]
        image_sha256 = np.zeros((entry.num_rows, 32), np.uint8)
        decoded = DecodedRows(entry.num_rows)
        reading = _TimedIterator(self._read(n, table, batches))

        def prompts_of(batch: Batch) -> list[str]:
            return prompts[batch.start : batch.start + len(batch.keys)]

        for batch, settled in self.maps.compute(reading, prompts_of, variants):
            for rows, values in zip(results, settled, strict=True):
                rows.fill(batch.start, *values)
            image_sha256[batch.start : batch.start + len(batch.keys)] = batch.image_sha256
            if canvases is not None:
                canvases.add(batch.canvases)
                decoded.fill(batch.start, batch.status, batch.reasons)
            progress(len(batch.keys))
        attributes: dict[str, Any] = {
            "tar": entry.name,
            "rows_sha256": entry.rows_sha256,
            "seconds": round(time.perf_counter() - start, 3),
            "seconds_reading": round(reading.seconds, 3),
            "provenance": self._provenance(),
        }
        if self.policy.is_per_sample:
            attributes["prompts_sha256"] = prompts_sha256(prompts)
        keys = table["key"].to_pylist()
        if canvases is not None:
            canvases.finish(keys, decoded.status, image_sha256, {**attributes, "reasons": decoded.reasons})
        return [ShardData(keys, r.lare, r.status, image_sha256, {**attributes, "reasons": r.reasons}) for r in results]

    def _read(self, n: int, rows: pa.Table, batches: TarBatches) -> Iterator[Batch]:
        """Batches of a tar, each compared with its index rows."""
        entry, path = self.dataset.tars[n], self.dataset.tar_path(n)
        advice = "Restore the tar, or pack the dataset again."
        if (num_bytes := file_size(path)) != entry.num_bytes:
            found = "is missing" if num_bytes is None else f"has {num_bytes} bytes"
            raise DatasetError(f"{path} {found}; dataset.json says {entry.num_bytes} bytes. {advice}")
        keys, hashes = rows["key"].to_pylist(), rows["sha256"].to_pylist()
        for batch in batches.of(n):
            found_rows = zip(batch.keys, batch.image_sha256, strict=True)
            for row, (key, sha256) in enumerate(found_rows, start=batch.start):
                if key != keys[row]:
                    here = f"found {key!r}" if key else "no image begins here"
                    raise DatasetError(f"{path}, row {row}: {here}, the index says {keys[row]!r}. {advice}")
                if bytes(sha256).hex() != hashes[row]:
                    raise DatasetError(
                        f"{path}, row {row} ({key}): the image's sha256 is {bytes(sha256).hex()}, the index says "
                        f"{hashes[row]}. {advice}"
                    )
            yield batch

    def _provenance(self) -> dict[str, Any]:
        """What made the maps without being part of their identity."""
        device = self.model.device
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
        versions = {library: version(library) for library in _LIBRARIES}
        settings = asdict(self.config) | {"revision": self.config.pinned_revision}
        return {
            "device": name,
            "versions": versions,
            "settings": base_names(settings, ("data", "cache", "canvas_folder")),
        }


class _TimedIterator(Iterator[Batch]):
    """Counts the seconds for which the loop waits for its next batch."""

    def __init__(self, batches: Iterator[Batch]) -> None:
        self._batches, self.seconds = batches, 0.0

    def __next__(self) -> Batch:
        start = time.perf_counter()
        try:
            return next(self._batches)
        finally:
            self.seconds += time.perf_counter() - start


def log_shard(shard: ShardData, seconds_writing: float) -> None:
    """One line on a tar: counts, rate, and where the time went. Writing overlaps with the next tar's work."""
    seconds, reading = shard.attributes["seconds"], shard.attributes["seconds_reading"]
    logger.info(
        "%s: %d images, %d rejected, %d after an fp32 retry, %.1f images/s "
        "(read %.0f %%, model %.0f %%, write %.0f %% meanwhile)",
        shard.attributes["tar"],
        len(shard.keys),
        shard.num_rejected,
        int((shard.status == Status.OK_AFTER_FP32).sum()),
        len(shard.keys) / seconds,
        100 * reading / seconds,
        100 * (seconds - reading) / seconds,
        100 * seconds_writing / seconds,
    )
