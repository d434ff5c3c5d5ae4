"""CLIP's weights by timm: from the local hub cache, or downloaded; what is missing is told in seconds."""

from pathlib import Path

import huggingface_hub
import timm
from huggingface_hub import constants
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

from cache_schema import why_download_failed, why_unreachable

WEIGHTS = ("model.safetensors", "pytorch_model.bin")
"""Names of weights in timm's repositories, the better first."""
_FAILURES: tuple[type[BaseException], ...] = (*HfHubHTTPError.__bases__, OSError, ValueError)
"""Of a download. The bases: what the library of transfers raises, httpx or requests, that the hub's is built on."""


def fetch_backbone(name: str) -> Path:
    """The file of a backbone's weights, in the local hub cache.

    Where it is there, no hub is asked: nodes without internet need no setting. Otherwise it is downloaded.

    Args:
        name: A timm CLIP ResNet, "resnet50_clip".

    Raises:
        ValueError: If the network is unknown, or its weights are neither there nor can be downloaded.
    """
    known = timm.list_models("resnet*_clip")
    if name not in known:
        raise ValueError(f"backbone is {name!r}, expected one of timm's {', '.join(known)}")
    registered = timm.get_pretrained_cfg(name)
    if registered is None or not registered.hf_hub_id:
        raise ValueError(f"timm has no weights of {name} on the hub: name a file with --model.pretrained PATH")
    repository = registered.hf_hub_id
    names = (registered.hf_hub_filename,) if registered.hf_hub_filename else WEIGHTS
    for file in names:
        found = huggingface_hub.try_to_load_from_cache(repository, file)
        if isinstance(found, str):
            return Path(found)
    why = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else why_unreachable(constants.ENDPOINT)
    if why is None:
        try:
            return _download(repository, names)
        except _FAILURES as error:
            why = why_download_failed(error)
    raise ValueError(
        f"the weights of {name} ({repository}) are not in the local hub cache {constants.HF_HUB_CACHE}, and cannot be "
        f"downloaded ({why}). Run lare prefetch --backbone {name} where there is internet, or name a file of weights "
        "with --model.pretrained PATH."
    )


def _download(repository: str, names: tuple[str, ...]) -> Path:
    for file in names[:-1]:
        try:
            return Path(huggingface_hub.hf_hub_download(repository, file))
        except EntryNotFoundError:
            continue
    return Path(huggingface_hub.hf_hub_download(repository, names[-1]))
