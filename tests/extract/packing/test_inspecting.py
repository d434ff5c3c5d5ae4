"""What is known of a file besides its pixels."""

import io

import pytest
from PIL import Image

from extract import jpeg_quality
from tests.bad_images import CASES, encode, jpeg, png, quadrants


@pytest.mark.parametrize("quality", [1, 30, 75, 96, 100])
def test_the_quality_of_a_jpeg_is_read_from_its_tables(quality: int) -> None:
    assert jpeg_quality(Image.open(io.BytesIO(jpeg(quality=quality)))) == quality


def test_files_without_a_standard_table_have_no_quality() -> None:
    own_tables = encode(quadrants(), "JPEG", qtables=[[7] * 64, [9] * 64])
    assert jpeg_quality(Image.open(io.BytesIO(own_tables))) is None
    assert jpeg_quality(Image.open(io.BytesIO(png()))) is None
    assert jpeg_quality(Image.new("RGB", (8, 8))) is None


def test_a_jpeg_with_more_pictures_behind_it_is_a_jpeg() -> None:
    assert jpeg_quality(Image.open(io.BytesIO(CASES["jpeg mpo"].data()))) == 95
