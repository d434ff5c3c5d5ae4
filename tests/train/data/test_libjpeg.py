"""libjpeg's warnings do not reach the terminal, in the main process and in workers; whatever else is said does."""

import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.bad_images import garbage_in_the_middle, jpeg, noise
from train.data.decoding import decode_pixels, is_plain_jpeg
from train.data.libjpeg import libjpeg_kept_quiet

SAYING = {
    "extraneous": lambda: jpeg(noise(), restart_marker_blocks=2).replace(b"\xff\xd1", b"\xff\xd4", 1),
    "garbage": garbage_in_the_middle,
    "premature end": lambda: jpeg(noise())[:-60] + b"\xff\xd9",
}
"""Damaged files of which torchvision has pixels."""


@pytest.mark.parametrize("name", SAYING)
def test_damage_is_not_printed(name: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    data = SAYING[name]()
    assert is_plain_jpeg(data)
    decode_pixels(data)
    assert capfd.readouterr() == ("", "")
    monkeypatch.setattr("train.data.libjpeg._OF_LIBJPEG", re.compile(rb"(?!)"))
    decode_pixels(data)
    assert "JPEG data" in capfd.readouterr().err  # what it would print


def test_what_others_say_meanwhile_comes_out_unchanged(capfd: pytest.CaptureFixture[str]) -> None:
    with libjpeg_kept_quiet():
        thread = threading.Thread(target=os.write, args=(2, "a warning: Corrupt JPEG data\nänd more".encode()))
        thread.start()
        thread.join()
        os.write(2, b"\nCorrupt JPEG data: premature end of data segment\nlast\n")
        assert capfd.readouterr().err == ""
    assert capfd.readouterr().err == "a warning: Corrupt JPEG data\nänd more\nlast\n"
    with libjpeg_kept_quiet():
        pass
    assert capfd.readouterr().err == ""


def test_an_error_inside_gives_the_terminal_back(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError), libjpeg_kept_quiet():
        os.write(2, b"said\n")
        raise RuntimeError
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "said\nafter\n"


def test_threads_decode_at_once_and_leave_the_terminal_as_it_was(capfd: pytest.CaptureFixture[str]) -> None:
    before = os.fstat(2)
    threads = [threading.Thread(target=lambda: [decode_pixels(jpeg()) for _ in range(50)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (os.fstat(2).st_dev, os.fstat(2).st_ino) == (before.st_dev, before.st_ino)


def test_a_fork_in_the_middle_has_files_of_its_own(capfd: pytest.CaptureFixture[str]) -> None:
    with libjpeg_kept_quiet():
        pid = os.fork()
        if pid == 0:
            os.write(2, b"said by the child\n")
            decode_pixels(jpeg())
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert capfd.readouterr().err == "said by the child\n"


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_prints_nothing_and_no_descriptors_pile_up(workers: int, tmp_path: Path) -> None:
    (tmp_path / "damaged.jpg").write_bytes(SAYING["garbage"]())
    code = """
import os, sys
from torch.utils.data import DataLoader, Dataset
from train.data.decoding import decode_pixels

class Pictures(Dataset):
    def __len__(self):
        return 200
    def __getitem__(self, number):
        decode_pixels(open(sys.argv[1], "rb").read())
        return len(os.listdir("/proc/self/fd"))

counts = [int(n) for n in DataLoader(Pictures(), batch_size=None, num_workers=int(sys.argv[2]))]
assert max(counts[20:]) <= max(counts[:20]), counts
"""
    command = [sys.executable, "-W", "ignore", "-c", code, str(tmp_path / "damaged.jpg"), str(workers)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
