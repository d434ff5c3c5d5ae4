"""Copies on this machine: bounded, shared by processes, gone on with after a kill, never wrong."""

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from cache_schema import Cache, Dataset, ObjectPath, StorageError, open_cache, write_bytes
from cache_schema.copies import Original
from cache_schema.growing import Ahead, GrowingFile, _release, _start, open_copy, open_growing
from cache_schema.object_store import find
from cache_schema.room import folder
from tests.cache_schema.conftest import fill_cache
from tests.object_storage.bucket import Bucket
from tests.object_storage.proxy import FAULTS, Proxy

MB = 10**6


def put(path: ObjectPath, data: bytes) -> Original:
    write_bytes(path, data)
    found = find(path.address)
    assert found is not None
    return Original(path, found.version, found.num_bytes)


def kept() -> set[str]:
    return {path.name for path in folder().iterdir() if path.is_file()}


def test_an_object_is_asked_for_once(root: ObjectPath, proxied: Proxy) -> None:
    original = put(root / "a", os.urandom(MB))
    proxied.requests.clear()
    contents = []
    for _ in range(3):
        with open_copy(original) as file:
            contents.append(file.read())
    assert len({*contents}) == 1
    assert len(proxied.requests) == 1
    assert kept() == {original.name}


def test_a_process_that_has_copied_ends_well(root: ObjectPath) -> None:
    original = put(root / "a", os.urandom(MB))
    maker = _start(original)
    assert maker.wait() == 0 and maker.stderr is not None and not maker.stderr.read()
    assert kept() == {original.name}
    _release(maker)


def test_another_version_is_another_copy(root: ObjectPath) -> None:
    for content in (b"one", b"two"):
        with open_copy(put(root / "a", content)) as file:
            assert file.read() == content


def test_what_was_used_least_recently_goes_first(root: ObjectPath, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LARE_CACHE_GB", "0.0025")
    originals = [put(root / str(i), bytes([i]) * MB) for i in range(4)]
    for i in (0, 1, 0, 2):
        open_copy(originals[i]).close()
        os.utime(originals[i].copy, (time.time() + i, time.time() + len(kept()) + i * 0))
        time.sleep(0.02)
    assert len(kept()) == 2
    reading = open_copy(originals[3])
    open_copy(originals[1]).close()
    open_copy(originals[2]).close()
    assert originals[3].name not in kept()
    assert reading.read() == bytes([3]) * MB  # one that goes while it is read stays readable
    reading.close()
    assert sum(path.stat().st_size for path in folder().iterdir() if path.is_file()) <= 2.5 * MB


def test_an_object_larger_than_all_copies_may_be_is_refused(root: ObjectPath, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LARE_CACHE_GB", "0.0005")
    with pytest.raises(StorageError, match=r"LARE_CACHE_GB allows 500,000 for all copies together"):
        open_copy(put(root / "a", bytes(MB)))
    monkeypatch.setenv("LARE_CACHE_GB", "many")
    with pytest.raises(StorageError, match="LARE_CACHE_GB is many: expected gigabytes above 0"):
        open_copy(put(root / "a", bytes(MB)))


def test_a_full_disk_evicts_and_then_fails_with_a_sentence(root: ObjectPath, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = put(root / "old", bytes(MB)), put(root / "new", bytes(MB))
    open_copy(old).close()

    def full(*_: object) -> IO[bytes]:
        raise OSError(errno.ENOSPC, "No space left on device")

    from cache_schema import copies

    class FullFile:
        """A file on a disk without room, as long as the old copy is there."""

        def __init__(self, file: IO[bytes]) -> None:
            self.file = file

        def write(self, data: bytes) -> int:
            return full() if keep_full or old.copy.exists() else self.file.write(data)  # type: ignore[return-value]

        def __getattr__(self, name: str) -> object:
            return getattr(self.file, name)

        def __enter__(self) -> "FullFile":
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

    opened = copies.open_in_place
    monkeypatch.setattr(copies, "open_in_place", lambda *args: FullFile(opened(*args)))
    keep_full = False
    with open_copy(new) as file:
        assert file.read() == bytes(MB)
    assert kept() == {new.name}
    keep_full = True
    with pytest.raises(StorageError, match="the disk is full, and no older copy is there to remove"):
        open_copy(put(root / "third", bytes(MB)))


@pytest.fixture
def slow(proxied: Proxy) -> Iterator[Proxy]:
    """Each range of a tar takes a while."""

    def wait(n: int, request: object) -> None:
        if "large" in str(request) and "GET" in str(request):
            time.sleep(0.3)

    proxied.fault = wait  # type: ignore[assignment]
    yield proxied


def test_a_copy_is_read_while_it_grows_and_outlives_kills(
    root: ObjectPath, slow: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = os.urandom(30 * MB)
    original = put(root / "large", data)
    file = GrowingFile(original)
    assert file.read(1000) == data[:1000]
    for _ in range(2):  # what copies is killed, and the reader does not see it
        if file._maker is not None:
            file._maker.send_signal(signal.SIGKILL)
        at = file.tell()
        assert file.read(9 * MB) == data[at : at + 9 * MB]
    assert file.read() == data[18 * MB + 1000 :]
    file.close()
    with open_copy(original) as copy:
        assert copy.read() == data
    assert kept() == {original.name}
    asked = [request for request in slow.requests if request.method == "GET"]
    assert sum(request.num_bytes for request in asked) < 3 * len(data)


def test_many_processes_share_one_copy(root: ObjectPath, proxied: Proxy, tmp_path: Path) -> None:
    data = os.urandom(5 * MB)
    original = put(root / "a", data)
    proxied.requests.clear()
    code = (
        "import sys, hashlib; from cache_schema import place; from cache_schema.copies import Original; "
        "from cache_schema.growing import open_copy, open_growing; "
        "o = Original(place(sys.argv[1]), sys.argv[2], int(sys.argv[3])); "
        "print(hashlib.sha256((open_copy if int(sys.argv[4]) % 2 else open_growing)(o).read()).hexdigest())"
    )
    command = [sys.executable, "-c", code, str(original.path), original.version, str(original.num_bytes)]
    readers = [subprocess.Popen([*command, str(i)], stdout=subprocess.PIPE) for i in range(4)]
    told = {reader.communicate()[0] for reader in readers}
    assert len(told) == 1
    assert [reader.returncode for reader in readers] == [0] * 4
    assert len(proxied.requests) == 1


def test_a_forked_process_reads_copies_by_a_process_of_its_own(root: ObjectPath) -> None:
    data = os.urandom(2 * MB)
    original = put(root / "a", data)
    child = os.fork()
    if not child:
        status = 1
        try:
            with open_copy(original) as file:
                status = 0 if file.read() == data else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize("name", FAULTS)
def test_faults_make_no_wrong_copy(
    root: ObjectPath, proxied: Proxy, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("LARE_STORAGE_SILENT_SEC", "2")
    data = os.urandom(20 * MB)
    original = put(root / "a", data)
    proxied.fault = lambda n, request: FAULTS[name] if n % 3 == 0 else None
    with open_growing(original) as file:
        assert file.read() == data


def test_a_missing_object_and_a_refusal_are_told_by_the_reader(
    root: ObjectPath, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Original(root / "a", "x", 100)
    with pytest.raises(StorageError, match=r"a: no such object"), open_growing(original) as file:
        file.read()
    bucket.write(f"{root.key}/a", bytes(100))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(StorageError, match=r"a: the service said 403"), open_growing(original) as file:
        file.read()


def test_the_folder_of_another_user_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    monkeypatch.setenv("LARE_CACHE_DIR", str(tmp_path))
    with pytest.raises(StorageError, match="belongs to another user"):
        folder()


def test_copies_are_made_ahead_of_their_reader(root: ObjectPath, proxied: Proxy) -> None:
    originals = [put(root / str(i), bytes([i]) * 1000) for i in range(6)]
    with Ahead(originals, 2) as ahead:
        ahead.reach(0)
        deadline = time.monotonic() + 60
        while kept() != {originals[1].name, originals[2].name} and time.monotonic() < deadline:
            time.sleep(0.05)
        assert kept() == {originals[1].name, originals[2].name}


def test_a_damaged_copy_of_a_store_is_told_and_asked_for_anew(
    dataset: Dataset, root: ObjectPath, tmp_path: Path, bucket: Bucket
) -> None:
    here: Cache = fill_cache(tmp_path / "cache", dataset)
    for path in (tmp_path / "cache").iterdir():
        bucket.write(f"{root.key}/{path.name}", path.read_bytes())
    there = open_cache(root).with_copies()
    name = there.shards()[0]
    assert there.read(name).keys == here.read(name).keys
    assert there.stores is not None
    copy = there.stores[name].copy
    copy.write_bytes(copy.read_bytes()[:-50])
    with pytest.raises(Exception, match=f"{root}/{name} is damaged"):
        there.read(name)
    assert there.read(name).keys == here.read(name).keys
