"""What canvases cost and give: their bytes and codecs on photographs, training from them, and writing them."""

import io
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numcodecs import Blosc
from numpy.typing import NDArray
from PIL import Image

from bench.data.pictures import JPEG_QUALITY, make_picture
from bench.machine import one_core
from bench.measures.extraction import Comparison, toy_setting
from bench.measures.loader import CANVAS_PX, CROP_PX, Epochs, computing_in_one_thread
from bench.runner import Context, Figure, device_timed, rates, ratio, reading
from cache_schema import decode_image, encode_canvas, open_image, resize_canvas
from demo.toy.photos import load_table
from extract import CanvasConfig, CanvasJob, CanvasRun
from workflow.timing import alternate, timed

NUM_IMAGES = 1000
"""Images of an epoch; a file of 500 px takes the authors' way 5 ms and more."""
PICTURE_PX = (500, 375)
Canvas = NDArray[np.uint8]


@dataclass(frozen=True)
class Form:
    """A way to store a canvas without loss."""

    name: str
    encode: Callable[[Canvas], bytes]
    decode: Callable[[bytes], Canvas]


def _blosc(cname: str, level: int, shuffle: int) -> Form:
    codec = Blosc(cname=cname, clevel=level, shuffle=shuffle, blocksize=2**20)
    names = {Blosc.NOSHUFFLE: "", Blosc.SHUFFLE: "_shuffle", Blosc.BITSHUFFLE: "_bitshuffle"}

    def decode(data: bytes) -> Canvas:
        out = np.empty((CANVAS_PX, CANVAS_PX, 3), np.uint8)
        codec.decode(data, out)
        return out

    return Form(f"{cname}_{level}{names[shuffle]}", codec.encode, decode)


def _pillow(name: str, kind: str, **options: object) -> Form:
    def encode(canvas: Canvas) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(canvas).save(buffer, kind, **options)
        return buffer.getvalue()

    return Form(name, encode, lambda data: np.asarray(open_image(io.BytesIO(data), (kind,))))


FORMS = (
    _blosc("lz4", 5, Blosc.SHUFFLE),
    _blosc("lz4", 5, Blosc.BITSHUFFLE),
    _blosc("zstd", 1, Blosc.NOSHUFFLE),
    _blosc("zstd", 1, Blosc.BITSHUFFLE),
    _blosc("zstd", 3, Blosc.BITSHUFFLE),
    _pillow("png_1", "PNG", compress_level=1),
    _pillow("webp_lossless", "WEBP", lossless=True, method=0),
)


def load_photographs() -> Iterator[Canvas]:
    """Canvases of the photographs that the demo uses, which are whole files of packages."""
    for photo in load_table():
        if photo.scene:
            yield np.ascontiguousarray(resize_canvas(decode_image(photo.file.read_bytes()), CANVAS_PX))


def measure_canvas_codecs(context: Context, max_photographs: int | None = None) -> list[Figure]:
    """Bytes of a canvas over raw, and time of decoding one, of our store's codec and of others."""
    canvases = [*load_photographs()][:max_photographs]
    raw, num = CANVAS_PX * CANVAS_PX * 3, len(canvases)
    stored = {form.name: [form.encode(canvas) for canvas in canvases] for form in FORMS}
    for form in FORMS:
        assert np.array_equal(form.decode(stored[form.name][0]), canvases[0]), form.name

    def decode_all(form: Form) -> None:
        for data in stored[form.name]:
            form.decode(data)

    with computing_in_one_thread(), one_core():
        seconds = alternate({form.name: timed(partial(decode_all, form)) for form in FORMS}, context.config.runs)
    ours = [len(encode_canvas(canvas)) / raw for canvas in canvases]
    what = f"mean of {num} photographs squashed to {CANVAS_PX} px"
    figures = [reading("canvas_bytes_over_raw", [float(np.mean(ours))], "×", f"our stores' chunks, {what}", "≤ 0.8")]
    for form in FORMS:
        share = float(np.mean([len(data) for data in stored[form.name]])) / raw
        figures += [
            reading(f"canvas_codecs.{form.name}.bytes", [share], "×", f"bytes over raw, {what}"),
            reading(f"canvas_codecs.{form.name}.ms", [1000 * s / num for s in seconds[form.name]], "ms", "decoding"),
        ]
    return figures


def make_large_jpeg(seed: int) -> bytes:
    """A picture of 500 × 375 px as a JPEG file."""
    buffer = io.BytesIO()
    Image.fromarray(make_picture(seed, *PICTURE_PX)).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def write_canvases(epochs: Epochs, folder: Path) -> Path:
    """Canvases of an epoch's images."""
    CanvasRun.prepare(
        CanvasConfig(data=str(epochs.dataset.folder), cache=str(folder), image_size=CANVAS_PX, num_workers=1)
    ).run()
    return folder


def measure_canvas_loader(context: Context, num_images: int = NUM_IMAGES) -> list[Figure]:
    """Images a second of training batches from large originals: the authors' way, ours, and ours with canvases."""
    epochs = Epochs(context.folder, num_images, make_large_jpeg)
    canvases = write_canvases(epochs, context.folder / "canvases")
    works = {
        "authors": epochs.authors(0),
        "ours": epochs.ours(0),
        "canvases": epochs.ours(0, canvases=canvases),
        "unnormalised": epochs.ours(0, canvases=canvases, normalised=False),
    }
    with computing_in_one_thread():
        counts = {name: work() for name, work in works.items()}  # the run that does not count
        with one_core():
            sides = {name: timed(work) for name, work in works.items()}
            seconds = alternate(sides, context.config.runs, warm_up=False)
    epochs.close()
    rate = {name: rates(counts[name], readings) for name, readings in seconds.items()}
    kilobytes = sum(map(len, epochs.jpegs)) / num_images / 1000
    what = f"one core, no workers, JPEG of 500 px and {kilobytes:.0f} kB, crop {CROP_PX}, normalised"
    texts = {
        "authors_500px_w0": ("authors", f"the authors' way; {what}", ""),
        "ours_500px_w0": ("ours", f"our way from the originals, shrunk to {CANVAS_PX} px; {what}", ""),
        "ours_canvases_w0": ("canvases", f"our way from canvases; {what}", "≥ 2500"),
        "ours_canvases_w0_uint8": ("unnormalised", "the same as uint8 batches, which a device normalises", ""),
    }
    return [
        ratio("loader_over_authors_500px_w0", rate["canvases"], rate["authors"], f"canvases; {what}", target="≥ 4"),
        *(reading(f"loader.{name}", rate[side], "images/s", text, to) for name, (side, text, to) in texts.items()),
    ]


def measure_canvas_extraction(context: Context) -> list[Figure]:
    """Rate of an extraction that writes canvases in the same pass over one that does not, with the small model."""
    config, setting = context.config, toy_setting(context.config, "toy", is_one_core=True)
    is_pinned = context.device.type == "cpu" and not config.num_workers
    with one_core() if is_pinned else nullcontext():
        both = Comparison(context, setting)
        with_canvases = replace(both.config, canvases=True)
        job = replace(both.job, config=with_canvases, canvases=CanvasJob.prepare(both.job.dataset, with_canvases))
        works = {"without": both.run_job, "with": lambda: job.run()}
        seconds = alternate({name: device_timed(work, context.device) for name, work in works.items()}, config.runs)
    what = f"images/s of the job with canvases over without; {setting.image_size} px, toy model"
    rate = {name: rates(setting.num_images, readings) for name, readings in seconds.items()}
    return [
        ratio("job_canvases_over_job_toy", rate["with"], rate["without"], what, target="≥ 0.95"),
        *(reading(f"job_canvases_over_job_toy.{name}", rate[name], "images/s", f"{name} canvases") for name in rate),
    ]
