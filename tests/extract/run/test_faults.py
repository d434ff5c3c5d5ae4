"""Faults that are really done to the command: kills, a full disk, two at once, a dead worker. Slow."""

import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from cache_schema import ShardData, check_join, open_cache
from extract.__main__ import main
from tests.extract.conftest import pack

pytestmark = pytest.mark.slow

TIMEOUT_SEC = 240
NUM_TARS = 60
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
"""Tiny models: threads would wait for each other longer than they compute."""
MODELS_ARE_LOADED = "images, e = "
"""In the line that is logged just before the first tar."""


@dataclass(frozen=True)
class Setup:
    """A dataset, and the cache that an undisturbed run made of it."""

    data: Path
    model: Path
    reference: Path

    def arguments(self, cache: Path, **settings: object) -> list[str]:
        """What makes such a cache."""
        settings = {
            "data": self.data,
            "cache": cache,
            "model": self.model,
            "image_size": 64,
            "ensemble_size": 2,
            "batch_size": 2,
            "num_workers": 2,
            "stored_dtype": "float32",
            "device": "cpu",
            **settings,
        }
        return ["run", *(f"--{name}={value}" for name, value in settings.items())]

    def command(self, cache: Path, **settings: object) -> list[str]:
        """The command line of a process that makes such a cache."""
        return [sys.executable, "-m", "extract", *self.arguments(cache, **settings)]

    def run(
        self, cache: Path, before: Callable[[], None] | None = None, **settings: object
    ) -> subprocess.CompletedProcess[str]:
        """Run the command to its end; `before` is called in the new process."""
        command = self.command(cache, **settings)
        return subprocess.run(
            command, preexec_fn=before, env=ENVIRONMENT, capture_output=True, text=True, timeout=TIMEOUT_SEC
        )


class Started:
    """A command that runs in a process group of its own, its stderr in a file."""

    def __init__(self, command: list[str], log: Path) -> None:
        self.log = log
        with log.open("w") as f:
            self.process = subprocess.Popen(command, env=ENVIRONMENT, stderr=f, start_new_session=True)

    def wait_until(self, condition: Callable[[], object]) -> bool:
        """Wait for something; False if the process ended first."""
        deadline = time.monotonic() + TIMEOUT_SEC
        while not condition():
            if self.process.poll() is not None:
                return False
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.001)
        return True

    def stop_while(self, condition: Callable[[], object]) -> None:
        """Wait for something that is soon over, and let the process stand still while it is so."""
        while self.wait_until(condition):
            self.process.send_signal(signal.SIGSTOP)
            if condition():
                return
            self.process.send_signal(signal.SIGCONT)

    def wait_for_models(self) -> None:
        """Wait until the first tar is about to be read."""
        assert self.wait_until(lambda: MODELS_ARE_LOADED in self.log.read_text()), self.log.read_text()

    def workers(self) -> list[int]:
        """The process's children."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in children.read_text().split()]

    def kill(self) -> None:
        """End it and its workers at once, as no program can prevent."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(TIMEOUT_SEC)


@pytest.fixture(scope="module")
def setup(models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Setup:
    """Sixty tars of two rows."""
    root = tmp_path_factory.mktemp("faults")
    pack(root / "data", list(range(2 * NUM_TARS)), max_rows=2)
    setup = Setup(root / "data", models["sd"], root / "reference")
    done = setup.run(setup.reference)
    assert done.returncode == 0, done.stderr
    return setup


def assert_equal(mine: ShardData, theirs: ShardData) -> None:
    """Equal to the bit, but for provenance."""
    assert mine.keys == theirs.keys
    for name in ("lare", "status", "image_sha256"):
        a, b = getattr(mine, name), getattr(theirs, name)
        assert a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes(), name
    assert mine.attributes["rows_sha256"] == theirs.attributes["rows_sha256"]


def check_whole(cache: Path, reference: Path) -> list[str]:
    """Every store that is visible is whole and equal to the undisturbed run's; returns their names."""
    if not (cache / "cache.json").exists():
        assert not list(cache.glob("*.zarr.zip"))
        return []
    stores, expected = open_cache(cache), open_cache(reference)
    assert visible(cache) == ["cache.json", *stores.shards()]
    for name in stores.shards():
        assert_equal(stores.read(name), expected.read(name))
    return stores.shards()


def check_complete(cache: Path, reference: Path) -> None:
    """The cache holds what the undisturbed run's does, and nothing besides."""
    assert check_whole(cache, reference) == open_cache(reference).shards()
    assert leftovers(cache) == []


def visible(cache: Path) -> list[str]:
    """Names of the files that count: beside them are temporary files and what jobs tell of their progress."""
    return sorted(p.name for p in cache.iterdir() if not p.name.startswith("."))


def leftovers(cache: Path) -> list[Path]:
    """Temporary files."""
    return list(cache.glob(".*.tmp"))


def test_the_same_command_twice_gives_identical_bits(setup: Setup, tmp_path: Path) -> None:
    assert setup.run(tmp_path / "cache").returncode == 0
    check_complete(tmp_path / "cache", setup.reference)


def test_ten_kills_change_nothing_in_what_comes_out(setup: Setup, tmp_path: Path) -> None:
    rng = random.Random(0)
    cache = tmp_path / "cache"
    done: dict[str, int] = {}
    moments = ["start", "start", *["tars"] * 5, *["writing"] * 3]
    for moment in rng.sample(moments, len(moments)):
        run = Started(setup.command(cache), tmp_path / "log")
        if moment == "start":  # anywhere between importing and loading the models
            latest = time.monotonic() + rng.uniform(0.5, 4)
            stores = {*cache.glob("*.zarr.zip")}
            # A fast machine is through with all in that time.
            run.wait_until(
                lambda latest=latest, stores=stores: time.monotonic() > latest or {*cache.glob("*.zarr.zip")} - stores
            )
        else:
            before = set(leftovers(cache))
            # Some tars on, not some time on: a fast machine would have done them all.
            least = len(done) + rng.randint(1, 3)
            run.wait_until(lambda least=least: len([*cache.glob("*.zarr.zip")]) >= least)
            if moment == "writing":
                run.stop_while(lambda before=before: set(leftovers(cache)) - before)
            else:
                time.sleep(rng.uniform(0, 0.02))
        assert run.process.poll() is None, run.log.read_text()
        run.kill()
        now = {name: (cache / name).stat().st_ino for name in check_whole(cache, setup.reference)}
        assert done.items() <= now.items()  # nothing that was there is made again
        done = now
    assert 0 < len(done) < NUM_TARS
    assert leftovers(cache), "no kill came while a store was being written"
    for path in leftovers(cache):
        os.utime(path, (0, 0))  # a run removes those that are older than an hour
    finished = setup.run(cache)
    assert finished.returncode == 0 and f"{len(done)} stores are there already" in finished.stderr, finished.stderr
    check_complete(cache, setup.reference)


def limit_file_size(num_bytes: int) -> None:
    """Let this process write no file beyond a size: the kernel answers as it does on a full disk, with another word."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, num_bytes))


def last_line(stderr: str) -> str:
    """What the command says in the end."""
    assert "Traceback" not in stderr and "Exception ignored" not in stderr, stderr
    return stderr.splitlines()[-1]


def test_a_disk_without_room_for_the_manifest_leaves_nothing(setup: Setup, tmp_path: Path) -> None:
    failed = setup.run(tmp_path / "cache", partial(limit_file_size, 200), num_workers=0)
    assert failed.returncode == 1
    assert re.fullmatch(r"error: /.*/cache/cache\.json: file too large", last_line(failed.stderr))
    assert visible(tmp_path / "cache") == leftovers(tmp_path / "cache") == []


@pytest.mark.parametrize("room", [0.4, 0.99])
def test_a_disk_that_fills_up_keeps_earlier_stores_and_goes_on_with_room(
    room: float, setup: Setup, tmp_path: Path
) -> None:
    cache, store = tmp_path / "cache", "train-000000.zarr.zip"
    cache.mkdir()
    for name in ("cache.json", store):
        shutil.copy(setup.reference / name, cache)
    before = (cache / store).stat()
    smallest = min(p.stat().st_size for p in setup.reference.glob("*.zarr.zip"))
    # Without workers: their batches go through shared memory, which counts as files.
    failed = setup.run(cache, partial(limit_file_size, int(room * smallest)), num_workers=0, shard="0-3")
    assert failed.returncode == 1
    message = r"error: /.*/cache/train-000001\.zarr\.zip: file too large"
    assert re.fullmatch(message, last_line(failed.stderr)), failed.stderr
    assert visible(cache) == ["cache.json", store] and leftovers(cache) == []
    assert (cache / store).stat().st_mtime_ns == before.st_mtime_ns
    assert main(setup.arguments(cache, num_workers=0, shard="0-3")) == 0
    assert check_whole(cache, setup.reference) == [f"train-{n:06d}.zarr.zip" for n in range(4)]


def test_a_full_file_system_is_named_and_room_is_all_it_takes(setup: Setup, tmp_path: Path) -> None:
    mount, cache = tmp_path / "mount", tmp_path / "cache"
    mount.mkdir()
    size = 5 * max(p.stat().st_size for p in setup.reference.glob("*.zarr.zip"))
    # In a mount namespace of its own, so that nothing stays mounted whatever happens to the test.
    in_namespace = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    mounting = f"mount -t tmpfs -o size={size} tmpfs '{mount}'"
    if shutil.which("unshare") is None or subprocess.run([*in_namespace, mounting], capture_output=True).returncode:
        pytest.skip("mounting is not permitted here; the tests by file size limit stand for it")
    script = f'{mounting} && {{ "$@"; status=$?; cp -a "{mount}/cache" "{cache}"; exit $status; }}'
    command = [*in_namespace, script, "sh", *setup.command(mount / "cache")]
    failed = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=TIMEOUT_SEC)
    assert failed.returncode == 1, failed.stderr
    message = r"error: /.*/cache/train-00000\d\.zarr\.zip: no space left on device"
    assert re.fullmatch(message, last_line(failed.stderr)), failed.stderr
    assert leftovers(cache) == []
    assert 0 < len(check_whole(cache, setup.reference)) < 10
    assert main(setup.arguments(cache, num_workers=0)) == 0
    check_complete(cache, setup.reference)


@pytest.mark.parametrize("shard", ["0", "all"])
def test_two_processes_on_the_same_tars_both_succeed(shard: str, setup: Setup, tmp_path: Path) -> None:
    for attempt in range(10):
        cache = tmp_path / f"cache{attempt}"
        command = setup.command(cache, shard=shard, num_workers=0)
        runs = [Started(command, tmp_path / f"log{attempt}-{i}") for i in range(2)]
        for run in runs:
            assert run.process.wait(TIMEOUT_SEC) == 0, run.log.read_text()
        if not any("stores are there already" in run.log.read_text() for run in runs):
            break  # both did the work
    else:
        pytest.fail("of two processes one was always ready before the other began")
    if shard == "all":
        check_complete(cache, setup.reference)
    else:
        assert check_whole(cache, setup.reference) == ["train-000000.zarr.zip"]
        assert leftovers(cache) == []


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the workers in /proc")
def test_a_killed_worker_ends_the_run_in_one_line(setup: Setup, tmp_path: Path) -> None:
    dataset = pack(tmp_path / "data", list(range(300)), max_rows=300)
    cache = tmp_path / "cache"
    run = Started(setup.command(cache, data=dataset.folder), tmp_path / "log")
    run.wait_for_models()
    assert run.wait_until(lambda: len(run.workers()) == 2), run.log.read_text()
    os.kill(run.workers()[-1], signal.SIGKILL)
    assert run.process.wait(TIMEOUT_SEC) == 1
    message = r"error: DataLoader worker \(pid.*\) .*\. A process that reads images died, most often for lack of memory"
    assert re.match(message, last_line(run.log.read_text()))
    assert visible(cache) == ["cache.json"] and leftovers(cache) == []
    assert main(setup.arguments(cache, data=dataset.folder, num_workers=0)) == 0
    shard = open_cache(cache).read("train-000000.zarr.zip")
    check_join(shard, dataset.rows(0), dataset.tars[0])
    assert np.isfinite(shard.lare).all()
