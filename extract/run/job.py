"""A run over tars: what is checked before any model loads, then one tar after the other."""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial

from tqdm import tqdm

from cache_schema import (
    Cache,
    Dataset,
    DatasetError,
    Fingerprint,
    ShardData,
    check_dataset,
    create_cache,
    map_files,
    open_cache,
)
from extract.config import ExtractConfig
from extract.models.costs import count_macs, count_macs_by_format
from extract.models.known_hashes import KnownHashes
from extract.rejected import warn_rejected
from extract.run.canvases import CanvasJob
from extract.run.fingerprint import compute_fingerprint
from extract.run.methods import Method, make_method, sizes_of_levels
from extract.run.model import Model
from extract.run.pipeline import Extractor, log_shard
from extract.run.progress import ProgressFile, is_running, load_progress
from extract.run.stores import Stores, check_fields
from extract.run.tar_batches import TarBatches
from extract.shards import parse_shards
from extract.variants import Variant

logger = logging.getLogger(__name__)

MANIFEST = "cache.json"
FIRST_PROMPTS = 32
"""Conditions of the longest texts, 8 MiB each, that the table of prompts holds."""


@dataclass(frozen=True)
class Job:
    """A run that passed all checks; its models are not loaded yet."""

    config: ExtractConfig
    dataset: Dataset
    model: Model[ExtractConfig]
    method: Method
    caches: Mapping[Variant, Cache]
    num_skipped: int
    """Stores that are there already."""
    todo: Mapping[int, tuple[Variant, ...]]
    """Position of a tar → the variants that are still to do; none where its canvases alone are."""
    canvases: CanvasJob | None = None
    """Tars whose canvases are to be written too."""

    @classmethod
    def prepare(cls, config: ExtractConfig) -> "Job":
        """Check a run's settings against dataset, model and caches; makes the cache folders.

        Raises:
            ValueError: If a setting does not fit.
            CacheError: If the dataset cannot be read, or a cache was made with other settings. Also if a store
                that exists was made from another tar or other texts, and `overwrite` does not replace it.
        """
        dataset = Dataset.open(config.data)
        selected = parse_shards(config.shard, len(dataset.tars))
        model = Model.prepare(config, dataset, config.needs)
        config = model.config
        method = make_method(config, model.folder)
        if done := cls._find_done(config, dataset, selected, model, method):
            return done
        hashes = model.folder.hashes(KnownHashes())
        in_use = any(is_running(task) for task in load_progress(config.cache))
        caches = {
            variant: create_cache(
                config.cache_folder(variant),
                dataset.dataset_id,
                compute_fingerprint(config, variant, model, method, hashes, dataset),
                in_use=in_use,
            )
            for variant in config.variants
        }
        canvases = CanvasJob.prepare(dataset, config, in_use=in_use) if config.canvases else None
        job = cls(config, dataset, model, method, caches, 0, {}, canvases)
        unmade = map_files(job._stores.unmade, selected, config.cache_folder(config.variants[0]))
        return job._with_todo(selected, dict(zip(selected, unmade, strict=True)))

    def _with_todo(self, selected: Sequence[int], wanted: Mapping[int, tuple[Variant, ...]]) -> "Job":
        """The job of what is wanted of each selected tar, and of canvases that are missing."""
        canvases = self._tars_without_canvases(selected)
        todo = {n: variants for n, variants in wanted.items() if variants or n in canvases}
        num_stores = len(selected) * (len(self.config.variants) + (self.canvases is not None))
        num_skipped = num_stores - sum(map(len, todo.values())) - len(canvases)
        return replace(self, num_skipped=num_skipped, todo=todo)

    def _tars_without_canvases(self, tars: Iterable[int]) -> set[int]:
        """Those of the tars whose canvases are wanted and missing."""
        return {n for n in tars if self.canvases is not None and self.canvases.is_unmade(n)}

    @classmethod
    def plan(cls, config: ExtractConfig) -> "Job":
        """What is to be done, from the model's configurations alone: for a dry run where its weights are not.

        Caches that are there are compared in all settings that need no weights, and none is made.

        Raises:
            ValueError: If a setting does not fit.
            CacheError: As `prepare`.
        """
        dataset = Dataset.open(config.data)
        selected = parse_shards(config.shard, len(dataset.tars))
        model = Model.prepare(config, dataset, config.needs, with_weights=False)
        config = model.config
        method = make_method(config, model.folder)
        caches = {}
        for variant in config.variants:
            folder = config.cache_folder(variant)
            if (folder / MANIFEST).is_file():
                caches[variant] = open_cache(folder)
                check_dataset(caches[variant], dataset.dataset_id)
                check_fields(caches[variant], compute_fingerprint(config, variant, model, method, {}))
        canvases = CanvasJob.plan(dataset, config) if config.canvases else None
        job = cls(config, dataset, model, method, caches, 0, {}, canvases)
        missing = tuple(variant for variant in config.variants if variant not in caches)
        return job._with_todo(selected, {n: (*job._stores.unmade(n), *missing) for n in selected})

    @classmethod
    def _find_done(
        cls,
        config: ExtractConfig,
        dataset: Dataset,
        selected: Sequence[int],
        model: Model[ExtractConfig],
        method: Method,
    ) -> "Job | None":
        """The run if every store is there: no weights are hashed then, as to read them takes gigabytes and a minute.

        Hashes that this machine remembers are compared all the same.
        """
        folders = {variant: config.cache_folder(variant) for variant in config.variants}
        if config.overwrite or config.canvases or not all((folder / MANIFEST).is_file() for folder in folders.values()):
            return None
        caches = {variant: open_cache(folder) for variant, folder in folders.items()}
        hashes = model.folder.hashes(KnownHashes().peek)
        unknown = {name for name, value in hashes.items() if not value}
        known = {name: value for name, value in hashes.items() if value}
        for variant, cache in caches.items():
            there = Fingerprint({name: value for name, value in cache.fields.items() if name not in unknown})
            here = compute_fingerprint(config, variant, model, method, known, dataset)
            if cache.dataset_id != dataset.dataset_id or there.difference(here):
                return None
        job = cls(config, dataset, model, method, caches, len(selected) * len(caches), {})
        return None if any(map(job._stores.unmade, selected)) else job

    @property
    def _stores(self) -> Stores:
        return Stores(self.config, self.dataset, self.model.policy, self.caches)

    def count_macs(self) -> int:
        """Multiply-accumulate operations for one image, all variants together."""
        return count_macs(self.model.folder, self.config.image_size, *self.method.count_calls())

    def macs_by_format(self) -> dict[str, int]:
        """The same by number format."""
        config = self.config
        return count_macs_by_format(
            self.model.folder, config.image_size, self.method.count_calls(), config.compute_dtype
        )

    def run(self) -> int:
        """Extract the tars one by one, each tar's stores being written while the next tar is computed.

        Returns:
            Number of tars with more rejected images than allowed. Their stores are written all the same.

        Raises:
            CacheError: If a tar is not what the index says. Stores that were published stay. With `keep_going` the
                others are extracted first.
        """
        if self.num_skipped:
            logger.info("%d stores are there already (--overwrite true makes them again)", self.num_skipped)
        if not self.todo:
            return 0
        num_above, failed = self._extract_all() if any(self.todo.values()) else (0, [])
        if self.canvases is not None:
            num_above += self.canvases.run(n for n, variants in self.todo.items() if not variants)
        if failed:
            raise DatasetError(f"{len(failed)} of {len(self.todo)} tars could not be extracted: {' '.join(failed)}")
        return num_above

    def _first_prompts(self) -> list[str]:
        """Texts of the tars, as many as fit beside each other however long a model's conditions are."""
        policy = self.model.policy
        if not policy.is_per_sample:
            return [policy.text]
        texts: dict[str, None] = {}
        for n in self.todo:
            texts |= dict.fromkeys(policy.prompts(self.dataset.rows_of([n], ["class_name"])))
            if len(texts) >= FIRST_PROMPTS:
                break
        return [*texts][:FIRST_PROMPTS]

    def _extract_all(self) -> tuple[int, list[str]]:
        """Number of tars with too many rejected images; what is wrong with each that was passed over."""
        model, tars = self.model.load(self._first_prompts()), [n for n, variants in self.todo.items() if variants]
        extractor = Extractor(self.config, self.dataset, self.model.policy, self.method, model)
        num_images = sum(self.dataset.tars[n].num_rows for n in tars)
        self._log_plan(num_images)
        if self.config.compile:
            model.compile()
        num_above, failed = 0, list[str]()
        pending: deque[Future[bool]] = deque()
        with (
            ProgressFile(self.config.cache, len(tars), num_images) as progress,
            tqdm(total=num_images, unit="image", disable=None) as bar,
            ThreadPoolExecutor(1) as writer,
            extractor.open({n: self.todo[n] for n in tars}, self._tars_without_canvases(tars)) as batches,
            self.dataset.copy_ahead(tars, 1) as ahead,
        ):

            def count(num_images: int) -> None:
                bar.update(num_images)
                progress.add_images(num_images)

            for position, n in enumerate(tars):
                ahead.reach(position)
                entry, variants = self.dataset.tars[n], self._stores.unmade(n)
                if not variants:  # another job has published it since this one was prepared
                    bar.update(entry.num_rows)
                    progress.skip_tar(entry.num_rows)
                    continue
                progress.start_tar(entry.name)
                try:
                    publish = self._extract(extractor, n, variants, batches, count, progress)
                except DatasetError as error:
                    self.dataset.forget_tar(n)  # the next run asks for it anew
                    if not self.config.keep_going:
                        raise
                    logger.error("passed over: %s", error)
                    failed.append(str(error))
                    continue
                pending.append(writer.submit(publish))
                if len(pending) > 1:
                    num_above += pending.popleft().result()
            while pending:
                num_above += pending.popleft().result()
        return num_above, failed

    def _log_plan(self, num_images: int) -> None:
        config = self.config
        levels = ", ".join(f"{level:g}" for level in sizes_of_levels(config.variants))
        logger.info(
            "%s images, %s, %.3g GMAC each; %d px, %s%s on %s → %s",
            f"{num_images:,}",
            self.method.work,
            self.count_macs() / 1e9,
            config.image_size,
            f"{'σ' if self.model.folder.is_flow else 't'} = {levels}, " if config.needs.noise else "",
            config.compute_dtype,
            self.model.device,
            config.cache,
        )

    def _extract(
        self,
        extractor: Extractor,
        n: int,
        variants: tuple[Variant, ...],
        batches: TarBatches,
        count: Callable[[int], object],
        progress: ProgressFile,
    ) -> Callable[[], bool]:
        """Compute a tar's maps, and its canvases in the same pass; returns what publishes its stores."""
        with ExitStack() as unpublished:
            wanted = self.canvases is not None and self.canvases.is_unmade(n)
            canvases = unpublished.enter_context(self.canvases.new_store(n)) if self.canvases and wanted else None
            shards = extractor.extract(n, variants, batches, count, canvases)
            made = dict(zip(variants, shards, strict=True))
            return partial(self._publish, n, made, unpublished.pop_all(), progress)

    def _publish(
        self, n: int, shards: Mapping[Variant, ShardData], canvases: ExitStack, progress: ProgressFile
    ) -> bool:
        """Write a tar's stores and log a line; whether more of it was rejected than allowed."""
        start = time.perf_counter()
        canvases.close()
        self._stores.write(n, shards)
        progress.finish_tar(next(iter(shards.values())).attributes["reasons"].values())
        log_shard(next(iter(shards.values())), time.perf_counter() - start)
        above = [shard for shard in shards.values() if warn_rejected(shard, self.config.max_reject_fraction)]
        return bool(above)
