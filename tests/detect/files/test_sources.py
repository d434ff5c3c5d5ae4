"""From words to pictures."""

import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from cache_schema import Dataset, ImageRejected
from detect.files.sources import Sources
from detect.picture import MAX_FILE_BYTES
from tests.samples import make_sample

PNG = make_sample(1).image


def names(*words: str | Path, files_from: str | None = None) -> list[str]:
    return [picture.name for picture in Sources([str(word) for word in words], files_from)]


def make_files(folder: Path, *files: str) -> None:
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(PNG)


def test_a_file_that_is_named_is_asked_about_whatever_its_suffix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_files(tmp_path, "a.jpg", "b.txt", ".hidden")
    monkeypatch.chdir(tmp_path)
    assert names("b.txt", "a.jpg", ".hidden") == ["b.txt", "a.jpg", ".hidden"]
    (picture,) = Sources(["b.txt"])
    assert picture.load() == PNG and picture.sample_key is None


def test_folders_are_walked_in_order_and_others_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_files(tmp_path, "f/b/2.PNG", "f/b/1.heic", "f/a.jpg", "f/c.jxl", "f/x.txt", "f/y.TXT", "f/z", "f/.git/a.jpg")
    make_files(tmp_path, "f/.DS_Store", "f/w.tar")
    monkeypatch.chdir(tmp_path)
    sources = Sources(["f"])
    assert [picture.name for picture in sources] == ["f/a.jpg", "f/b/1.heic", "f/b/2.PNG", "f/c.jxl"]
    assert str(sources.skipped) == "6 other files: 2 hidden, 2 .txt, 1 .tar, 1 without suffix"
    assert sources.num_pictures is None and not sources.is_one_picture


def test_links_to_folders_are_not_followed(tmp_path: Path) -> None:
    make_files(tmp_path, "outside/secret.jpg", "f/a.jpg")
    (tmp_path / "f" / "cycle").symlink_to(tmp_path / "f")
    (tmp_path / "f" / "away").symlink_to(tmp_path / "outside")
    (tmp_path / "f" / "b.jpg").symlink_to(tmp_path / "f" / "a.jpg")
    (tmp_path / "f" / "dead.jpg").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "f" / "pipe.jpg")
    sources = Sources([str(tmp_path / "f")])
    pictures = {Path(picture.name).name: picture for picture in sources}
    assert [*pictures] == ["a.jpg", "b.jpg", "dead.jpg"]
    assert "2 links to folders" in str(sources.skipped) and "1 no regular files" in str(sources.skipped)
    with pytest.raises(FileNotFoundError):
        pictures["dead.jpg"].load()


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every folder")
def test_a_closed_folder_within_is_told_by_a_picture(tmp_path: Path) -> None:
    make_files(tmp_path, "f/a.jpg", "f/closed/b.jpg")
    (tmp_path / "f" / "closed").chmod(0)
    first, second = Sources([str(tmp_path / "f")])
    (tmp_path / "f" / "closed").chmod(0o755)
    assert first.name.endswith("a.jpg") and second.name.endswith("closed")
    with pytest.raises(PermissionError):
        second.load()


def test_a_folder_that_goes_away_is_told_by_a_picture(tmp_path: Path) -> None:
    make_files(tmp_path, "f/a/1.jpg", "f/b/2.jpg")
    pictures = iter(Sources([str(tmp_path / "f")]))
    assert next(pictures).name.endswith("1.jpg")
    (tmp_path / "f" / "b" / "2.jpg").unlink()
    (tmp_path / "f" / "b").rmdir()
    (gone,) = pictures
    with pytest.raises(FileNotFoundError):
        gone.load()


def test_missing_paths_are_refused_before_anything_is_asked(tmp_path: Path) -> None:
    make_files(tmp_path, "a.jpg")
    with pytest.raises(FileNotFoundError, match="nothing"):
        Sources([str(tmp_path / "a.jpg"), str(tmp_path / "nothing.jpg")])
    with pytest.raises(FileNotFoundError, match="nolist"):
        Sources([], str(tmp_path / "nolist"))


def make_tar(path: Path, *members: tuple[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def test_tars_are_read_in_order_with_names_of_their_members(tmp_path: Path) -> None:
    other = make_sample(2).image
    members = [("z/1.png", PNG), ("z/1.json", b"{}"), ("a.png", other), ("b.json", b"{}"), ("._a.png", PNG), ("c", PNG)]
    path = make_tar(tmp_path / "t.tar", *members)
    sources = Sources([str(path)])
    pictures = list(sources)
    assert [picture.name for picture in pictures] == [f"{path}/z/1.png", f"{path}/a.png"]
    assert [picture.load() for picture in reversed(pictures)] == [other, PNG]
    assert str(sources.skipped).startswith("3 other files: ") and "1 .json" in str(sources.skipped)


def test_members_with_hostile_names_are_only_names(tmp_path: Path) -> None:
    path = make_tar(tmp_path / "t.tar", ("../../etc/a.png", PNG), ("/abs.png", PNG), ("a.png", PNG), ("a.png", PNG))
    assert names(path) == [f"{path}/{name}" for name in ("../../etc/a.png", "/abs.png", "a.png", "a.png")]
    assert not (tmp_path.parent / "etc").exists()


def test_links_and_devices_in_tars_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "t.tar"
    with tarfile.open(path, "w") as tar:
        for name, kind in (("s.png", tarfile.SYMTYPE), ("h.png", tarfile.LNKTYPE), ("d.png", tarfile.CHRTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
        folder = tarfile.TarInfo("folder.png")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
    sources = Sources([str(path)])
    assert list(sources) == []
    assert str(sources.skipped) == "3 other files: 2 links in tars, 1 no regular files"


@pytest.mark.parametrize("num_bytes", [700, 512 + 100, 3 * 512 + 300])
def test_a_cut_tar_ends_with_a_picture_that_says_so(tmp_path: Path, num_bytes: int) -> None:
    path = make_tar(tmp_path / "t.tar", ("a.png", bytes(512)), ("b.png", bytes(512)), ("c.png", bytes(512)))
    path.write_bytes(path.read_bytes()[: num_bytes + 512])
    *_, last = Sources([str(path)])
    assert last.name == str(path)
    with pytest.raises(ImageRejected, match="the tar cannot be read further"):
        last.load()


def test_a_damaged_header_is_no_silent_end(tmp_path: Path) -> None:
    path = make_tar(tmp_path / "t.tar", ("a.png", bytes(512)), ("b.png", bytes(512)))
    data = bytearray(path.read_bytes())
    data[1024 + 150] ^= 0xFF  # the checksum of the second header
    path.write_bytes(data)
    first, second = Sources([str(path)])
    assert first.name.endswith("/a.png")
    with pytest.raises(ImageRejected, match="header at byte 1024 is damaged"):
        second.load()


def test_a_header_that_claims_gigabytes_takes_no_memory(tmp_path: Path) -> None:
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 8 * 2**30
    path = tmp_path / "t.tar"
    with path.open("wb") as file:
        file.write(info.tobuf(tarfile.GNU_FORMAT))
        file.truncate(9 * 2**30)  # a sparse file
    (picture,) = Sources([str(path)])
    with pytest.raises(ImageRejected, match="claims 8589934592 bytes"):
        picture.load()


def test_a_member_of_gigabytes_is_refused_unread(tmp_path: Path) -> None:
    info = tarfile.TarInfo("big.png")
    info.size = MAX_FILE_BYTES + 1
    path = tmp_path / "t.tar"
    with path.open("wb") as file:
        file.write(info.tobuf())
        file.truncate(2 * MAX_FILE_BYTES)
    (picture,) = Sources([str(path)])
    with pytest.raises(ImageRejected, match="more than 1073741824 bytes"):
        picture.load()


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz"])
def test_compressed_tars_are_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"t.tar.{kind}"
    with tarfile.open(path, f"w:{kind}") as tar:
        tar.addfile(tarfile.TarInfo("a.png"))
    with pytest.raises(ValueError, match=r"is a compressed tar, which is not read: unpack it first \(\w+\)"):
        Sources([str(path)])


def test_a_file_that_only_calls_itself_a_tar_says_so(tmp_path: Path) -> None:
    path = tmp_path / "t.tar"
    path.write_bytes(b"no tar at all" * 100)
    (picture,) = Sources([str(path)])
    with pytest.raises(ImageRejected, match="cannot be read further"):
        picture.load()


def test_a_packed_dataset_gives_its_samples_under_their_keys(dataset: Dataset) -> None:
    sources = Sources([str(dataset.folder)])
    rows = dataset.table(["key", "sha256"]).to_pylist()
    pictures = list(sources)
    assert [picture.name for picture in pictures] == [picture.sample_key for picture in pictures]
    assert [picture.name for picture in pictures] == [row["key"] for row in rows]
    assert pictures[3].load() == make_sample(3).image
    assert sources.num_pictures == 24 and not sources.is_one_picture


def test_a_missing_tar_of_a_dataset_is_told_by_its_pictures(dataset: Dataset) -> None:
    dataset.tar_path(0).unlink()
    pictures = list(Sources([str(dataset.folder)]))
    with pytest.raises(ImageRejected, match="is missing"):
        pictures[0].load()
    assert pictures[-1].load()


def test_a_folder_with_some_other_dataset_json_is_a_folder(tmp_path: Path) -> None:
    make_files(tmp_path, "f/a.png")
    (tmp_path / "f" / "dataset.json").write_text("{}")
    assert names(tmp_path / "f") == [f"{tmp_path}/f/a.png"]


@pytest.mark.parametrize("divider", ["\n", "\0", "\r\n"])
def test_lists_are_of_lines_or_divided_by_nul(tmp_path: Path, divider: str) -> None:
    make_files(tmp_path, "a.jpg", "b c.txt", "two\nlines.jpg", "folder/x.jpg")
    files = ["a.jpg", "", "b c.txt", "missing.jpg", "folder"] + (["two\nlines.jpg"] if divider == "\0" else [])
    listed = tmp_path / "list"
    listed.write_text(divider.join(f"{tmp_path}/{file}" if file else "" for file in files), newline="")
    sources = Sources([], str(listed))
    pictures = list(sources)
    assert [p.name for p in pictures] == [f"{tmp_path}/{file}" for file in files if file not in ("", "folder")]
    assert str(sources.skipped) == "1 other file: 1 folders in the list"
    with pytest.raises(FileNotFoundError):
        pictures[2].load()
    assert sources.num_pictures is None and not sources.is_one_picture


def test_lists_that_mix_dividers_or_hold_no_paths_are_refused(tmp_path: Path) -> None:
    listed = tmp_path / "list"
    listed.write_bytes(b"a.jpg\n" * 20_000 + b"b\0c\n")
    with pytest.raises(ValueError, match="entry 20001: a NUL in a list of lines"):
        names(files_from=str(listed))
    listed.write_bytes(b"x" * 200_000)
    with pytest.raises(ValueError, match="entry 1: longer than"):
        names(files_from=str(listed))


def test_one_picture_comes_from_the_standard_input() -> None:
    program = (
        "from detect.files.sources import Sources\n"
        "sources = Sources(['-'])\n"
        "(picture,) = sources\n"
        "assert picture.name == '-' and sources.is_one_picture and sources.num_pictures == 1\n"
        "data = picture.load()\n"
        "assert picture.load() == data\n"
        "import sys; sys.stdout.buffer.write(data)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], input=PNG, capture_output=True, check=True)
    assert done.stdout == PNG


def test_a_list_is_read_as_it_comes_in() -> None:
    program = (
        "from detect.files.sources import Sources\nfor picture in Sources([], '-'): print(picture.name, flush=True)\n"
    )
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin and process.stdout
        for name in ("first.jpg", "second.jpg"):
            process.stdin.write(name + "\n")
            process.stdin.flush()
            assert process.stdout.readline() == name + "\n"
        process.stdin.close()
    assert process.returncode == 0
