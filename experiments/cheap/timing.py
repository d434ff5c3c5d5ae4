"""How long stage 1's models take for an image on one core, several settings measured in turns."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
import torch

from extract import DiffusionModel, Inputs, Method
from workflow.timing import alternate, timed

Name = TypeVar("Name")
NUM_ROUNDS = 5


@dataclass(frozen=True)
class Milliseconds:
    """Time an image: median over the rounds, and the fastest and slowest one."""

    median: float
    fastest: float
    slowest: float

    def __str__(self) -> str:
        """As "1.23 (1.20 to 1.31)"."""
        return f"{self.median:.3g} ({self.fastest:.3g} to {self.slowest:.3g})"


def measure_in_turns(
    works: Mapping[Name, Callable[[], object]], num_images: int, clock: Callable[[], float] = time.perf_counter
) -> dict[Name, Milliseconds]:
    """Time of each work, all of them once a round, as `alternate` orders them; each is done once before, unmeasured.

    Args:
        works: What is measured.
        num_images: Images that each is done for.
        clock: Seconds.
    """
    seconds = alternate({name: timed(work, clock=clock) for name, work in works.items()}, NUM_ROUNDS)
    times = {name: 1000 / num_images * np.array(values) for name, values in seconds.items()}
    return {name: Milliseconds(float(np.median(t)), float(t.min()), float(t.max())) for name, t in times.items()}


def make_work(method: Method, model: DiffusionModel, batch_size: int) -> Callable[[], object]:
    """The models' part of stage 1 for a batch of pictures of noise, which take as long as any other.

    Args:
        method: With canvas, timestep and ensemble size.
        model: The loaded model.
        batch_size: Images.
    """
    config, shape = method.config, method.latent_shape
    images = torch.rand(batch_size, 3, config.image_size, config.image_size) * 2 - 1
    posterior_noise, noise = torch.randn(batch_size, *shape), torch.randn(batch_size, config.ensemble_size, *shape)
    condition = model.condition([config.prompt] * batch_size)  # once for all images, so that it is not measured
    inputs = Inputs(images, posterior_noise, noise, condition)
    return partial(method.compute_maps, model, inputs, config.variants)


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
