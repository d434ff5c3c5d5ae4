"""Packing ends with the table of what was packed."""

import logging
from pathlib import Path

import pytest

from cache_schema import contents_table, count_images
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
