"""The toy models of folders, and processes that make their images."""

import json
import signal
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from string import ascii_lowercase
from typing import Any, Self

import numpy as np

from demo.toy.config import SourceConfig
from demo.toy.images import ToyModel
from demo.toy.latent_images import FlowToy, StableDiffusionToy
from demo.toy.pixel_images import PixelToy

KINDS: dict[str, type[ToyModel]] = {
    "StableDiffusionPipeline": StableDiffusionToy,
    "StableDiffusion3Pipeline": FlowToy,
    "DDPMPipeline": PixelToy,
}
"""Pipeline that a folder was saved by → what makes its images."""


def load_model(letter: str, folder: Path, config: SourceConfig) -> ToyModel:
    """The toy model of a diffusers folder.

    Raises:
        ValueError: If it is of none of `KINDS`.
    """
    name = json.loads((folder / "model_index.json").read_text(encoding="utf-8")).get("_class_name")
    if name not in KINDS:
        raise ValueError(f"{folder} is of a {name}: a toy model is of {', '.join(KINDS)}")
    return KINDS[name].load(letter, folder, config)


def load_models(config: SourceConfig, *folders: Path) -> list[ToyModel]:
    """The toy models of some folders, called a, b, … in that order."""
    return [load_model(letter, folder, config) for letter, folder in zip(ascii_lowercase, folders, strict=False)]


class ModelPool:
    """Processes that have the toy models of some folders, and make batches for models whose `pool` this is.

    They are forked, so that they need not import the libraries again: this process must not have computed anything
    with torch. Each computes with as many threads as this one, because the number decides how sums are rounded, and
    with that some images' last bits.

    Args:
        config: How the images are made.
        folders: Those of `load_models`.
        num_processes: How many batches are made at once.
    """

    def __init__(self, config: SourceConfig, folders: Sequence[Path], num_processes: int) -> None:
        """Start them."""
        # Held back until a process can be ended: Python forgets a signal that comes in right after the fork.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        try:
            self._pool = get_context("fork").Pool(num_processes, _choose, (config, *folders))
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def images(self, letter: str, method: str, calls: Iterable[tuple[Any, ...]]) -> Iterator[np.ndarray]:
        """What a method of the model of that letter gives for each call, in their order."""
        return self._pool.imap(partial(_call, letter, method), calls)

    def __enter__(self) -> Self:
        """End the processes after the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the processes."""
        self._pool.terminate()


_CHOSEN: list[Any] = []
_MODELS: dict[str, ToyModel] = {}
"""Of a process of a `ModelPool`, by letter."""


def _choose(config: SourceConfig, *folders: Path) -> None:
    # Nothing that may fail: a pool starts a process anew for each that ends here, for ever.
    _CHOSEN[:] = [config, *folders]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends Ctrl-C here too; the process that waits answers it
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def _call(letter: str, method: str, call: tuple[Any, ...]) -> np.ndarray:
    if not _MODELS:
        _MODELS.update({model.letter: model for model in load_models(*_CHOSEN)})
    images: np.ndarray = getattr(_MODELS[letter], method)(*call)
    return images
