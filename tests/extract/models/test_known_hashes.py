"""Hashes of weights: remembered by path, size and times, and read again whenever in doubt."""

import hashlib
import os
import shutil
from pathlib import Path

import pytest

from cache_schema import Dataset
from extract.models import known_hashes
from extract.models.known_hashes import KnownHashes, cache_folder
from tests.extract.conftest import Run


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    for path in paths:
        path.write_bytes(path.name.encode() * 10)
    return paths


def sha256(files: list[Path]) -> str:
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def test_files_are_read_once_and_again_when_they_change(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[list[Path]] = []
    read = known_hashes.hash_files
    monkeypatch.setattr(known_hashes, "hash_files", lambda paths: (reads.append([*paths]), read(paths))[1])
    memory = tmp_path / "home" / "weights.json"
    assert KnownHashes(memory)(files) == sha256(files) and len(reads) == 1
    assert KnownHashes(memory)(files) == sha256(files) and len(reads) == 1
    assert KnownHashes(memory, check=True)(files) == sha256(files) and len(reads) == 2
    before = files[1].stat()
    files[1].write_bytes(b"x" * before.st_size)
    os.utime(files[1], ns=(before.st_atime_ns, before.st_mtime_ns))  # size and mtime as before
    assert KnownHashes(memory)(files) == sha256(files) and len(reads) == 3
    assert KnownHashes(memory)(files[:1]) == sha256(files[:1]) and len(reads) == 4


@pytest.mark.parametrize("content", ["", "[]", '{"a": 3}', "\x00", " " * (known_hashes.MAX_BYTES + 1)])
def test_a_memory_that_is_none_only_costs_time(files: list[Path], tmp_path: Path, content: str) -> None:
    memory = tmp_path / "weights.json"
    memory.write_text(content)
    assert KnownHashes(memory)(files) == sha256(files) == KnownHashes(memory)(files)


def test_a_home_that_cannot_be_written_only_costs_time(files: list[Path], tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file where the folder should be")
    assert KnownHashes(tmp_path / "home" / "weights.json")(files) == sha256(files)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        KnownHashes(tmp_path / "weights.json")([tmp_path / "gone"])


def test_it_lies_where_caches_lie(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert KnownHashes().path == tmp_path / "lare2" / "weights.json"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "lare2"


def test_a_run_with_nothing_to_do_reads_no_weights_and_another_reads_them_once(
    packed: Dataset, run: Run, models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[Path] = []
    read = known_hashes.hash_files
    monkeypatch.setattr(known_hashes, "hash_files", lambda paths: (reads.extend(paths), read(paths))[1])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "first"))
    assert run(shard=0) == 0 and len(reads) == 3  # UNet, autoencoder, text encoder
    assert run() == 0 and len(reads) == 3  # they are remembered
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "second"))  # as on another machine
    assert run() == 0 and len(reads) == 3  # nothing is to do
    assert run(overwrite="stale") == 0 and len(reads) == 6


def test_weights_that_changed_are_refused_where_nothing_is_to_do_too(
    packed: Dataset, run: Run, models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = shutil.copytree(models["sd"], tmp_path / "model")
    assert run(model=model) == 0
    (weights,) = (model / "unet").glob("*.safetensors")
    content, times = bytearray(weights.read_bytes()), weights.stat()
    content[-1] ^= 1
    weights.write_bytes(content)
    os.utime(weights, ns=(times.st_atime_ns, times.st_mtime_ns))
    KnownHashes()([weights])  # remembered, by another command
    assert run(model=model) == 1
    assert "unet_sha256: " in capsys.readouterr().err
