import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cache_schema import Dataset, ImageRejected, Status
from extract.noise import sample_noise
from extract.run.images import RowSettings, load_image, load_row, scale_pixels
from extract.run.tar_batches import load_batches
from tests.extract.conftest import make_images, pack
from tests.samples import encode_png

SETTINGS = RowSettings(image_size=16, latent_shape=(4, 2, 2), num_draws=3, noise_seed=5)


def test_load_image_maps_black_and_white_to_minus_one_and_one() -> None:
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[:, 8:] = 255
    loaded = load_image(encode_png(pixels), 16)
    assert loaded.dtype == torch.uint8
    image = scale_pixels(loaded)
    assert image.dtype == torch.float32 and image.shape == (3, 16, 16)
    assert (image[..., :8] == -1).all() and (image[..., 8:] == 1).all()


def test_load_image_squashes_the_whole_picture_bicubically() -> None:
    data = make_images(1)[0]
    expected = np.asarray(Image.open(io.BytesIO(data)).resize((32, 32), Image.Resampling.BICUBIC))
    found = scale_pixels(load_image(data, 32))
    torch.testing.assert_close(found, torch.from_numpy(expected / 127.5 - 1).permute(2, 0, 1).float())


def test_each_byte_has_the_value_that_a_cpu_divides_to_wherever_it_is_scaled() -> None:
    pixels = torch.arange(256, dtype=torch.uint8).view(1, 4, 8, 8)
    expected = (np.arange(256, dtype=np.float32) / np.float32(127.5) - np.float32(1)).reshape(1, 4, 8, 8)
    assert scale_pixels(pixels).numpy().tobytes() == expected.tobytes()
    # What a GPU makes of a division by a constant, for which the table is there.
    assert (np.arange(256, dtype=np.float32) * np.float32(1 / 127.5) - np.float32(1)).tobytes() != expected.tobytes()


def test_images_take_a_byte_a_pixel_and_channel_in_shared_memory(packed: Dataset) -> None:
    (batch, *_) = load_batches(packed, 0, SETTINGS, 2, 1, pin_memory=False)
    assert batch.images.is_shared() and batch.images.untyped_storage().nbytes() == 2 * 3 * 16 * 16


def test_load_image_rejects_what_is_no_image() -> None:
    with pytest.raises(ImageRejected, match="empty file"):
        load_image(b"", 16)


def test_a_row_holds_noise_of_its_key() -> None:
    data = make_images(1)[0]
    row = load_row("real/0", data, SETTINGS)
    assert (row.status, row.reason, row.sha256) == (Status.OK, "", hashlib.sha256(data).digest())
    np.testing.assert_array_equal(row.posterior_noise, sample_noise(5, "real/0", -1, (4, 2, 2)))
    for draw in range(3):
        np.testing.assert_array_equal(row.noise[draw], sample_noise(5, "real/0", draw, (4, 2, 2)))


def test_a_rejected_row_keeps_its_hash_and_reason() -> None:
    row = load_row("real/0", b"no image", SETTINGS)
    assert row.status == Status.UNREADABLE and "cannot identify" in row.reason
    assert row.sha256 == hashlib.sha256(b"no image").digest()
    assert not row.image.any()


@pytest.mark.parametrize("num_workers", [0, 1, 2])
def test_batches_come_in_row_order_whatever_the_workers(packed: Dataset, num_workers: int) -> None:
    keys = packed.rows(0)["key"].to_pylist()
    batches = list(load_batches(packed, 0, SETTINGS, 2, num_workers, pin_memory=False))
    assert [batch.keys for batch in batches] == [keys[:2], keys[2:4], keys[4:]]
    assert [batch.start for batch in batches] == [0, 2, 4]
    assert [h.tobytes().hex() for batch in batches for h in batch.image_sha256] == packed.rows(0)["sha256"].to_pylist()


def test_the_last_batch_is_padded(packed: Dataset) -> None:
    *_, last = load_batches(packed, 0, SETTINGS, 2, 0, pin_memory=False)
    assert len(last.keys) == len(last.status) == len(last.image_sha256) == len(last.reasons) == 1
    assert last.images.shape == (2, 3, 16, 16) and not last.images[1].any()
    assert last.noise.shape == (2, 3, 4, 2, 2) and last.posterior_noise.shape == (2, 4, 2, 2)


@pytest.mark.parametrize(
    "path", ["__thumbs__/__a__.b.png", "a/" + "long/" * 40 + "b.png", "größe/" + "ü" * 60 + ".png", "ü.png", "x" * 95]
)
def test_keys_of_any_length_and_letters_are_found_in_the_tar(path: str, tmp_path: Path) -> None:
    dataset = pack(tmp_path / "data", [0], source_path=path)
    (batch,) = load_batches(dataset, 0, SETTINGS, 4, 0, pin_memory=False)
    assert batch.keys == dataset.rows(0)["key"].to_pylist() and batch.status.tolist() == [Status.OK]
