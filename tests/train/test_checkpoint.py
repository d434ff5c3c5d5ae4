"""Checkpoint files of strangers: read as they were saved, or refused before they take memory or run anything."""

import os
import pickle
import resource
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import torch

from cache_schema import new_opened
from train import checkpoint
from train.checkpoint import MAX_PICKLE_BYTES, CheckpointFiles, CutShort, find_whole, load_checkpoint

ROOT = Path(__file__).parents[2]


class Call:
    """An object whose pickle calls a function."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    shared = torch.arange(6.0).view(2, 3)
    content = {"state_dict": {"a": shared, "b": shared.T, "c": torch.ones(3, 4).T}, "epoch": 3, "x": (1, [2])}
    torch.save(content, tmp_path / "whole.ckpt")
    return tmp_path / "whole.ckpt"


def rewrite(path: Path, change: Callable[[str, bytes], bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    """Write an archive again, entry by entry."""
    other = path.with_name("other.ckpt")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(other, "w", compression) as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return other


def with_pickle(path: Path, data: bytes) -> Path:
    return rewrite(path, lambda name, old: data if name.endswith("data.pkl") else old)


def test_what_was_saved_is_read_and_does_not_change_with_the_file(whole: Path) -> None:
    found, expected = load_checkpoint(whole), torch.load(whole, weights_only=True)
    assert (found["epoch"], found["x"]) == (3, (1, [2]))
    for name, value in expected["state_dict"].items():
        assert torch.equal(found["state_dict"][name], value) and found["state_dict"][name].stride() == value.stride()
    with whole.open("r+b") as file:
        file.write(bytes(whole.stat().st_size))
    assert torch.equal(found["state_dict"]["a"], expected["state_dict"]["a"])


def test_an_archive_that_was_written_again_is_read(whole: Path) -> None:
    other = rewrite(whole, lambda name, data: data)
    assert torch.equal(load_checkpoint(other)["state_dict"]["a"], torch.arange(6.0).view(2, 3))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (Call(torch.Tensor, 10**5, 10**5), "it names 'torch Tensor', which a fit does not write"),
        (Call(torch.UntypedStorage, 10**10), "it names 'torch.storage UntypedStorage'"),
        (Call(bytearray, 10**10), "it names '__builtin__ bytearray'"),
        (Call(eval, "1"), "it names '__builtin__ eval'"),
        (Call(os.system, "touch marker"), "it names 'posix system'"),
        (Call(torch.FloatStorage, 10**10), "cannot be read"),
        ([1, 2], "it holds no names and values"),
    ],
)
def test_a_pickle_that_calls_asks_for_no_memory_and_runs_nothing(whole: Path, call: Any, message: str) -> None:
    content = {"state_dict": call} if isinstance(call, Call) else call
    with pytest.raises(ValueError, match=message):
        load_checkpoint(with_pickle(whole, pickle.dumps(content, protocol=2)))
    assert not Path("marker").exists()


def test_a_tensor_that_repeats_one_number_is_no_longer_than_the_file(whole: Path) -> None:
    torch.save({"state_dict": {"a": torch.zeros(1).expand(10**12)}}, whole)
    assert whole.stat().st_size < 2000
    with pytest.raises(ValueError, match="would take 4000000000000 bytes, more than the file has"):
        load_checkpoint(whole)


def test_one_tensor_under_many_names_is_no_longer_than_the_file(whole: Path) -> None:
    numbers = torch.zeros(10**5)
    torch.save({"state_dict": {str(n): numbers[: -n - 1] for n in range(1000)}}, whole)
    with pytest.raises(ValueError, match="more than the file has"):
        load_checkpoint(whole)


def test_compressed_entries_are_refused(whole: Path) -> None:
    def inflate(name: str, data: bytes) -> bytes:
        return bytes(2**26) if "/data/" in name else data

    other = rewrite(whole, inflate, zipfile.ZIP_DEFLATED)
    assert other.stat().st_size < 2**20
    with pytest.raises(ValueError, match="is compressed in it: expected entries as"):
        load_checkpoint(other)


def test_entries_that_share_their_bytes_are_refused(whole: Path) -> None:
    large = rewrite(whole, lambda name, data: bytes(2**20) if "/data/" in name else data)
    with zipfile.ZipFile(large, "a") as archive:
        first = next(entry for entry in archive.infolist() if "/data/" in entry.filename)
        for number in range(100):
            entry = zipfile.ZipInfo(f"{first.filename}-{number}")
            for name in ("compress_type", "CRC", "compress_size", "file_size", "header_offset", "flag_bits"):
                setattr(entry, name, getattr(first, name))
            archive.filelist.append(entry)
            archive.NameToInfo[entry.filename] = entry
        archive._didModify = True
    with pytest.raises(ValueError, match="more than the file has"):
        load_checkpoint(large)


def test_a_tensor_is_no_longer_than_its_bytes(whole: Path) -> None:
    """The file says 6 numbers; its bytes are 2."""
    short = rewrite(whole, lambda name, data: data[:8] if "/data/" in name else data)
    assert short.stat().st_size < 4096
    try:
        found = load_checkpoint(short)
    except ValueError:
        return
    assert all(value.numel() * 4 <= short.stat().st_size for value in found["state_dict"].values())


def test_a_long_pickle_is_refused(whole: Path) -> None:
    with pytest.raises(ValueError, match=f"at most {MAX_PICKLE_BYTES} are read"):
        load_checkpoint(with_pickle(whole, bytes(MAX_PICKLE_BYTES + 1)))


def test_names_of_names_are_looked_at_once(whole: Path) -> None:
    nested: list[Any] = []
    for _ in range(100):
        nested = [nested, nested]
    torch.save({"state_dict": nested}, whole)
    assert len(load_checkpoint(whole)["state_dict"]) == 2


def test_damaged_bytes_are_refused(whole: Path) -> None:
    data = whole.read_bytes()
    at = data.index(torch.arange(6.0).numpy().tobytes())
    whole.write_bytes(data[: at + 5] + bytes([data[at + 5] ^ 1]) + data[at + 6 :])
    with pytest.raises(ValueError, match="is damaged: copy the file again"):
        load_checkpoint(whole)


def test_a_pipe_and_a_folder_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.ckpt")
    for path in (tmp_path / "pipe.ckpt", tmp_path):
        with pytest.raises(ValueError, match="is no file: expected a checkpoint"):
            load_checkpoint(path)


def test_a_trainer_removes_files_alone(tmp_path: Path, whole: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").touch()
    for path in (tmp_path / "folder", tmp_path / "not there", whole):
        CheckpointFiles().remove_checkpoint(path)
    assert (tmp_path / "folder" / "file").exists() and not whole.exists()


SAVES_TWICE = """
import os, signal, sys
import cache_schema.files
from train.checkpoint import CheckpointFiles

class Kills:
    def __reduce__(self):
        os.kill(os.getpid(), signal.SIGKILL)

def kill(*_):
    os.kill(os.getpid(), signal.SIGKILL)

path, moment = sys.argv[1:]
CheckpointFiles().save_checkpoint({"global_step": 1, "values": [0] * 10**5}, path)
if moment == "before it is on the disk":
    cache_schema.files.sync_file = kill
if moment == "before it has its name":
    os.replace = kill
CheckpointFiles().save_checkpoint({"global_step": 2, "last": Kills() if moment == "while it is written" else 0}, path)
"""


@pytest.mark.parametrize("moment", ["while it is written", "before it is on the disk", "before it has its name"])
def test_a_kill_while_a_checkpoint_is_written_leaves_the_one_before(moment: str, tmp_path: Path) -> None:
    last = tmp_path / "run" / "last.ckpt"
    done = subprocess.run([sys.executable, "-c", SAVES_TWICE, str(last), moment], cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
    assert load_checkpoint(last)["global_step"] == 1
    assert [path.name for path in last.parent.glob("*.ckpt")] == ["last.ckpt"]


LARGE = {"global_step": 2, "values": torch.zeros(10**6)}
"""4 MB: more than what a file keeps back before it writes."""


def test_ctrl_c_while_a_checkpoint_is_written_stays_ctrl_c(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted:
        def __init__(self, file: BinaryIO) -> None:
            self.file = file

        def write(self, data: bytes) -> int:
            if len(data) > 10**6:
                signal.raise_signal(signal.SIGINT)
            return self.file.write(data)

    @contextmanager
    def opened(path: Path) -> Iterator[Interrupted]:
        with new_opened(path) as file:
            yield Interrupted(file)

    last = tmp_path / "last.ckpt"
    CheckpointFiles().save_checkpoint({"global_step": 1}, last)
    monkeypatch.setattr(checkpoint, "new_opened", opened)
    with pytest.raises(KeyboardInterrupt):
        CheckpointFiles().save_checkpoint(LARGE, last)
    assert load_checkpoint(last)["global_step"] == 1 and [*tmp_path.iterdir()] == [last]


def test_a_full_disk_is_told_as_one_and_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    last = tmp_path / "last.ckpt"
    CheckpointFiles().save_checkpoint({"global_step": 1}, last)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * 10**6, hard))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            CheckpointFiles().save_checkpoint(LARGE, last)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.filename == str(last)
    assert load_checkpoint(last)["global_step"] == 1 and [*tmp_path.iterdir()] == [last]


def test_of_several_checkpoints_the_newest_whole_one_is_found(tmp_path: Path) -> None:
    for name, step in (("last", 5), ("best", 3), ("older", 2)):
        torch.save({"global_step": step}, tmp_path / f"{name}.ckpt")
    assert find_whole(tmp_path / "last.ckpt") == tmp_path / "best.ckpt"
    for name in ("last", "best", "older"):
        path = tmp_path / f"{name}.ckpt"
        os.truncate(path, path.stat().st_size - 1)
        with pytest.raises(CutShort, match=r"cannot be read as a checkpoint.*It was cut short or damaged"):
            load_checkpoint(path)
    assert find_whole(tmp_path / "last.ckpt") is None
