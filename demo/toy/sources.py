"""The image sources of the demo and of the toy benchmark: photo tiles and what the toy models make, as a dataset.

`real` are the tiles. Model a makes `toy-a-img2img` and `toy-a`, which are generated, and `vae-roundtrip-a`, which is
not; `blurred-real` are tiles as smooth as their img2img copies. Detectors are trained on the first model's images; of
further models there are test images only. Every image goes through `encode_png`, real ones too.
"""

import hashlib
import io
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from tqdm import tqdm

from cache_schema import Dataset, Sample, SampleFields, new_opened, sample_key, write_dataset
from demo.toy.images import CLASS_NAMES, ToyModel, blur_to_energy, gradient_energy, prompt_of
from demo.toy.photos import ROLES, TILE_PX, Tile
from workflow.progress import tell

logger = logging.getLogger(__name__)
T = TypeVar("T")

REAL, BLURRED = "real", "blurred-real"
SUBSET = "toy"
SHOWN_CLASSES = CLASS_NAMES[:5]
"""Flowers: the demo's photographs show some, and no clothing."""
MAKINGS_NAME = "makings.parquet"


@dataclass(frozen=True)
class Making:
    """How an image was made. None where it does not apply."""

    prompt: str | None = None
    strength: float | None = None
    """Share of the noising that an img2img image went through."""
    guidance: float | None = None
    blur_sigma_px: float | None = None
    """0 where a photograph is as smooth as its img2img copy already."""


NO_MAKING = Making()
MAKINGS_SCHEMA = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("prompt", pa.string()),
        *(pa.field(name, pa.float64()) for name in ("strength", "guidance", "blur_sigma_px")),
    ]
)


@dataclass(frozen=True)
class Made:
    """One image on its way into the dataset."""

    image_source: str
    name: str
    pixels: np.ndarray
    """(64, 64, 3) uint8."""
    split: str
    group: str | None
    """None: a group of its own."""
    derived_from: str | None = None
    class_name: str | None = None
    making: Making = NO_MAKING

    @property
    def path(self) -> str:
        """Path below the packed root."""
        return image_path(self.image_source, self.name)


@dataclass(frozen=True)
class Wish:
    """A class sample that is to be made."""

    name: str
    class_name: str
    role: str
    guidance: float

    def as_made(self, image_source: str, pixels: np.ndarray, group: str | None) -> Made:
        """The sample once it is made."""
        making = Making(prompt_of(self.class_name), guidance=self.guidance)
        return Made(image_source, self.name, pixels, self.role, group, class_name=self.class_name, making=making)


@dataclass(frozen=True)
class Task:
    """What the image sources are to a detector: which are the two classes, and who meets whom."""

    classes: Mapping[str, tuple[int, str]]
    """Image source → label (0 real, 1 generated) and subset."""
    control_subset: str
    """Subset of all other sources, which are controls without a label."""

    def place(self, image_source: str) -> tuple[int | None, str]:
        """Label and subset of an image source."""
        return self.classes.get(image_source, (None, self.control_subset))


def plain_task(models: Sequence[ToyModel]) -> Task:
    """Photographs against generated images."""
    generated = [source for model in models for source in (model.img2img_source, model.sample_source)]
    return Task({REAL: (0, SUBSET), **dict.fromkeys(generated, (1, SUBSET))}, SUBSET)


def encode_png(pixels: np.ndarray) -> bytes:
    """The one way from pixels, (h, w, 3) uint8, to a file: no source can be told by its format."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def image_path(image_source: str, name: str) -> str:
    """Path of an image below the packed root."""
    return f"{image_source}/{name}.png"


def as_sample(made: Made, task: Task) -> Sample:
    """Encode an image and fill in its fields."""
    data = encode_png(made.pixels)
    label, subset = task.place(made.image_source)
    fields = SampleFields(
        label=label,
        image_source=made.image_source,
        subset=subset,
        split=made.split,
        group=made.group or sample_key(made.path),
        derived_from=made.derived_from,
        class_name=made.class_name,
        source_path=made.path,
        sha256=hashlib.sha256(data).hexdigest(),
        width=made.pixels.shape[1],
        height=made.pixels.shape[0],
        format="PNG",
        jpeg_quality=None,
    )
    return Sample(sample_key(made.path), "png", data, fields)


def make_reals(tiles: Iterable[Tile], image_source: str = REAL) -> Iterator[Made]:
    """The photographs themselves."""
    for tile in tiles:
        yield Made(image_source, tile.name, tile.pixels, tile.role, tile.group, class_name=tile.class_name)


def _copy(image_source: str, tile: Tile, pixels: np.ndarray, making: Making = NO_MAKING) -> Made:
    key = sample_key(image_path(REAL, tile.name))
    return Made(image_source, tile.name, pixels, tile.role, tile.group, key, tile.class_name, making)


def _batches(items: Iterable[T], size: int, key: Callable[[T], Hashable] = lambda _: None) -> Iterator[list[T]]:
    """Items in batches of one key each."""
    alike: dict[Hashable, list[T]] = defaultdict(list)
    for item in items:
        alike[key(item)].append(item)
    for group in alike.values():
        for start in range(0, len(group), size):
            yield group[start : start + size]


def make_img2img(model: ToyModel, tiles: Iterable[Tile]) -> Iterator[Made]:
    """Images that start from the tiles, noised as far as the tile's name decides."""
    config = model.config
    batches = [*_batches(tiles, config.batch_size, lambda t: config.strength_of(t.name))]
    calls = [(batch, config.strength_of(batch[0].name)) for batch in batches]
    done = model.each("img2img", calls)  # asked for before anyone takes an image, so that a pool is never idle

    def copies() -> Iterator[Made]:
        for (batch, strength), images in zip(calls, done, strict=True):
            for tile, pixels in zip(batch, images, strict=True):
                making = Making(prompt_of(tile.class_name), strength, config.img2img_guidance)
                yield _copy(model.img2img_source, tile, pixels, making)

    return copies()


def make_roundtrips(model: ToyModel, tiles: Iterable[Tile]) -> Iterator[Made]:
    """Tiles encoded and decoded."""
    batches = [*_batches(tiles, model.config.batch_size)]
    done = model.each("roundtrip", [(batch,) for batch in batches])
    pairs = (zip(batch, images, strict=True) for batch, images in zip(batches, done, strict=True))
    return (_copy(model.roundtrip_source, tile, pixels) for both in pairs for tile, pixels in both)


def classes_of(tiles: Sequence[Tile]) -> list[str]:
    """The tiles' classes; where one is unknown, in turn those of the toy models that the photographs show too."""
    return [tile.class_name or SHOWN_CLASSES[i % len(SHOWN_CLASSES)] for i, tile in enumerate(tiles)]


def make_samples(model: ToyModel, tiles: Sequence[Tile]) -> Iterator[Made]:
    """A class sample for each tile, of its role and class, at the guidance that its own name decides."""
    wishes = []
    for role in ROLES:
        for i, class_name in enumerate(classes_of([tile for tile in tiles if tile.role == role])):
            name = f"{role}-{i:04d}"
            wishes.append(Wish(name, class_name, role, model.config.guidance_of(name)))
    drawn = draw_samples(model, model.sample_source, wishes)
    return (wish.as_made(model.sample_source, pixels, None) for wish, pixels in drawn)


def draw_samples(model: ToyModel, noise_source: str, wishes: Iterable[Wish]) -> Iterator[tuple[Wish, np.ndarray]]:
    """Class samples, each from noise that is a function of `noise_source` and its name."""
    batches = [*_batches(wishes, model.config.batch_size, lambda wish: wish.guidance)]
    calls = [
        ([wish.class_name for wish in batch], noise_source, [wish.name for wish in batch], batch[0].guidance)
        for batch in batches
    ]
    done = model.each("sample_named", calls)
    return (both for batch, images in zip(batches, done, strict=True) for both in zip(batch, images, strict=True))


def make_blurred(tiles: Iterable[Tile], energies: Mapping[str, float]) -> Iterator[Made]:
    """Tiles blurred to the gradient energy of {tile's name: energy}."""
    for tile in tiles:
        pixels, sigma = blur_to_energy(tile.pixels, energies[tile.name])
        yield _copy(BLURRED, tile, pixels, Making(blur_sigma_px=sigma))


def make_images(
    tiles: Sequence[Tile],
    models: Sequence[ToyModel],
    *,
    roundtrip_roles: Sequence[str] = ("test",),
    others: Mapping[str, tuple[int, Iterator[Made]]] | None = None,
    progress: bool = True,
) -> list[Made]:
    """Make the images of all sources.

    Args:
        tiles: Photo tiles with their roles.
        models: The model that detectors are trained on, and those that they are only tested on.
        roundtrip_roles: Roles whose tiles the first model also encodes and decodes.
        others: More of them: what they are → their number, and themselves.
        progress: Show a bar for each kind.
    """
    test, made = [t for t in tiles if t.role == "test"], list[Made]()
    fakes: dict[str, float] = {}
    kinds: dict[str, tuple[int, Iterable[Made]]] = {"photo tiles": (len(tiles), make_reals(tiles))}
    for model in models:
        is_first = model is models[0]
        shown = tiles if is_first else test
        kinds[model.img2img_source] = len(shown), make_img2img(model, shown)
        kinds[model.sample_source] = len(shown), make_samples(model, shown)
        coded = [t for t in shown if t.role in (roundtrip_roles if is_first else ("test",))]
        kinds[model.roundtrip_source] = len(coded), make_roundtrips(model, coded)
    kinds |= {BLURRED: (len(test), make_blurred(test, fakes)), **(others or {})}
    total = sum(number for number, _ in kinds.values())
    for what, (number, images) in kinds.items():
        start = time.monotonic()
        for image in tqdm(images, total=number, desc=what, unit="image", disable=None if progress else True):
            made.append(image)
            if what == models[0].img2img_source:
                fakes[image.name] = gradient_energy(image.pixels)
            tell(len(made), total)
        logger.info("%s: %d images in %.0f s", what, number, time.monotonic() - start)
    return made


def pack_images(
    folder: Path, images: Sequence[Made], task: Task, settings: Mapping[str, Any], *, seed: int, max_rows: int
) -> Dataset:
    """Pack images as a dataset, shuffled with the seed, with `makings.parquet` beside the index.

    Args:
        folder: New folder; must not exist.
        images: From `make_images`.
        task: What their sources are.
        settings: How they were made, for the dataset's settings.
        seed: Of the order.
        max_rows: Samples a tar.

    Returns:
        The dataset. Its settings also tell how far the `blurred-real` were blurred, and how many needed no blur.
    """
    blur = _describe_blur([m.making.blur_sigma_px for m in images if m.image_source == BLURRED])
    order = np.random.default_rng(seed).permutation(len(images))
    samples = (as_sample(images[i], task) for i in order)
    dataset = write_dataset(folder, samples, {**settings, "tile_px": TILE_PX, **blur}, max_rows=max_rows)
    rows = [{"key": sample_key(m.path), **asdict(m.making)} for m in images]
    with new_opened(folder / MAKINGS_NAME) as file:
        pq.write_table(pa.Table.from_pylist(rows, MAKINGS_SCHEMA), file)
    logger.info("%d images, %d of them blurred copies without blur", len(images), blur.get("num_unblurred", 0))
    return dataset


def _describe_blur(sigmas_px: Sequence[float | None]) -> dict[str, float]:
    """How far copies were blurred; empty without any."""
    if not sigmas_px:
        return {}
    sigmas = np.array(sigmas_px, dtype=float)
    return {
        "blur_sigma_px_median": round(float(np.median(sigmas)), 3),
        "blur_sigma_px_max": round(float(sigmas.max()), 3),
        "num_unblurred": int((sigmas == 0).sum()),
    }


def load_makings(folder: Path) -> dict[str, Making]:
    """How each image of a dataset folder was made, by key."""
    rows = pq.read_table(folder / MAKINGS_NAME, schema=MAKINGS_SCHEMA).to_pylist()
    return {row.pop("key"): Making(**row) for row in rows}
