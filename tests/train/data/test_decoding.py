"""Fast decoding gives what the slow one gives, on whole files and on bad ones."""

import struct
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest

from cache_schema import ImageRejected, Status, decode_image
from tests.bad_images import CASES, GREEN, WHOLE, jpeg, noise, oriented, quadrants
from train.data.decoding import decode_pixels, is_plain_jpeg, to_canvas

PLAIN = {
    "4:4:4": {"subsampling": 0},
    "4:2:2": {"subsampling": 1},
    "4:2:0": {"subsampling": 2},
    "progressive": {"progressive": True, "subsampling": 2},
    "optimized": {"optimize": True, "quality": 60},
    "restart markers": {"restart_marker_blocks": 2, "subsampling": 2},
    "colours not turned to luma": {"keep_rgb": True},
    "profile and comment": {"icc_profile": bytes(70_000), "comment": b"a photo"},
}
FRAME = 0xC0


def outcome(data: bytes, decode: object = decode_image) -> np.ndarray | tuple[Status, str]:
    """Pixels, or why there are none."""
    try:
        return np.asarray(decode(data))  # type: ignore[operator]
    except ImageRejected as error:
        return error.status, error.reason


def same(data: bytes) -> bool:
    """Whether both decoders come to the same outcome."""
    slow, fast = outcome(data), outcome(data, decode_pixels)
    if isinstance(slow, tuple) or isinstance(fast, tuple):
        return type(slow) is type(fast) and slow == fast
    return np.array_equal(slow, fast)


def frame_at(data: bytes) -> int:
    """Where a baseline frame's marker begins."""
    return data.index(bytes([0xFF, FRAME, 0, 17, 8]))


def with_segment(data: bytes, at: int, marker: int, content: bytes) -> bytes:
    """A JPEG with a segment put in."""
    return data[:at] + bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content + data[at:]


def with_size(data: bytes, height: int, width: int) -> bytes:
    """A JPEG that claims another size."""
    at = frame_at(data) + 5
    return data[:at] + struct.pack(">HH", height, width) + data[at + 4 :]


@pytest.fixture
def no_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(data: bytes) -> None:
        raise AssertionError("a plain JPEG came to Pillow")

    monkeypatch.setattr("train.data.decoding.decode_image", fail)


@pytest.fixture
def no_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("a file that is no plain JPEG came to torchvision")

    monkeypatch.setattr("train.data.decoding._DECODE_JPEG", fail)


@pytest.mark.usefixtures("no_pillow")
@pytest.mark.parametrize("size", [(64, 64), (1, 1), (7, 13), (333, 217)])
@pytest.mark.parametrize("name", PLAIN)
def test_plain_jpeg_has_pillow_s_pixels_without_pillow(name: str, size: tuple[int, int]) -> None:
    data = jpeg(noise().resize(size), **PLAIN[name])
    pixels = decode_pixels(data)
    assert pixels.shape == (size[1], size[0], 3) and pixels.dtype == np.uint8 and pixels.flags.c_contiguous
    assert np.array_equal(pixels, np.asarray(decode_image(data)))


@pytest.mark.usefixtures("no_torchvision")
def test_everything_else_goes_to_pillow() -> None:
    plain, turned = jpeg(), oriented("JPEG", 6)()
    exif_at, frame = turned.index(b"\xff\xe1"), frame_at(plain)
    exif = turned[exif_at + 4 : exif_at + 2 + int.from_bytes(turned[exif_at + 2 : exif_at + 4])]
    late = with_segment(plain, frame + 19, 0xE1, exif)  # EXIF behind the frame header counts too
    assert decode_pixels(turned).shape == decode_pixels(late).shape == (48, 32, 3)
    others = [
        turned,
        late,
        jpeg(quadrants("L")),
        jpeg(quadrants("CMYK")),
        *(make() for name, make in WHOLE.items() if name not in ("jpeg", "progressive")),
        *(case.data() for name, case in CASES.items() if name in ("png rgba half", "jpeg mpo", "jpeg broken exif")),
        with_segment(plain, 2, 0xE0, b"JFIF\0"),
        with_segment(plain, 2, 0xE2, b"ICC_PROFILE\0"),
        with_segment(plain, 2, 0xEE, b"Adobe"),
        with_segment(plain, 2, 0xE2, b"MPF\0" + bytes(20)),
        with_segment(plain, 2, 0xED, b"Photoshop 3.0\x008BIM\x03\xed"),
    ]
    assert all(same(data) for data in others)


@pytest.mark.parametrize("name", CASES)
def test_each_file_has_the_same_outcome(name: str) -> None:
    assert same(CASES[name].data())


def test_files_go_to_pillow_where_torchvision_has_no_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    data = jpeg(noise())

    def not_built(*_: object) -> None:
        raise RuntimeError("decode_jpeg: torchvision not compiled with libjpeg support")

    for decoder in (None, not_built):
        monkeypatch.setattr("train.data.decoding._DECODE_JPEG", decoder)
        assert same(data)


@pytest.mark.usefixtures("no_torchvision")
def test_size_is_held_to_the_limit_before_memory_is_taken() -> None:
    data = jpeg(noise())
    for height, width in ((65_500, 65_500), (10_001, 10_000)):
        with pytest.raises(ImageRejected, match=f"{width} x {height} pixels, at most 100000000") as caught:
            decode_pixels(with_size(data, height, width))
        assert caught.value.status is Status.TOO_LARGE
    for height, width in ((0, 64), (64, 0)):
        assert same(with_size(data, height, width))


@pytest.mark.usefixtures("no_torchvision")
def test_the_largest_pictures_and_those_of_many_scans_go_to_pillow() -> None:
    large = jpeg(noise().resize((7_000, 6_600)), quality=20)
    assert decode_pixels(large).shape == (6_600, 7_000, 3)  # which has such decoded in turns
    scans = jpeg(noise(), progressive=True)
    at = scans.rindex(b"\xff\xda")
    assert decode_pixels(scans[:-2] + 500 * scans[at:-2] + scans[-2:]).shape == (64, 64, 3)


def test_only_whole_headers_of_eight_bits_and_three_components_are_plain() -> None:
    data = jpeg(noise())
    scan, frame = data.index(bytes([0xFF, 0xDA])), frame_at(data)
    assert is_plain_jpeg(data) and is_plain_jpeg(data[: scan + 4])
    assert not any(is_plain_jpeg(data[:length]) for length in range(scan + 4))
    twelve_bits, one_component = bytearray(data), bytearray(data)
    twelve_bits[frame + 4], one_component[frame + 9] = 12, 1
    two_frames = data[:frame] + data[frame : frame + 19] + data[frame:]
    no_frame = data[:frame] + data[frame + 19 :]
    for odd in (
        bytes(twelve_bits),
        bytes(one_component),
        two_frames,
        no_frame,
        b"\0" + data,
        data[:2] + b"\xff" + data[2:],
    ):
        assert not is_plain_jpeg(odd) and same(odd)
    for marker in (0xC3, 0xC9, 0xE1, 0xD9):  # lossless, arithmetic coding, EXIF, end
        other = data[: frame + 1] + bytes([marker]) + data[frame + 2 :]
        assert not is_plain_jpeg(other) and same(other)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("segment", [b"\xff\xfe\0\0", b"\xff\xfe\0\2", b"\xff\xe0\0\0", b"\xff\xff\xff\xff"])
def test_endless_headers_are_left_soon(segment: bytes) -> None:
    data = b"\xff\xd8" + segment * 5_000_000
    for _ in range(10_000):
        assert not is_plain_jpeg(data)


def damaged_jpegs(num: int) -> Iterator[bytes]:
    """Seeded: a few bytes of a whole file changed, half of the time in its header; some cut short as well."""
    rng = np.random.default_rng(0)
    whole = [jpeg(noise(), **settings) for name, settings in PLAIN.items() if name != "profile and comment"]
    for _ in range(num):
        data = bytearray(whole[rng.integers(len(whole))])
        span = len(data) if rng.random() < 0.5 else 700
        for at in rng.integers(2, span, size=rng.integers(1, 5)):
            data[at] ^= 1 << rng.integers(8)
        yield bytes(data[: rng.integers(len(data))] if rng.random() < 0.2 else data)


@pytest.mark.timeout(60)
def test_damage_has_the_same_outcome() -> None:
    outcomes = Counter((is_plain_jpeg(data), same(data)) for data in damaged_jpegs(2000))
    assert outcomes[True, False] == outcomes[False, False] == 0
    assert outcomes[True, True] > 1000 and outcomes[False, True] > 100


def test_canvas_is_squashed_by_the_rule_of_both_stages() -> None:
    pixels = np.asarray(quadrants())
    canvas = to_canvas(pixels, 16)
    assert canvas.shape == (16, 16, 3) and canvas[0, -1].tolist() == list(GREEN)
    assert to_canvas(canvas, 16) is canvas
