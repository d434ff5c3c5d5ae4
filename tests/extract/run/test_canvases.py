"""Canvases in one pass with the maps, and without any model: the same stores, whatever is missing."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cache_schema import (
    Dataset,
    Status,
    check_join,
    decode_image,
    open_cache,
    open_canvases,
    read_image_bytes,
    resize_canvas,
    write_dataset,
)
from cache_schema.__main__ import main as cache_main
from extract.__main__ import main
from extract.run import canvases
from extract.run.job import Job
from tests.extract.conftest import Run, make_images, pack, read_maps
from tests.samples import make_sample

NAMES = ["train-000000.zarr.zip", "train-000001.zarr.zip"]


def read_canvases(folder: Path) -> dict[str, np.ndarray]:
    """Sample key → canvas, of the rows that have one."""
    cache, found = open_cache(folder), {}
    for name in cache.shards():
        store = open_canvases(cache, name)
        found |= {key: store.read(i) for i, key in enumerate(store.keys) if store.status[i] == Status.OK}
        store.close()
    return found


def canvases_by_hand(dataset: Dataset, size: int) -> dict[str, np.ndarray]:
    found = {}
    for n in range(len(dataset.tars)):
        for row in dataset.rows(n).select(["key", "offset", "size"]).to_pylist():
            data = read_image_bytes(dataset.tar_path(n), row["offset"], row["size"])
            found[row["key"]] = resize_canvas(decode_image(data), size)
    return found


def assert_same(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> None:
    assert ours.keys() == theirs.keys()
    for key, canvas in ours.items():
        np.testing.assert_array_equal(canvas, theirs[key])


def write_canvases(data: Path, cache: Path, *options: str) -> int:
    return main(["canvases", "--data", str(data), "--cache", str(cache), "--image_size", "64", *options])


@pytest.mark.parametrize("num_workers", [0, 2])
def test_one_pass_writes_maps_and_canvases(packed: Dataset, run: Run, tmp_path: Path, num_workers: int) -> None:
    assert run(canvases=True, num_workers=num_workers) == 0
    assert_same(read_canvases(tmp_path / "canvas-64"), canvases_by_hand(packed, 64))
    assert run(cache=tmp_path / "alone") == 0
    for key, value in read_maps(tmp_path / "alone").items():
        np.testing.assert_array_equal(read_maps(tmp_path / "cache")[key], value)
    places = ["--data", str(packed.folder), "--cache", str(tmp_path / "canvas-64")]
    assert cache_main(["verify", *places, "--deep", "--num_workers", "1"]) == 0


def test_canvases_need_no_model(packed: Dataset, run: Run, tmp_path: Path) -> None:
    """The stores of both ways are equal but for their attributes, which say how long it took."""
    assert write_canvases(packed.folder, tmp_path / "own") == 0
    assert_same(read_canvases(tmp_path / "own"), canvases_by_hand(packed, 64))
    assert run(canvases=True) == 0
    of_both = [open_cache(tmp_path / folder) for folder in ("own", "canvas-64")]
    assert of_both[0].fingerprint == of_both[1].fingerprint
    for n, name in enumerate(NAMES):
        stores = [open_canvases(cache, name) for cache in of_both]
        for store in stores:
            check_join(store, packed.rows(n), packed.tars[n])
            store.close()
        assert stores[0].attributes["reasons"] == stores[1].attributes["reasons"] == {}


def test_writing_canvases_loads_no_torch(packed: Dataset, tmp_path: Path) -> None:
    program = (
        "import sys; from extract.__main__ import main; "
        f"status = main(['canvases', '--data', {str(packed.folder)!r}, '--cache', {str(tmp_path / 'own')!r}]); "
        "sys.exit(status or ('torch' in sys.modules) * 7)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize(
    ("left_out", "computed"), [("cache", [0]), ("canvas-64", [1]), ("both", [0, 1])], ids=["maps", "canvases", "both"]
)
def test_only_what_is_missing_is_made(
    packed: Dataset, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left_out: str, computed: list[int]
) -> None:
    assert run(canvases=True) == 0
    maps, canvases = read_maps(tmp_path / "cache"), read_canvases(tmp_path / "canvas-64")
    places = {"cache": [("cache", 0)], "canvas-64": [("canvas-64", 1)], "both": [("cache", 0), ("canvas-64", 1)]}
    for folder, n in places[left_out]:
        (tmp_path / folder / NAMES[n]).unlink()
    times = {path: path.stat().st_mtime_ns for path in tmp_path.glob("ca*/*.zip")}
    loaded: list[int] = []
    load = Job._extract_all
    monkeypatch.setattr(Job, "_extract_all", lambda job: loaded.append(1) or load(job))  # type: ignore[func-returns-value]
    assert run(canvases=True) == 0
    assert bool(loaded) == (left_out != "canvas-64")
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert_same(read_maps(tmp_path / "cache"), maps)
    assert_same(read_canvases(tmp_path / "canvas-64"), canvases)


def test_canvases_are_remade_on_request_and_stale_ones_refused(packed: Dataset, run: Run, tmp_path: Path) -> None:
    own = tmp_path / "own"
    assert write_canvases(packed.folder, own) == 0
    times = [(own / name).stat().st_mtime_ns for name in NAMES]
    assert write_canvases(packed.folder, own, "--shard", "1", "--overwrite", "true") == 0
    assert [(own / name).stat().st_mtime_ns == time for name, time in zip(NAMES, times, strict=True)] == [True, False]
    (own / NAMES[0]).write_bytes((own / NAMES[1]).read_bytes())  # of another tar
    assert write_canvases(packed.folder, own) == 1
    assert write_canvases(packed.folder, own, "--overwrite", "stale") == 0
    assert_same(read_canvases(own), canvases_by_hand(packed, 64))


def test_rejected_images_have_no_canvas_but_a_reason(run: Run, tmp_path: Path) -> None:
    images = make_images(6)
    images[2] = b"no picture"
    samples = [make_sample(i, image=image) for i, image in enumerate(images)]
    dataset = write_dataset(tmp_path / "data", samples, {"made_by": "a test"}, max_rows=3)
    assert run(canvases=True) == 3
    assert write_canvases(dataset.folder, tmp_path / "own") == 3
    for folder in ("canvas-64", "own"):
        store = open_canvases(open_cache(tmp_path / folder), NAMES[0])
        assert store.status.tolist() == [Status.OK, Status.OK, Status.UNREADABLE]
        assert not store.read(2).any() and list(store.attributes["reasons"]) == ["2"]
        store.close()
        places = ["--data", str(dataset.folder), "--cache", str(tmp_path / folder)]
        assert cache_main(["verify", *places, "--deep", "--num_workers", "1"]) == 0


def test_a_sweep_writes_canvases_once(packed: Dataset, run: Run, tmp_path: Path) -> None:
    assert run(canvases=True, timesteps="[100,200]", cache=tmp_path / "sweep") == 0
    assert sorted(path.name for path in (tmp_path / "sweep").glob("[a-z]*")) == ["canvas-64", "t100-e2", "t200-e2"]
    assert_same(read_canvases(tmp_path / "sweep" / "canvas-64"), canvases_by_hand(packed, 64))


def test_a_damaged_tar_is_refused_or_passed_over(packed: Dataset, tmp_path: Path, capsys: Any) -> None:
    data = bytearray(packed.tar_path(0).read_bytes())
    data[packed.rows(0)["offset"][1].as_py() + 30] ^= 1
    packed.tar_path(0).write_bytes(bytes(data))
    own = tmp_path / "own"
    assert write_canvases(packed.folder, own, "--num_workers", "1") == 1
    assert "the index says" in capsys.readouterr().err and not (own / NAMES[0]).exists()
    assert write_canvases(packed.folder, own, "--num_workers", "2", "--keep_going", "true") == 1
    assert (own / NAMES[1]).exists() and not [path for path in own.iterdir() if path.name.endswith(".tmp")]


def kill_worker(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_worker_is_told_in_a_sentence(
    packed: Dataset, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(canvases, "write_tar", kill_worker)
    assert write_canvases(packed.folder, tmp_path / "own", "--num_workers", "2") == 1
    text = capsys.readouterr().err
    assert "error: not finished: a worker process was killed" in text and "Run again with fewer --num_workers" in text
    assert "Traceback" not in text and "bug" not in text


def test_an_interrupted_pass_publishes_no_canvases(
    packed: Dataset, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tar's images differ from the index: its canvases, half written, are gone with its maps."""
    data = bytearray(packed.tar_path(0).read_bytes())
    data[packed.rows(0)["offset"][4].as_py() + 30] ^= 1
    packed.tar_path(0).write_bytes(bytes(data))
    assert run(canvases=True, keep_going=True) == 1
    for folder in ("cache", "canvas-64"):
        assert sorted(p.name for p in (tmp_path / folder).iterdir() if p.suffix in (".zip", ".tmp")) == [NAMES[1]]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"canvas_folder": "elsewhere"}, "needs --canvases true"),
        ({"canvases": True, "canvas_folder": "{cache}"}, "other settings"),
    ],
)
def test_settings_that_do_not_fit_are_refused(
    packed: Dataset, run: Run, tmp_path: Path, capsys: Any, caplog: Any, settings: dict[str, Any], words: str
) -> None:
    assert run() == 0
    settings = {name: str(value).replace("{cache}", str(tmp_path / "cache")) for name, value in settings.items()}
    try:
        status = run(**settings)
    except SystemExit as ended:
        status = int(ended.code or 0)
    assert status in (1, 2) and words in capsys.readouterr().err + caplog.text


def test_a_plan_counts_canvases_and_makes_no_folder(packed: Dataset, run: Run, tmp_path: Path, models: Any) -> None:
    from extract.config import ExtractConfig

    assert run() == 0
    config = ExtractConfig(
        data=str(packed.folder), cache=str(tmp_path / "cache"), model=str(models["sd"]), image_size=64,
        ensemble_size=2, stored_dtype="float32", device="cpu", canvases=True,
    )  # fmt: skip
    job = Job.plan(config)
    assert dict(job.todo) == {0: (), 1: ()} and job.num_skipped == 2 and not (tmp_path / "canvas-64").exists()
    assert write_canvases(packed.folder, tmp_path / "canvas-64", "--shard", "0") == 0
    job = Job.prepare(config)
    assert list(job.todo) == [1] and job.num_skipped == 3


def test_two_datasets_need_two_folders(packed: Dataset, run: Run, tmp_path: Path, capsys: Any) -> None:
    assert run(canvases=True) == 0
    other = pack(tmp_path / "other", list(range(3)))
    assert run(data=other.folder, cache=tmp_path / "cache-2", canvases=True) == 1
    assert "belongs to dataset" in capsys.readouterr().err
    assert run(data=other.folder, cache=tmp_path / "cache-2", canvases=True, canvas_folder=tmp_path / "c2") == 0
