"""What it costs that data lie in object storage: extraction and training epochs from a bucket, beside a disk."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from bench.data.pictures import make_jpegs, pack_jpegs
from bench.measures.extraction import LoadedModel, job_settings, toy_setting
from bench.measures.loader import BATCH_SIZE, CROP_PX, Epochs, computing_in_one_thread
from bench.runner import Context, Figure, rates, ratio, reading
from cache_schema import ObjectPath, list_files, place, write_bytes
from extract import Job, StableDiffusion
from train.data.datamodule import LareDataModule
from workflow.timing import alternate, timed

NUM_TARS = 4
NUM_WORKERS = 2


def measure_storage(context: Context) -> list[Figure]:
    """Extraction, and a training epoch with cold and with warm copies, over the same from a disk.

    Raises:
        ValueError: If no folder in object storage is set, or it is not empty.
    """
    root = place(context.config.storage)
    if not isinstance(root, ObjectPath):
        raise ValueError("measuring object storage needs a place to write to: pass --storage s3://bucket/new-folder")
    if root.exists():
        raise ValueError(f"{root} is there: pass a new folder, as the measure overwrites what it writes there")
    with copies_in(context.folder / "copies") as forget:
        return [
            *_extraction(context, root / "extraction", forget),
            *_epochs(context, root / "epochs", forget),
        ]


@contextmanager
def copies_in(folder: Path) -> Iterator[Callable[[], None]]:
    """Have copies of objects lie in a folder for a while; gives what removes them."""
    before = os.environ.get("LARE_CACHE_DIR")
    os.environ["LARE_CACHE_DIR"] = str(folder)
    try:
        yield lambda: shutil.rmtree(folder, ignore_errors=True)
    finally:
        if before is None:
            del os.environ["LARE_CACHE_DIR"]
        else:
            os.environ["LARE_CACHE_DIR"] = before


def upload(folder: Path, target: ObjectPath) -> None:
    """Copy the files that lie in a folder."""
    for file in list_files(folder):
        write_bytes(target / file.name, (folder / file.name).read_bytes())


def _extraction(context: Context, root: ObjectPath, forget: Callable[[], None]) -> list[Figure]:
    """From opening the dataset to the last store, the models' weights in memory; nothing of the bucket on this disk."""
    config, num_images = context.config, context.config.storage_images
    setting = toy_setting(config, "toy", is_one_core=False)
    folder = context.folder / "extraction"
    jpegs = list(make_jpegs(num_images, config.toy_picture_px))
    pack_jpegs(folder / "data", jpegs, rows_per_tar=-(-num_images // NUM_TARS))
    upload(folder / "data", root / "data")
    settings = {
        where: job_settings(config, setting, at / "data", at / "cache", NUM_WORKERS)
        for where, at in (("disk", folder), ("bucket", root))
    }
    model = Job.prepare(settings["disk"]).model
    diffusion = StableDiffusion(model.folder, model.noising, config.compute_dtype, context.device)

    def run(where: str) -> Callable[[], None]:
        def extract() -> None:
            job = Job.prepare(settings[where])
            replace(job, model=LoadedModel.of(job.model, diffusion)).run()

        return extract

    def cold() -> float:
        forget()
        return timed(run("bucket"))()

    seconds = alternate({"disk": timed(run("disk")), "bucket": cold}, config.runs)
    rate = {name: rates(num_images, each) for name, each in seconds.items()}
    what = f"{num_images} images in {NUM_TARS} tars, {Path(config.toy_model).name}, {NUM_WORKERS} workers, all cores"
    return [
        ratio("extraction_bucket_over_disk", rate["bucket"], rate["disk"], f"{what}; no copies before", "≥ 0.9"),
        *(reading(f"extraction_bucket_over_disk.{name}", rate[name], "images/s", what) for name in rate),
    ]


def _epochs(context: Context, root: ObjectPath, forget: Callable[[], None]) -> list[Figure]:
    """From opening dataset and cache to the last batch of an epoch, with workers that are started for it."""
    epochs = Epochs(context.folder, context.config.storage_epoch_images)
    upload(context.folder / "data", root / "data")
    upload(context.folder / "cache", root / "cache")
    places = {"disk": (epochs.dataset.folder, epochs.cache.folder), "bucket": (root / "data", root / "cache")}

    def epoch(where: str) -> int:
        data, cache = map(str, places[where])
        module = LareDataModule(
            data, cache, batch_size=BATCH_SIZE, num_workers=NUM_WORKERS, view="canvas", crop_px=CROP_PX, flip=False
        )
        try:
            return sum(len(batch["image"]) for batch in module.train_dataloader())
        finally:
            module.teardown("fit")

    def cold() -> float:
        forget()
        return timed(lambda: epoch("bucket"))()

    with computing_in_one_thread():
        num_images = epoch("disk")
        epoch("bucket")
        # Cold before warm in every turn or after it: warm finds the copies that cold, or warm before it, has left.
        sides = {"disk": timed(lambda: epoch("disk")), "cold": cold, "warm": timed(lambda: epoch("bucket"))}
        seconds = alternate(sides, context.config.runs, warm_up=False)
    rate = {name: rates(num_images, each) for name, each in seconds.items()}
    what = f"{num_images} images an epoch, {NUM_WORKERS} workers, from opening to the last batch, no network behind it"
    return [
        ratio("epoch_bucket_cold_over_disk", rate["cold"], rate["disk"], f"{what}; no copies before", "≥ 0.5"),
        ratio("epoch_bucket_warm_over_disk", rate["warm"], rate["disk"], f"{what}; copies there", "≥ 0.95"),
        *(reading(f"epoch_bucket.{name}", rate[name], "images/s", what) for name in rate),
    ]
