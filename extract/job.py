"""A run over tars: what is checked before any model loads, then one tar after the other."""

import logging
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from cache_schema import RULES, Cache, Dataset, Fingerprint, ShardData, Status, create_cache, store_name
from extract.config import ExtractConfig, parse_shards
from extract.diffusion import Diffusion, alphas_cumprod_sha256, load_scheduler
from extract.model_folder import ModelFolder
from extract.noise import NOISE_RULE, noise_probe
from extract.pipeline import RECIPE, Extractor
from extract.prompts import PromptPolicy

logger = logging.getLogger(__name__)


def compute_fingerprint(
    config: ExtractConfig, folder: ModelFolder, scheduler: Any, policy: PromptPolicy
) -> Fingerprint:
    """Every setting that moves a value of the maps."""
    has_posterior = folder.vae.class_name == "AutoencoderKL"
    return Fingerprint(
        {
            "recipe": RECIPE,
            "method": "lare",
            **folder.hashes(),
            "alphas_cumprod_sha256": alphas_cumprod_sha256(scheduler),
            "prediction_type": scheduler.config.prediction_type,
            "timestep": config.timestep,
            "ensemble_size": config.ensemble_size,
            "noise_seed": config.noise_seed,
            "noise_rule": f"philox {NOISE_RULE}",
            "noise_probe_sha256": noise_probe(),
            "latent_rule": "posterior sample" if has_posterior else "deterministic",
            "image_size": config.image_size,
            **RULES,
            "prompt_policy": policy.identity,
            "compute_dtype": config.compute_dtype,
            "stored_dtype": config.stored_dtype,
            "mantissa_bits": config.stored_mantissa_bits,
        }
    )


@dataclass(frozen=True)
class Job:
    """A run that passed all checks; its models are not loaded yet."""

    config: ExtractConfig
    dataset: Dataset
    cache: Cache
    folder: ModelFolder
    scheduler: Any
    policy: PromptPolicy
    device: torch.device
    num_skipped: int
    """Tars whose store is there already."""
    shards: tuple[int, ...]
    """Positions of the tars that are still to do."""

    @classmethod
    def prepare(cls, config: ExtractConfig) -> "Job":
        """Check a run's settings against dataset, model and cache; makes the cache folder.

        Raises:
            ValueError: If a setting does not fit.
            CacheError: If the dataset cannot be read, or the cache was made with other settings.
        """
        dataset = Dataset.open(config.data)
        selected = parse_shards(config.shard, len(dataset.tars))
        device = _find_device(config.device)
        folder = ModelFolder.open(config.model, config.revision, config.vae, config.vae_revision)
        folder.latent_shape(config.image_size)
        scheduler = load_scheduler(folder, config.timestep)
        policy = PromptPolicy("none") if folder.text_encoder is None else PromptPolicy.from_config(config)
        if not config.allow_label_dependent_prompts:
            policy.check_labels(dataset)
        fingerprint = compute_fingerprint(config, folder, scheduler, policy)
        cache = create_cache(config.cache, dataset.dataset_id, fingerprint)
        todo = [n for n in selected if config.overwrite or not cache.has(store_name(dataset.tars[n].name))]
        return cls(
            config, dataset, cache, folder, scheduler, policy, device, len(selected) - len(todo), shards=tuple(todo)
        )

    def run(self) -> int:
        """Extract the tars one by one, each store being written while the next tar is computed.

        Returns:
            Number of tars with more rejected images than allowed. Their stores are written all the same.

        Raises:
            CacheError: If a tar is not what the index says. Stores that were published stay.
        """
        if self.num_skipped:
            logger.info("%d tars are done already (--overwrite true makes them again)", self.num_skipped)
        if not self.shards:
            return 0
        config = self.config
        diffusion = Diffusion(self.folder, self.scheduler, config.compute_dtype, self.device, config.channels_last)
        extractor = Extractor(config, self.dataset, self.policy, diffusion)
        num_images = sum(self.dataset.tars[n].num_rows for n in self.shards)
        logger.info(
            "%s images, e = %d, %.3g GMAC each; %d px, t = %d, %s on %s → %s",
            f"{num_images:,}",
            config.ensemble_size,
            diffusion.count_macs(config.image_size, config.ensemble_size) / 1e9,
            config.image_size,
            config.timestep,
            config.compute_dtype,
            self.device,
            self.cache.folder,
        )
        if config.compile:
            diffusion.compile()
        num_above = 0
        pending: deque[Future[Path]] = deque()
        with tqdm(total=num_images, unit="image", disable=None) as bar, ThreadPoolExecutor(1) as writer:
            for n in self.shards:
                shard = extractor.extract(n, bar.update)
                num_above += self._report(shard)
                pending.append(writer.submit(self.cache.write, store_name(self.dataset.tars[n].name), shard))
                if len(pending) > 1:
                    pending.popleft().result()
            while pending:
                pending.popleft().result()
        return num_above

    def _report(self, shard: ShardData) -> bool:
        """Log a tar's counts; whether more of it was rejected than allowed."""
        tar, num_rows = shard.attributes["tar"], len(shard.keys)
        num_retried = int((shard.status == Status.OK_AFTER_FP32).sum())
        num_rejected = int((shard.status > Status.OK_AFTER_FP32).sum())
        logger.info(
            "%s: %d images, %d rejected, %d after an fp32 retry, %.1f images/s",
            tar,
            num_rows,
            num_rejected,
            num_retried,
            num_rows / shard.attributes["seconds"],
        )
        if num_rejected <= self.config.max_reject_fraction * num_rows:
            return False
        row, reason = next(iter(shard.attributes["reasons"].items()))
        logger.warning(
            "%s: %.1f %% rejected, %.1f %% allowed (max_reject_fraction). The first is row %s, %s: %s",
            tar,
            100 * num_rejected / num_rows,
            100 * self.config.max_reject_fraction,
            row,
            shard.keys[int(row)],
            reason,
        )
        return True


def _find_device(name: str) -> torch.device:
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("device is cuda, but torch finds no GPU: pass --device cpu")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)
