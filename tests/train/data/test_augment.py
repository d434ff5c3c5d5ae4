import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image

from train.data.augment import MAX_JPEG_PX, NO_CHANGES, ImageChanges

FRAME = np.asarray(
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)).resize((64, 48))
)


def changed(changes: ImageChanges, key: str = "a", epoch: int = 0, seed: int = 0) -> np.ndarray:
    before = FRAME.copy()
    image = changes.apply(FRAME, seed, epoch, key)
    assert np.array_equal(before, FRAME)
    assert image.shape == FRAME.shape and image.dtype == np.uint8
    return image


def roughness(image: np.ndarray) -> float:
    return float(np.abs(np.diff(image.astype(int), axis=1)).mean())


def test_nothing_happens_by_default() -> None:
    assert not NO_CHANGES.any and not ImageChanges(jpeg_quality=(10, 20), blur_sigma=(5, 9)).any
    assert NO_CHANGES.apply(FRAME, 0, 0, "a") is FRAME


@pytest.mark.parametrize("name", ["jpeg_probability", "blur_probability", "color_probability"])
def test_change_happens_as_often_as_asked(name: str) -> None:
    assert all((changed(ImageChanges(**{name: 1.0}), str(i)) != FRAME).any() for i in range(20))
    times = sum(changed(ImageChanges(**{name: 0.3}), str(i)) is not FRAME for i in range(200))
    assert 40 < times < 80


@pytest.mark.parametrize("name", ["jpeg_probability", "blur_probability", "color_probability"])
def test_change_is_a_function_of_seed_epoch_and_key(name: str) -> None:
    changes = ImageChanges(**{name: 1.0})
    image = changed(changes)
    np.random.default_rng(0).random()
    assert (changed(changes) == image).all()
    for other in (changed(changes, key="b"), changed(changes, epoch=1), changed(changes, seed=1)):
        assert (other != image).any()


def test_one_change_does_not_move_the_draws_of_another() -> None:
    alone, more = ImageChanges(jpeg_probability=0.5), ImageChanges(jpeg_probability=0.5, blur_probability=1e-12)
    assert all((changed(alone, str(i)) == changed(more, str(i))).all() for i in range(20))


def test_jpeg_is_that_of_one_quality() -> None:
    buffer = io.BytesIO()
    Image.fromarray(FRAME).save(buffer, "JPEG", quality=30, subsampling="4:2:0")
    expected = np.asarray(Image.open(buffer))
    assert (changed(ImageChanges(jpeg_probability=1, jpeg_quality=(30, 30))) == expected).all()
    images = {changed(ImageChanges(jpeg_probability=1, jpeg_quality=(30, 32)), str(i)).tobytes() for i in range(40)}
    assert len(images) == 3


def test_a_picture_that_no_jpeg_can_hold_stays_as_it_is() -> None:
    long = np.zeros((1, MAX_JPEG_PX + 1, 3), dtype=np.uint8)
    assert ImageChanges(jpeg_probability=1).apply(long, 0, 0, "a") is long
    longest = np.full((1, MAX_JPEG_PX, 3), (250, 10, 120), dtype=np.uint8)
    assert ImageChanges(jpeg_probability=1).apply(longest, 0, 0, "a").shape == longest.shape


def test_a_large_picture_is_changed_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []

    @contextmanager
    def turn(num_bytes: int) -> Iterator[None]:
        taken.append(num_bytes)
        yield

    monkeypatch.setattr("train.data.augment.decoding_turn", turn)
    changed(ImageChanges(jpeg_probability=1))
    changed(NO_CHANGES)
    assert taken == [16 * FRAME.size // 3]


def test_blur_smooths() -> None:
    weak, strong = (changed(ImageChanges(blur_probability=1, blur_sigma=(s, s))) for s in (0.5, 4.0))
    assert roughness(strong) < roughness(weak) < roughness(FRAME)
    assert abs(strong.mean() - FRAME.mean()) < 2


def test_color_keeps_the_structure() -> None:
    image = changed(ImageChanges(color_probability=1))
    assert np.corrcoef(image.ravel(), FRAME.ravel())[0, 1] > 0.9
    same = changed(ImageChanges(color_probability=1, brightness=0, contrast=0, saturation=0, hue=0))
    assert (same == FRAME).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"jpeg_probability": 1.5}, "jpeg_probability is 1.5: expected .* in 0 … 1"),
        ({"jpeg_quality": (0, 90)}, "jpeg_quality begins at 0: expected at least 1"),
        ({"jpeg_quality": (95, 50)}, r"jpeg_quality is \[95, 50\]: expected"),
        ({"blur_sigma": (-1.0, 1.0)}, r"blur_sigma is \[-1.0, 1.0\]: expected"),
        ({"hue": 0.6}, "hue is 0.6: expected .* in 0 … 0.5"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, float], message: str) -> None:
    make: Callable[..., ImageChanges] = ImageChanges
    with pytest.raises(ValueError, match=message):
        make(**settings)
