"""Pictures are opened as one of an explicit list of formats, wherever it is."""

import io
from pathlib import Path

import pytest
from PIL import Image, UnidentifiedImageError

from cache_schema import ImageRejected, decode_image, open_image
from tests.bad_images import encode, jpeg, png, quadrants
from tests.postscript import ghostscript, postscript

__all__ = ["ghostscript"]
OTHERS = ("PPM", "ICO", "TGA", "PCX", "SGI", "JPEG2000", "QOI")


@pytest.mark.parametrize("colours", [1, 2, 3, 4])
def test_postscript_under_an_image_s_name_runs_no_program(colours: int, ghostscript: Path, tmp_path: Path) -> None:
    path = tmp_path / "picture.jpg"
    path.write_bytes(postscript(colours))
    with pytest.raises(OSError), Image.open(path) as image:
        image.load()
    assert ghostscript.exists()  # what Pillow does of itself
    ghostscript.unlink()
    with pytest.raises(UnidentifiedImageError):
        open_image(path)
    with pytest.raises(ImageRejected, match=r"cannot identify it as one of JPEG.*; it is PostScript$"):
        decode_image(path.read_bytes())
    assert not ghostscript.exists()


@pytest.mark.parametrize("format", OTHERS)
def test_other_formats_that_pillow_knows_are_opened_where_they_are_named_alone(format: str) -> None:
    data = encode(quadrants(), format)
    with pytest.raises(UnidentifiedImageError):
        open_image(io.BytesIO(data))
    assert open_image(io.BytesIO(data), (format,)).format == format


def test_the_name_plays_no_role(tmp_path: Path) -> None:
    for name, data, format in (("a.eps", png(), "PNG"), ("b.png", jpeg(), "JPEG")):
        (tmp_path / name).write_bytes(data)
        with open_image(tmp_path / name) as image:
            assert image.format == format
