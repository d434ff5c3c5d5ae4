"""Batches of images → maps of every variant, settled: finite as they are stored, tried again in fp32, or rejected."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cache_schema import Status, fits_stored, is_ok, non_finite_reason
from extract.config import ExtractConfig
from extract.models.base import DiffusionModel
from extract.run.images import Batch, scale_pixels
from extract.run.methods import Inputs, Method
from extract.run.transfer import Transfer
from extract.variants import Variant


class Settled(NamedTuple):
    """What became of a batch under one variant."""

    maps: NDArray[np.float32]
    """(len(keys), c, h, w); NaN where the image is rejected."""
    status: NDArray[np.uint8]
    """`Status` of each key."""
    reasons: list[str]
    """Why each key was rejected, or ""."""


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


class MapMaker:
    """A loaded model and the method that makes maps with it.

    Args:
        config: Number formats of computing and storing.
        method: What the maps are.
        model: What makes them.
    """

    def __init__(self, config: ExtractConfig, method: Method, model: DiffusionModel) -> None:
        self.config, self.method, self.model = config, method, model
        self.transfer = Transfer(model.device)

    def compute(
        self, loaded: Iterator[Batch], prompts_of: Callable[[Batch], list[str]], variants: Sequence[Variant]
    ) -> Iterator[tuple[Batch, list[Settled]]]:
        """Maps of each batch, one `Settled` a variant, one batch later than it was started.

        On a GPU the only wait is for the batch before, so that the device always has work queued.

        Args:
            loaded: Batches, in page-locked memory where the device is a GPU.
            prompts_of: The text of each of a batch's keys.
            variants: What is wanted of every image.
        """
        started: deque[_Started] = deque()
        for batch in loaded:
            prompts = prompts_of(batch)
            maps, wait = self.transfer.to_host(self._run(self.model, batch, prompts, variants))
            started.append(_Started(batch, prompts, maps, wait))
            if len(started) > 1:
                yield self._settle(*started.popleft().finish(), variants)
        while started:
            yield self._settle(*started.popleft().finish(), variants)

    @torch.inference_mode()
    def _run(self, model: DiffusionModel, batch: Batch, prompts: list[str], variants: Sequence[Variant]) -> Tensor:
        size = len(batch.images)
        padded = prompts + prompts[-1:] * (size - len(prompts))
        condition = self.model.condition(padded)  # also for `model` in fp32: conditions are float32 anyway
        images, posterior_noise, noise = self.transfer.to_device((batch.images, batch.posterior_noise, batch.noise))
        inputs = Inputs(scale_pixels(images), posterior_noise, noise, condition)
        return self.method.compute_maps(model, inputs, variants)

    def _settle(
        self, batch: Batch, prompts: list[str], maps: NDArray[np.float32], variants: Sequence[Variant]
    ) -> tuple[Batch, list[Settled]]:
        """What is not finite is tried again in fp32, then rejected."""
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
        return batch, [
            Settled(m, s, [reason if c == Status.NON_FINITE else r for c, r in zip(s, batch.reasons, strict=True)])
            for m, s in zip(maps, status, strict=True)
        ]

    def _fits(self, maps: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Whether each map, (variant, b, c, h, w), is finite as it is stored: (variant, b)."""
        return fits_stored(maps, self.config.stored_dtype, self.config.stored_mantissa_bits)
