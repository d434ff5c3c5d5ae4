import io
from collections import Counter, defaultdict

import numpy as np
import pytest
from diffusers import StableDiffusionPipeline
from PIL import Image

from cache_schema import Dataset, read_image_bytes, sample_key
from demo.toy.config import SourceConfig
from demo.toy.images import ToyModel, blur_to_energy, gradient_energy
from demo.toy.latent_images import StableDiffusionToy
from demo.toy.photos import Tile
from demo.toy.sources import BLURRED, REAL, encode_png, load_makings, make_images, make_samples, pack_images, plain_task

A, B = ("toy-a-img2img", "toy-a", "vae-roundtrip-a"), ("toy-b-img2img", "toy-b", "vae-roundtrip-b")
MIXED = SourceConfig(
    strengths=(0.3, 0.5, 0.7), img2img_guidance=3.0, sample_guidances=(3.0, 5.0), num_steps=10, batch_size=8
)


@pytest.fixture(scope="module")
def dataset(tiles: list[Tile], pipeline: StableDiffusionPipeline, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Images of two models, in mixed strengths and guidances."""
    models = [StableDiffusionToy(letter, pipeline, MIXED) for letter in "ab"]
    images = make_images(tiles, models, roundtrip_roles=("validation", "test"), progress=False)
    folder = tmp_path_factory.mktemp("two-models") / "data"
    return pack_images(folder, images, plain_task(models), {"made_by": "a test"}, seed=0, max_rows=32)


def read(dataset: Dataset) -> list[dict]:
    """All rows with their file's bytes."""
    rows = dataset.table().to_pylist()
    paths = {entry.name: dataset.tar_path(n) for n, entry in enumerate(dataset.tars)}
    return [{**row, "data": read_image_bytes(paths[row["tar"]], row["offset"], row["size"])} for row in rows]


def pixels_of(row: dict) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(row["data"])))


def test_every_source_goes_through_one_encoder_at_one_size(dataset: Dataset) -> None:
    rows = read(dataset)
    assert {row["image_source"] for row in rows} == {REAL, BLURRED, *A, *B}
    for row in rows:
        with Image.open(io.BytesIO(row["data"])) as image:
            assert (image.format, image.mode, image.size, image.info) == ("PNG", "RGB", (64, 64), {})
        # The same bytes again from the pixels: no other encoder and no other setting.
        assert encode_png(pixels_of(row)) == row["data"]
        assert (row["width"], row["height"], row["format"], row["jpeg_quality"]) == (64, 64, "PNG", None)
        assert row["key"].endswith("%2Epng")


def test_roles_share_no_group(dataset: Dataset) -> None:
    splits = defaultdict(set)
    for row in dataset.table().to_pylist():
        splits[row["group"]].add(row["split"])
    assert all(len(s) == 1 for s in splits.values())


def test_each_photo_tile_has_its_copies(dataset: Dataset, tiles: list[Tile]) -> None:
    rows = dataset.table().to_pylist()
    reals = {row["key"]: row for row in rows if row["image_source"] == REAL}
    assert len(reals) == len(tiles)
    roles = {A[0]: {"train", "validation", "test"}, A[2]: {"validation", "test"}}
    for source in (A[0], A[2], B[0], B[2], BLURRED):
        copies = [row for row in rows if row["image_source"] == source]
        wanted = {k for k, row in reals.items() if row["split"] in roles.get(source, {"test"})}
        assert {row["derived_from"] for row in copies} == wanted and len(copies) == len(wanted)
        for row in copies:
            photo = reals[row["derived_from"]]
            assert (row["split"], row["group"]) == (photo["split"], photo["group"])
            assert row["label"] == (1 if "img2img" in source else None)


def test_second_model_is_for_the_test_alone(dataset: Dataset, tiles: list[Tile]) -> None:
    assert set(dataset.counts["test"]) == {REAL, BLURRED, *A, *B}
    assert set(dataset.counts["train"]) == {REAL, *A[:2]} and set(dataset.counts["validation"]) == {REAL, *A}
    num_test = sum(tile.role == "test" for tile in tiles)
    assert [dataset.counts["test"][source] for source in B] == [num_test] * 3


def test_class_samples_are_as_many_as_photo_tiles_in_each_role(dataset: Dataset) -> None:
    rows = dataset.table().to_pylist()
    splits = {s: Counter(row["split"] for row in rows if row["image_source"] == s) for s in (REAL, "toy-a")}
    assert splits[REAL] == splits["toy-a"]
    for row in rows:
        if row["image_source"] == "toy-a":
            assert row["group"] == row["key"] and row["label"] == 1
            # Photographs without a class show some flowers, and no clothing.
            assert row["class_name"] in ("daisy", "dandelion", "roses", "sunflowers", "tulips")


def test_class_samples_have_the_classes_of_the_photographs(model: ToyModel, tiles: list[Tile]) -> None:
    class_names = {"train": "hat", "validation": "roses", "test": "tulips"}
    named = [Tile(t.photo, t.row, t.column, t.group, t.role, t.pixels, class_names[t.role]) for t in tiles]
    assert {(m.split, m.class_name) for m in make_samples(model, named)} == set(class_names.items())


def test_reals_are_the_tiles_unchanged(dataset: Dataset, tiles: list[Tile]) -> None:
    by_name = {tile.name: tile.pixels for tile in tiles}
    for row in read(dataset):
        if row["image_source"] == REAL:
            name = row["source_path"].removeprefix("real/").removesuffix(".png")
            assert np.array_equal(pixels_of(row), by_name[name])


def test_strength_and_guidance_of_every_image_are_kept(dataset: Dataset) -> None:
    rows, makings = dataset.table().to_pylist(), load_makings(dataset.folder)
    assert makings.keys() == {row["key"] for row in rows}
    seen = defaultdict(set)
    for row in rows:
        making = makings[row["key"]]
        seen[row["image_source"]].add((making.strength, making.guidance))
        assert (making.blur_sigma_px is not None) == (row["image_source"] == BLURRED)
        if row["image_source"] in ("toy-a", "toy-b"):
            assert making.prompt == f"a photo of {row['class_name']}"
    for number, (img2img, sampled, roundtrip) in enumerate((A, B)):
        # The second model's images are few: not every value need occur.
        compare = set.__eq__ if number == 0 else set.__le__
        assert compare(seen[img2img], {(0.3, 3.0), (0.5, 3.0), (0.7, 3.0)})
        assert compare(seen[sampled], {(None, 3.0), (None, 5.0)})
        assert seen[roundtrip] == {(None, None)}
    assert seen[REAL] == seen[BLURRED] == {(None, None)}
    # Both models noise a photograph equally far.
    strengths = defaultdict(dict)
    for row in rows:
        if row["image_source"].endswith("img2img") and row["split"] == "test":
            strengths[row["derived_from"]][row["image_source"]] = makings[row["key"]].strength
    assert all(len(s) == 2 and len(set(s.values())) == 1 for s in strengths.values())


def test_kept_strength_is_the_one_that_the_image_was_made_with(
    dataset: Dataset, pipeline: StableDiffusionPipeline, tiles: list[Tile]
) -> None:
    model, makings = StableDiffusionToy("a", pipeline, MIXED), load_makings(dataset.folder)
    images = {row["key"]: pixels_of(row) for row in read(dataset)}
    for tile in tiles[:3]:
        key = sample_key(f"toy-a-img2img/{tile.name}.png")
        again = {s: model.img2img([tile], s)[0] for s in MIXED.strengths}
        distances = {s: abs(images[key].astype(int) - pixels).mean() for s, pixels in again.items()}
        assert min(distances, key=distances.__getitem__) == makings[key].strength


def test_strength_that_leaves_no_step_is_refused() -> None:
    with pytest.raises(ValueError, match=r"strength 0.3 of 2 steps leaves none"):
        SourceConfig(strengths=(0.5, 0.3), num_steps=2)
    with pytest.raises(ValueError, match="need at least one value each"):
        SourceConfig(strengths=())


def test_blurred_copies_have_the_energy_of_their_img2img_copy(dataset: Dataset) -> None:
    images = {row["key"]: pixels_of(row) for row in read(dataset)}
    rows, makings = dataset.table().to_pylist(), load_makings(dataset.folder)
    fakes = {row["derived_from"]: images[row["key"]] for row in rows if row["image_source"] == "toy-a-img2img"}
    num_unblurred = 0
    for row in (row for row in rows if row["image_source"] == BLURRED):
        photo, target = images[row["derived_from"]], gradient_energy(fakes[row["derived_from"]])
        if gradient_energy(photo) <= target:
            num_unblurred += 1
            assert np.array_equal(images[row["key"]], photo) and makings[row["key"]].blur_sigma_px == 0
        else:
            assert gradient_energy(images[row["key"]]) == pytest.approx(target, rel=0.02)
            assert makings[row["key"]].blur_sigma_px > 0
    assert dataset.settings["num_unblurred"] == num_unblurred


def test_images_do_not_depend_on_their_batch(model: ToyModel, tiles: list[Tile]) -> None:
    # Not bit for bit: another batch size may take another convolution, and a value on the edge then rounds otherwise.
    for make in (lambda t: model.img2img(t, 0.5), model.roundtrip):
        together, alone = make(tiles[:5]), make(tiles[3:4])
        assert abs(together[3].astype(int) - alone[0].astype(int)).max() <= 1
    names, classes = ["a", "b", "c"], ["hat", "roses", "tulips"]
    together = model.sample(classes, model.rngs("toy-a", names), 3.0)
    alone = model.sample(classes[1:2], model.rngs("toy-a", names[1:2]), 3.0)
    assert abs(together[1].astype(int) - alone[0].astype(int)).max() <= 1


def test_images_differ_by_name_and_source(model: ToyModel, tiles: list[Tile]) -> None:
    first, second = model.sample(["hat", "hat"], model.rngs("toy-a", ["a", "b"]), 3.0)
    assert not np.array_equal(first, second)
    other_noise = Tile("other", 0, 0, "g", "test", tiles[0].pixels)
    assert not np.array_equal(*model.img2img([tiles[0], other_noise], 0.5))
    assert model.rngs("toy-a", ["a"])[0].initial_seed() != model.rngs("toy-b", ["a"])[0].initial_seed()


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
