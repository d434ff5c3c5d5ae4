"""What packing leaves out is told: counted, with its reasons, and listed."""

import shutil
from pathlib import Path

import pyarrow as pa
import pytest

from cache_schema import REJECTED_SCHEMA, commonest_reasons
from extract.__main__ import main
from extract.packing.pack import PackConfig, pack
from tests.extract.packing.test_pack import rejections, save


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_a_source_of_which_nothing_can_be_used_is_told_with_counts_reasons_and_examples(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    touch(*(tmp_path / "src" / "real" / f"{i}.png" for i in range(3)))
    (tmp_path / "src" / "toy").mkdir()
    (tmp_path / "src" / "toy" / "page.png").write_bytes(b"<html>")
    assert main(["pack", f"--src={tmp_path / 'src'}", f"--out={tmp_path / 'out'}", "--num_workers=1"]) == 1
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("error: "))
    assert f"none of the 4 files of {tmp_path / 'src'} can be used" in line
    assert "3 × empty file (for example real/0.png); 1 × cannot identify" in line and "(toy/page.png)" in line
    assert line.endswith(f"All are listed in {tmp_path / 'out.rejected.csv'}.")
    text = (tmp_path / "out.rejected.csv").read_text()
    assert text.count("empty file") == 3 and "toy/page.png" in text and not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["real/", "list.txt", "t.csv"])
def test_a_source_without_files_is_told_as_such(tmp_path: Path, name: str) -> None:
    (tmp_path / "src" / "real").mkdir(parents=True)
    (tmp_path / "src" / "list.txt").touch()
    (tmp_path / "src" / "t.csv").write_text("path,label\n")
    src = tmp_path / "src" if name.endswith("/") else tmp_path / "src" / name
    with pytest.raises(ValueError, match=r"no samples to write: .* has no files in layout"):
        pack(PackConfig(src, tmp_path / "out", num_workers=1))


def test_an_append_of_which_nothing_can_be_used_is_told_too_and_changes_nothing(tmp_path: Path) -> None:
    save(tmp_path / "src" / "real" / "0.png", 0)
    dataset = pack(PackConfig(tmp_path / "src", tmp_path / "out", num_workers=1))
    touch(tmp_path / "more" / "real" / "new.png")
    config = PackConfig(tmp_path / "more", tmp_path / "out", num_workers=1, append=True)
    with pytest.raises(ValueError, match=r"none of the 1 files of .* can be used"):
        pack(config)
    assert rejections(tmp_path / "out") == {}
    shutil.copy(tmp_path / "src" / "real" / "0.png", tmp_path / "more" / "real" / "again.png")
    assert pack(config) == dataset  # a copy of what is there can be used, and is not needed
    assert set(rejections(tmp_path / "out")) == {"real/new.png", "real/again.png"}


def test_an_image_source_of_which_nothing_is_left_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save(tmp_path / "src" / "real" / "0.png", 0)
    touch(tmp_path / "src" / "toy" / "a.png", tmp_path / "src" / "toy" / "b.png")
    pack(PackConfig(tmp_path / "src", tmp_path / "out", num_workers=1))
    assert "left out: 2 × empty file (for example toy/a.png)" in caplog.messages
    assert "none of the files of image source toy can be used" in caplog.messages
    assert not any("image source real" in message for message in caplog.messages)


def test_reasons_are_counted_by_kind() -> None:
    reasons = [f"same bytes as real/{i} a.png" for i in range(4)] + [f"{i} bytes, at most 7" for i in range(3)]
    reasons += [f"its name makes no key: 'a{i}' is no path" for i in range(2)] + ["e", "f", "g", "h"]
    paths = [f"p{i}" for i in range(len(reasons))]
    assert commonest_reasons(pa.table({"path": paths, "reason": reasons}, schema=REJECTED_SCHEMA)) == [
        "4 × same bytes as real/0 a.png (for example p0)",
        "3 × 0 bytes, at most 7 (for example p4)",
        "2 × its name makes no key: 'a0' is no path (for example p7)",
        "1 × e (p9)",
        "1 × f (p10)",
        "2 × other reasons",
    ]
