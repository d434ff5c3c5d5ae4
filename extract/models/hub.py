"""Where a diffusion model's folder is: on the disk by its path, or from a model hub at a pinned revision."""

import re
from pathlib import Path

import huggingface_hub
from huggingface_hub import constants
from huggingface_hub.errors import HfHubHTTPError, HFValidationError

from cache_schema import why_download_failed, why_unreachable
from extract.models.weights import STEMS, MissingFile

_FAILURES: tuple[type[BaseException], ...] = (*HfHubHTTPError.__bases__, HFValidationError, OSError)
"""Of a download. The bases: what the library of transfers raises, httpx or requests, that the hub's is built on."""


def find_folder(name: str, revision: str | None, patterns: list[str], local_files_only: bool) -> Path:
    """A folder by its path, or a pinned snapshot of a hub repository, from the local hub cache or downloaded.

    Args:
        name: Path or hub id.
        revision: Commit hash of a hub id.
        patterns: Of the files that are needed.
        local_files_only: Whether nothing is downloaded.

    Raises:
        ValueError: If it is one file, or a hub id without a commit hash.
        MissingFile: If there is neither.
    """
    if Path(name).is_dir():
        return Path(name)
    if Path(name).is_file():
        raise ValueError(
            f"{name} is one file: expected a folder that diffusers saved. Load it by from_single_file of its "
            "pipeline, and save the folder by save_pretrained"
        )
    if revision is None or not re.fullmatch(r"[0-9a-f]{40}", revision):
        raise ValueError(
            f"{name} is no folder, and for a hub id the revision is {revision!r}: expected a commit hash of 40 digits"
        )
    # Asked first: where there is no internet the library tries again for half a minute, and logs each time.
    why = None if local_files_only or constants.HF_HUB_OFFLINE else why_unreachable(constants.ENDPOINT)
    try:
        if why is not None:
            raise ConnectionError(why)
        folder = huggingface_hub.snapshot_download(
            name, revision=revision, allow_patterns=patterns, local_files_only=local_files_only
        )
    except _FAILURES as error:
        why = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else why_download_failed(error)
        raise MissingFile(
            f"{name} at {revision} is neither a folder, nor in the local hub cache {constants.HF_HUB_CACHE}, nor can "
            f"it be downloaded ({why}). Run lare prefetch where there is internet, or name a folder."
        ) from error
    return Path(folder)


PARTS = ("unet/", "transformer/", "vae/", "text_encoder/", "text_encoder_2/", "text_encoder_3/", "")
"""Folders of the networks of all families; "" for a repository that is one part."""


def hub_patterns(
    folders: tuple[str, ...] = PARTS,
    variant: str | None = None,
    with_weights: bool = True,
) -> list[str]:
    """Patterns of the files that are loaded: of parts' configurations and weights, schedule and tokenizer.

    Args:
        folders: Of the parts, "" for the repository itself.
        variant: Of the weights' names.
        with_weights: Whether weights and tokenizer are needed too.
    """
    # Not `*.safetensors`: repositories also hold fp16 and non-EMA copies, which nothing reads.
    mark = f".{variant}" if variant else ""
    endings = (f"{mark}.safetensors", f"{mark}-[0-9]*.safetensors", f".safetensors.index{mark}.json")
    told = ["model_index.json", "scheduler/scheduler_config.json"]
    if not with_weights:
        return [*(f"{folder}config.json" for folder in folders), *told]
    files = ["config.json", *(f"{stem}{ending}" for stem in STEMS for ending in endings)]
    parts = [f"{folder}{file}" for folder in folders for file in files]
    tokenizers = ("tokenizer", "tokenizer_2", "tokenizer_3")
    texts = [f"{folder}/{name}" for folder in tokenizers for name in ("*.json", "*.txt", "spiece.model")]
    return [*parts, *told, *texts]
