"""Images that look alike in different splits: what the hash forgives, and what pairs are found and counted."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from cache_schema import write_dataset
from cache_schema.__main__ import main
from cache_schema.near_duplicates import MAX_DISTANCE, MAX_RUN, NO_HASH, find_near_duplicates, perceptual_hash
from tests.cache_schema.conftest import fill_cache
from tests.samples import make_sample


def picture(seed: int, size: tuple[int, int] = (320, 240)) -> Image.Image:
    """A smooth picture with structure."""
    pixels = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)


def through_jpeg(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def distance(one: int, other: int) -> int:
    return (one ^ other).bit_count()


def test_another_encoding_size_or_blur_moves_few_bits_and_another_picture_many() -> None:
    for seed in range(12):
        image = picture(seed)
        mine = perceptual_hash(image)
        changed = [
            *(through_jpeg(image, 60), image.resize((200, 150)), image.resize((256, 256))),
            image.filter(ImageFilter.GaussianBlur(2)),
        ]
        assert [distance(mine, perceptual_hash(other)) <= MAX_DISTANCE for other in changed] == [True] * 4
        assert distance(mine, perceptual_hash(picture(100 + seed))) > 3 * MAX_DISTANCE


def test_flat_pictures_have_no_hash() -> None:
    assert perceptual_hash(Image.new("RGB", (300, 200), (200, 10, 10))) == NO_HASH
    assert perceptual_hash(picture(0, (1, 1))) == NO_HASH
    assert perceptual_hash(picture(0)).bit_count() == 32


def brute_force(hashes: np.ndarray, splits: list[str]) -> set[tuple[int, int]]:
    n = range(len(hashes))
    return {
        (i, k)
        for i in n
        for k in n
        if i < k and splits[i] != splits[k] and hashes[i] and hashes[k]
        if distance(int(hashes[i]), int(hashes[k])) <= MAX_DISTANCE
    }


@pytest.mark.parametrize("seed", range(6))
def test_all_pairs_across_splits_are_found_and_no_others(seed: int) -> None:
    rng = np.random.default_rng(seed)
    originals = rng.integers(1, 2**64, 40, dtype=np.uint64)
    hashes = originals[rng.integers(0, 40, 160)]
    for i in range(len(hashes)):
        for bit in rng.choice(64, rng.integers(0, 7), replace=False):
            hashes[i] ^= np.uint64(1) << np.uint64(bit)
    hashes[::17] = NO_HASH
    splits = rng.choice(["train", "validation", "test"], len(hashes)).tolist()
    found, expected = find_near_duplicates(hashes, splits, 10_000), brute_force(hashes, splits)
    assert found.num_pairs == len(expected) > 30 and found.is_complete
    assert {tuple(sorted(pair)) for pair in found.pairs.tolist()} <= expected
    assert len(find_near_duplicates(hashes, splits, 3).pairs) == 3


def test_many_equal_hashes_are_counted_without_comparing_them() -> None:
    hashes = np.full(200_000, 12345, dtype=np.uint64)
    splits = ["train"] * 150_000 + ["test"] * 50_000
    found = find_near_duplicates(hashes, splits, 5)
    assert found.num_pairs == 150_000 * 50_000 and found.pairs.tolist() == [[0, 150_000]]


def test_nothing_is_found_among_one_split_or_no_images() -> None:
    assert find_near_duplicates(np.array([7, 7], dtype=np.uint64), ["test", "test"], 5).num_pairs == 0
    assert find_near_duplicates(np.empty(0, dtype=np.uint64), [], 5).num_pairs == 0


def test_more_like_hashes_than_are_compared_are_told() -> None:
    hashes = np.arange(1, 3 * MAX_RUN, dtype=np.uint64) << np.uint64(50)
    found = find_near_duplicates(hashes, ["train", "test"] * (len(hashes) // 2) + ["test"] * (len(hashes) % 2), 5)
    assert not found.is_complete and found.number.startswith("at least ")


def test_verify_deep_lists_images_of_different_splits_that_look_alike(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def png(image: Image.Image) -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        return buffer.getvalue()

    images = [picture(seed) for seed in range(6)]
    images[4] = through_jpeg(images[1].resize((240, 180)), 80)  # of image 1, in the test split
    images[5] = through_jpeg(images[0], 80)  # in the split of image 0
    splits = ["train", "train", "test", "train", "test", "train"]
    samples = [make_sample(i, image=png(image), split=splits[i]) for i, image in enumerate(images)]
    dataset = write_dataset(tmp_path / "data", samples, {}, max_rows=4)
    cache = fill_cache(tmp_path / "cache", dataset)
    places = ["--data", str(dataset.folder), "--cache", str(cache.folder), "--num_workers", "1"]
    assert main(["verify", *places]) == 0
    assert "look alike" not in capsys.readouterr().out
    assert main(["verify", *places, "--deep"]) == 0  # a warning: whether it is a mistake, a person says
    lines = [line for line in capsys.readouterr().out.splitlines() if "look alike" in line]
    assert len(lines) == 2 and "real/4%2Epng (test)" in lines[0] and "toy/1%2Epng (train)" in lines[0]
    assert "1 pairs of images of different splits look alike, 1 of them listed" in lines[1]
