"""Driver, architectures, and whether bfloat16 convolutions and attention work at all."""

import shutil
import subprocess

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.gpu.outcome import Outcome, judged, needs_cuda
from bench.gpu.setting import Setting

MAX_ERROR_BF16 = 0.02
"""Largest error over the largest value: bfloat16 has 8 bits of precision."""


def check_machine(setting: Setting) -> list[Outcome]:
    """Driver and architectures; two operations in bfloat16 against float32."""
    return [_check_architecture(setting), _check_operations(setting)]


def _check_architecture(setting: Setting) -> Outcome:
    if not setting.is_gpu:
        return needs_cuda("architecture", f"torch {torch.__version__}, built for CUDA {torch.version.cuda}")
    major, minor = torch.cuda.get_device_capability(setting.device)
    built_for = torch.cuda.get_arch_list()
    # Code of a smaller minor version runs on the same major version.
    runs = [name for name in built_for if name.startswith(f"sm_{major}") and int(name[4:].rstrip("af")) <= minor]
    text = f"sm_{major}{minor}, torch has {', '.join(built_for)}; driver {_driver_version()}"
    return judged("architecture", text, bool(runs) or f"compute_{major}{minor}" in built_for)


def _driver_version() -> str:
    if shutil.which("nvidia-smi") is None:
        return "unknown"
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.split("\n")[0].strip() or "unknown"


def _check_operations(setting: Setting) -> Outcome:
    rng = torch.Generator().manual_seed(0)
    images, kernel = torch.randn(4, 32, 32, 32, generator=rng), torch.randn(32, 32, 3, 3, generator=rng)
    query, key, value = torch.randn(3, 2, 8, 64, 40, generator=rng)
    both = {
        "convolution": lambda dtype: F.conv2d(images.to(setting.device, dtype), kernel.to(setting.device, dtype)),
        "attention": lambda dtype: F.scaled_dot_product_attention(
            *(part.to(setting.device, dtype) for part in (query, key, value))
        ),
    }
    errors = {name: _relative_error(work(torch.bfloat16), work(torch.float32)) for name, work in both.items()}
    text = ", ".join(f"{name} {error:.1e}" for name, error in errors.items())
    return judged("bf16 operations", f"max |Δ| / max |a| to fp32: {text}", max(errors.values()) <= MAX_ERROR_BF16)


def _relative_error(found: Tensor, expected: Tensor) -> float:
    return ((found.double() - expected.double()).abs().max() / expected.double().abs().max()).item()
