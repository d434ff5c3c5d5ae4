"""File systems without hard links, locks or synced folders: a file is still made whole, by exactly one of many."""

import errno
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from cache_schema import Fingerprint, create_cache, files, open_cache, write_text
from cache_schema.errors import FingerprintMismatch

STARTER = """
import errno, os, sys
import numpy as np
def refuse(*_):
    raise OSError(errno.EPERM, "Operation not permitted")
os.link = refuse
from cache_schema import Fingerprint, FingerprintMismatch, ShardData, create_cache
fields = {"method": "lare", "timestep": int(sys.argv[2]), "stored_dtype": "float32", "mantissa_bits": 23}
maps, status, hashes = np.zeros((1, 1, 1, 1), np.float32), np.zeros(1, np.uint8), np.zeros((1, 32), np.uint8)
sys.stdin.read(1)
try:
    cache = create_cache(sys.argv[1], "d" * 64, Fingerprint(fields))
    print(flush=True)
    sys.stdin.read()  # until all have started
    cache.write(f"test-00000{sys.argv[2]}.zarr.zip", ShardData(["a"], maps, status, hashes, {"reasons": {}}))
except FingerprintMismatch:
    sys.exit(7)
"""


@pytest.fixture(params=[errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS], ids=["EPERM", "EOPNOTSUPP", "ENOSYS"])
def plain(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """No hard links, as exFAT and mounts of object stores have none."""

    def refuse(*_: object) -> None:
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(os, "link", refuse)


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.usefixtures("plain")
def test_a_file_is_created_once_and_never_replaced(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "first", replace=False)
    with pytest.raises(FileExistsError):
        write_text(tmp_path / "a", "second", replace=False)
    assert _names(tmp_path) == ["a"] and (tmp_path / "a").read_text() == "first"
    (tmp_path / "plain").touch()
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize("has_locks", [True, False])
def test_of_many_threads_exactly_one_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_locks: bool) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOTSUP, "Not supported")

    if not has_locks:
        monkeypatch.setattr(files.fcntl, "flock", refuse)
    won: list[int] = []
    barrier = threading.Barrier(8)

    def create(number: int) -> None:
        barrier.wait()
        try:
            write_text(tmp_path / "a", str(number), replace=False)
        except FileExistsError:
            assert (tmp_path / "a").read_text()  # whoever comes later finds the whole file
            return
        won.append(number)

    threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1 and (tmp_path / "a").read_text() == str(won[0]) and _names(tmp_path) == ["a"]


def test_of_many_processes_exactly_one_fills_the_cache(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    starters = [
        subprocess.Popen(
            [sys.executable, "-c", STARTER, str(folder), str(number)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for number in range(5)
    ]
    for starter in starters:
        assert starter.stdin is not None
        starter.stdin.write(b"x")
        starter.stdin.flush()
    for starter in starters:  # an empty cache takes the settings of whoever comes later
        assert starter.stdout is not None
        starter.stdout.readline()
    for starter in starters:
        starter.communicate()
    codes = [starter.returncode for starter in starters]
    assert sorted(codes) == [0, 7, 7, 7, 7]
    assert open_cache(folder).fields["timestep"] == codes.index(0)
    assert _names(folder) == ["cache.json", f"test-00000{codes.index(0)}.zarr.zip"]


@pytest.mark.usefixtures("plain")
def test_a_claim_of_a_killed_process_is_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "CLAIM_SEC", 0.1)
    (tmp_path / "cache.json").touch()
    create_cache(tmp_path, "d" * 64, Fingerprint({"method": "lare"}))
    assert open_cache(tmp_path).fields == {"method": "lare"}
    with pytest.raises(FingerprintMismatch):
        create_cache(tmp_path, "d" * 64, Fingerprint({"method": "dire"}), in_use=True)


@pytest.mark.usefixtures("plain")
def test_a_disk_that_fills_up_leaves_no_claim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match="No space left"):
        write_text(tmp_path / "a", "x", replace=False)
    assert _names(tmp_path) == []


def test_other_errors_of_a_link_are_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(OSError, match="Input/output error"):
        write_text(tmp_path / "a", "x", replace=False)
    assert _names(tmp_path) == []


@pytest.mark.parametrize(("number", "is_told"), [(errno.EINVAL, 0), (errno.EIO, 1), (errno.EACCES, 1)])
def test_a_folder_that_cannot_be_synced_is_no_failure_of_what_was_published(
    number: int, is_told: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fsync = os.fsync

    def refuse(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", refuse)
    for name in ("a", "b"):
        write_text(tmp_path / name, "whole")
        assert (tmp_path / name).read_text() == "whole"
    message = f"{tmp_path} cannot be synced ({os.strerror(number)}): what was written is there"
    assert caplog.text.count(message) == is_told  # once a folder
