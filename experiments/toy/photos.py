"""The toy benchmark's photographs: a folder of them dealt to the roles, and the tiles cut from them.

Tiles are cut as the crops that the toy models were trained on, at the same scales. A photograph is known by its path
below the folder, and its class is the folder that it lies in.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from tqdm import tqdm

from cache_schema import ImageRejected, decode_image
from demo.toy.crops import SHORT_SIDES_PX, Photos, crop_randomly, list_photographs
from demo.toy.images import CLASS_NAMES
from demo.toy.photos import ROLES, Tile, assign_roles, load_table

OTHER_DOMAIN_TILES = 8
"""Tiles of each of the registry's photographs, which are few."""


def deal_roles(names: Iterable[str], seed: int) -> dict[str, str]:
    """Deal the photographs to the roles, {name: role}, class by class, so that every role sees the classes alike.

    Raises:
        ValueError: If a role gets none.
    """
    classes: dict[str, list[str]] = defaultdict(list)
    for name in names:
        classes[_class_of(name)].append(name)
    roles = {name: role for members in classes.values() for name, role in assign_roles(members, seed).items()}
    missing = sorted(ROLES.keys() - set(roles.values()))
    if missing:
        raise ValueError(f"{len(roles)} photographs of {len(classes)} classes leave none for {', '.join(missing)}")
    return roles


def choose_photographs(folder: Path, limit: int | None) -> dict[str, Path]:
    """The photographs below a folder, path below it → file, sorted; of more than `limit` those first by their hash."""
    photographs = list_photographs(folder)
    chosen = sorted(photographs, key=lambda name: hashlib.sha256(f"toy-photo|{name}".encode()).digest())[:limit]
    return {name: photographs[name] for name in sorted(chosen)}


def load_photo_tiles(folder: Path, tiles_per_photo: int, seed: int, limit: int | None = None) -> list[Tile]:
    """The tiles of the photographs below a folder, with their roles.

    Args:
        folder: Of <class>/<photograph>.
        tiles_per_photo: Tiles that are cut from each.
        seed: Of roles and places.
        limit: As of `choose_photographs`.

    Raises:
        ValueError: If there are too few photographs, or one cannot be read or is too small.
    """
    photographs = choose_photographs(folder, limit)
    roles = deal_roles(photographs, seed)
    tiles = []
    for name, file in tqdm(photographs.items(), desc="photographs", disable=None):
        crops = _crops(_read(file), name, tiles_per_photo, seed)
        tiles += [Tile(name, 0, k, name, roles[name], crop, _known(_class_of(name))) for k, crop in enumerate(crops)]
    return tiles


def load_generator_tiles(folder: Path, test: Sequence[Tile], seed: int) -> list[Tile]:
    """Tiles of photographs that the toy models were trained on: of each class as many as of test photographs.

    Args:
        folder: The folder that the models were trained on. What was held out there is left out.
        test: The benchmark's test tiles.
        seed: Decides which photographs they are, and where they are cut.

    Raises:
        ValueError: If there is no photograph of any of the classes.
    """
    photos, _ = Photos.load(folder)
    members = defaultdict(list)
    for i in np.random.default_rng(seed).permutation(len(photos.pixels)).tolist():
        members[photos.class_names[i]].append(i)
    wanted, tiles = Counter(_class_of(t.photo) for t in test if t.column == 0), []
    tiles_per_photo = 1 + max(t.column for t in test)
    for class_name, number in sorted(wanted.items()):
        for i in members[class_name][:number]:
            name = f"{class_name}/{i:05d}"
            for k, crop in enumerate(_crops(photos.pixels[i], name, tiles_per_photo, seed)):
                tiles.append(Tile(name, 0, k, f"generator/{name}", "test", crop, _known(class_name)))
    if not tiles:
        raise ValueError(f"{folder} has none of the benchmark's classes {sorted(wanted)}")
    return tiles


def load_other_domain_tiles(seed: int) -> list[Tile]:
    """Tiles of the registry's photographs, which are of other things, all for the test."""
    tiles = []
    for photo in (photo for photo in load_table() if photo.scene):
        group = f"other-domain/{photo.scene}"
        crops = _crops(_read(photo.file), photo.name, OTHER_DOMAIN_TILES, seed)
        tiles += [Tile(photo.name, 0, k, group, "test", crop) for k, crop in enumerate(crops)]
    return tiles


def check_disjoint(photos: Path, generator_photos: Path) -> None:
    """Raise ValueError if a file is in both folders: a detector would see what a generator was trained on."""
    hashes = [
        {hashlib.sha256(file.read_bytes()).digest(): name for name, file in list_photographs(folder).items()}
        for folder in (photos, generator_photos)
    ]
    shared = sorted(hashes[0][digest] for digest in hashes[0].keys() & hashes[1].keys())
    if shared:
        raise ValueError(
            f"{len(shared)} photographs of {photos} are in {generator_photos} too, the first is {shared[0]}"
        )


def _class_of(name: str) -> str:
    return PurePosixPath(name).parent.name


def _known(class_name: str) -> str | None:
    return class_name if class_name in CLASS_NAMES else None


def _read(file: Path) -> np.ndarray:
    try:
        image = decode_image(file.read_bytes())
    except ImageRejected as error:
        raise ValueError(f"{file}: {error}. Remove it.") from error
    if min(image.size) < SHORT_SIDES_PX[1]:
        raise ValueError(f"{file}: {image.size} px, expected a short side of at least {SHORT_SIDES_PX[1]}. Remove it.")
    return np.asarray(image)


def _crops(pixels: np.ndarray, name: str, number: int, seed: int) -> Iterator[np.ndarray]:
    """Square crops at random scales, (64, 64, 3) uint8 each, a function of name and seed."""
    for k in range(number):
        digest = hashlib.sha256(f"toy-tile|{seed}|{name}|{k}".encode()).digest()
        yield np.ascontiguousarray(crop_randomly(pixels, np.random.default_rng(list(digest))))
