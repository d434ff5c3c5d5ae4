"""Error maps on the disk."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detect.files.maps import MapFolder
from detect.picture import Picture
from detect.verdict import Answer, ImageFacts
from tests.detect.verdicts import make_verdict
from tests.samples import make_sample

SAMPLE = make_sample(1)
FACTS = ImageFacts(SAMPLE.fields.sha256, 16, 16, "PNG", None)


def test_a_figure_and_an_array_of_each_picture(tmp_path: Path) -> None:
    folder, verdict = MapFolder(tmp_path / "new" / "maps"), make_verdict(image=FACTS)
    path = folder.write(Picture.of(SAMPLE.image, "a.jpg"), verdict)
    assert path == tmp_path / "new" / "maps" / "a.jpg.png"
    with Image.open(path) as figure:
        assert figure.format == "PNG" and figure.width > figure.height
    lare = np.load(path.with_suffix(".npy"), allow_pickle=False)
    assert lare.dtype == np.float32 and np.array_equal(lare, verdict.lare)


def test_hostile_names_stay_in_the_folder(tmp_path: Path) -> None:
    folder = MapFolder(tmp_path / "maps")
    names = ["../a.png", "/etc/passwd", "t.tar/../../b.png", "..", "a\n.png", "x" * 400, "", "c/d.png", "c_d.png"]
    for name in names:
        assert folder.write(Picture.of(SAMPLE.image, name), make_verdict(image=FACTS)) is not None
    assert [path.name for path in tmp_path.iterdir()] == ["maps"]
    assert len([*(tmp_path / "maps").iterdir()]) == 2 * len(names)


def test_pixels_need_no_decoding(tmp_path: Path) -> None:
    picture = Picture.of(Image.new("RGB", (30, 20)), "pixels")
    assert MapFolder(tmp_path).write(picture, make_verdict()) == tmp_path / "pixels.png"


def test_a_file_that_changed_has_an_array_and_no_figure(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(make_sample(2).image)
    picture, verdict = Picture.of(file), make_verdict(image=FACTS)
    folder = MapFolder(tmp_path / "maps")
    assert folder.write(picture, verdict) is None
    file.unlink()
    assert folder.write(picture, verdict) is None
    assert "has changed" in caplog.text and "No such file" in caplog.text
    assert [path.suffix for path in (tmp_path / "maps").iterdir()] == [".npy"]


def test_threads_keep_the_order_and_pass_over_pictures_without_a_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("detect.files.maps.MAX_WAITING", 3)
    answers = [Answer(f"{i}.png", None if i % 5 == 2 else make_verdict(i, image=FACTS)) for i in range(20)]
    taken = 0

    def pairs() -> Iterator[tuple[Picture, Answer]]:
        nonlocal taken
        for answer in answers:
            taken += 1
            yield Picture.of(SAMPLE.image, answer.name), answer

    for num, (answer, path) in enumerate(MapFolder(tmp_path).write_all(pairs())):
        assert answer is answers[num] and taken <= num + 1 + 4
        assert path == (tmp_path / f"{num}.png.png" if answer.verdict else None)
        assert path is None or (path.is_file() and path.with_suffix(".npy").is_file())
    assert len([*tmp_path.iterdir()]) == 2 * 16


def test_a_folder_that_cannot_be_written_stops_the_work(tmp_path: Path) -> None:
    folder = MapFolder(tmp_path / "maps")
    (tmp_path / "maps").rmdir()
    answer = Answer("a.png", make_verdict(image=FACTS))
    with pytest.raises(FileNotFoundError, match="maps"):
        list(folder.write_all([(Picture.of(SAMPLE.image, "a.png"), answer)]))


def test_a_link_that_has_a_maps_name_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "letter").write_text("dear")
    folder = MapFolder(tmp_path / "maps")
    for ending in ("png", "npy"):
        (tmp_path / "maps" / f"a.jpg.{ending}").symlink_to(tmp_path / "letter")
    folder.write(Picture.of(SAMPLE.image, "a.jpg"), make_verdict(image=FACTS))
    assert (tmp_path / "letter").read_text() == "dear"
    assert not any(path.is_symlink() for path in (tmp_path / "maps").iterdir())
