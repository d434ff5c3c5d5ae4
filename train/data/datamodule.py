"""The datamodule: tars and maps joined by key, in batches that are a function of seed, epoch, batch size and ranks."""

import hashlib
import logging
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from lightning import LightningDataModule

from cache_schema import SPLITS, CacheError, check_choice, check_least, check_whole_groups
from train.data.augment import NO_CHANGES, ImageChanges
from train.data.cells import Cells
from train.data.join import Join
from train.data.loader import BatchReader, PlannedLoader, TrainingLoader
from train.data.map_controls import check_no_label, compute_mean_map
from train.data.native_views import check_view, make_view, only_size
from train.data.plan import (
    PLAN,
    TrainingPlan,
    check_same_plan,
    derangement,
    evaluation_plan,
    num_training_steps,
)
from train.data.samples import Samples, load_image_sizes, select_samples
from train.data.views import View

logger = logging.getLogger(__name__)

FITTING_SPLITS = {"fit": ("train", "validation"), "validate": ("validation",)}
"""Lightning's stages that see labelled samples only, and what they read. The others score `predict_split`."""


class LareDataModule(LightningDataModule):
    """Images and their LaRE maps.

    Training and validation see samples with a label; test and prediction see every sample of a split once, controls
    included. Images that were rejected at extraction are left out everywhere and counted.

    Args:
        data: Folder with dataset.json (`make shards`).
        cache: Cache folder (`make extract`), or several variants of one dataset, whose channels are stacked.
        canvases: Cache folder of canvases (`make canvases`). View `canvas` reads these in place of the images' files:
            the same pixels, sooner. Images that `changes` change are still read from their files.
        batch_size: Samples a rank takes in a step.
        num_workers: Processes that build batches, for each loader; batches do not depend on it. 0: none.
        seed: Seed of the order, the boxes and the flips.
        view: What the classifier sees. `canvas`: image and map cut by one box out of what extraction saw. `native`: a
            box of the picture at its own size, put into the middle of black where the picture is smaller.
        alignment: The map of view `native`. `whole`: all of it, which the box does not match (the authors' way).
            `crop`: interpolated under the box, for samples that all have one image size.
        crop_px: Side of the box. Where the map is cut too: a multiple of the latent stride, at most the canvas's side.
        flip: Mirror half of the training samples, image and map together.
        changes: What is done to training images alone, at their own size: JPEG, blur, colour. Their maps stay.
        permute_maps: Give each sample the map of another of its split and tar, in training and validation as in test
            and prediction: a control that has the detector's architecture and no map of its own. A seeded permutation
            of the tar's samples, shifted by one. Set at prediction alone it asks whether a trained detector uses maps.
        constant_map: Give each sample the mean of the training samples' maps: the other control. Not zeros, of which
            the channel refinement, which has no bias, could learn nothing.
        on_mismatch: A tar whose store is missing, damaged or stale: `error`, or `skip`, which leaves out and counts the
            tar, and reads every store once before the first step to find them all.
        maps: Whether batches have maps. The choice of samples does not depend on it.
        images: Whether batches have images.
        controls: Whether test and prediction include samples without a label.
        image_sources: Generated sources to train and validate on, with the reals of the subsets that they occur in;
            null: all samples. Test and prediction score every source whatever is named here.
        predict_split: Split that test and prediction score.
        block_tars: Tars that are shuffled together; a worker holds their maps (about 33 MB a tar for 4 × 32 × 32).
        start_method: How workers start: `fork`, `spawn` or `forkserver`; null: `forkserver` on
            several GPUs, as their communication has threads, which a fork leaves out; otherwise the platform's way.
        allow_divided_groups: Train although groups lie in several splits, so that what is trained on is also scored.

    Raises:
        ValueError: If a setting makes no sense.
    """

    def __init__(
        self,
        data: str,
        cache: str | list[str],
        canvases: str | None = None,
        *,
        batch_size: int = 48,
        num_workers: int = 2,
        seed: int = 0,
        view: Literal["canvas", "native"] = "canvas",
        alignment: Literal["whole", "crop"] | None = None,
        crop_px: int = 224,
        flip: bool = True,
        changes: ImageChanges = NO_CHANGES,
        permute_maps: bool = False,
        constant_map: bool = False,
        on_mismatch: Literal["error", "skip"] = "error",
        maps: bool = True,
        images: bool = True,
        controls: bool = True,
        image_sources: list[str] | None = None,
        predict_split: Literal["train", "validation", "test"] = "test",
        block_tars: int = 8,
        start_method: Literal["fork", "spawn", "forkserver"] | None = None,
        allow_divided_groups: bool = False,
    ) -> None:
        super().__init__()
        self.allow_zero_length_dataloader_with_multiple_devices = True  # fewer samples to score than ranks
        self.data, self.cache = data, [cache] if isinstance(cache, str | Path) else list(cache)
        self.canvases = canvases
        self.batch_size, self.num_workers, self.block_tars = batch_size, num_workers, block_tars
        self.seed, self.view, self.alignment, self.crop_px = seed, view, alignment, crop_px
        self.flip, self.changes = flip, changes
        self.permute_maps, self.constant_map, self.on_mismatch = permute_maps, constant_map, on_mismatch
        self.maps, self.images, self.controls = maps, images, controls
        self.image_sources, self.predict_split, self.start_method = image_sources, predict_split, start_method
        self.allow_divided_groups = allow_divided_groups
        self._check()
        self._samples: dict[tuple[str, bool], Samples] = {}
        self._loaders: list[PlannedLoader] = []
        self._training_loader: TrainingLoader | None = None
        self._resume: dict[str, Any] = {}

    def _check(self) -> None:
        check_view(self.view, self.alignment)
        for name, least in (("batch_size", 1), ("num_workers", 0), ("block_tars", 1)):
            check_least(name, getattr(self, name), least)
        for name, allowed in (("on_mismatch", ("error", "skip")), ("predict_split", SPLITS)):
            check_choice(name, getattr(self, name), allowed)
        if not (self.maps or self.images):
            raise ValueError("maps and images are both off: batches would be empty")
        for name in ("permute_maps", "constant_map"):
            if getattr(self, name) and not self.maps:
                raise ValueError(f"{name} needs maps")
        if self.permute_maps and self.constant_map:
            raise ValueError("permute_maps and constant_map are both on: expected one of them")
        if self.canvases is not None and self.view != "canvas":
            raise ValueError(
                "canvases are whole pictures squashed to squares, and view native cuts pictures at their own size. "
                "Leave data.canvases out, or use view canvas."
            )

    @cached_property
    def join(self) -> Join:
        """Dataset and caches, opened and checked against each other when first used."""
        return Join.open(self.data, self.cache, self.canvases)

    @cached_property
    def _cells(self) -> Cells:
        return Cells.read(self.join.dataset, with_sources=self.image_sources is not None)

    @cached_property
    def _map_shape(self) -> tuple[int, int, int]:
        return self.join.load_map_shape()

    @property
    def map_channels(self) -> int:
        """Channels of a sample's map, all variants together."""
        return self._map_shape[0]

    @property
    def fields(self) -> dict[str, int | str]:
        """Settings behind the (first) cache."""
        return dict(self.join.fields)

    @property
    def fingerprints(self) -> list[str]:
        """Fingerprint of each cache."""
        return [cache.fingerprint for cache in self.join.caches]

    @property
    def dataset_id(self) -> str:
        """Identity of the dataset."""
        return self.join.dataset.dataset_id

    @cached_property
    def divided_groups(self) -> str | None:
        """What lies in several splits although it belongs together, which was allowed; None: nothing."""
        flag = "--data.allow_divided_groups=true"
        return check_whole_groups(self.join.dataset, allowed=self.allow_divided_groups, flag=flag)

    @property
    def class_counts(self) -> tuple[int, int]:
        """Real and generated training samples."""
        return self._split_samples("train").class_counts

    @property
    def num_rejected(self) -> dict[str, int]:
        """Split → samples left out because extraction rejected their image, as far as the split was read."""
        return {split: samples.num_rejected for (split, _), samples in self._samples.items()}

    @property
    def skipped_tars(self) -> dict[str, str]:
        """Tar → why its samples are left out (`on_mismatch: skip`), as far as its split was read."""
        return {tar: why for samples in self._samples.values() for tar, why in samples.skipped_tars.items()}

    @property
    def num_dropped(self) -> int:
        """Training samples that sit out each epoch, others each time."""
        num, ranks = len(self._split_samples("train")), self._ranks()[1]
        return num - num_training_steps(num, self.batch_size, ranks) * self.batch_size * ranks

    def setup(self, stage: str) -> None:
        """List the samples of the stage's splits, and check that their tars have stores.

        Raises:
            CacheError: If a store is missing, damaged or stale, unless `on_mismatch` is `skip`; if groups are divided
                between splits where samples are fitted on, unless `allow_divided_groups`.
            ValueError: If `image_sources` names none, `crop_px` does not fit the maps, the view needs images of one
                size and they have several, or a split to fit on has images of one class only.
        """
        _ = self._map_shape  # first, as a cache without any store has a sentence of its own
        fitting = FITTING_SPLITS.get(stage)
        _ = self.divided_groups if fitting else None
        for split in fitting or (self.predict_split,):
            samples = self._split_samples(split, score=not fitting)
            self.make_view(samples)
            if fitting:
                samples.check_classes(split, self.data, self.image_sources)

    def train_dataloader(self) -> TrainingLoader:
        """Batches of the training plan, from the cursor on.

        Raises:
            ValueError: If samples are too few for a step, or the state to resume belongs to another plan.
        """
        samples = self._split_samples("train")
        rank, ranks = self._ranks()
        steps = num_training_steps(len(samples), self.batch_size, ranks)
        if not steps:
            raise ValueError(
                f"{len(samples)} training samples are too few for one step of {ranks} rank(s) × batch size "
                f"{self.batch_size}. Lower batch_size."
            )
        logger.info("%d of %d training samples sit out each epoch, others each time", self.num_dropped, len(samples))

        sizes = {"batch_size": self.batch_size, "rank": rank, "ranks": ranks, "block_tars": self.block_tars}

        def plan(epoch: int, start: int) -> Iterator[np.ndarray]:
            return TrainingPlan(samples.counts, seed=self.seed, epoch=epoch, **sizes).batches(start)

        drawn = {"seed": self.seed, "flip": self.flip, "changes": self.changes}
        reader = self._reader(samples, open_tars=self.block_tars, **self._choose_maps(samples), **drawn)
        loader = TrainingLoader(reader, plan, steps, num_workers=self.num_workers, start_method=self._how_to_start())
        if self._resume:
            check_same_plan(self._resume, self._plan_identity(samples))
            loader.load_state_dict(self._resume)
            self._resume = {}
        self._training_loader = loader
        self._loaders.append(loader)
        return loader

    def val_dataloader(self) -> PlannedLoader | list[PlannedLoader]:
        """Every validation sample with a label, once, in the centre box; an empty list without any."""
        samples = self._split_samples("validation")
        return self._evaluation_loader(samples) if len(samples) else []

    def test_dataloader(self) -> PlannedLoader:
        """Every sample of `predict_split`, once, in the centre box."""
        samples = self._split_samples(self.predict_split, score=True)
        if not len(samples):
            raise ValueError(f"{self.data} has no usable samples in the split {self.predict_split!r}")
        return self._evaluation_loader(samples)

    def predict_dataloader(self) -> PlannedLoader:
        """As `test_dataloader`."""
        return self.test_dataloader()

    def state_dict(self) -> dict[str, Any]:
        """The cursor of the training loader and what its plan depends on."""
        if self._training_loader is None:
            return dict(self._resume)
        return self._training_loader.state_dict() | self._plan_identity(self._split_samples("train"))

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume from a saved cursor when the next training loader is made and finds its plan unchanged."""
        self._resume, self._training_loader = dict(state_dict), None

    def teardown(self, stage: str) -> None:
        """End the workers. The cursor can still be saved; the next fit starts anew unless it loads one."""
        for loader in self._loaders:
            loader.close()
        self._loaders, self._resume = [], {}

    def _plan_identity(self, samples: Samples) -> dict[str, int | str]:
        return {
            "plan": PLAN,
            "seed": self.seed,
            "batch_size": self.batch_size,
            "ranks": self._ranks()[1],
            "block_tars": self.block_tars,
            "samples": hashlib.sha256(self.dataset_id.encode() + samples.chosen.tobytes()).hexdigest(),
        }

    def _ranks(self) -> tuple[int, int]:
        trainer = self.trainer
        return (trainer.global_rank, trainer.world_size) if trainer is not None else (0, 1)

    def _how_to_start(self) -> str | None:
        trainer = self.trainer
        if self.start_method is not None or trainer is None or trainer.world_size == 1:
            return self.start_method
        return "forkserver" if trainer.strategy.root_device.type == "cuda" else None

    def make_view(self, samples: Samples) -> View:
        """How image and map of these samples are cut; raises as `setup` does."""
        _, height, width = self._map_shape
        if height != width:
            raise CacheError(f"maps are {height} × {width}: expected squares over a square canvas")

        def image_px() -> tuple[int, int]:
            if not len(samples):
                return self.crop_px, self.crop_px
            return only_size(load_image_sizes(self.join.dataset, samples))

        sizes = {"canvas_px": self.join.canvas_px, "map_cells": height}
        return make_view(self.view, self.alignment, self.crop_px, **sizes, image_px=image_px)

    def _reader(self, samples: Samples, **kwargs: Any) -> BatchReader:
        return BatchReader(self.join, samples, self.make_view(samples), maps=self.maps, images=self.images, **kwargs)

    def _choose_maps(self, samples: Samples) -> dict[str, np.ndarray | None]:
        """Which maps a reader gives to the samples of a split, where they are not their own."""
        positions = derangement(samples.tars, self.seed) if self.permute_maps else None
        if positions is not None:
            check_no_label(samples.labels, samples.labels[positions])
        return {"map_positions": positions, "constant_map": self._mean_map if self.constant_map else None}

    @cached_property
    def _mean_map(self) -> np.ndarray:
        """Mean of the training samples' maps, (channels, h, w), float32."""
        return compute_mean_map(self.join, self._split_samples("train"))

    def _evaluation_loader(self, samples: Samples) -> PlannedLoader:
        rank, ranks = self._ranks()
        plan = evaluation_plan(len(samples), batch_size=self.batch_size, rank=rank, ranks=ranks)
        reader = self._reader(samples, **self._choose_maps(samples))
        loader = PlannedLoader(
            reader,
            lambda _, start: plan[start:],
            len(plan),
            num_workers=self.num_workers,
            start_method=self._how_to_start(),
        )
        self._loaders.append(loader)
        return loader

    def _split_samples(self, split: str, *, score: bool = False) -> Samples:
        """Usable samples of a split: labelled ones to fit on, or all to score."""
        if (split, score) not in self._samples:
            self._samples[split, score] = select_samples(
                self.join,
                split,
                controls=score and self.controls,
                image_sources=None if score else self.image_sources,
                skip_mismatch=self.on_mismatch == "skip",
                cells=self._cells,
            )
        return self._samples[split, score]
