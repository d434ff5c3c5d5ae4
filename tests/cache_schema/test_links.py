"""Links, named pipes and devices under names that we write or read: what lies elsewhere is never touched."""

import json
import os
import secrets
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cache_schema import (
    Cache,
    CacheError,
    Dataset,
    DatasetError,
    NotPlain,
    append_dataset,
    lock_folder,
    new_file,
    new_folder,
    new_opened,
    open_cache,
    open_folder,
    open_in_place,
    open_plain,
    own_folder,
    read_image_bytes,
    read_json,
    read_plain,
    remove,
    write_bytes,
    write_dataset,
    write_json,
    write_text,
)
from cache_schema.files import publish, temporary_folder
from cache_schema.plain_files import MAX_JSON_DEPTH
from cache_schema.tar_members import read_members
from tests.cache_schema.conftest import NAME
from tests.samples import make_sample

GUESSED = "0" * 32


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[Path]:
    """A folder of somebody, with a file; both are as they were at the end of the test."""
    folder = tmp_path / "somebody"
    folder.mkdir()
    (folder / "letter.json").write_text("dear")
    yield folder
    assert [path.name for path in folder.iterdir()] == ["letter.json"]
    assert (folder / "letter.json").read_text() == "dear"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder that others can write to."""
    folder = tmp_path / "shared"
    folder.mkdir()
    return folder


def opened(path: Path) -> None:
    with new_opened(path) as file:
        file.write(b"{}")


WRITERS: dict[str, Callable[[Path], Any]] = {
    "text": lambda path: write_text(path, "{}"),
    "bytes": lambda path: write_bytes(path, b"{}"),
    "json": lambda path: write_json(path, {}),
    "opened": opened,
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS.keys())
def test_a_link_under_a_files_name_is_replaced_and_one_under_its_temporary_name_refused(
    write: Callable[[Path], Any], victim: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "a.json").symlink_to(victim / "letter.json")
    (place / ".a.json.tmp").symlink_to(victim / "letter.json")  # the name that an earlier version had
    write(place / "a.json")
    assert not (place / "a.json").is_symlink() and (place / "a.json").read_text().strip() == "{}"
    monkeypatch.setattr(secrets, "token_hex", lambda _: GUESSED)
    for target in (victim / "letter.json", victim / "new"):
        (place / f".b.json.{GUESSED}.tmp").symlink_to(target)
        with pytest.raises(FileExistsError):
            write(place / "b.json")
        assert not (place / "b.json").exists()


def test_a_store_is_not_written_through_a_link(cache: Cache, victim: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shard = cache.read(NAME)
    monkeypatch.setattr(secrets, "token_hex", lambda _: GUESSED)
    (cache.folder / f".{NAME}.{GUESSED}.tmp").symlink_to(victim / "letter.json")
    with pytest.raises(FileExistsError):
        cache.write(NAME, shard)
    cache.path(NAME).unlink()
    cache.path(NAME).symlink_to(victim / "letter.json")
    cache.write(NAME, shard)
    assert not cache.path(NAME).is_symlink() and cache.read(NAME).keys == shard.keys


def test_what_was_put_in_a_written_files_place_is_not_published(victim: Path, place: Path) -> None:
    with pytest.raises(NotPlain, match="something else in its place"), new_file(place / "a") as temporary:
        temporary.symlink_to(victim / "letter.json")
    assert list(place.iterdir()) == []
    (place / "link").symlink_to(victim / "letter.json")
    with pytest.raises(NotPlain):
        publish(place / "link", place / "a")


@pytest.mark.parametrize("left", [".d.tmp", f".d.{GUESSED}.tmp"])
def test_a_link_in_place_of_a_killed_runs_folder_is_removed_alone(left: str, victim: Path, place: Path) -> None:
    (place / left).symlink_to(victim, target_is_directory=True)
    with new_folder(place / "d") as temporary:
        (temporary / "one").write_text("1")
    assert {path.name for path in place.iterdir()} == {"d"}
    (place / left).symlink_to(victim, target_is_directory=True)
    with temporary_folder(place / ".d.tmp"):
        pass
    assert {path.name for path in place.iterdir()} == {"d"}


def test_nobody_else_can_write_to_a_folder_that_is_being_filled(place: Path) -> None:
    umask = os.umask(0o002)  # as in a project that a group shares
    try:
        (place / "plain").mkdir()
        with new_folder(place / "d") as temporary:
            assert stat.S_IMODE(temporary.stat().st_mode) == 0o700
            (temporary / "one").write_text("1")
        assert stat.S_IMODE((place / "d").stat().st_mode) == stat.S_IMODE((place / "plain").stat().st_mode) == 0o775
        assert [path.name for path in (place / "d").iterdir()] == ["one"]
    finally:
        os.umask(umask)


def test_a_folder_that_was_exchanged_is_noticed(victim: Path, place: Path) -> None:
    with pytest.raises(OSError), new_folder(place / "d") as temporary:
        temporary.rename(place / "away")
        temporary.symlink_to(victim, target_is_directory=True)
    assert not (place / "d").exists()


def test_appending_does_not_follow_a_link(victim: Path, place: Path) -> None:
    write_dataset(place / "d", [make_sample(0)], {})
    (place / "d" / ".append.tmp").symlink_to(victim, target_is_directory=True)
    (place / "d" / "rejected.csv").symlink_to(victim / "letter.json")
    dataset, _ = append_dataset(place / "d", [make_sample(0), make_sample(1)], {})
    assert len(dataset.tars) == 2 and not (place / "d" / ".append.tmp").is_symlink()


def test_a_lock_that_is_a_link_or_a_pipe_is_refused(victim: Path, place: Path) -> None:
    lock = place / ".d.lock"
    for target in (victim / "letter.json", victim / "new"):
        lock.symlink_to(target)
        with pytest.raises(DatasetError, match=r"\.d\.lock, the lock of d, cannot be opened \(it is a symbolic link"):
            write_dataset(place / "d", [make_sample(0)], {})
        lock.unlink()
    os.mkfifo(lock)
    with pytest.raises(DatasetError, match="a named pipe"), lock_folder(place / "d"):
        pass


@pytest.mark.parametrize("mode", ["a", "ab+", "wb"])
def test_files_of_fixed_names_are_opened_only_where_they_are_files(mode: str, victim: Path, place: Path) -> None:
    path = place / "log.txt"
    for target in (victim / "letter.json", victim / "new"):
        path.symlink_to(target)
        with pytest.raises(NotPlain, match="a symbolic link, which is not followed here: expected a plain file"):
            open_in_place(path, mode)
        path.unlink()
    path.mkdir()
    with pytest.raises(NotPlain, match="it is a folder"):
        open_in_place(path, mode)
    path.rmdir()
    os.mkfifo(path)
    with pytest.raises(NotPlain, match="it is a named pipe"):
        open_in_place(path, mode)
    path.unlink()
    for word in (b"one", b"two"):
        with open_in_place(path, mode) as file:
            file.write(word.decode() if mode == "a" else word)
    assert path.read_bytes() == (b"two" if mode == "wb" else b"onetwo")


def test_a_folder_of_ours_is_never_a_link(victim: Path, place: Path) -> None:
    (place / ".progress").symlink_to(victim, target_is_directory=True)
    with pytest.raises(NotPlain, match="a symbolic link, which is not followed here: expected a folder"):
        own_folder(place / ".progress")
    with pytest.raises(NotPlain), open_folder(place / ".progress"):
        pass
    (place / "file").touch()
    with pytest.raises(NotPlain, match="it is something else: expected a folder"):
        own_folder(place / "file")
    assert own_folder(own_folder(place / "deep" / "er")).is_dir()


def test_of_a_link_the_link_alone_is_removed(victim: Path, place: Path) -> None:
    for target in (victim, victim / "letter.json", victim / "new"):
        (place / "link").symlink_to(target)
        remove(place / "link")
    (place / "folder" / "below").mkdir(parents=True)
    (place / "folder" / "link").symlink_to(victim, target_is_directory=True)
    remove(place / "folder")
    remove(place / "folder")
    assert list(place.iterdir()) == []


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_large(path: Path) -> None:
    path.touch()
    os.truncate(path, 2**40)


STRANGE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "pipe": (make_pipe, "it is a named pipe: expected a plain file"),
    "folder": (Path.mkdir, "it is a folder: expected a plain file"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "it is a device: expected a plain file"),
    "large": (make_large, "it is larger than a file of its kind"),
}


@pytest.mark.parametrize(("make", "words"), STRANGE.values(), ids=STRANGE.keys())
def test_what_is_no_file_or_far_too_large_is_refused_at_once(
    make: Callable[[Path], Any], words: str, place: Path
) -> None:
    make(place / "x.json")
    failures: list[Exception] = []

    def read() -> None:
        try:
            read_json(place / "x.json")
        except ValueError as error:
            failures.append(error)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive(), "it hangs"
    assert len(failures) == 1 and f"x.json cannot be read as JSON ({words}" in str(failures[0])
    if "larger" not in words:
        with pytest.raises(NotPlain, match=words):
            open_plain(place / "x.json")


def test_a_link_to_a_file_is_read_and_a_limit_is_kept(place: Path) -> None:
    (place / "a").write_bytes(b"12345")
    (place / "b").symlink_to(place / "a")
    assert read_plain(place / "b", 5) == b"12345"
    with pytest.raises(NotPlain, match="4 bytes at most"):
        read_plain(place / "b", 4)
    with pytest.raises(FileNotFoundError):
        read_plain(place / "none", 4)


def nested(depth: int) -> Any:
    content: Any = 1
    for level in range(depth):
        content = {"a": content} if level % 2 else [content]
    return content


@pytest.mark.parametrize(("depth", "fits"), [(MAX_JSON_DEPTH, True), (MAX_JSON_DEPTH + 1, False), (700, False)])
def test_json_is_as_deep_as_everything_that_reads_it_bears(depth: int, fits: bool, place: Path) -> None:
    (place / "x.json").write_text(json.dumps({"a": nested(depth - 1)}))
    if fits:
        assert read_json(place / "x.json") == {"a": nested(depth - 1)}
    else:
        with pytest.raises(ValueError, match="more than 100 lists and objects lie in one another"):
            read_json(place / "x.json")


@pytest.mark.parametrize("name", ["dataset.json", "index.parquet"])
@pytest.mark.parametrize(("make", "words"), STRANGE.values(), ids=STRANGE.keys())
def test_a_dataset_of_strange_files_is_refused_in_a_sentence(
    make: Callable[[Path], Any], words: str, name: str, dataset: Dataset
) -> None:
    (dataset.folder / name).unlink()
    make(dataset.folder / name)
    if name == "index.parquet" and "larger" in words:  # it is not read as a whole
        words = "it is no Parquet file"
    with pytest.raises(DatasetError, match=rf"{name} cannot be read \(.*({words})"):
        Dataset.open(dataset.folder)


@pytest.mark.parametrize(("make", "words"), STRANGE.values(), ids=STRANGE.keys())
def test_a_cache_and_a_tar_of_strange_files_are_refused_in_a_sentence(
    make: Callable[[Path], Any], words: str, cache: Cache, dataset: Dataset
) -> None:
    (cache.folder / "cache.json").unlink()
    make(cache.folder / "cache.json")
    with pytest.raises(CacheError, match=rf"cache\.json cannot be read \({words}"):
        open_cache(cache.folder)
    tar = dataset.tar_path(0)
    tar.unlink()
    make(tar)
    if "larger" not in words:
        with pytest.raises(DatasetError, match=f"cannot be read .*{words}"):
            read_image_bytes(tar, 512, 1)
        with pytest.raises(DatasetError, match=f"cannot be read as a tar .*{words}"):
            list(read_members(tar))
