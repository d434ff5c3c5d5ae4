"""Where weights come from: data, features, settings, code, versions; and whether features match the trained ones."""

import importlib.metadata
import json
import logging
import subprocess
from collections.abc import Collection
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cache_schema import Fingerprint, FingerprintMismatch, without_formats

if TYPE_CHECKING:  # scoring records its code too, and loads no Lightning
    from lightning import LightningDataModule

logger = logging.getLogger(__name__)

TRAINED_ON = "trained_on"  # entry of a checkpoint
_PACKAGES = ("torch", "torchvision", "timm", "lightning", "torchmetrics", "numpy", "zarr", "pyarrow")


def describe_features(datamodule: "LightningDataModule") -> dict[str, Any]:
    """Data and features as plain values: dataset_id, and a fingerprint and its fields for each cache."""
    join = datamodule.join  # type: ignore[attr-defined]
    return {
        "dataset_id": join.dataset.dataset_id,
        "caches": [{"fingerprint": cache.fingerprint, "fields": dict(cache.fields)} for cache in join.caches],
    }


def describe_training(datamodule: "LightningDataModule") -> dict[str, Any]:
    """What a checkpoint keeps about its training: `describe_features`, view, sources, divided groups, and the code."""
    view = {name: getattr(datamodule, name, None) for name in ("view", "alignment", "crop_px")}
    named = {name: getattr(datamodule, name, None) for name in ("image_sources", "divided_groups")}
    return {**describe_features(datamodule), "view": view, **named, "code": describe_code()}


def check_same_features(trained_on: dict[str, Any], here: dict[str, Any], allowed: Collection[str] = ()) -> list[str]:
    """Check that features were made with the settings that weights were trained with; the dataset may differ.

    Args:
        trained_on: From `describe_features`, at training.
        here: The same, now.
        allowed: Names of fields that may differ.

    Returns:
        The allowed differences, a line each: "field: theirs ≠ these".

    Raises:
        FingerprintMismatch: If there are more or fewer caches, or another field differs.
    """
    theirs, ours = trained_on["caches"], here["caches"]
    if len(theirs) != len(ours):
        raise FingerprintMismatch(f"the weights were trained on {len(theirs)} caches, here are {len(ours)}")
    differences = []
    for then, now in zip(theirs, ours, strict=True):
        ours_and_theirs = [Fingerprint(without_formats(features["fields"])) for features in (then, now)]
        lines = ours_and_theirs[0].difference(ours_and_theirs[1])
        refused = [line for line in lines if line.partition(":")[0] not in allowed]
        if refused:
            names = [line.partition(":")[0] for line in refused]
            raise FingerprintMismatch(
                f"the weights were trained on other features (theirs ≠ these): {'; '.join(refused)}. Use a cache made "
                f"with their settings, or allow it: --model.allow_difference={json.dumps(names)}"
            )
        for line in lines:
            logger.warning("features differ from training, as allowed: %s", line)
        differences += lines
    return differences


@cache  # the code that runs is the one that was loaded, whatever is edited or committed since
def describe_code() -> dict[str, Any]:
    """Git commit of the code (null outside a work tree), whether files differ from it, and package versions."""
    return {
        "git_commit": _git("rev-parse", "HEAD"),
        "git_dirty": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "versions": {name: importlib.metadata.version(name) for name in _PACKAGES},
    }


def _git(*arguments: str) -> str | None:
    """Output of a git command in the folder of this code; None without git or outside a work tree."""
    try:
        command = ["git", *arguments]
        done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
