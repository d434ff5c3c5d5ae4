"""The seam itself: reading, listing and publishing objects, and what is told of a service that refuses."""

import os
import threading
from pathlib import Path

import pytest

from cache_schema import ObjectPath, StorageError, new_file, open_plain, place, read_plain, write_bytes, write_text
from cache_schema.listing import file_size, list_files, list_names
from cache_schema.object_store import PART_BYTES, delete
from cache_schema.plain_files import size_of
from tests.object_storage.bucket import Bucket
from tests.object_storage.proxy import FAULTS, Proxy
from tests.object_storage.swift import ACCESS_KEY, SECRET


def test_what_is_written_is_read_listed_and_removed(root: ObjectPath, bucket: Bucket) -> None:
    write_text(root / "a.json", "{}")
    write_bytes(root / "below" / "b", b"12345")
    with new_file(root / "c") as temporary:
        temporary.write_bytes(b"c")
    assert bucket.keys() == [f"{root.key}/a.json", f"{root.key}/below/b", f"{root.key}/c"]
    assert (read_plain(root / "below" / "b", 5), bucket.read(f"{root.key}/c")) == (b"12345", b"c")
    assert list_names(root) == ["a.json", "below", "c"]
    assert [(each.name, each.num_bytes) for each in list_files(root)] == [("a.json", 2), ("c", 1)]
    assert (file_size(root / "below" / "b"), file_size(root / "below" / "x")) == (5, None)
    assert [(root / name).is_file() for name in ("a.json", "below", "x")] == [True, False, False]
    assert [(root / name).is_dir() for name in ("a.json", "below", "x")] == [False, True, False]
    delete((root / "c").address)
    delete((root / "c").address)
    assert not (root / "c").exists()


def test_more_than_a_page_is_listed(root: ObjectPath, bucket: Bucket) -> None:
    for i in range(1001):
        bucket.write(f"{root.key}/{i:04d}", b"")
    assert list_names(root) == [f"{i:04d}" for i in range(1001)]


def test_a_name_that_is_taken_is_refused_unless_it_is_to_be_replaced(root: ObjectPath) -> None:
    write_text(root / "a", "one", replace=False)
    with pytest.raises(FileExistsError, match="is there"):
        write_text(root / "a", "two", replace=False)
    assert read_plain(root / "a", 9) == b"one"
    write_text(root / "a", "one", replace=False)  # the same bytes: a request that was sent twice
    write_text(root / "a", "two")
    assert read_plain(root / "a", 9) == b"two"


def test_of_many_writers_one_wins_and_its_bytes_stay(root: ObjectPath, bucket: Bucket) -> None:
    outcomes: list[bytes] = []

    def write(data: bytes) -> None:
        try:
            write_bytes(root / "a", data, replace=False)
            outcomes.append(data)
        except FileExistsError:
            pass

    threads = [threading.Thread(target=write, args=(bytes([i]) * 100_000,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Swift looks for an object before it writes, not as it writes: of those at the very same time several may win.
    assert bucket.read(f"{root.key}/a") in outcomes
    with pytest.raises(FileExistsError):
        write_bytes(root / "a", b"late", replace=False)


def test_an_object_is_read_at_any_place(root: ObjectPath) -> None:
    data = os.urandom(300_000)
    write_bytes(root / "a", data)
    with open_plain(root / "a", tail_bytes=1000) as file:
        assert (size_of(file), file.read(10)) == (300_000, data[:10])
        for start, size in ((250_000, 60_000), (0, 300_000), (299_500, 100), (299_999, 5), (300_000, 1), (7, 0)):
            file.seek(start)
            assert file.read(size) == data[start : start + size]
        assert (file.seek(-3, os.SEEK_END), file.read()) == (299_997, data[-3:])
    write_bytes(root / "empty", b"")
    with open_plain(root / "empty") as file:
        assert (size_of(file), file.read()) == (0, b"")


def test_reading_on_takes_few_requests(root: ObjectPath, proxied: Proxy) -> None:
    data = os.urandom(2**22)
    write_bytes(root / "a", data)
    proxied.requests.clear()
    with open_plain(root / "a") as file:
        assert b"".join(iter(lambda: file.read(4096), b"")) == data
    assert len(proxied.requests) <= 9
    assert sum(request.num_bytes for request in proxied.requests) == len(data)


def test_an_object_that_is_replaced_while_it_is_read_is_an_error(root: ObjectPath) -> None:
    write_bytes(root / "a", bytes(300_000))
    with open_plain(root / "a") as file:
        file.read(10)
        write_bytes(root / "a", bytes(300_001))
        with pytest.raises(StorageError, match=r"a was replaced while it was being read"):
            file.read(100_000)


def test_a_large_file_goes_in_parts(root: ObjectPath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cache_schema.files.PARTS_FROM_BYTES", PART_BYTES)
    data = os.urandom(2 * PART_BYTES + 5)
    for _ in range(2):  # the second time it is there, and the same
        with new_file(root / "large", replace=False) as temporary:
            temporary.write_bytes(data)
    with pytest.raises(FileExistsError), new_file(root / "large", replace=False) as temporary:
        temporary.write_bytes(data[:-1] + b"x")
    assert read_plain(root / "large", len(data)) == data


def test_what_is_larger_than_its_kind_is_not_read(root: ObjectPath, proxied: Proxy) -> None:
    write_bytes(root / "a", bytes(10**6))
    with pytest.raises(OSError, match="larger than a file of its kind, 10 bytes at most"):
        read_plain(root / "a", 10)


def test_a_wrong_secret_a_missing_bucket_and_a_missing_key_are_told(
    root: ObjectPath, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FileNotFoundError, match=f"{root}/a"):
        read_plain(root / "a", 10)
    with pytest.raises(StorageError, match=r"s3://no-such-bucket/a: there is no bucket no-such-bucket"):
        read_plain(place("s3://no-such-bucket/a"), 10)
    with pytest.raises(StorageError, match=r"s3://no-such-bucket/a: there is no bucket no-such-bucket"):
        write_text(place("s3://no-such-bucket/a"), "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong" * 5)
    other = Bucket(bucket.swift, f"{bucket.name}2")
    other.create()
    for work in (lambda at: read_plain(at, 10), lambda at: write_text(at, "x"), lambda at: list_names(at.parent)):
        with pytest.raises(StorageError) as caught:
            work(ObjectPath("s3", other.name, "f/a"))
        text = f"{caught.value}{caught.value.__cause__}{caught.value.__suppress_context__}"
        assert f"s3://{other.name}/f" in text
        assert "403 Forbidden: SignatureDoesNotMatch: The request signature" in text
        assert "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY" in text
        assert not any(secret in text for secret in ("wrongwrong", ACCESS_KEY, SECRET, "StringToSign"))


@pytest.mark.parametrize("name", FAULTS)
def test_one_fault_at_each_request_does_no_harm(
    root: ObjectPath, bucket: Bucket, proxied: Proxy, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("LARE_STORAGE_SILENT_SEC", "0.5")
    fault, data = FAULTS[name], os.urandom(100_000)
    met: set[tuple[str, str, str]] = set()

    def first_time(_: int, request: object) -> object:
        is_new = request not in met
        met.add(request)  # type: ignore[arg-type]
        return fault if is_new else None

    proxied.fault = first_time  # type: ignore[assignment]
    write_bytes(root / "a", data)
    assert bucket.read(f"{root.key}/a") == data
    assert read_plain(root / "a", len(data)) == data
    with open_plain(root / "a", tail_bytes=100) as file:
        assert file.read() == data
    assert list_names(root) == ["a"]
    assert len(met) >= 4


@pytest.mark.parametrize("name", FAULTS)
def test_a_service_that_stays_broken_is_told_in_a_sentence(
    root: ObjectPath, bucket: Bucket, proxied: Proxy, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("LARE_STORAGE_SILENT_SEC", "0.3")
    monkeypatch.setenv("LARE_STORAGE_RETRY_SEC", "1")
    bucket.write(f"{root.key}/a", bytes(100_000))
    proxied.fault = lambda n, request: FAULTS[name]
    with pytest.raises(StorageError) as caught:
        read_plain(root / "a", 100_000)
    assert f"{root.name}/a" in str(caught.value)
    assert str(caught.value).endswith(".")
