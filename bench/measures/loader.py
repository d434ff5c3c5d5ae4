"""How fast a training epoch's batches come, by the authors' way and by our loader, with normalising on both sides."""

import io
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image
from timm.data.constants import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset
from torchvision import transforms  # type: ignore[import-untyped]

from bench.data.pictures import JPEG_QUALITY, make_picture, pack_jpegs, save_jpegs
from bench.machine import one_core
from bench.measures.feed import LATENT_CHANNELS, LATENT_STRIDE, gamma_maps
from bench.runner import Context, Figure, rates, ratio, reading
from cache_schema import (
    RULES,
    Cache,
    Dataset,
    Fingerprint,
    ShardData,
    Status,
    create_cache,
    store_name,
)
from train.backbone import normalize
from train.data.datamodule import LareDataModule
from train.data.decoding import decode_pixels
from workflow.timing import alternate, timed

NUM_IMAGES, NUM_PICTURES = 2000, 500
"""Images of an epoch, and how many of them are different: each comes four times under other keys."""
CANVAS_PX, CROP_PX, BATCH_SIZE = 256, 224, 48
"""The paper's sizes. The files have the canvas's size, so that neither side resizes."""
ROWS_PER_TAR = 1024
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Normalising of the authors' scripts."""


class AuthorsDataset(TorchDataset[tuple[Tensor, Tensor, int]]):
    """A sample as the authors' scripts load it, written anew from a description: one file an image, one a map.

    OpenCV reads the image; it is padded with black to the crop's size where it is smaller, cropped at random, and goes
    through Pillow to a normalised float tensor. The map is whole.

    Args:
        images: Image files.
        maps: Map files, by torch.save, in the same order.
    """

    def __init__(self, images: Sequence[Path], maps: Sequence[Path]) -> None:
        self.images, self.maps = [str(file) for file in images], [str(file) for file in maps]
        self.to_input = transforms.Compose(
            [transforms.ToPILImage(), transforms.ToTensor(), transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD)]
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor, int]:
        """Normalised crop (3, CROP_PX, CROP_PX), map (c, h, w), both float32, and label."""
        image: Any = cv2.imread(self.images[number])
        image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        bottom, right = (max(0, CROP_PX - side) for side in image.shape[:2])
        if bottom or right:
            image = cv2.copyMakeBorder(image, 0, bottom, 0, right, cv2.BORDER_CONSTANT)
        height, width = image.shape[:2]
        y, x = random.randint(0, height - CROP_PX), random.randint(0, width - CROP_PX)
        cropped = self.to_input(image[y : y + CROP_PX, x : x + CROP_PX])
        return cropped, torch.load(self.maps[number]), number % 2


def one_thread(_: int = 0) -> None:
    """Have this process, a worker or not, compute in one thread."""
    cv2.setNumThreads(1)
    torch.set_num_threads(1)


@contextmanager
def computing_in_one_thread() -> Iterator[None]:
    """The same for a while."""
    threads = torch.get_num_threads(), cv2.getNumThreads()
    one_thread()
    try:
        yield
    finally:
        torch.set_num_threads(threads[0])
        cv2.setNumThreads(threads[1])


class Epochs:
    """The same images and maps for both ways.

    Args:
        folder: Empty folder.
        num_images: Images of an epoch.
        make: Number of a picture → its file; None: JPEG files of the canvas's size.
    """

    def __init__(self, folder: Path, num_images: int = NUM_IMAGES, make: Callable[[int], bytes] | None = None) -> None:
        pictures = [(make or make_jpeg)(n) for n in range(min(NUM_PICTURES, num_images))]
        self.jpegs = [pictures[n % len(pictures)] for n in range(num_images)]
        cells = CANVAS_PX // LATENT_STRIDE
        maps = gamma_maps(num_images, (LATENT_CHANNELS, cells, cells), seed=0)
        self.image_files = save_jpegs(folder / "files", self.jpegs)
        self.map_files = [file.with_suffix(".pt") for file in self.image_files]
        for file, one in zip(self.map_files, maps, strict=True):
            torch.save(torch.from_numpy(one.copy()), file)
        self.dataset = pack_jpegs(folder / "data", self.jpegs, ROWS_PER_TAR)
        self.cache = write_maps(folder / "cache", self.dataset, maps)
        self._modules: list[LareDataModule] = []

    def authors(self, num_workers: int) -> Callable[[], int]:
        """An epoch by the authors' way; gives the number of its images."""
        loader = DataLoader(
            AuthorsDataset(self.image_files, self.map_files),
            batch_size=BATCH_SIZE,
            shuffle=True,
            num_workers=num_workers,
            worker_init_fn=one_thread,
            persistent_workers=num_workers > 0,  # a kindness: their short epoch does not pay for starting processes
        )
        return lambda: sum(len(images) for images, _, _ in loader)

    def ours(
        self, num_workers: int, *, flip: bool = False, canvases: Path | None = None, normalised: bool = True
    ) -> Callable[[], int]:
        """An epoch of our training loader, each batch normalised as the model does; gives the number of its images.

        Args:
            num_workers: Worker processes.
            flip: Mirror half of the images and their maps, which the authors' way does not.
            canvases: Cache of canvases that are read in place of the files.
            normalised: Whether batches are normalised here, as the authors' way does, and not on the device.
        """
        settings: dict[str, Any] = {"batch_size": BATCH_SIZE, "crop_px": CROP_PX, "num_workers": num_workers}
        if canvases is not None:
            settings["canvases"] = str(canvases)
        data = LareDataModule(str(self.dataset.folder), str(self.cache.folder), view="canvas", flip=flip, **settings)
        self._modules.append(data)
        loader = data.train_dataloader()
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (OPENAI_CLIP_MEAN, OPENAI_CLIP_STD))
        if not normalised:
            return lambda: sum(len(batch["image"]) for batch in loader)
        return lambda: sum(len(normalize(batch["image"], mean, std)) for batch in loader)

    def decode(self) -> int:
        """Only decode an epoch's files, which are in memory; gives their number."""
        return sum(len(decode_pixels(data)) > 0 for data in self.jpegs)

    def close(self) -> None:
        """End our workers."""
        for data in self._modules:
            data.teardown("fit")


def make_jpeg(seed: int) -> bytes:
    """A picture of the canvas's size as a JPEG file."""
    buffer = io.BytesIO()
    Image.fromarray(make_picture(seed, CANVAS_PX, CANVAS_PX)).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def write_maps(folder: Path, dataset: Dataset, maps: np.ndarray) -> Cache:
    """A cache of maps, row by row of the dataset, in float16."""
    fields: dict[str, int | str] = {"image_size": CANVAS_PX, "stored_dtype": "float16", **RULES}
    cache = create_cache(folder, dataset.dataset_id, Fingerprint(fields))
    first = 0
    for n, entry in enumerate(dataset.tars):
        rows = dataset.rows(n)
        hashes = np.frombuffer(bytes.fromhex("".join(rows["sha256"].to_pylist())), np.uint8).reshape(-1, 32)
        shard = ShardData(
            keys=rows["key"].to_pylist(),
            lare=maps[first : first + entry.num_rows],
            status=np.full(entry.num_rows, Status.OK, dtype=np.uint8),
            image_sha256=hashes,
            attributes={"tar": entry.name, "rows_sha256": entry.rows_sha256, "reasons": {}, "provenance": {}},
        )
        cache.write(store_name(entry.name), shard)
        first += entry.num_rows
    return cache


def measure_loader(context: Context, num_images: int = NUM_IMAGES) -> list[Figure]:
    """Images a second of both ways without and with two workers, and the share that decoding has of our time."""
    epochs = Epochs(context.folder, num_images)
    in_process = {
        "authors_w0": epochs.authors(0),
        "ours_w0": epochs.ours(0),
        "ours_w0_flip": epochs.ours(0, flip=True),
        "decode": epochs.decode,
    }
    with_workers = {"authors_w2": epochs.authors(2), "ours_w2": epochs.ours(2)}
    with computing_in_one_thread():
        counts = {name: work() for name, work in (in_process | with_workers).items()}  # the run that does not count
        sides = {name: timed(work) for name, work in (in_process | with_workers).items()}
        with one_core():
            seconds = alternate({name: sides[name] for name in in_process}, context.config.runs, warm_up=False)
        seconds |= alternate({name: sides[name] for name in with_workers}, context.config.runs, warm_up=False)
    epochs.close()
    rate = {name: rates(counts[name], readings) for name, readings in seconds.items()}
    kilobytes = sum(map(len, epochs.jpegs)) / num_images / 1000
    what = f"JPEG of {CANVAS_PX} px and {kilobytes:.0f} kB, crop {CROP_PX}, batches of {BATCH_SIZE}, normalised"
    texts = {
        "authors_w0": "one core, no workers: a file an image, a file a map",
        "ours_w0": "one core, no workers: tars and stores",
        "ours_w0_flip": "our way with half of the images mirrored, as our recipe does",
        "decode": "limit, one core: decoding alone, files in memory",
        "authors_w2": "two workers: a file an image, a file a map",
        "ours_w2": "two workers: tars and stores",
    }
    return [
        ratio("loader_over_authors_w0", rate["ours_w0"], rate["authors_w0"], f"no workers, {what}", target="≥ 2.5"),
        ratio("loader_over_authors_w2", rate["ours_w2"], rate["authors_w2"], f"two workers, {what}", target="≥ 1.6"),
        ratio("loader.decode_share", rate["ours_w0"], rate["decode"], "decoding's share of our time; limit 1"),
        *(reading(f"loader.{name}", rate[name], "images/s", text) for name, text in texts.items()),
    ]
