"""Packing ends with the table of what was packed."""

import logging
import os
from pathlib import Path

import pytest

from cache_schema import contents_table, count_images
from extract.__main__ import main
from extract.packing.pack import PackConfig, pack
from tests.extract.packing.test_pack import save


def test_packing_ends_with_what_was_packed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for i in range(6):
        save(tmp_path / "src" / "real" / f"{i}.png", i)
        save(tmp_path / "src" / "sdv5" / f"{i}.png", 100 + i)
    caplog.set_level(logging.INFO)
    settings = {"test_fraction": 0, "validation_fraction": 0, "num_workers": 1}
    dataset = pack(PackConfig(tmp_path / "src", tmp_path / "out", **settings))
    last = caplog.messages[-1]
    assert last == f"{tmp_path / 'out'} holds\n{contents_table(count_images(dataset))}".rstrip()
    assert "all     sdv5          generated      6           0     0    6" in last

    save(tmp_path / "src" / "biggan" / "0.png", 300)
    pack(PackConfig(tmp_path / "src", tmp_path / "out", append=True, **settings))
    last = caplog.messages[-1]
    assert "biggan" in last and "all     all           generated      7" in last


def test_appending_counts_copies_as_such(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for i in range(6):
        save(tmp_path / "src" / "real" / f"{i}.png", i)
        save(tmp_path / "src" / "sdv5" / f"{i}.png", 100 + i)
    caplog.set_level(logging.INFO)
    pack(PackConfig(tmp_path / "src", tmp_path / "out", num_workers=1))
    for i in range(4):  # the same pictures under other names, and one that is new
        save(tmp_path / "src" / "sdv5" / f"again{i}.png", 100 + i)
    save(tmp_path / "src" / "sdv5" / "new.png", 200)
    pack(PackConfig(tmp_path / "src", tmp_path / "out", append=True, num_workers=1))
    line = "1 images in 1 new tars, 12 were there already, 4 are copies of others, 4 files in rejected.csv"
    assert line in caplog.messages


def test_a_source_whose_own_name_is_not_utf8_is_answered_with_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    src = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")
    for name, seed in (("real", 1), ("sdv5", 2)):
        save(Path(src) / name / "0.png", seed)
    with pytest.raises(SystemExit) as end:
        main(["pack", f"--src={src}", f"--out={tmp_path / 'out'}"])
    assert end.value.code == 2
    assert capsys.readouterr().err.startswith("error: --src: its name is not UTF-8, which settings cannot hold: ")
    (tmp_path / "link").symlink_to(src)
    assert main(["pack", f"--src={tmp_path / 'link'}", f"--out={tmp_path / 'out'}", "--num_workers=1"]) == 0
