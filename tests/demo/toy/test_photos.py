import importlib.util
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from demo.toy.photos import (
    ROLES,
    Photo,
    assign_balanced_roles,
    assign_roles,
    count_contents,
    cut_tiles,
    load_table,
    load_tiles,
)

SUFFIXES = {".png", ".jpg", ".jpeg", ".gif", ".tif"}


def test_table_names_every_picture_of_the_packages_once(photos: list[Photo]) -> None:
    listed = [(p.package, p.path) for p in photos]
    assert len(set(listed)) == len(listed)
    found = set()
    for package, folder in (("mvtbdata", "images"), ("skimage", "data"), ("sklearn", "datasets/images")):
        spec = importlib.util.find_spec(package)
        assert spec and spec.submodule_search_locations
        root = Path(spec.submodule_search_locations[0])
        files = (f for f in (root / folder).rglob("*") if f.suffix.lower() in SUFFIXES)
        found |= {(package, f.relative_to(root).as_posix()) for f in files}
    # A newer scikit-image may bring more pictures, which are not used then; none may be gone.
    assert set(listed) <= found


@pytest.mark.parametrize("name", ["lena", "monalisa", "wally", "wheres-wally", "58060", "horse", "phantom", "left01"])
def test_table_leaves_out(name: str, photos: list[Photo]) -> None:
    (photo,) = [p for p in photos if p.name == name]
    assert photo.left_out and not photo.scene


def test_photographs_in_use_are_coloured_and_large_enough(photos: list[Photo]) -> None:
    used = [p for p in photos if p.scene]
    assert len({p.name for p in used}) == len(used) >= 45
    for photo in used:
        with Image.open(photo.file) as image:
            assert min(image.size) >= 192
            red, green, blue = (c.astype(int) for c in np.moveaxis(np.asarray(image.convert("RGB")), 2, 0))
        assert max(abs(red - green).mean(), abs(green - blue).mean()) > 1, photo.path


def test_file_that_is_not_installed_says_what_to_install() -> None:
    with pytest.raises(ValueError, match=r"no_such_package/a.png: not installed.*extra `demo`"):
        _ = Photo("no_such_package", "a.png", "scene", "").file
    with pytest.raises(ValueError, match=r"skimage/a.png: not installed"):
        _ = Photo("skimage", "a.png", "scene", "").file


def test_load_table_refuses_a_row_without_scene_or_reason(tmp_path: Path) -> None:
    table = tmp_path / "photos.csv"
    table.write_text("package,path,scene,left_out\nskimage,data/cat.png,,\n")
    with pytest.raises(ValueError, match=r"cat.png needs a scene or a reason"):
        load_table(table)


def test_roles_are_dealt_by_scene_in_about_their_shares(photos: list[Photo]) -> None:
    tiles = load_tiles(photos)
    roles_of_group = defaultdict(set)
    for tile in tiles:
        roles_of_group[tile.group].add(tile.role)
    assert all(len(roles) == 1 for roles in roles_of_group.values())
    assert len({tile.name for tile in tiles}) == len(tiles)
    for role, share in ROLES.items():
        assert np.mean([t.role == role for t in tiles]) == pytest.approx(share, abs=0.05)
    assert all(tile.pixels.shape == (64, 64, 3) and tile.pixels.dtype == np.uint8 for tile in tiles)


def test_each_role_shows_much_the_same(photos: list[Photo]) -> None:
    """Flowers were 0 % of the training and validation tiles and 61 % of the test tiles."""
    tiles = load_tiles(photos)
    counts = count_contents(photos, tiles)
    total = Counter[str]()
    for of_role in counts.values():
        total.update(of_role)
    assert set(total) == {"buildings", "flowers", "nature", "people and things"} and total.total() == len(tiles)
    for of_role in counts.values():
        for content, number in total.items():
            share = of_role[content] / sum(of_role.values())
            assert share == pytest.approx(number / len(tiles), abs=0.08), content


def test_a_series_is_one_group(photos: list[Photo]) -> None:
    of_campus = [photo for photo in photos if "/campus/" in photo.path]
    assert len(of_campus) == 25 and {photo.scene for photo in of_campus} == {"campus", ""}
    assert sum(bool(photo.scene) for photo in of_campus) == 13


def test_roles_are_dealt_within_each_content_from_the_largest_scene_on() -> None:
    sizes = {"walk": 40, "a": 12, "b": 12, "c": 12, "rose": 20, "iris": 20}
    contents = dict.fromkeys(("walk", "a", "b", "c"), "buildings") | {"rose": "flowers", "iris": "flowers"}
    roles = assign_balanced_roles(sizes, contents)
    assert roles["walk"] == "train" and {roles[scene] for scene in "abc"} == {"test", "validation"}
    assert {roles["rose"], roles["iris"]} == {"train", "test"}
    assert roles == assign_balanced_roles(dict(reversed(sizes.items())), contents)
    assert any(assign_balanced_roles(sizes, contents, seed) != roles for seed in range(1, 9))


def test_assign_roles_is_a_function_of_the_seed(photos: list[Photo]) -> None:
    scenes = [p.scene for p in photos if p.scene]
    assert assign_roles(scenes) == assign_roles(scenes[::-1])
    assert assign_roles(scenes) != assign_roles(scenes, seed=1)


def test_cut_tiles_shrinks_whole_and_centres_the_grid() -> None:
    # 200 columns of 400 x 384: shrunk by 2 to 200 x 192, three columns of tiles with 4 px left over on either side.
    pixels = np.zeros((384, 400, 3), np.uint8)
    pixels[:, 8:136] = 255  # the first column of tiles, 128 px wide before shrinking
    tiles = {(row, column): tile for row, column, tile in cut_tiles(Image.fromarray(pixels))}
    assert sorted(tiles) == [(row, column) for row in range(3) for column in range(3)]
    for (_, column), tile in tiles.items():
        inside = tile[:, 3:-3].mean()
        assert inside == pytest.approx(255 if column == 0 else 0, abs=3)


def test_cut_tiles_never_enlarges() -> None:
    with pytest.raises(ValueError, match="must have at least 192"):
        list(cut_tiles(Image.new("RGB", (300, 191))))
