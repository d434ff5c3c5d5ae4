import io
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from demo.toy import photographs as toy_photographs
from demo.toy.images import CLASS_NAMES
from demo.toy.photographs import load_table, prepare, shrink

PHOTOGRAPHS = {"flowers/daisy/a.jpg": "generator", "clothing/hat/b.jpg": "benchmark"}


def test_every_photograph_has_one_role_and_a_class_that_the_models_know() -> None:
    table = load_table()
    assert Counter(table.values()) == {"generator": 2651, "benchmark": 1849}
    assert {name.split("/")[1] for name in table} == set(CLASS_NAMES)
    assert {name.split("/")[0] for name in table} == {"flowers", "clothing"}


@pytest.mark.parametrize(
    ("size", "shrunk"), [((300, 200), (192, 144)), ((150, 600), (144, 192)), ((160, 180), (144, 162))]
)
def test_photographs_are_shrunk_whole_and_cut_around_the_centre(size: tuple[int, int], shrunk: tuple[int, int]) -> None:
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    pixels[size[1] // 2 - 2 : size[1] // 2 + 2] = 255
    with Image.open(io.BytesIO(shrink(Image.fromarray(pixels)))) as image:
        assert image.size == shrunk and image.format == "JPEG"
        rows = np.asarray(image).mean(axis=(1, 2))
    assert abs(int(rows.argmax()) - shrunk[1] // 2) <= 1


def test_photographs_are_found_in_the_datasets_and_dealt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toy_photographs, "load_table", lambda: PHOTOGRAPHS)
    flowers, clothing = tmp_path / "flower_photos", tmp_path / "clothing"
    for file in (flowers / "daisy" / "a.jpg", flowers / "daisy" / "other.jpg", clothing / "train" / "hat" / "b.jpg"):
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (200, 160)).save(file)
    prepare(flowers, clothing, tmp_path / "out")
    assert not list(tmp_path.glob(".out.*"))
    made = {file.relative_to(tmp_path / "out").as_posix() for file in (tmp_path / "out").rglob("*.jpg")}
    assert made == {"generator/flowers/daisy/a.jpg", "benchmark/clothing/hat/b.jpg"}
    with pytest.raises(FileExistsError):
        prepare(flowers, clothing, tmp_path / "out")
    with pytest.raises(ValueError, match=r"1 of 2 photographs are not below .*, the first is clothing/hat/b.jpg"):
        prepare(flowers, flowers, tmp_path / "new")
    assert not (tmp_path / "new").exists()
