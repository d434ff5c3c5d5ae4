"""Is a picture like the training images: each fact alone, and the sentence that is said."""

from typing import Any

import pytest

from detect.domain import Domain
from detect.verdict import ImageFacts
from train import TrainingFacts

FACTS = TrainingFacts(
    num_images=100,
    formats={"JPEG": 90, "PNG": 10},
    ranges={
        "short_side_px": (200, 1000),
        "long_side_px": (300, 1500),
        "jpeg_quality": (75, 95),
        "mean_lare": (0.1, 0.5),
        "gradient_energy": (1e-4, 1e-2),
    },
)


def notes(mean_lare: float = 0.3, gradient_energy: float = 1e-3, **image: Any) -> dict[str, str]:
    known = {"sha256": "0" * 64, "width": 640, "height": 480, "format": "JPEG", "jpeg_quality": 90, **image}
    return {note.code: note.text for note in Domain(FACTS).check(ImageFacts(**known), mean_lare, gradient_energy)}


def test_a_picture_like_the_training_images_has_no_note() -> None:
    assert notes() == {}
    assert notes(width=1000, height=1500, jpeg_quality=75, mean_lare=0.5, gradient_energy=1e-4) == {}
    assert notes(format="PNG", jpeg_quality=None) == {}


@pytest.mark.parametrize(
    ("change", "code", "text"),
    [
        (
            {"width": 4032, "height": 3024},
            "size",
            "It has 4032 × 3024 px; the training images have short sides of 200 to 1000 px and long sides of 300 to "
            "1500 px.",
        ),
        ({"width": 100}, "size", "It has 100 × 480 px; the training images have short sides of"),
        ({"format": "HEIF"}, "format", "It is a HEIF file; the training images are JPEG and PNG files."),
        (
            {"jpeg_quality": 30},
            "jpeg_quality",
            "Its JPEG quality is 30, below that of 99 % of the training images (75 to 95).",
        ),
        ({"mean_lare": 0.6}, "mean_lare", "Its mean error is 0.6, above that of 99 % of the training images"),
        ({"gradient_energy": 1e-6}, "detail", "Its local detail is 1.00e-06, below that of 99 %"),
    ],
)
def test_each_difference_is_a_sentence(change: dict[str, Any], code: str, text: str) -> None:
    found = notes(**change)
    assert set(found) == {code} and found[code].startswith(text)


def test_one_size_is_told_as_one_number() -> None:
    facts = TrainingFacts(9, {"PNG": 9}, {"short_side_px": (64, 64), "long_side_px": (64, 64)})
    (note,) = Domain(facts).check(ImageFacts("0" * 64, 64, 80, "PNG", None), 0.1, 0.1)
    assert note.text == "It has 64 × 80 px; the training images have short sides of 64 px and long sides of 64 px."


def test_what_was_not_measured_is_not_compared() -> None:
    facts = TrainingFacts(9, {"PNG": 9}, {})
    assert Domain(facts).check(ImageFacts("0" * 64, 1, 9999, "PNG", 3), 9.9, 9.9) == ()
    assert notes(format="pixels", jpeg_quality=None) == {}
