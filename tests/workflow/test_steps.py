import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from workflow.steps import Steps, hash_files


class Work:
    """Writes its text into a file, and counts."""

    def __init__(self, file: Path, text: str = "done", fails: bool = False) -> None:
        self.file, self.text, self.fails, self.calls = file, text, fails, 0

    def __call__(self) -> None:
        self.calls += 1
        self.file.write_text((self.file.read_text() if self.file.exists() else "") + self.text)
        if self.fails:
            raise RuntimeError("cut short")


def test_step_is_done_once(tmp_path: Path) -> None:
    file = tmp_path / "a"
    work = Work(file)
    signatures = [Steps(tmp_path).run("a", [file], {"seed": 0}, work) for _ in range(2)]
    assert work.calls == 1 and signatures[0] == signatures[1]


@pytest.mark.parametrize(("settings", "after"), [({"seed": 1}, "x"), ({"seed": 0}, "y")])
def test_step_is_done_again_where_settings_or_an_earlier_step_changed(
    settings: dict, after: str, tmp_path: Path
) -> None:
    file = tmp_path / "a"
    Steps(tmp_path).run("a", [file], {"seed": 0}, Work(file, "old"), after="x")
    Steps(tmp_path).run("a", [file], settings, Work(file, "new"), after=after)
    assert file.read_text() == "new"


def test_step_is_done_again_where_its_output_is_gone(tmp_path: Path) -> None:
    file = tmp_path / "a"
    Steps(tmp_path).run("a", [file], 0, Work(file))
    file.unlink()
    Steps(tmp_path).run("a", [file], 0, Work(file))
    assert file.read_text() == "done"


@pytest.mark.parametrize(("resumable", "text"), [(False, "done"), (True, "halfdone")])
def test_step_cut_short_starts_anew_or_goes_on(resumable: bool, text: str, tmp_path: Path) -> None:
    file = tmp_path / "a"
    with pytest.raises(RuntimeError, match="cut short"):
        Steps(tmp_path).run("a", [file], 0, Work(file, "half", fails=True), resumable=resumable)
    Steps(tmp_path).run("a", [file], 0, Work(file), resumable=resumable)
    assert file.read_text() == text


def test_resumable_step_with_other_settings_starts_anew(tmp_path: Path) -> None:
    file = tmp_path / "a"
    with pytest.raises(RuntimeError):
        Steps(tmp_path).run("a", [file], 0, Work(file, "half", fails=True), resumable=True)
    Steps(tmp_path).run("a", [file], 1, Work(file), resumable=True)
    assert file.read_text() == "done"


def test_output_that_no_step_made_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_text("somebody's")
    with pytest.raises(FileExistsError, match="was not made by this command"):
        Steps(tmp_path).run("a", [file], 0, Work(file))
    assert file.read_text() == "somebody's"


def test_hash_files_sees_names_and_contents(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.py").write_text("1")
    first = hash_files(folder)
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "a.pyc").write_text("x")
    assert hash_files(folder) == first
    (folder / "a.py").write_text("2")
    second = hash_files(folder)
    (folder / "a.py").rename(folder / "b.py")
    assert len({first, second, hash_files(folder)}) == 3


def test_hash_files_refuses_a_path_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    hash_files(tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match=r"moved\.py is not there"):
        hash_files(tmp_path / "empty", tmp_path / "moved.py")


def test_no_link_is_followed_to_what_a_step_makes(tmp_path: Path) -> None:
    somebody, out = tmp_path / "somebody", tmp_path / "out"
    somebody.mkdir()
    (somebody / "letter").write_text("dear")
    out.mkdir()
    (out / ".steps").symlink_to(somebody, target_is_directory=True)
    with pytest.raises(OSError, match="a symbolic link, which is not followed here"):
        Steps(out)
    (out / ".steps").unlink()
    Steps(out).run("a", [out / "a"], {"seed": 0}, Work(out / "a"))
    (out / "a").unlink()
    (out / "a").symlink_to(somebody, target_is_directory=True)

    def make() -> None:
        (out / "a").write_text("again")

    Steps(out).run("a", [out / "a"], {"seed": 1}, make)  # what an earlier run left is removed: the link alone
    assert [path.name for path in somebody.iterdir()] == ["letter"] and (out / "a").read_text() == "again"


def test_a_step_that_another_process_is_at_is_waited_for_and_not_done_again(tmp_path: Path) -> None:
    file, begun, go_on = tmp_path / "a", threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        assert go_on.wait(timeout=60)
        file.write_text("once")

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(Steps(tmp_path).run, "a", [file], 0, work)
        assert begun.wait(timeout=60)
        second = pool.submit(Steps(tmp_path).run, "a", [file], 0, Work(file, "twice"))
        with pytest.raises(TimeoutError):
            second.result(timeout=0.5)
        go_on.set()
        assert first.result(timeout=60) == second.result(timeout=60)
    assert file.read_text() == "once"
    assert Steps(tmp_path).is_done("a", [file], 0) and not Steps(tmp_path).is_done("a", [file], 1)
