"""Names that are not UTF-8: such files are listed with an escaped path, and all others are packed."""

import os
from pathlib import Path

from extract.packing.pack import PackConfig, pack
from tests.extract.packing.test_pack import rejections, rows_of, save

LATIN = os.fsdecode(b"caf\xe9")
REASON = "its name makes no key"


def pack_it(src: Path, out: Path, **settings: object) -> dict[str, str]:
    """Pack, expecting one usable photograph; the reasons by path."""
    dataset = pack(PackConfig(src, out, num_workers=1, **settings))
    assert [row["label"] for row in rows_of(dataset).values()] == [0]
    return rejections(dataset.folder)


def test_a_file_in_a_folder_that_is_not_utf8_is_rejected(tmp_path: Path) -> None:
    save(tmp_path / "src" / "real" / "0.png", 0)
    save(tmp_path / "src" / "real" / LATIN / "1.png", 1)
    save(tmp_path / "src" / LATIN / "2.png", 2)  # a folder of an image source
    reasons = pack_it(tmp_path / "src", tmp_path / "out")
    assert set(reasons) == {"real/caf\\xe9/1.png", "caf\\xe9/2.png"}
    assert all(REASON in reason for reason in reasons.values())
    assert pack_it(tmp_path / "src", tmp_path / "out", append=True) == reasons


def test_a_genimage_generator_that_is_not_utf8_is_rejected(tmp_path: Path) -> None:
    save(tmp_path / "src" / "ADM" / "imagenet_adm" / "val" / "nature" / "0.png", 0)
    save(tmp_path / "src" / LATIN / "imagenet_x" / "val" / "ai" / "1.png", 1)
    assert REASON in pack_it(tmp_path / "src", tmp_path / "out")["caf\\xe9/imagenet_x/val/ai/1.png"]


def test_a_row_of_a_csv_file_that_is_not_utf8_is_rejected(tmp_path: Path) -> None:
    save(tmp_path / "src" / "0.png", 0)
    save(tmp_path / "src" / f"{LATIN}.png", 1)
    (tmp_path / "src" / "t.csv").write_bytes(b"path,label,group\n0.png,0,a\ncaf\xe9.png,1,b\n")
    assert REASON in pack_it(tmp_path / "src" / "t.csv", tmp_path / "out")["caf\\xe9.png"]


def test_a_source_that_lies_in_a_folder_that_is_not_utf8_is_packed(tmp_path: Path) -> None:
    save(tmp_path / LATIN / "src" / "real" / "0.png", 0)
    assert pack_it(tmp_path / LATIN / "src", tmp_path / "out") == {}
    save(tmp_path / LATIN / "imagenet_x" / "val" / "nature" / "0.png", 0)
    pack(PackConfig(tmp_path / LATIN, tmp_path / "genimage", layout="genimage", num_workers=1))
