"""`kill -9` at ten random moments of extraction and packing: nothing wrong is there, and the same command goes on."""

import time
from pathlib import Path

import numpy as np
import pytest

from cache_schema import Dataset, ObjectPath, open_cache
from extract.__main__ import main
from tests.object_storage.bucket import Bucket
from tests.object_storage.test_extraction import arguments, check_equal
from tests.object_storage.test_extraction import data as data
from tests.object_storage.test_extraction import model as model
from tests.object_storage.test_extraction import packed as packed
from tests.object_storage.test_packing import source as source
from tests.object_storage.warm import EXIT_KILLED, Warm

NUM_KILLS = {"extraction": 6, "packing": 4}


def moments(seed: int, number: int, seconds: float) -> list[float]:
    """Random moments of a run, one in each of as many equal parts of its time."""
    rng = np.random.default_rng(seed)
    return [float((i + rng.uniform()) * seconds / number) for i in range(number)]


def seconds_of(warm: Warm, command: list[str]) -> float:
    """Of a run that nobody ends. The first one also makes local copies, and may be slow by chance."""
    start = time.monotonic()
    assert warm.run(command) == 0
    return time.monotonic() - start


def test_extraction(
    packed: Dataset,
    data: ObjectPath,
    root: ObjectPath,
    model: Path,
    bucket: Bucket,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert main(arguments(packed.folder, tmp_path / "here", model)) == 0
    with Warm() as warm:
        seconds = min(seconds_of(warm, arguments(data, root / name, model)) for name in ("whole", "again"))
        ended = []
        for i, moment in enumerate(moments(0, NUM_KILLS["extraction"], seconds)):
            cache = root / f"cache-{i}"
            ended.append(warm.run(arguments(data, cache, model), moment))
            for key in bucket.keys(f"{cache.key}/"):
                if key.endswith(".zip"):
                    open_cache(cache).read(key.rpartition("/")[2])
            assert warm.run(arguments(data, cache, model)) == 0
            check_equal(tmp_path / "here", cache, provenance=False)
    assert ended.count(EXIT_KILLED) >= NUM_KILLS["extraction"] // 2
    assert set(ended) <= {EXIT_KILLED, 0}


def test_packing(source: Path, root: ObjectPath, bucket: Bucket, tmp_path: Path) -> None:
    def command(out: object) -> list[str]:
        return ["pack", f"--src={source}", f"--out={out}", "--max_rows=1", "--num_workers=1"]

    assert main(command(tmp_path / "here")) == 0
    here = {path.name: path.read_bytes() for path in (tmp_path / "here").iterdir()}
    with Warm() as warm:
        seconds = min(seconds_of(warm, command(root / name)) for name in ("whole", "again"))
        ended = []
        for i, moment in enumerate(moments(1, NUM_KILLS["packing"], seconds)):
            out = root / f"data-{i}"
            ended.append(warm.run(command(out), moment))
            there = {key.rpartition("/")[2]: bucket.read(key) for key in bucket.keys(f"{out.key}/")}
            assert all(there[name] == here[name] for name in there)
            if "dataset.json" in there:
                assert there == here
            else:
                assert warm.run(command(out)) == 0
            assert {key.rpartition("/")[2]: bucket.read(key) for key in bucket.keys(f"{out.key}/")} == here
    assert ended.count(EXIT_KILLED) >= NUM_KILLS["packing"] // 2
    assert set(ended) <= {EXIT_KILLED, 0}
