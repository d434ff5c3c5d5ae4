"""Bad and odd images through both commands, packing and extraction, to the reasons in a store."""

import csv
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from cache_schema import (
    Cache,
    Dataset,
    Status,
    check_join,
    is_ok,
    open_cache,
    sample_key,
    source_path,
    write_dataset,
)
from extract.__main__ import main
from tests.bad_images import CASES, SIZE, jpeg, noise
from tests.models import IMAGE_SIZE_PX, save_tiny_sd
from tests.samples import make_sample


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A tiny model's folder; it computes in one thread, since more would wait for each other longer."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield save_tiny_sd(tmp_path_factory.mktemp("model") / "sd")
    torch.set_num_threads(before)


def extract(data: Path, cache: Path, model: Path) -> int:
    """Run the command over all tars."""
    settings = {"image_size": IMAGE_SIZE_PX, "ensemble_size": 1, "num_workers": 0, "device": "cpu"}
    folders = {"data": data, "cache": cache, "model": model}
    return main(["run", *(f"--{name}={value}" for name, value in {**folders, **settings}.items())])


def check_stores(cache: Cache, dataset: Dataset) -> dict[str, str]:
    """Each row is ok with a finite map, or has the status that its case asks for; returns the reasons by case."""
    reasons = {}
    for n, name in enumerate(cache.shards()):
        shard = cache.read(name)
        check_join(shard, dataset.rows(n), dataset.tars[n])
        for row, key in enumerate(shard.keys):
            case = CASES[Path(source_path(key)).stem]
            assert shard.status[row] == (case.status or Status.OK), key
            assert np.isfinite(shard.lare[row]).all() == (case.status is None), key
            if case.status is not None:
                reasons[key] = shard.attributes["reasons"][str(row)]
                assert re.search(case.reason, reasons[key]), key
        assert len(shard.attributes["reasons"]) == (~is_ok(shard.status)).sum()
    return reasons


def test_rejections_reach_the_store_by_key_with_their_reasons(model: Path, tmp_path: Path) -> None:
    samples = [
        make_sample(i, image=case.data(), source_path=f"{'toy' if i % 2 else 'real'}/{name}.{case.extension}")
        for i, (name, case) in enumerate(CASES.items())
    ]
    dataset = write_dataset(tmp_path / "data", samples, {}, max_rows=64)
    assert extract(dataset.folder, tmp_path / "cache", model) == 3  # more rejected than allowed
    reasons = check_stores(open_cache(tmp_path / "cache"), dataset)
    assert len(reasons) == sum(case.status is not None for case in CASES.values())


def test_packing_records_what_it_leaves_out_and_extraction_rejects_nothing_more(model: Path, tmp_path: Path) -> None:
    src = tmp_path / "src"
    for i, (name, case) in enumerate(CASES.items()):
        path = src / ("toy" if i % 2 else "real") / f"{name}.{case.extension}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(case.data())
    (src / "toy" / "zz copy.png").write_bytes(CASES["png palette"].data())
    (src / ".elsewhere").mkdir()
    (src / ".elsewhere" / "a.png").write_bytes(jpeg(noise().resize(SIZE)))
    (src / "real" / "one pixel.link.png").symlink_to(src / ".elsewhere" / "a.png")
    command = [sys.executable, "-m", "extract", "pack", f"--src={src}", f"--out={tmp_path / 'data'}"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr

    with (tmp_path / "data" / "rejected.csv").open(newline="") as f:
        rejected = {Path(line["path"]).stem: line["reason"] for line in csv.DictReader(f)}
    assert re.search("same bytes", rejected.pop("zz copy"))
    assert set(rejected) == {name for name, case in CASES.items() if case.status is not None}
    for name, reason in rejected.items():
        assert re.search(CASES[name].reason, reason), name

    dataset = Dataset.open(tmp_path / "data")
    rows = {row["key"]: row for row in dataset.table().to_pylist()}
    assert rows.pop(sample_key("real/one pixel.link.png"))["format"] == "JPEG"
    assert {Path(source_path(key)).stem for key in rows} == {name for name in CASES if name not in rejected}
    assert rows[sample_key(_path_of("png named jpg"))]["format"] == "PNG"
    assert rows[sample_key(_path_of("jpeg mpo"))]["format"] == "JPEG"
    assert extract(dataset.folder, tmp_path / "cache", model) == 0
    cache = open_cache(tmp_path / "cache")
    for name in cache.shards():
        assert (cache.read(name).status == Status.OK).all()


def _path_of(name: str) -> str:
    number = list(CASES).index(name)
    return f"{'toy' if number % 2 else 'real'}/{name}.{CASES[name].extension}"
