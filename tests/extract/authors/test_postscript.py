"""Import of the authors' maps from a stranger's dataset: a file under an image's name is no program."""

from pathlib import Path

import pytest
from PIL import Image

from cache_schema import Status
from tests.extract.authors.test_import_maps import MapFolder, folder
from tests.postscript import COLOURS, ghostscript, postscript

__all__ = ["folder", "ghostscript"]


@pytest.mark.parametrize("colours", COLOURS)
def test_postscript_under_an_image_s_name_is_rejected_and_not_run(
    folder: MapFolder, ghostscript: Path, colours: int
) -> None:
    folder.replace(3, image=postscript(colours))
    assert folder.run() == 0
    assert not ghostscript.exists()
    ((status, reason),) = folder.rejected().values()
    assert status is Status.UNREADABLE and reason.startswith("cannot identify it as one of JPEG, PNG")


def test_a_format_of_pillow_s_that_datasets_do_not_hold_is_rejected(folder: MapFolder, tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "picture.tga")
    folder.replace(3, image=(tmp_path / "picture.tga").read_bytes())
    assert folder.run() == 0
    assert [status for status, _ in folder.rejected().values()] == [Status.UNREADABLE]
