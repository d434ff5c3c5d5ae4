"""Training from a bucket through a service in trouble: the weights of a disk to the bit, or a sentence."""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from cache_schema import Dataset, ObjectPath, write_dataset
from tests.object_storage.proxy import FAULTS, Handler, Proxy, Request, send
from tests.samples import make_sample
from tests.train.commands.test_lightning import CONFIGS, _create_cache
from tests.train.commands.test_lightning import pytestmark as pytestmark
from tests.train.commands.test_resume import _differences
from train.__main__ import main

Upload = Callable[[Path, ObjectPath], None]
SPLITS = ("train",) * 12 + ("validation",) * 6
SETTINGS = [
    *("--seed_everything=3", "--trainer.max_epochs=2", "--trainer.accelerator=cpu", "--trainer.precision=32-true"),
    *("--trainer.enable_model_summary=false", "--trainer.enable_progress_bar=false", "--trainer.deterministic=true"),
    *("--model.backbone=resnet_tiny_clip", "--model.pretrained=false", "--data.batch_size=4", "--data.crop_px=16"),
    *("--data.block_tars=2", "--data.num_workers=1", "--trainer.log_every_n_steps=1"),
]


def fit(data: object, cache: object, out: Path) -> int:
    """`python -m train fit` in this process."""
    with pytest.MonkeyPatch.context() as patch:
        places = [f"--data.data={data}", f"--data.cache={cache}", f"--out={out}"]
        patch.setattr(sys, "argv", ["train", "fit", "-c", str(CONFIGS / "lare2.yaml"), *places, *SETTINGS])
        return main()


def trained(out: Path) -> dict[str, Any]:
    """What a fit has learnt, and what it measured on the way."""
    content = torch.load(out / "checkpoints" / "last.ckpt", weights_only=True)
    return {
        "weights": content["state_dict"],
        "optimizer": content["optimizer_states"],
        "metrics": (out / "metrics.csv").read_text(),
    }


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Dataset, cache and a fit on them, on a disk."""
    folder = tmp_path_factory.mktemp("here")
    samples = [make_sample(i, split=split, size_px=16) for i, split in enumerate(SPLITS)]
    dataset = write_dataset(folder / "data", samples, {"made_by": "a test"}, max_rows=6)
    _create_cache(folder / "cache", dataset)
    assert fit(folder / "data", folder / "cache", folder / "run") == 0
    return folder


@pytest.fixture
def there(here: Path, root: ObjectPath, upload: Upload, proxied: Proxy) -> ObjectPath:
    """The same data in a bucket, behind the proxy."""
    upload(here / "data", root / "data")
    upload(here / "cache", root / "cache")
    proxied.requests.clear()
    return root


def is_of_data(request: Request) -> bool:
    """Whether a tar or a store is asked for."""
    return request.method == "GET" and request.path.endswith((".tar", ".zip"))


@pytest.mark.parametrize("name", FAULTS)
def test_a_fit_through_a_faulty_service_equals_one_on_a_disk(
    name: str, here: Path, there: ObjectPath, proxied: Proxy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LARE_STORAGE_SILENT_SEC", "1")
    met: set[str] = set()

    def first_time(_: int, request: Request) -> Any:
        is_new = is_of_data(request) and request.path not in met
        met.update([request.path] if is_new else [])
        return FAULTS[name] if is_new else None

    proxied.fault = first_time
    assert fit(there / "data", there / "cache", tmp_path / "run") == 0
    assert _differences(trained(here / "run"), trained(tmp_path / "run")) == []
    assert len(met) == 2 * len(Dataset.open(here / "data").tars)  # every tar and every store met one


@pytest.mark.parametrize("what", ["tar", "zip"])
def test_a_service_that_stays_broken_ends_a_fit_with_a_sentence_and_the_next_goes_well(
    what: str,
    here: Path,
    there: ObjectPath,
    proxied: Proxy,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("LARE_STORAGE_RETRY_SEC", "1")
    proxied.fault = lambda n, request: FAULTS["500"] if request.path.endswith(f"train-000001.{_end(what)}") else None
    assert fit(there / "data", there / "cache", tmp_path / "run") == 1
    error = capfd.readouterr().err
    assert re.search(rf"^error: .*train-000001\.{_end(what)}: the service said 500", error, re.MULTILINE), error
    proxied.fault = lambda n, request: None
    assert fit(there / "data", there / "cache", tmp_path / "again") == 0
    assert _differences(trained(here / "run"), trained(tmp_path / "again")) == []


@pytest.mark.parametrize("what", ["tar", "zip"])
def test_bytes_that_changed_on_the_way_are_not_trained_on(
    what: str,
    here: Path,
    there: ObjectPath,
    proxied: Proxy,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    def flip(handler: Handler, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
        changed = bytearray(content)
        for at in range(700, len(changed) - 300, 400):  # in every picture, in every chunk
            changed[at] ^= 1
        send(handler, status, headers, bytes(changed))

    proxied.fault = lambda n, request: flip if request.path.endswith(f"train-000001.{_end(what)}") else None
    assert fit(there / "data", there / "cache", tmp_path / "run") == 1
    error = capfd.readouterr().err
    says = {"tar": "has changed since it was packed", "zip": "is damaged"}[what]
    assert re.search(rf"^error: .*train-000001\.{_end(what)} {says}", error, re.MULTILINE), error
    proxied.fault = lambda n, request: None
    assert fit(there / "data", there / "cache", tmp_path / "again") == 0
    assert _differences(trained(here / "run"), trained(tmp_path / "again")) == []


def _end(what: str) -> str:
    return {"tar": "tar", "zip": "zarr.zip"}[what]
