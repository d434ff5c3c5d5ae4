import errno
import json
import math
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from cache_schema import new_file, new_folder, read_json, write_json, write_text
from cache_schema.files import ABANDONED_SEC, publish, temporary_folder


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def order_of_syscalls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is synced, renamed and linked from now on, in this order: the names that it has at that moment."""
    calls: list[str] = []
    fsync, replace, link = os.fsync, os.replace, os.link

    def note_sync(descriptor: int) -> None:
        calls.append(f"sync {Path(os.readlink(f'/proc/self/fd/{descriptor}')).name}")
        fsync(descriptor)

    def note_replace(source: Path, target: Path) -> None:
        calls.append(f"replace {target.name}")
        replace(source, target)

    def note_link(source: Path, target: Path) -> None:
        calls.append(f"link {target.name}")
        link(source, target)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(os, "replace", note_replace)
    monkeypatch.setattr(os, "link", note_link)
    return calls


def test_a_file_has_its_name_only_once_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with new_file(path) as temporary:
        temporary.write_text("half")
        assert not path.exists() and temporary.parent == tmp_path
        assert temporary.name.startswith(".a.json.") and temporary.name.endswith(".tmp")
        temporary.write_text("whole")
    assert names(tmp_path) == ["a.json"] and path.read_text() == "whole"


def test_a_file_is_replaced_by_a_whole_one_or_stays(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("old")
    for error in (ValueError, KeyboardInterrupt, SystemExit):
        with pytest.raises(error), new_file(path) as temporary:
            temporary.write_text("new")
            raise error
        assert names(tmp_path) == ["a"] and path.read_text() == "old"
    with new_file(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert names(tmp_path) == ["a"] and path.read_text() == "new"


def test_create_only_refuses_a_name_that_is_taken(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "first", replace=False)
    with pytest.raises(FileExistsError):
        write_text(tmp_path / "a", "second", replace=False)
    assert names(tmp_path) == ["a"] and (tmp_path / "a").read_text() == "first"
    assert (tmp_path / "a").stat().st_nlink == 1


def test_of_many_that_create_at_once_exactly_one_wins(tmp_path: Path) -> None:
    won: list[int] = []
    barrier = threading.Barrier(8)

    def create(number: int) -> None:
        barrier.wait()
        try:
            write_text(tmp_path / "a", str(number), replace=False)
        except FileExistsError:
            return
        won.append(number)

    threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1 and (tmp_path / "a").read_text() == str(won[0]) and names(tmp_path) == ["a"]


def test_content_reaches_the_disk_before_its_name_and_the_name_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = order_of_syscalls(monkeypatch)
    write_text(tmp_path / "a", "x")
    first, second, third = calls
    assert first.startswith("sync .a.") and (second, third) == ("replace a", f"sync {tmp_path.name}")
    calls.clear()
    write_text(tmp_path / "b", "x", replace=False)
    assert calls[0].startswith("sync .b.") and calls[1:] == ["link b", f"sync {tmp_path.name}"]
    calls.clear()
    write_text(tmp_path / "c", "x", durable=False)
    assert calls == ["replace c"]


def test_a_folder_reaches_the_disk_with_all_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = order_of_syscalls(monkeypatch)
    with new_folder(tmp_path / "d") as temporary:
        (temporary / "below").mkdir()
        (temporary / "below" / "one").write_text("1")
        (temporary / "two").write_text("2")
        assert not (tmp_path / "d").exists()
    assert names(tmp_path) == ["d"] and names(tmp_path / "d") == ["below", "two"]
    assert sorted(calls[:3]) == ["sync below", "sync one", "sync two"]
    assert calls[3].startswith("sync .d.") and calls[4:] == [f"sync {tmp_path.name}"]
    calls.clear()
    with new_folder(tmp_path / "e", durable=False) as temporary:
        (temporary / "one").write_text("1")
    assert calls == [] and names(tmp_path / "e") == ["one"]


def test_a_folder_that_fails_leaves_nothing_and_one_with_content_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), new_folder(tmp_path / "d") as temporary:
        (temporary / "half").write_text("x")
        raise KeyboardInterrupt
    assert names(tmp_path) == []
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "mine").write_text("x")
    with pytest.raises(OSError) as error, new_folder(tmp_path / "d") as temporary:
        (temporary / "other").write_text("x")
    assert error.value.errno == errno.ENOTEMPTY
    assert names(tmp_path) == ["d"] and names(tmp_path / "d") == ["mine"]


def test_a_killed_runs_folder_is_removed_by_the_next(tmp_path: Path) -> None:
    (tmp_path / ".d.tmp" / "below").mkdir(parents=True)
    (tmp_path / ".d.tmp" / "below" / "half").write_text("x")
    with temporary_folder(tmp_path / ".d.tmp") as temporary:
        assert names(temporary) == []
        (temporary / "a").write_text("x")
        publish(temporary / "a", tmp_path / "a")
    assert names(tmp_path) == ["a"]


def test_a_killed_runs_files_are_removed_once_they_are_old(tmp_path: Path) -> None:
    old, young = (tmp_path / f".a.{digit * 32}.tmp" for digit in "0f")
    others = [tmp_path / ".a.tmp", tmp_path / "notes.tmp", tmp_path / ".a.0123.tmp"]
    for path in (old, young, *others):
        path.touch()
    for path in (old, *others):
        os.utime(path, (path.stat().st_mtime - ABANDONED_SEC - 60,) * 2)
    write_text(tmp_path / "b", "x")
    assert names(tmp_path) == sorted(["b", young.name, *(path.name for path in others)])


def test_errors_of_a_full_disk_name_the_file(tmp_path: Path) -> None:
    with pytest.raises(OSError) as error, new_file(tmp_path / "a"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert error.value.filename == str(tmp_path / "a") and error.value.errno == errno.ENOSPC
    with pytest.raises(FileNotFoundError) as missing, new_file(tmp_path / "no folder" / "a") as temporary:
        temporary.write_text("x")
    assert "no folder" in str(missing.value)


def test_files_have_the_permissions_that_any_new_file_has(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("x")
    write_text(tmp_path / "a", "x")
    with new_folder(tmp_path / "d") as temporary:
        (temporary / "one").write_text("x")
    (tmp_path / "plain folder").mkdir()
    modes = {name: stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "a", "d", "d/one")}
    assert modes["a"] == modes["d/one"] == modes["plain"]
    assert modes["d"] == stat.S_IMODE((tmp_path / "plain folder").stat().st_mode)


def test_json_is_readable_and_holds_no_nan(tmp_path: Path) -> None:
    path = tmp_path / "made" / "a.json"
    write_json(path, {"name": "é", "value": 0.1})
    assert path.read_bytes() == '{\n  "name": "é",\n  "value": 0.1\n}\n'.encode()
    for value in (math.nan, math.inf):
        with pytest.raises(ValueError, match="not JSON compliant"):
            write_json(path, {"value": value})
    assert json.loads(path.read_text()) == {"name": "é", "value": 0.1} and names(path.parent) == ["a.json"]


def test_a_process_that_is_killed_while_it_writes_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("old")
    program = (
        "import os, sys; from pathlib import Path; from cache_schema import new_file\n"
        "with new_file(Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_text('half')\n"
        "    os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", program, str(path)]).returncode == -9
    assert path.read_text() == "old" and len(names(tmp_path)) == 2


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "cannot be read as JSON"),
        (b'{"a": ', "cannot be read as JSON"),
        (b'{"a": "\xe9"}', "cannot be read as JSON"),
        (b"[" * 100_000, "cannot be read as JSON"),
        (b"[1]", "holds no JSON object"),
    ],
)
def test_a_damaged_json_file_is_named(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "x.json").write_bytes(data)
    with pytest.raises(ValueError, match=rf"x\.json {message}"):
        read_json(tmp_path / "x.json")


def test_an_object_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", {"ä": [1, None]})
    assert read_json(tmp_path / "x.json") == {"ä": [1, None]}
