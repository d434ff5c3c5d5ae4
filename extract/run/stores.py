"""The stores of a run: which are there and fit, which are to be made, and how they are published."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cache_schema import (
    Cache,
    CacheError,
    Dataset,
    Fingerprint,
    FingerprintMismatch,
    ShardData,
    ShardStale,
    check_rows,
    store_name,
)
from extract.config import ExtractConfig
from extract.models.prompts import PromptPolicy, prompts_sha256
from extract.variants import Variant

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stores:
    """What a run finds in its caches, and writes there.

    Args:
        config: Its settings.
        dataset: The tars.
        policy: Texts of the images, which a store was made with.
        caches: The cache of each variant.
    """

    config: ExtractConfig
    dataset: Dataset
    policy: PromptPolicy
    caches: Mapping[Variant, Cache]

    def unmade(self, n: int) -> tuple[Variant, ...]:
        """The variants whose store of tar n is missing, or is to be replaced.

        Raises:
            CacheError: If a store was made from another tar or other texts, and `overwrite` does not replace it.
        """
        if self.config.overwrite is True:
            return tuple(self.caches)
        name = store_name(self.dataset.tars[n].name)
        unmade = []
        for variant, cache in self.caches.items():
            if cache.has(name):
                try:
                    self._check(n, cache.attributes(name))
                    continue
                except CacheError as error:
                    if self.config.overwrite != "stale":
                        raise
                    logger.warning("replaced: %s", error)
            unmade.append(variant)
        return tuple(unmade)

    def _check(self, n: int, attributes: Mapping[str, Any]) -> None:
        entry = self.dataset.tars[n]
        check_rows(attributes, entry)
        if self.policy.is_per_sample and attributes.get("prompts_sha256") != prompts_sha256(
            self.policy.prompts(self.dataset.rows(n))
        ):
            raise ShardStale(
                f"the texts of {entry.name} have changed since its features were made. "
                "Extract this tar again with --overwrite stale."
            )

    def write(self, n: int, shards: Mapping[Variant, ShardData]) -> None:
        """Publish the stores of tar n. In object storage one takes another's place only where that was asked for."""
        for variant, shard in shards.items():
            cache, name = self.caches[variant], store_name(self.dataset.tars[n].name)
            may_replace = bool(self.config.overwrite) or isinstance(cache.folder, Path)
            try:
                cache.write(name, shard, replace=may_replace)
            except FileExistsError:
                logger.warning("%s was published by another task meanwhile: its store stays", cache.path(name))


def check_fields(cache: Cache, expected: Fingerprint) -> None:
    """Raise FingerprintMismatch if a cache has other settings, as far as they are known."""
    there = Fingerprint({name: cache.fields[name] for name in expected.fields if name in cache.fields})
    if cache.shards() and (lines := there.difference(expected)):
        raise FingerprintMismatch(
            f"{cache.folder} was made with other settings (cache ≠ this run): {'; '.join(lines)}. "
            "Choose another cache folder."
        )
