"""The demo's photographs: which files of which packages, their scenes and roles, and the tiles cut from them.

`photos.csv` lists every picture in the three packages, the ones left out with the reason. Pictures of one scene, or of
one series such as the walk over a campus, share a `group`, and a group has one role. Of the campus, which would be 43 %
of all tiles in one role, every second picture is in use. Roles are dealt within each kind of content, so that training,
validation and test show much the same. The flower beds have no dates: if they are one series too, it is divided.
"""

import csv
import hashlib
import importlib.util
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from cache_schema import decode_image

TABLE = Path(__file__).with_name("photos.csv")
SHORT_SIDE_PX = 192
TILE_PX = 64
ROLES = {"train": 0.55, "validation": 0.15, "test": 0.30}
"""The splits of the detector, and the share of the photographs that each is dealt."""


@dataclass(frozen=True)
class Photo:
    """One picture of `photos.csv`."""

    package: str
    path: str
    """Path inside the package, with forward slashes."""
    scene: str
    """The group that it belongs to, or "" for a picture that is left out."""
    left_out: str
    """Why it is left out, or ""."""
    content: str = ""
    """What it shows: roles are dealt within pictures of one content."""

    @property
    def name(self) -> str:
        """Short name, unique among the photographs in use."""
        return PurePosixPath(self.path).stem

    @property
    def file(self) -> Path:
        """Where the package is installed.

        Raises:
            ValueError: If it is not installed, or has no such file.
        """
        # Found without importing it: scikit-learn alone takes a second.
        spec = importlib.util.find_spec(self.package)
        folders = spec.submodule_search_locations if spec else None
        file = Path(folders[0], self.path) if folders else None
        if file is None or not file.is_file():
            raise ValueError(f"{self.package}/{self.path}: not installed. Install the extra `demo` (`make setup`).")
        return file


@dataclass(frozen=True)
class Tile:
    """A square cut from a photograph, (64, 64, 3) uint8."""

    photo: str
    row: int
    column: int
    group: str
    role: str
    pixels: np.ndarray
    class_name: str | None = None
    """What it shows, where that is a class that the toy models know."""

    @property
    def name(self) -> str:
        """Photograph and position: unique over all tiles."""
        return f"{self.photo}-{self.row}-{self.column}"


def load_table(path: Path = TABLE) -> list[Photo]:
    """Every picture of the table, in its order.

    Raises:
        ValueError: If a row has both a scene and a reason to be left out, or neither.
    """
    with path.open(newline="", encoding="utf-8") as f:
        photos = [Photo(**row) for row in csv.DictReader(f)]
    for photo in photos:
        if bool(photo.scene) == bool(photo.left_out):
            raise ValueError(f"{path}: {photo.path} needs a scene or a reason to be left out, and not both")
    return photos


def assign_roles(scenes: Sequence[str], seed: int = 0) -> dict[str, str]:
    """Deal whole scenes, given once for each of their photographs, to the roles: {scene: role}.

    Scenes come in the order of their hash, and each goes to the role that lacks most photographs of its share. Nobody
    chooses: what a picture shows plays no part.
    """
    sizes = Counter(scenes)
    return _deal(sizes, sorted(sizes, key=lambda scene: _hash(scene, seed)))


def assign_balanced_roles(sizes: Mapping[str, int], contents: Mapping[str, str], seed: int = 0) -> dict[str, str]:
    """Deal whole scenes to the roles so that each role has its share of the tiles of every content: {scene: role}.

    Within a content the largest scenes come first, scenes of one size in the order of their hash.

    Args:
        sizes: {scene: number of its tiles}.
        contents: {scene: what it shows}.
        seed: Of the hash.
    """
    roles = {}
    for content in sorted(set(contents.values())):
        alike = {scene: size for scene, size in sizes.items() if contents[scene] == content}
        roles |= _deal(alike, sorted(alike, key=lambda scene: (-alike[scene], _hash(scene, seed))))
    return roles


def _deal(sizes: Mapping[str, int], order: Sequence[str]) -> dict[str, str]:
    missing, roles = {role: share * sum(sizes.values()) for role, share in ROLES.items()}, {}
    for scene in order:
        role = max(missing, key=lambda r: missing[r])
        missing[role] -= sizes[scene]
        roles[scene] = role
    return roles


def _hash(scene: str, seed: int) -> bytes:
    return hashlib.sha256(f"demo-role|{seed}|{scene}".encode()).digest()


def cut_tiles(image: Image.Image) -> Iterator[tuple[int, int, np.ndarray]]:
    """Shrink a photograph whole to the short side, then cut it: (row, column, (64, 64, 3) uint8).

    Tiles do not overlap; the grid is centred, and what is left over at the borders is dropped.

    Raises:
        ValueError: If the photograph would have to be enlarged.
    """
    if min(image.size) < SHORT_SIDE_PX:
        raise ValueError(f"photograph of {image.size} px: the short side must have at least {SHORT_SIDE_PX}")
    scale = SHORT_SIDE_PX / min(image.size)
    small = image.resize([max(SHORT_SIDE_PX, round(s * scale)) for s in image.size], Image.Resampling.LANCZOS)
    pixels = np.asarray(small)
    rows, columns = pixels.shape[0] // TILE_PX, pixels.shape[1] // TILE_PX
    top, left = (pixels.shape[0] - rows * TILE_PX) // 2, (pixels.shape[1] - columns * TILE_PX) // 2
    for row in range(rows):
        for column in range(columns):
            y, x = top + row * TILE_PX, left + column * TILE_PX
            yield row, column, np.ascontiguousarray(pixels[y : y + TILE_PX, x : x + TILE_PX])


def load_tiles(photos: list[Photo], seed: int = 0) -> list[Tile]:
    """All tiles of the photographs in use, in the table's order."""
    used = [photo for photo in photos if photo.scene]
    cut = [(photo, *tile) for photo in used for tile in cut_tiles(decode_image(photo.file.read_bytes()))]
    sizes, contents = Counter(photo.scene for photo, *_ in cut), {photo.scene: photo.content for photo in used}
    roles = assign_balanced_roles(sizes, contents, seed)
    return [
        Tile(photo.name, row, column, photo.scene, roles[photo.scene], pixels) for photo, row, column, pixels in cut
    ]


def count_contents(photos: Sequence[Photo], tiles: Sequence[Tile]) -> dict[str, dict[str, int]]:
    """Role → content → number of tiles."""
    contents = {photo.scene: photo.content for photo in photos if photo.scene}
    counts = {role: Counter(contents[tile.group] for tile in tiles if tile.role == role) for role in ROLES}
    return {role: dict(sorted(found.items())) for role, found in counts.items()}
