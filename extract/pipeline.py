"""The loop over one tar: image → latents → noise prediction → squared error → LaRE map."""

import tarfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from cache_schema import Dataset, DatasetError, ShardData, Status
from extract.config import ExtractConfig
from extract.diffusion import Diffusion
from extract.images import Batch, RowSettings, load_batches
from extract.prompts import PromptPolicy, PromptTable, prompts_sha256

RECIPE = 1
"""Raised by any change, here or in what is called, that moves a value by more than rounding."""
_LIBRARIES = ("torch", "diffusers", "transformers", "numpy", "pillow", "zarr")


class Extractor:
    """The loaded models with everything that the maps of a tar depend on.

    Args:
        config: The run's settings.
        dataset: The packed images.
        policy: Their texts.
        diffusion: The loaded models.
    """

    def __init__(self, config: ExtractConfig, dataset: Dataset, policy: PromptPolicy, diffusion: Diffusion) -> None:
        self.config, self.dataset, self.policy, self.diffusion = config, dataset, policy, diffusion
        self.device = diffusion.device
        self.prompts = PromptTable(diffusion.encode_prompt)
        latent_shape = diffusion.folder.latent_shape(config.image_size)
        self.row_settings = RowSettings(config.image_size, latent_shape, config.ensemble_size, config.noise_seed)

    def extract(self, n: int, progress: Callable[[int], object]) -> ShardData:
        """The features of tar n.

        Args:
            n: Position of the tar.
            progress: Called with the number of images that were finished.

        Raises:
            DatasetError: If the tar is missing, cut short, or holds other images than the index says.
        """
        start = time.perf_counter()
        entry, rows = self.dataset.tars[n], self.dataset.rows(n)
        prompts = self.policy.prompts(rows)
        lare = np.full((entry.num_rows, *self.row_settings.latent_shape), np.nan, np.float32)
        status = np.full(entry.num_rows, Status.MISSING, np.uint8)
        image_sha256 = np.zeros((entry.num_rows, 32), np.uint8)
        reasons: dict[str, str] = {}
        done = 0
        for batch, batch_prompts, maps in self._compute(self._read(n, rows), prompts):
            maps, batch_status, batch_reasons = self._settle(batch, batch_prompts, maps)
            part = slice(done, done + len(batch.keys))
            lare[part], status[part], image_sha256[part] = maps, batch_status, batch.image_sha256
            reasons |= {str(done + i): reason for i, reason in enumerate(batch_reasons) if reason}
            done = part.stop
            progress(len(batch.keys))
        attributes: dict[str, Any] = {
            "tar": entry.name,
            "rows_sha256": entry.rows_sha256,
            "reasons": reasons,
            "seconds": round(time.perf_counter() - start, 3),
            "provenance": self._provenance(),
        }
        if self.policy.is_per_sample:
            attributes["prompts_sha256"] = prompts_sha256(prompts)
        return ShardData(rows["key"].to_pylist(), lare, status, image_sha256, attributes)

    def _read(self, n: int, rows: pa.Table) -> Iterator[Batch]:
        """Batches of a tar, each compared with its index rows."""
        entry, path = self.dataset.tars[n], self.dataset.tar_path(n)
        advice = "Restore the tar, or pack the dataset again."
        if not path.is_file() or path.stat().st_size != entry.num_bytes:
            found = f"has {path.stat().st_size} bytes" if path.is_file() else "is missing"
            raise DatasetError(f"{path} {found}; dataset.json says {entry.num_bytes} bytes. {advice}")
        keys, hashes = rows["key"].to_pylist(), rows["sha256"].to_pylist()
        config, done = self.config, 0
        loader = load_batches(
            path, self.row_settings, config.batch_size, config.num_workers, pin_memory=self.device.type == "cuda"
        )
        try:
            for batch in loader:
                found_rows = zip(batch.keys, batch.image_sha256, strict=True)
                for row, (key, sha256) in enumerate(found_rows, start=done):
                    if row >= len(keys) or key != keys[row]:
                        expected = repr(keys[row]) if row < len(keys) else "its end"
                        raise DatasetError(f"{path}, row {row}: found {key!r}, the index says {expected}. {advice}")
                    if bytes(sha256).hex() != hashes[row]:
                        raise DatasetError(
                            f"{path}, row {row} ({key}): the image's sha256 is {bytes(sha256).hex()}, the index says "
                            f"{hashes[row]}. {advice}"
                        )
                done += len(batch.keys)
                yield batch
        except tarfile.TarError as error:
            raise DatasetError(f"{path} cannot be read as a tar ({error}). {advice}") from error
        if done != len(keys):
            raise DatasetError(f"{path} has {done} images, the index says {len(keys)}. {advice}")

    def _compute(
        self, loaded: Iterator[Batch], prompts: list[str]
    ) -> Iterator[tuple[Batch, list[str], NDArray[np.float32]]]:
        """Maps of each batch, (len(keys), c, h, w), one batch later than it was started.

        On a GPU all copies are asynchronous and the only wait is for the batch before, so that the device always has
        work queued.
        """
        started: deque[tuple[Batch, list[str], Tensor, Callable[[], object]]] = deque()
        done = 0
        for batch in loaded:
            batch_prompts = prompts[done : done + len(batch.keys)]
            done += len(batch.keys)
            maps, wait = _to_host(self._run(self.diffusion, batch, batch_prompts))
            started.append((batch, batch_prompts, maps, wait))
            if len(started) > 1:
                yield _finish(*started.popleft())
        while started:
            yield _finish(*started.popleft())

    def _run(self, diffusion: Diffusion, batch: Batch, prompts: list[str]) -> Tensor:
        size = len(batch.images)
        padded = prompts + prompts[-1:] * (size - len(prompts))
        embeds = None if self.policy.name == "none" else self.prompts.embed(padded)
        images, posterior_noise, noise = (
            t.to(self.device, non_blocking=True) for t in (batch.images, batch.posterior_noise, batch.noise)
        )
        return diffusion.compute_maps(images, posterior_noise, noise, self.config.timestep, embeds)

    def _settle(
        self, batch: Batch, prompts: list[str], maps: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.uint8], list[str]]:
        """Maps, status and reason of each row: NaN where rejected; what is not finite is tried again in fp32."""
        maps, status, reasons = maps.copy(), batch.status.copy(), list(batch.reasons)
        failed = np.flatnonzero((status == Status.OK) & ~self._fits(maps))
        if len(failed) and self.config.compute_dtype != "fp32":
            again = batch._replace(
                images=batch.images[failed], posterior_noise=batch.posterior_noise[failed], noise=batch.noise[failed]
            )
            maps[failed] = self._run(self.diffusion.in_fp32, again, [prompts[i] for i in failed]).cpu().numpy()
            status[failed] = Status.OK_AFTER_FP32
        for i in failed:
            if not self._fits(maps[i : i + 1])[0]:
                status[i] = Status.NON_FINITE
                reasons[i] = f"the map is not finite in fp32, or does not fit {self.config.stored_dtype}"
        maps[status > Status.OK_AFTER_FP32] = np.nan
        return maps, status, reasons

    def _fits(self, maps: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Whether each map is finite in its stored dtype."""
        with np.errstate(over="ignore"):
            finite: NDArray[np.bool_] = np.isfinite(maps.astype(self.config.stored_dtype)).all(axis=(1, 2, 3))
        return finite

    def _provenance(self) -> dict[str, Any]:
        """What made the maps without being part of their identity."""
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "cpu"
        versions = {library: version(library) for library in _LIBRARIES}
        return {"device": name, "versions": versions, "settings": asdict(self.config)}


def _to_host(maps: Tensor) -> tuple[Tensor, Callable[[], object]]:
    """Start a copy to the host; the copy is there once the returned function has returned."""
    if maps.device.type != "cuda":
        return maps, lambda: None
    host = torch.empty(maps.shape, dtype=maps.dtype, pin_memory=True)
    host.copy_(maps, non_blocking=True)
    event = torch.cuda.Event()  # type: ignore[no-untyped-call]
    event.record()
    return host, event.synchronize


def _finish(
    batch: Batch, prompts: list[str], maps: Tensor, wait: Callable[[], object]
) -> tuple[Batch, list[str], NDArray[np.float32]]:
    wait()
    return batch, prompts, maps[: len(batch.keys)].numpy()
