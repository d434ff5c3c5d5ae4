import shutil
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from demo.toy.crops import SHORT_SIDES_PX, Photos, list_photographs
from demo.toy.photos import ROLES, Tile
from experiments.toy.photos import (
    OTHER_DOMAIN_TILES,
    check_disjoint,
    deal_roles,
    load_generator_tiles,
    load_other_domain_tiles,
    load_photo_tiles,
)
from tests.experiments.conftest import save_photographs


def test_each_role_gets_photographs_of_each_class(tiles: list[Tile]) -> None:
    roles = defaultdict(set)
    for tile in tiles:
        roles[tile.photo.rpartition("/")[0]].add(tile.role)
    assert roles == {"flowers/daisy": set(ROLES), "pets/cats": set(ROLES)}


def test_photograph_has_one_role_and_all_its_tiles(tiles: list[Tile]) -> None:
    of_photo = defaultdict(list)
    for tile in tiles:
        assert tile.group == tile.photo
        of_photo[tile.photo].append(tile)
    assert len(of_photo) == 12 and all(len(own) == 2 for own in of_photo.values())
    assert all(len({tile.role for tile in own}) == 1 for own in of_photo.values())
    assert not any(np.array_equal(*(tile.pixels for tile in own)) for own in of_photo.values())
    assert len({tile.name for tile in tiles}) == 24


def test_shares_of_the_roles_and_the_seed() -> None:
    names = [f"{c}/{i}.jpg" for c in "ab" for i in range(100)]
    roles = deal_roles(names, seed=0)
    assert {role: list(roles.values()).count(role) / 200 for role in ROLES} == ROLES
    assert roles == deal_roles(names[::-1], seed=0) != deal_roles(names, seed=1)
    with pytest.raises(ValueError, match="2 photographs of 2 classes leave none for test, validation"):
        deal_roles(["a/1.jpg", "b/1.jpg"], seed=0)


def test_tiles_are_a_function_of_name_and_seed(photographs: Path, tiles: list[Tile]) -> None:
    again, other = (load_photo_tiles(photographs, tiles_per_photo=1, seed=seed) for seed in (0, 1))
    first = [tile for tile in tiles if tile.column == 0]
    assert [t.name for t in again] == [t.name for t in first]
    assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(again, first, strict=True))
    assert not any(np.array_equal(a.pixels, b.pixels) for a, b in zip(other, first, strict=True))


def test_classes_that_the_models_do_not_know_are_unknown(tiles: list[Tile]) -> None:
    known = {tile.photo.rpartition("/")[0]: tile.class_name for tile in tiles}
    assert known == {"flowers/daisy": "daisy", "pets/cats": None}


def test_tiles_have_the_scales_of_the_training_crops(tmp_path: Path) -> None:
    # A ramp over the short side: what a tile of 64 px spans of it tells to how many px it was shrunk.
    folder = tmp_path / "ramps"
    folder.mkdir()
    ramp = np.repeat(np.linspace(0, 255, 288)[None], 400, axis=0).astype(np.uint8)
    for i in range(12):
        Image.fromarray(ramp).convert("RGB").save(folder / f"{i}.png")
    tiles = load_photo_tiles(folder, tiles_per_photo=4, seed=0)
    spans = [np.ptp(tile.pixels.mean(axis=(0, 2))) / 255 for tile in tiles]
    short_sides = [63 / span for span in spans]
    assert min(short_sides) > SHORT_SIDES_PX[0] - 2 and max(short_sides) < SHORT_SIDES_PX[1] + 2
    assert min(short_sides) < 80 and max(short_sides) > 130
    assert all(tile.pixels.shape == (64, 64, 3) and tile.pixels.flags.c_contiguous for tile in tiles)


def test_photographs_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no .jpg or .png below it"):
        list_photographs(tmp_path)
    folder = save_photographs(tmp_path / "photographs", seed=0)
    small = folder / "pets" / "cats" / "small.png"
    Image.new("RGB", (200, 143)).save(small)
    with pytest.raises(ValueError, match=r"small.png: \(200, 143\) px, expected a short side of at least 144"):
        load_photo_tiles(folder, 1, seed=0)
    small.write_bytes(small.read_bytes()[:60])
    with pytest.raises(ValueError, match=r"small.png: .*Remove it"):
        load_photo_tiles(folder, 1, seed=0)


def test_photograph_in_both_folders_is_refused(photographs: Path, tmp_path: Path) -> None:
    generator = save_photographs(tmp_path / "generator", seed=1)
    check_disjoint(photographs, generator)
    shutil.copy(photographs / "pets" / "cats" / "3.png", generator / "pets" / "cats" / "another-name.png")
    with pytest.raises(ValueError, match=r"1 photographs of .* the first is pets/cats/3.png"):
        check_disjoint(photographs, generator)


def test_generator_tiles_are_of_training_photographs_in_the_classes_of_the_test(
    tiles: list[Tile], tmp_path: Path
) -> None:
    folder = tmp_path / "generator"
    for c, class_folder in enumerate(("flowers/daisy", "pets/cats", "pets/dogs")):
        (folder / class_folder).mkdir(parents=True)
        for i in range(20):
            Image.new("RGB", (160, 160), (10 * i, 80 * c, 0)).save(folder / class_folder / f"{i:02d}.png")
    test = [tile for tile in tiles if tile.role == "test"]
    chosen = load_generator_tiles(folder, test, seed=0)
    classes = [photo.split("/")[0] for photo in {tile.photo for tile in chosen}]
    wanted = [photo.split("/")[1] for photo in {tile.photo for tile in test}]
    assert sorted(classes) == sorted(wanted) and len(chosen) == len(test)
    trained_on = {tuple(pixels[0, 0]) for pixels in Photos.load(folder)[0].pixels}
    assert {tuple(tile.pixels[0, 0]) for tile in chosen} <= trained_on
    assert {tile.role for tile in chosen} == {"test"}
    assert {tile.group for tile in chosen}.isdisjoint({tile.group for tile in tiles})
    with pytest.raises(ValueError, match="has none of the benchmark's classes"):
        load_generator_tiles(folder / "pets" / "dogs", test, seed=0)


def test_other_domain_is_the_registry() -> None:
    tiles = load_other_domain_tiles(seed=0)
    assert len(tiles) == OTHER_DOMAIN_TILES * len({tile.photo for tile in tiles}) > 350
    assert {tile.role for tile in tiles} == {"test"} and all(t.group.startswith("other-domain/") for t in tiles)
