"""Where a run computes: what is said where no GPU can be used."""

import logging
import shutil
from pathlib import Path

import pytest
import torch
import yaml

import extract
from extract.run import device
from extract.run.device import find_device, tell_why_no_gpu

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")


def test_a_missing_gpu_is_refused_with_the_reason_and_what_to_pass() -> None:
    with pytest.raises(ValueError, match=r"torch finds no GPU: .+\. On the CPU: --device cpu") as refused:
        find_device("cuda")
    assert tell_why_no_gpu() in str(refused.value)


def test_settings_for_gpus_ask_for_one_so_that_no_run_ends_on_the_cpu_unasked() -> None:
    files = [*(Path(extract.__file__).parent / "configs").glob("*.yaml")]
    assert files and {yaml.safe_load(file.read_text())["device"] for file in files} == {"cuda"}


def test_a_machine_without_a_driver_is_no_surprise(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "has_nvidia_driver", lambda: False)
    assert find_device("auto").type == find_device("cpu").type == "cpu"
    assert not caplog.records
    if torch.version.cuda is not None:
        assert tell_why_no_gpu() == "this machine has no NVIDIA driver"


def test_a_driver_that_torch_cannot_use_is_told(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    with caplog.at_level(logging.WARNING):
        assert find_device("auto").type == "cpu"
    (record,) = caplog.records
    assert "The CPU is used, as torch finds no GPU: " in record.getMessage()
    # torch's own words where it has CUDA: "Found no NVIDIA driver", "The NVIDIA driver … is too old"
    assert ("NVIDIA driver" if torch.version.cuda else "without CUDA") in record.getMessage()


def test_a_build_without_cuda_names_the_build_that_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", None)
    assert "is a build without CUDA (TORCH=cuda make setup" in tell_why_no_gpu()
