"""The loop over one tar: images → latents → the method's error → maps."""

import tarfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from cache_schema import Dataset, DatasetError, ShardData, Status, fits_stored, is_ok, non_finite_reason
from extract.config import ExtractConfig, Variant
from extract.models.base import DiffusionModel
from extract.models.prompts import PromptPolicy, prompts_sha256
from extract.run.images import Batch, RowSettings, load_batches
from extract.run.methods import Inputs, Method
from extract.run.transfer import Transfer

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


class _Started(NamedTuple):
    """A batch whose maps are being computed."""

    batch: Batch
    prompts: list[str]
    maps: Tensor
    """(variant, batch, c, h, w), on the host once `wait` has returned."""
    wait: Callable[[], object]

    def finish(self) -> tuple[Batch, list[str], NDArray[np.float32]]:
        self.wait()
        return self.batch, self.prompts, self.maps[:, : len(self.batch.keys)].numpy()


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
        self.transfer = Transfer(model.device)

    def extract(self, n: int, variants: Sequence[Variant], progress: Callable[[int], object]) -> list[ShardData]:
        """The features of tar n, one shard a variant, in one pass over its images.

        Args:
            n: Position of the tar.
            variants: What is wanted of it.
            progress: Called with the number of images that were finished.

        Raises:
            DatasetError: If the tar is missing, cut short, or holds other images than the index says.
        """
        start = time.perf_counter()
        entry, table = self.dataset.tars[n], self.dataset.rows(n)
        prompts = self.policy.prompts(table)
        results = [_Rows(entry.num_rows, self.method.map_shape) for _ in variants]
        image_sha256 = np.zeros((entry.num_rows, 32), np.uint8)
        reading = _TimedIterator(self._read(n, table, num_draws=max(v.ensemble_size for v in variants)))
        for batch, batch_prompts, maps in self._compute(reading, prompts, variants):
            settled = self._settle(batch, batch_prompts, maps, variants)
            for rows, values in zip(results, settled, strict=True):
                rows.fill(batch.start, *values)
            image_sha256[batch.start : batch.start + len(batch.keys)] = batch.image_sha256
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
        return [ShardData(keys, r.lare, r.status, image_sha256, {**attributes, "reasons": r.reasons}) for r in results]

    def _read(self, n: int, rows: pa.Table, num_draws: int) -> Iterator[Batch]:
        """Batches of a tar, each compared with its index rows."""
        entry, path, config = self.dataset.tars[n], self.dataset.tar_path(n), self.config
        advice = "Restore the tar, or pack the dataset again."
        if not path.is_file() or path.stat().st_size != entry.num_bytes:
            found = f"has {path.stat().st_size} bytes" if path.is_file() else "is missing"
            raise DatasetError(f"{path} {found}; dataset.json says {entry.num_bytes} bytes. {advice}")
        keys, hashes = rows["key"].to_pylist(), rows["sha256"].to_pylist()
        settings = RowSettings(config.image_size, self.method.latent_shape, num_draws, config.noise_seed)
        is_gpu = self.model.device.type == "cuda"
        done = 0
        try:
            for batch in load_batches(path, settings, config.batch_size, config.num_workers, pin_memory=is_gpu):
                found_rows = zip(batch.keys, batch.image_sha256, strict=True)
                for row, (key, sha256) in enumerate(found_rows, start=batch.start):
                    if row >= len(keys) or key != keys[row]:
                        expected = repr(keys[row]) if row < len(keys) else "its end"
                        raise DatasetError(f"{path}, row {row}: found {key!r}, the index says {expected}. {advice}")
                    if bytes(sha256).hex() != hashes[row]:
                        raise DatasetError(
                            f"{path}, row {row} ({key}): the image's sha256 is {bytes(sha256).hex()}, the index says "
                            f"{hashes[row]}. {advice}"
                        )
                done = batch.start + len(batch.keys)
                yield batch
        except tarfile.TarError as error:
            raise DatasetError(f"{path} cannot be read as a tar ({error}). {advice}") from error
        if done != len(keys):
            raise DatasetError(f"{path} has {done} images, the index says {len(keys)}. {advice}")

    def _compute(
        self, loaded: Iterator[Batch], prompts: list[str], variants: Sequence[Variant]
    ) -> Iterator[tuple[Batch, list[str], NDArray[np.float32]]]:
        """Maps of each batch, (variant, len(keys), c, h, w), one batch later than it was started.

        On a GPU the only wait is for the batch before, so that the device always has work queued.
        """
        started: deque[_Started] = deque()
        for batch in loaded:
            batch_prompts = prompts[batch.start : batch.start + len(batch.keys)]
            maps, wait = self.transfer.to_host(self._run(self.model, batch, batch_prompts, variants))
            started.append(_Started(batch, batch_prompts, maps, wait))
            if len(started) > 1:
                yield started.popleft().finish()
        while started:
            yield started.popleft().finish()

    @torch.inference_mode()
    def _run(self, model: DiffusionModel, batch: Batch, prompts: list[str], variants: Sequence[Variant]) -> Tensor:
        size = len(batch.images)
        padded = prompts + prompts[-1:] * (size - len(prompts))
        condition = self.model.condition(padded)  # also for `model` in fp32: conditions are float32 anyway
        images, posterior_noise, noise = self.transfer.to_device((batch.images, batch.posterior_noise, batch.noise))
        return self.method.compute_maps(model, Inputs(images, posterior_noise, noise, condition), variants)

    def _settle(
        self, batch: Batch, prompts: list[str], maps: NDArray[np.float32], variants: Sequence[Variant]
    ) -> list[tuple[NDArray[np.float32], NDArray[np.uint8], list[str]]]:
        """Maps, status and reason of each row, by variant. What is not finite is tried again in fp32, then rejected."""
        maps = maps.copy()
        failed = (batch.status == Status.OK) & ~self._fits(maps)
        status = np.broadcast_to(batch.status, failed.shape).copy()
        again = np.flatnonzero(failed.any(axis=0))
        if len(again) and self.config.compute_dtype != "fp32":
            part = batch._replace(
                images=batch.images[again], posterior_noise=batch.posterior_noise[again], noise=batch.noise[again]
            )
            in_fp32 = self._run(self.model.in_fp32, part, [prompts[i] for i in again], variants).cpu().numpy()
            # Only where it failed: a map must not depend on which other variants were asked for.
            maps[failed] = in_fp32[failed[:, again]]
            status[failed] = Status.OK_AFTER_FP32
        status[failed & ~self._fits(maps)] = Status.NON_FINITE
        maps[~is_ok(status)] = np.nan
        reason = non_finite_reason(self.config.stored_dtype)
        return [
            (m, s, [reason if code == Status.NON_FINITE else r for code, r in zip(s, batch.reasons, strict=True)])
            for m, s in zip(maps, status, strict=True)
        ]

    def _fits(self, maps: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Whether each map, (variant, b, c, h, w), is finite as it is stored: (variant, b)."""
        return fits_stored(maps, self.config.stored_dtype, self.config.stored_mantissa_bits)

    def _provenance(self) -> dict[str, Any]:
        """What made the maps without being part of their identity."""
        device = self.model.device
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
        versions = {library: version(library) for library in _LIBRARIES}
        return {"device": name, "versions": versions, "settings": asdict(self.config)}


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
