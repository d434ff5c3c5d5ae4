"""Where a run computes, and why there is no GPU where one was expected."""

import logging
import shutil
from pathlib import Path

import torch

logger = logging.getLogger(__name__)


def find_device(name: str) -> torch.device:
    """The device that a setting names; `auto` is a GPU if torch can use one.

    Raises:
        ValueError: If a GPU is asked for and torch can use none; the message has the reason.
    """
    if name == "cpu":
        return torch.device(name)
    if torch.cuda.is_available():
        return torch.device("cuda")
    if name == "cuda":
        raise ValueError(f"device is cuda, but torch finds no GPU: {tell_why_no_gpu()}. On the CPU: --device cpu")
    if has_nvidia_driver():
        logger.warning("The CPU is used, as torch finds no GPU: %s", tell_why_no_gpu())
    return torch.device("cpu")


def has_nvidia_driver() -> bool:
    """Whether this machine seems to have a GPU that CUDA could use."""
    return shutil.which("nvidia-smi") is not None or Path("/dev/nvidiactl").exists()


def tell_why_no_gpu() -> str:
    """Why torch can use no GPU here."""
    if torch.version.cuda is None:
        return f"torch {torch.__version__} is a build without CUDA (TORCH=cuda make setup, on a node with the driver)"
    if not has_nvidia_driver():
        return "this machine has no NVIDIA driver"
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]
    except (RuntimeError, AssertionError) as error:
        return " ".join(str(error).split()).rstrip(".")
    return "no device is visible (CUDA_VISIBLE_DEVICES)"
