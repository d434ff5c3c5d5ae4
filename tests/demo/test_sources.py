import io
from collections import Counter, defaultdict

import numpy as np
import pyarrow.compute as pc
import pytest
from PIL import Image

from cache_schema import Dataset, read_image_bytes
from demo.photos import Tile
from demo.sources import (
    BLURRED,
    CONTROLS,
    IMG2IMG,
    REAL,
    ROUNDTRIP,
    SAMPLED,
    ToyModel,
    blur_to_energy,
    encode_png,
    gradient_energy,
)


def read(dataset: Dataset) -> list[dict]:
    """All rows with their file's bytes."""
    rows = dataset.table().to_pylist()
    paths = {entry.name: dataset.tar_path(n) for n, entry in enumerate(dataset.tars)}
    return [{**row, "data": read_image_bytes(paths[row["tar"]], row["offset"], row["size"])} for row in rows]


def pixels_of(row: dict) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(row["data"])))


def test_every_source_goes_through_one_encoder_at_one_size(demo_dataset: Dataset) -> None:
    rows = read(demo_dataset)
    assert {row["image_source"] for row in rows} == {REAL, IMG2IMG, SAMPLED, *CONTROLS}
    for row in rows:
        with Image.open(io.BytesIO(row["data"])) as image:
            assert (image.format, image.mode, image.size, image.info) == ("PNG", "RGB", (64, 64), {})
        # The same bytes again from the pixels: no other encoder and no other setting.
        assert encode_png(pixels_of(row)) == row["data"]
        assert (row["width"], row["height"], row["format"], row["jpeg_quality"]) == (64, 64, "PNG", None)
        assert row["key"].endswith("%2Epng")


def test_roles_share_no_group(demo_dataset: Dataset) -> None:
    splits = defaultdict(set)
    for row in demo_dataset.table().to_pylist():
        splits[row["group"]].add(row["split"])
    assert all(len(s) == 1 for s in splits.values())


def test_each_photo_tile_has_its_copies(demo_dataset: Dataset, tiles: list[Tile]) -> None:
    rows = demo_dataset.table().to_pylist()
    reals = {row["key"]: row for row in rows if row["image_source"] == REAL}
    assert len(reals) == len(tiles)
    for source in (IMG2IMG, *CONTROLS):
        copies = [row for row in rows if row["image_source"] == source]
        wanted = {k for k, row in reals.items() if source == IMG2IMG or row["split"] == "test"}
        assert {row["derived_from"] for row in copies} == wanted and len(copies) == len(wanted)
        for row in copies:
            photo = reals[row["derived_from"]]
            assert (row["split"], row["group"]) == (photo["split"], photo["group"])
            assert row["label"] == (1 if source == IMG2IMG else None)


def test_class_samples_are_as_many_as_photo_tiles_in_each_role(demo_dataset: Dataset) -> None:
    table = demo_dataset.table()
    splits = {
        s: Counter(table.filter(pc.equal(table["image_source"], s))["split"].to_pylist()) for s in (REAL, SAMPLED)
    }
    assert splits[REAL] == splits[SAMPLED]
    sampled = table.filter(pc.equal(table["image_source"], SAMPLED))
    assert sampled["group"].to_pylist() == sampled["key"].to_pylist()
    assert None not in sampled["class_name"].to_pylist()


def test_reals_are_the_tiles_unchanged(demo_dataset: Dataset, tiles: list[Tile]) -> None:
    by_name = {tile.name: tile.pixels for tile in tiles}
    for row in read(demo_dataset):
        if row["image_source"] == REAL:
            name = row["source_path"].removeprefix("real/").removesuffix(".png")
            assert np.array_equal(pixels_of(row), by_name[name])


def test_blurred_copies_have_the_energy_of_their_img2img_copy(demo_dataset: Dataset) -> None:
    images = {row["key"]: pixels_of(row) for row in read(demo_dataset)}
    rows = demo_dataset.table().to_pylist()
    fakes = {row["derived_from"]: images[row["key"]] for row in rows if row["image_source"] == IMG2IMG}
    num_unblurred = 0
    for row in (row for row in rows if row["image_source"] == BLURRED):
        photo, target = images[row["derived_from"]], gradient_energy(fakes[row["derived_from"]])
        if gradient_energy(photo) <= target:
            num_unblurred += 1
            assert np.array_equal(images[row["key"]], photo)
        else:
            assert gradient_energy(images[row["key"]]) == pytest.approx(target, rel=0.02)
    assert demo_dataset.settings["num_unblurred"] == num_unblurred


def test_images_do_not_depend_on_their_batch(model: ToyModel, tiles: list[Tile]) -> None:
    # Not bit for bit: another batch size may take another convolution, and a value on the edge then rounds otherwise.
    for make in (model.img2img, model.roundtrip):
        together, alone = make(tiles[:5]), make(tiles[3:4])
        assert abs(together[3].astype(int) - alone[0].astype(int)).max() <= 1
    names, classes = ["a", "b", "c"], ["hat", "roses", "tulips"]
    together, alone = model.sample(classes, names), model.sample(classes[1:2], names[1:2])
    assert abs(together[1].astype(int) - alone[0].astype(int)).max() <= 1


def test_images_differ_by_name_and_keep_the_content(model: ToyModel, tiles: list[Tile]) -> None:
    first, second = model.sample(["hat", "hat"], ["a", "b"])
    assert not np.array_equal(first, second)
    other_noise = Tile("other", 0, 0, "g", "test", tiles[0].pixels)
    assert not np.array_equal(*model.img2img([tiles[0], other_noise]))
    assert model.rngs(ROUNDTRIP, ["a"])[0].initial_seed() != model.rngs(IMG2IMG, ["a"])[0].initial_seed()


@pytest.mark.parametrize("share", [0.9, 0.5, 0.05])
def test_blur_to_energy_reaches_the_energy(share: float, tiles: list[Tile]) -> None:
    pixels = tiles[0].pixels
    blurred, sigma = blur_to_energy(pixels, share * gradient_energy(pixels))
    assert gradient_energy(blurred) == pytest.approx(share * gradient_energy(pixels), rel=0.02)
    assert 0 < sigma < 64 and blurred.dtype == np.uint8


def test_blur_to_energy_leaves_a_smoother_photograph_alone(tiles: list[Tile]) -> None:
    pixels = tiles[0].pixels
    blurred, sigma = blur_to_energy(pixels, 1.01 * gradient_energy(pixels))
    assert sigma == 0 and np.array_equal(blurred, pixels)


def test_gradient_energy_of_a_step() -> None:
    # Two grey halves: of 2 x 3 + 1 x 4 = 10 differences two are (51 / 255) ** 2 = 0.04.
    pixels = np.zeros((2, 4, 3), np.uint8)
    pixels[:, 2:] = 51
    assert gradient_energy(pixels) == pytest.approx(2 * 0.04 / 10)
