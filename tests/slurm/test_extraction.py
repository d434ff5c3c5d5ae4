"""An extraction as a job array of real SLURM: killed, preempted, put back, launched again, equal to one run."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cache_schema import Dataset, open_cache, write_dataset
from extract.run.progress import load_progress
from tests.extract.conftest import make_images
from tests.models import save_tiny_sd
from tests.samples import make_sample
from tests.slurm.cluster import Cluster

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(900)]

NUM_TARS, TARS_PER_TASK, ROWS = 24, 3, 16
ROOT = Path(__file__).parents[2]
Launch = Callable[..., str]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of 24 tars, and a tiny model."""
    root = tmp_path_factory.mktemp("slurm")
    images = make_images(40)
    images[7] = images[7][:100]  # a truncated picture: rejected, in tars 0, 2, 5, …
    numbers = range(NUM_TARS * ROWS)
    samples = [make_sample(i, image=images[i % 40], source_path=f"toy/{i}.png") for i in numbers]
    write_dataset(root / "data", samples, {"made_by": "a test"}, max_rows=ROWS)
    save_tiny_sd(root / "model")
    return root


@pytest.fixture(scope="module")
def reference(folder: Path) -> dict[str, tuple[Any, ...]]:
    """What one run on this machine gives."""
    command = [sys.executable, "-m", "extract", "run", *flags(folder, folder / "reference")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    return read(folder / "reference")


def flags(folder: Path, cache: Path) -> list[str]:
    settings: dict[str, Any] = {
        "data": folder / "data",
        "cache": cache,
        "model": folder / "model",
        "image_size": 64,
        "ensemble_size": 8,
        "batch_size": 4,
        "num_workers": 1,
        "stored_dtype": "float32",
        "device": "cpu",
    }
    return [f"--{name}={value}" for name, value in settings.items()]


def read(cache: Path) -> dict[str, tuple[Any, ...]]:
    """Store → keys, maps, status, hashes, reasons."""
    opened = open_cache(cache)
    stores = {name: opened.read(name) for name in opened.shards()}
    return {n: (s.keys, s.lare, s.status, s.image_sha256, s.attributes["reasons"]) for n, s in stores.items()}


def assert_equal_to_the_bit(ours: dict[str, tuple[Any, ...]], theirs: dict[str, tuple[Any, ...]]) -> None:
    assert ours.keys() == theirs.keys()
    for name, (keys, maps, *rest) in ours.items():
        their_keys, their_maps, *their_rest = theirs[name]
        assert keys == their_keys
        assert maps.tobytes() == their_maps.tobytes(), name
        assert all(np.array_equal(a, b) for a, b in zip(rest[:2], their_rest[:2], strict=True)), name
        assert rest[2] == their_rest[2]


@pytest.fixture
def launch(cluster: Cluster, folder: Path, tmp_path: Path) -> Iterator[Launch]:
    """`make launch` with the test's settings; gives the number of the job, "" if there was nothing to do."""

    def call(**settings: Any) -> str:
        given = {"gpus_per_task": 0, "cpus_per_task": 1, "memory_gb": 0.9, "time_limit": 15, "concurrency": 3}
        given |= {"tars_per_task": TARS_PER_TASK, **settings}
        options = [f"--{n}={json.dumps(v) if isinstance(v, dict | list) else v}" for n, v in given.items()]
        command = [sys.executable, "-m", "extract", "launch", *flags(folder, tmp_path / "cache"), *options]
        environment = {**cluster.environment, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        _, found, rest = done.stderr.partition("job ")
        return rest.partition(":")[0] if found else ""

    yield call
    cluster.run("scancel", "--user=root")
    cluster.wait_until_idle(120)


def published(cache: Path) -> set[int]:
    """Positions of the tars whose store is there."""
    return {int(path.name[6:12]) for path in cache.glob("train-*.zarr.zip")}


def tars_of(element: int) -> set[int]:
    return set(range(element * TARS_PER_TASK, (element + 1) * TARS_PER_TASK))


def running(cache: Path, job: str) -> dict[int, int]:
    """Element → process of its run, by the progress files."""
    found = [re.search(rf"-{job}_(\d+)-(\d+)$", p.task) for p in load_progress(cache)]
    return {int(match[1]): int(match[2]) for match in found if match}


def half_done(cache: Path, job: str, *besides: int) -> int | None:
    """An element that runs, has published a store, and has others left."""
    done = published(cache)
    elements = [n for n in running(cache, job) if n not in besides and 0 < len(done & tars_of(n)) < TARS_PER_TASK - 1]
    return elements[0] if elements else None


def test_killed_elements_are_done_by_the_next_launch_and_the_cache_is_that_of_one_run(
    cluster: Cluster, launch: Launch, reference: dict[str, tuple[Any, ...]], tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    job = launch()
    cancelled = cluster.wait(lambda: half_done(cache, job), 240, "an element in the middle")
    cluster.run("scancel", f"{job}_{cancelled}")
    killed = cluster.wait(lambda: half_done(cache, job, cancelled), 240, "another element in the middle")
    os.kill(running(cache, job)[killed], signal.SIGKILL)
    cluster.wait_until_idle(400)

    states = cluster.states(job)
    assert len(states) == NUM_TARS // TARS_PER_TASK == 8
    assert states[str(cancelled)][0] == "CANCELLED"
    assert states[str(killed)] == ("FAILED", "137:0")
    others = {int(n) for n in states} - {cancelled, killed}
    # 3: a truncated picture among the 16 of a tar is more than 5 %
    assert {states[str(n)][1] for n in others} == {"3:0"}
    missing = set(range(NUM_TARS)) - published(cache)
    assert missing & tars_of(cancelled) and missing & tars_of(killed)
    assert missing <= tars_of(cancelled) | tars_of(killed)
    assert list(running(cache, job)) == [killed]  # it could not remove its file

    job = launch(tars_per_task=1)
    cluster.wait_until_idle(400)
    assert len(cluster.states(job)) == len(missing)
    assert_equal_to_the_bit(read(cache), reference)
    assert launch() == ""
    assert not [p for p in cache.iterdir() if p.name.endswith(".tmp")]


def test_a_task_before_its_time_limit_goes_back_into_the_queue_and_goes_on(
    cluster: Cluster, launch: Launch, reference: dict[str, tuple[Any, ...]], tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    job = launch(shard="0-5", tars_per_task=6)
    cluster.wait(lambda: bool(published(cache)), 240, "the first store")
    cluster.run("scancel", "--batch", "--signal=USR2", job)  # what SLURM sends 90 s before the time limit
    cluster.wait(lambda: "Restarts=1" in cluster.run("scontrol", "show", "job", job), 60, "the job in the queue")
    before = published(cache)
    inodes = {n: (cache / f"train-{n:06d}.zarr.zip").stat().st_ino for n in before}
    cluster.wait(lambda: published(cache) == set(range(6)), 400, "the rest of the stores")
    cluster.wait_until_idle(120)
    assert cluster.states(job)[""] == ("FAILED", "3:0")
    assert {n: (cache / f"train-{n:06d}.zarr.zip").stat().st_ino for n in before} == inodes
    assert_equal_to_the_bit(read(cache), {name: reference[name] for name in list(reference)[:6]})


def test_two_launches_at_once_do_no_harm(
    cluster: Cluster, launch: Launch, reference: dict[str, tuple[Any, ...]], tmp_path: Path
) -> None:
    jobs = launch(shard="0-3", tars_per_task=2), launch(shard="0-3", tars_per_task=4)
    cluster.wait_until_idle(400)
    codes = [code for job in jobs for _, code in cluster.states(job).values()]
    assert set(codes) <= {"0:0", "3:0"}
    assert_equal_to_the_bit(read(tmp_path / "cache"), {name: reference[name] for name in list(reference)[:4]})


def test_the_batch_file_of_the_documentation_extracts(
    cluster: Cluster, folder: Path, reference: dict[str, tuple[Any, ...]], tmp_path: Path
) -> None:
    config = tmp_path / "config.yaml"
    names = [flag.removeprefix("--").partition("=") for flag in flags(folder, tmp_path / "cache")]
    config.write_text("".join(f"{name}: {value}\n" for name, _, value in names))
    given = {"DATA": folder / "data", "CACHE": tmp_path / "cache", "CONFIG": config, "NUM_TARS": 5, "TARS": 3}
    options = ["--array=0-1", "--gpus-per-node=0", "--cpus-per-task=1", "--mem=900", "--time=10"]
    options += [f"--output={tmp_path}/%a.log", f"--chdir={ROOT}"]
    variables = {**{name: str(value) for name, value in given.items()}, "OMP_NUM_THREADS": "1"}
    cluster.run("sbatch", *options, f"{ROOT}/docs/extract.sbatch", **variables)
    cluster.wait_until_idle(300)
    logs = "\n".join(path.read_text() for path in tmp_path.glob("*.log"))
    assert published(tmp_path / "cache") == set(range(5)), logs
    assert_equal_to_the_bit(read(tmp_path / "cache"), {name: reference[name] for name in list(reference)[:5]})


def test_a_refused_job_is_an_error_in_a_sentence(cluster: Cluster, folder: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "extract", "launch", *flags(folder, tmp_path / "cache"), "--partition=nowhere"]
    command += ["--gpus_per_task=0"]
    done = subprocess.run(command, cwd=ROOT, env=cluster.environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "error: sbatch refuses the job: " in done.stderr and "invalid partition specified: nowhere" in done.stderr


def test_the_dataset_is_what_the_tests_take_it_for(folder: Path, reference: dict[str, tuple[Any, ...]]) -> None:
    assert len(Dataset.open(folder / "data").tars) == len(reference) == NUM_TARS
