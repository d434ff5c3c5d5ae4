import io
import pickle

import numpy as np
import pytest
from PIL import Image, JpegImagePlugin

from cache_schema import ImageRejected, decode_image
from extract.packing.copies import CopyRule
from extract.packing.degradations import parse_degradation
from extract.packing.inspecting import standard_quality_of_table
from tests.samples import encode_png

IN_USE = (
    "jpeg:65",
    "jpeg:30",
    "webp:80",
    "resize:112",
    "resize:64",
    "blur:3",
    "blur:5",
    "noise:8",
    "crop:0.5",
    "blend:0.5",
    "social",
)
RULES = [CopyRule(degrade=kind) for kind in IN_USE] + [CopyRule(match="common"), CopyRule(match="select")]


def picture(width: int = 96, height: int = 64, seed: int = 0) -> np.ndarray:
    """A smooth scene with a little grain, (height, width, 3) uint8: coded as a photograph is, unlike white noise."""
    y, x = np.mgrid[:height, :width] / 16
    waves = np.stack([np.sin(x + seed), np.cos(y), np.sin(x - y + seed)], axis=-1)
    grain = np.random.default_rng(seed).normal(0, 4, waves.shape)
    return np.clip(128 + 90 * waves + grain, 0, 255).astype(np.uint8)


def encode(pixels: np.ndarray, file_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, file_format, **options)
    return buffer.getvalue()


def make(
    degrade: str | None = None,
    pixels: np.ndarray | None = None,
    *,
    key: str = "toy/1",
    match: str | None = None,
    seed: int = 0,
    label: int | None = 1,
    photograph: np.ndarray | None = None,
) -> bytes:
    """A copy of PNG bytes."""
    rule = CopyRule(match=match, degrade=degrade, seed=seed)
    source = None if photograph is None else encode_png(photograph)
    return rule.make(key, encode_png(picture() if pixels is None else pixels), label=label, photograph=source)


def pixels_of(data: bytes) -> np.ndarray:
    return np.asarray(decode_image(data))


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def jpeg_facts(data: bytes) -> tuple[int, str]:
    """Quality and chroma subsampling of a JPEG file."""
    image = opened(data)
    assert isinstance(image, JpegImagePlugin.JpegImageFile)
    subsampling = {0: "4:4:4", 1: "4:2:2", 2: "4:2:0"}[JpegImagePlugin.get_sampling(image)]
    return standard_quality_of_table()[tuple(image.quantization[0])], subsampling


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((a.astype(np.float64) - b) ** 2)))


def reason(rule: CopyRule, **changes: object) -> str | None:
    facts = {"label": 1, "width": 96, "height": 64, "jpeg_quality": None, "derived_from": "real/1", **changes}
    return rule.rejection(**facts)  # type: ignore[arg-type]


# What a rule is


def test_without_match_and_degrade_the_bytes_stay() -> None:
    rule = CopyRule(seed=3)
    assert not rule.is_copy and not rule.needs_photograph
    assert rule.make("k", b"any bytes", label=0, photograph=None) == b"any bytes"
    assert reason(rule, width=1, height=1, derived_from=None) is None


def test_only_blend_needs_a_photograph() -> None:
    assert [rule.degrade for rule in RULES if rule.needs_photograph] == ["blend:0.5"]
    assert all(rule.is_copy for rule in RULES)


@pytest.mark.parametrize(
    ("text", "parsed"), [("jpeg:65", ("jpeg", 65)), ("blur:0.7", ("blur", 0.7)), ("social", ("social", 0))]
)
def test_degradation_is_a_kind_and_its_number(text: str, parsed: tuple[str, float]) -> None:
    assert parse_degradation(text) == parsed


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gif:3", r"'gif:3': expected one of jpeg:Q, webp:Q, resize:S, .*, social$"),
        ("", r"expected one of jpeg:Q"),
        ("JPEG:65", r"expected one of jpeg:Q"),
        ("jpeg", r"expected jpeg:Q with Q whole, 1 … 100"),
        ("jpeg:0", r"Q whole, 1 … 100"),
        ("jpeg:101", r"Q whole, 1 … 100"),
        ("jpeg:65.5", r"Q whole, 1 … 100"),
        ("webp:-1", r"expected webp:Q"),
        ("resize:0", r"S whole, 1 … 4096"),
        ("blur:0", r"SIGMA above 0, at most 100"),
        ("blur:nan", r"SIGMA above 0, at most 100"),
        ("noise:inf", r"SD above 0, at most 255"),
        ("crop:1.5", r"F above 0, at most 1"),
        ("blend:x", r"F above 0, at most 1"),
        ("social:2", r"social takes no number"),
    ],
)
def test_unknown_kinds_and_numbers_out_of_range_are_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CopyRule(degrade=text)


def test_match_is_one_of_two_and_not_together_with_degrade() -> None:
    with pytest.raises(ValueError, match="match is 'png': expected one of common, select"):
        CopyRule(match="png")
    with pytest.raises(ValueError, match=r"expected at most one\. Pack with match first"):
        CopyRule(match="common", degrade="jpeg:65")


# What holds for every kind


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.degrade or rule.match)
def test_bytes_repeat_whatever_came_before(rule: CopyRule) -> None:
    sources = {f"toy/{i}": encode_png(picture(seed=i)) for i in range(3)}
    photograph = encode_png(picture(seed=9))

    def copy_all(keys: list[str], rule: CopyRule) -> dict[str, bytes]:
        return {key: rule.make(key, sources[key], label=1, photograph=photograph) for key in keys}

    first = copy_all(list(sources), rule)
    # Another order, and a rule that went to another process as the packer's workers get it.
    assert copy_all(list(sources)[::-1], pickle.loads(pickle.dumps(rule))) == first


@pytest.mark.parametrize(
    # `select` keeps reals and `blend` passes them through, on purpose: tested below.
    "rule",
    [rule for rule in RULES if rule.match != "select" and not rule.needs_photograph],
    ids=lambda rule: rule.degrade or rule.match,
)
def test_real_generated_and_control_with_the_same_pixels_get_the_same_file(rule: CopyRule) -> None:
    data = encode_png(picture())
    assert len({rule.make("k", data, label=label, photograph=None) for label in (0, 1, None)}) == 1


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.degrade or rule.match)
def test_copies_carry_no_metadata(rule: CopyRule) -> None:
    exif = Image.Exif()
    exif[270] = "a description"
    exif[274] = 6  # to be turned by 90 degrees
    data = encode(picture(), "JPEG", quality=90, exif=exif, icc_profile=b"profile", comment=b"comment", dpi=(72, 72))
    copy = rule.make("k", data, label=1, photograph=data)
    image = opened(copy)
    assert not image.getexif()
    assert not {"exif", "icc_profile", "comment", "xmp", "dpi"} & set(image.info)
    assert not any(text in copy for text in (b"description", b"profile", b"comment"))
    assert (image.width < image.height) or image.size == (256, 256)  # upright


@pytest.mark.parametrize("kind", ["noise:8", "crop:0.5", "blend:0.5"])
def test_another_key_or_seed_is_another_draw(kind: str) -> None:
    photograph = picture(seed=9)
    copies = [make(kind, photograph=photograph), make(kind, photograph=photograph, key="toy/2")]
    copies.append(make(kind, photograph=photograph, seed=1))
    assert len(set(copies)) == 3


@pytest.mark.parametrize("kind", ["jpeg:65", "webp:80", "resize:64", "blur:3", "social"])
def test_what_is_not_random_depends_on_neither_key_nor_seed(kind: str) -> None:
    assert len({make(kind), make(kind, key="toy/2"), make(kind, seed=1)}) == 1


def test_stream_of_random_numbers_stays() -> None:
    # A golden place: packed copies must come out the same in a later version.
    rule, box = CopyRule(degrade="crop:0.25"), np.arange(64 * 64, dtype=np.uint32).reshape(64, 64)
    coded = np.stack([box & 255, box >> 8, np.zeros_like(box)], axis=-1).astype(np.uint8)
    corner = pixels_of(rule.make("toy/1", encode_png(coded), label=1, photograph=None))[0, 0].astype(int)
    assert divmod(int(corner[0] + 256 * corner[1]), 64) == (1, 4)


def test_transparency_lies_over_white_as_everywhere() -> None:
    clear = np.zeros((8, 8, 4), dtype=np.uint8)
    copy = CopyRule(degrade="resize:8").make("k", encode(clear, "PNG"), label=1, photograph=None)
    assert (pixels_of(copy) == 255).all()


def test_a_damaged_file_is_rejected() -> None:
    with pytest.raises(ImageRejected, match="cannot identify"):
        CopyRule(degrade="jpeg:65").make("k", b"<html>", label=1, photograph=None)


# match


@pytest.mark.parametrize(("width", "height"), [(96, 64), (64, 300), (1, 1), (256, 256)])
def test_common_is_the_central_square_at_256_px_in_jpeg_96(width: int, height: int) -> None:
    pixels = picture(width, height)
    copy = make(match="common", pixels=pixels)
    assert opened(copy).size == (256, 256) and opened(copy).format == "JPEG"
    assert jpeg_facts(copy) == (96, "4:2:0")
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    square = Image.fromarray(pixels[top : top + side, left : left + side])
    expected = np.asarray(square.resize((256, 256), Image.Resampling.BICUBIC))
    assert psnr(pixels_of(copy), expected) > 30


def test_common_ignores_what_lies_beside_the_square() -> None:
    pixels = picture(100, 60)
    outside = pixels.copy()
    outside[:, :20] = 255
    outside[:, 80:] = 0
    assert make(match="common", pixels=pixels) == make(match="common", pixels=outside)


def test_select_keeps_fitting_photographs_byte_for_byte_and_encodes_the_rest() -> None:
    rule, pixels = CopyRule(match="select"), picture(500, 460)
    photograph = encode(pixels, "JPEG", quality=96, subsampling="4:4:4", comment=b"kept")
    assert rule.make("k", photograph, label=0, photograph=None) == photograph
    for label in (1, None):
        copy = rule.make("k", encode_png(pixels), label=label, photograph=None)
        assert jpeg_facts(copy) == (96, "4:2:0") and opened(copy).size == (500, 460)
        assert psnr(pixels_of(copy), pixels) > 35


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        ({"jpeg_quality": 96, "width": 450, "height": 550}, None),
        ({"jpeg_quality": 95, "width": 500, "height": 500}, "JPEG quality 95 and 500 × 500 px"),
        ({"jpeg_quality": None, "width": 500, "height": 500}, "no standard JPEG quality and 500 × 500 px"),
        ({"jpeg_quality": 96, "width": 449, "height": 500}, "JPEG quality 96 and 449 × 500 px"),
        ({"jpeg_quality": 96, "width": 500, "height": 551}, "JPEG quality 96 and 500 × 551 px"),
    ],
)
def test_select_leaves_out_other_photographs_with_the_reason(facts: dict[str, int], why: str | None) -> None:
    found = reason(CopyRule(match="select"), label=0, **facts)
    assert found is None if why is None else found is not None and found.endswith(why)
    assert all(reason(CopyRule(match="select"), label=label, **facts) is None for label in (1, None))


def test_select_keeps_the_sides_that_it_is_told() -> None:
    small = {"jpeg_quality": 96, "width": 64, "height": 70, "label": 0}
    assert reason(CopyRule(match="select", select_px=(58, 70)), **small) is None
    found = reason(CopyRule(match="select", select_px=(58, 69)), **small)
    assert found is not None and "sides of 58 … 69 px; this one has JPEG quality 96 and 64 × 70 px" in found
    with pytest.raises(ValueError, match=r"select_px is \(70, 58\): expected the least and the greatest side"):
        CopyRule(select_px=(70, 58))


# degrade


@pytest.mark.parametrize("quality", [1, 30, 65, 96, 100])
def test_jpeg_has_the_quality_and_halved_colour(quality: int) -> None:
    assert jpeg_facts(make(f"jpeg:{quality}")) == (quality, "4:2:0")


@pytest.mark.parametrize(("strong", "weak"), [("jpeg:30", "jpeg:65"), ("webp:10", "webp:80"), ("blur:5", "blur:3")])
def test_a_stronger_degradation_is_further_from_the_image(strong: str, weak: str) -> None:
    pixels = picture()
    assert psnr(pixels_of(make(strong)), pixels) < psnr(pixels_of(make(weak)), pixels) - 1


def test_webp_is_lossy_webp_of_the_same_size() -> None:
    copy = make("webp:80")
    assert opened(copy).format == "WEBP" and opened(copy).size == (96, 64)
    assert copy[12:16] == b"VP8 " and 25 < psnr(pixels_of(copy), picture()) < 60


@pytest.mark.parametrize(
    ("kind", "size", "expected"),
    [
        ("resize:112", (500, 375), (149, 112)),
        ("resize:64", (375, 500), (64, 85)),
        ("resize:64", (30, 40), (64, 85)),
        ("resize:64", (1, 1), (64, 64)),
        ("resize:64", (64, 64), (64, 64)),
        ("social", (1440, 960), (720, 480)),
        ("social", (96, 64), (96, 64)),
        ("social", (100, 721), (100, 720)),
        ("crop:0.25", (96, 64), (48, 32)),
        ("crop:0.5", (256, 256), (181, 181)),
        ("crop:1", (5, 3), (5, 3)),
        ("crop:0.5", (1, 1), (1, 1)),
        ("blur:5", (1, 1), (1, 1)),
        ("noise:8", (1, 1), (1, 1)),
        ("jpeg:30", (1, 1), (1, 1)),
        ("webp:80", (1, 1), (1, 1)),
        ("social", (1, 1), (1, 1)),
    ],
)
def test_sizes(kind: str, size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert reason(CopyRule(degrade=kind), width=size[0], height=size[1]) is None
    assert opened(make(kind, picture(*size))).size == expected


@pytest.mark.parametrize(
    ("kind", "size", "why"),
    [
        ("crop:0.1", (1, 9), "1 × 9 px are too small: crop:0.1 would come to 0 × 3"),
        ("blend:0.2", (1, 1), "1 × 1 px are too small: blend:0.2 would come to 0 × 0"),
        ("social", (2000, 1), "2000 × 1 px are too small: social would come to 720 × 0"),
        ("resize:112", (1, 200), "resize:112 of 1 × 200 px has 112 × 22400: sides have at most 16383 px"),
        ("jpeg:65", (20000, 3), "sides have at most 16383 px"),
    ],
)
def test_sizes_that_cannot_be_are_left_out_with_the_reason(kind: str, size: tuple[int, int], why: str) -> None:
    rule = CopyRule(degrade=kind)
    found = reason(rule, width=size[0], height=size[1])
    assert found is not None and why in found
    # The index has the sizes before the EXIF orientation, `make` those after it.
    assert reason(rule, width=size[1], height=size[0]) is not None


@pytest.mark.parametrize("kind", ["resize:64", "blur:3", "noise:8", "crop:0.5"])
def test_pixel_operations_are_stored_without_loss(kind: str) -> None:
    assert opened(make(kind)).format == "PNG"


def test_resize_is_pillow_s_bicubic() -> None:
    expected = Image.fromarray(picture()).resize((96 * 32 // 64, 32), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(pixels_of(make("resize:32")), np.asarray(expected))


@pytest.mark.parametrize("sigma", [1.0, 3.0, 5.0])
def test_blur_spreads_an_edge_by_sigma(sigma: float) -> None:
    pixels = np.zeros((8, 200, 3), dtype=np.uint8)
    pixels[:, 100:] = 255
    profile = pixels_of(make(f"blur:{sigma}", pixels))[4, :, 0].astype(float) / 255
    density, place = np.diff(profile), np.arange(1, 200)
    mean = float((density * place).sum())
    assert abs(float(np.sqrt((density * (place - mean) ** 2).sum())) - sigma) < 0.03 * sigma + 0.05


def test_noise_has_its_standard_deviation_on_each_channel() -> None:
    grey = np.full((128, 128, 3), 128, dtype=np.uint8)
    noise = pixels_of(make("noise:8", grey)).astype(float) - 128
    np.testing.assert_allclose(noise.std(axis=(0, 1)), 8, rtol=0.03)
    np.testing.assert_allclose(noise.mean(axis=(0, 1)), 0, atol=0.25)
    correlation = np.corrcoef(noise.reshape(-1, 3).T)[np.triu_indices(3, 1)]
    assert (np.abs(correlation) < 0.03).all()


def test_noise_is_clipped_and_never_wraps_round() -> None:
    white = pixels_of(make("noise:30", np.full((32, 32, 3), 250, dtype=np.uint8)))
    assert white.min() > 100


def test_crop_is_a_part_of_the_image_and_reaches_every_edge() -> None:
    y, x = np.mgrid[:20, :30]
    pixels = np.stack([x, y, np.zeros_like(x)], axis=-1).astype(np.uint8)
    corners = set()
    for i in range(200):
        part = pixels_of(make("crop:0.25", pixels, key=f"toy/{i}"))
        left, top = int(part[0, 0, 0]), int(part[0, 0, 1])
        np.testing.assert_array_equal(part, pixels[top : top + 10, left : left + 15])
        corners.add((left, top))
    assert {left for left, _ in corners} == set(range(16)) and {top for _, top in corners} == set(range(11))


def test_social_is_the_same_step_twice() -> None:
    def step(image: Image.Image) -> bytes:
        size = (720, round(image.height * 720 / image.width)) if image.width > 720 else image.size
        return encode(np.asarray(image.resize(size, Image.Resampling.BICUBIC)), "JPEG", quality=75, subsampling="4:2:0")

    pixels = picture(800, 400)
    copy = make("social", pixels)
    assert copy == step(decode_image(step(Image.fromarray(pixels))))
    assert jpeg_facts(copy) == (75, "4:2:0")


# blend


@pytest.mark.parametrize(("fraction", "size"), [(0.5, (96, 64)), (0.1, (97, 63)), (1, (40, 40)), (0.25, (64, 64))])
def test_blend_takes_the_fraction_of_the_area_from_the_photograph(fraction: float, size: tuple[int, int]) -> None:
    black, white = np.zeros((size[1], size[0], 3), dtype=np.uint8), np.full((7, 11, 3), 255, dtype=np.uint8)
    blended = pixels_of(make(f"blend:{fraction}", black, photograph=white))
    assert blended.shape == black.shape and set(np.unique(blended)) <= {0, 255}
    area = (blended == 255).mean()
    assert abs(area - fraction) < 0.02
    rows, columns = (np.flatnonzero(blended[..., 0].any(axis=axis)) for axis in (1, 0))
    assert len(rows) * len(columns) * 3 == (blended == 255).sum()  # one rectangle


def test_blend_takes_the_same_place_of_the_photograph_at_the_image_s_size() -> None:
    image, photograph = picture(96, 64), picture(192, 200, seed=5)
    squashed = np.asarray(Image.fromarray(photograph).resize((96, 64), Image.Resampling.BICUBIC))
    blended = pixels_of(make("blend:0.5", image, photograph=photograph))
    from_image, from_photograph = (blended == image).all(axis=-1), (blended == squashed).all(axis=-1)
    assert (from_image | from_photograph).all()
    assert abs(from_photograph.mean() - 0.5) < 0.03


def test_blend_passes_reals_through_the_same_codec_unchanged() -> None:
    copy = make("blend:0.5", label=0)
    assert opened(copy).format == "PNG" == opened(make("blend:0.5", photograph=picture(seed=5))).format
    np.testing.assert_array_equal(pixels_of(copy), picture())
    assert reason(CopyRule(degrade="blend:0.5"), label=0, derived_from=None) is None


@pytest.mark.parametrize("label", [1, None])
def test_blend_leaves_out_what_has_no_photograph(label: int | None) -> None:
    found = reason(CopyRule(degrade="blend:0.5"), label=label, derived_from=None)
    assert found is not None and "blend:0.5 needs the photograph that an image was made from" in found
    with pytest.raises(ValueError, match=r"toy/1: blend:0\.5 needs the photograph"):
        make("blend:0.5", label=label)


def test_blend_with_a_damaged_photograph_is_a_rejection() -> None:
    with pytest.raises(ImageRejected, match="empty file"):
        CopyRule(degrade="blend:0.5").make("k", encode_png(picture()), label=1, photograph=b"")
