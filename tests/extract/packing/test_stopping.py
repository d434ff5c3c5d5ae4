"""Ctrl-C while packing, which a terminal sends to the whole group of processes: one line, and no traceback."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.extract.packing.test_pack import save


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def has_fork_server(pid: int) -> bool:
    return any(b"forkserver" in Path(f"/proc/{child}/cmdline").read_bytes() for child in children(pid))


def is_loading(pid: int) -> bool:
    """Whether the command has begun to load its work."""
    return "_multiarray_umath" in Path(f"/proc/{pid}/maps").read_text()


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="looks at processes where Linux shows them")
@pytest.mark.parametrize("is_time", [has_fork_server, is_loading])
def test_ctrl_c_while_code_is_loaded_is_one_line(tmp_path: Path, is_time: object) -> None:
    save(tmp_path / "src" / "real" / "0.png", 0)
    command = [sys.executable, "-m", "workflow", "pack", "--src", str(tmp_path / "src"), "--out", str(tmp_path / "out")]
    with subprocess.Popen(
        [*command, "--num_workers", "2"], start_new_session=True, stderr=subprocess.PIPE, text=True
    ) as process:
        while not is_time(process.pid):  # type: ignore[operator]
            assert process.poll() is None, "it was through before it could be stopped"
            time.sleep(0.001)
        os.killpg(process.pid, signal.SIGINT)
        assert process.stderr is not None
        text = process.stderr.read()
    assert process.returncode == 130 and "Traceback" not in text and text.endswith("stopped by Ctrl-C\n")
    assert [path.name for path in tmp_path.iterdir()] == ["src"]
