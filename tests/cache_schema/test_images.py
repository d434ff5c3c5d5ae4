import io

import numpy as np
import pytest
from PIL import Image

from cache_schema import ImageRejected, Status, decode_image, resize_canvas


def encode(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def pixel(data: bytes) -> tuple[int, ...]:
    image = decode_image(data)
    assert image.mode == "RGB"
    value = image.getpixel((0, 0))
    assert isinstance(value, tuple)
    return value


def test_transparency_goes_over_white() -> None:
    assert pixel(encode(Image.new("RGBA", (2, 2), (255, 0, 0, 0)), "PNG")) == (255, 255, 255)
    assert pixel(encode(Image.new("LA", (2, 2), (0, 255)), "PNG")) == (0, 0, 0)


def test_sixteen_bit_grey_keeps_its_brightness() -> None:
    grey = Image.fromarray(np.full((2, 2), 0x8000, dtype=np.uint16))
    assert pixel(encode(grey, "PNG")) == (128, 128, 128)


def test_cmyk_and_palette_become_rgb() -> None:
    assert pixel(encode(Image.new("RGB", (2, 2), (0, 255, 0)).convert("P"), "PNG")) == (0, 255, 0)
    assert pixel(encode(Image.new("CMYK", (8, 8), (0, 0, 0, 0)), "JPEG")) == (255, 255, 255)


def test_exif_orientation_is_applied() -> None:
    image = Image.new("RGB", (4, 2))
    exif = image.getexif()
    exif[0x0112] = 6
    assert decode_image(encode(image, "JPEG", exif=exif)).size == (2, 4)


def test_first_frame_of_an_animation_is_taken() -> None:
    frames = [Image.new("RGB", (2, 2), c) for c in ("red", "blue")]
    assert pixel(encode(frames[0], "PNG", save_all=True, append_images=frames[1:])) == (255, 0, 0)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"<!doctype html><p>not found", "cannot identify"),
        (encode(Image.effect_noise((64, 64), 50), "JPEG")[:-900], "truncated"),
        (encode(Image.effect_noise((64, 64), 50), "PNG")[:-900], "truncated"),
    ],
)
def test_unreadable_bytes_are_rejected(data: bytes, reason: str) -> None:
    with pytest.raises(ImageRejected, match=reason) as caught:
        decode_image(data)
    assert caught.value.status is Status.UNREADABLE


def test_canvas_is_the_whole_picture_squashed() -> None:
    left_right = Image.new("RGB", (40, 10), "black")
    left_right.paste("white", (20, 0, 40, 10))
    canvas = resize_canvas(left_right, 8)
    assert canvas.shape == (8, 8, 3) and canvas.dtype == np.uint8
    assert canvas[:, :3].max() < 20 and canvas[:, 5:].min() > 235


def test_canvas_of_its_own_size_is_untouched() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    assert np.array_equal(resize_canvas(Image.fromarray(pixels), 8), pixels)
