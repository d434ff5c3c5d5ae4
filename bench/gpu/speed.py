"""How fast the maps are made: the loop without waits, the models alone, and a job over several tars."""

import os
import statistics
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bench.gpu.outcome import Outcome, judged, needs_cuda
from bench.gpu.setting import TOY_PICTURE_PX, Setting
from bench.runner import device_timed
from cache_schema import open_cache
from extract import ExtractConfig, Inputs, Job, RowSettings, count_macs, load_batches
from extract.run.maps import MapMaker
from extract.run.methods import Method, make_method
from extract.run.model import Model

ENSEMBLE_SIZE = 4
LARGE_PICTURE_PX = 500
SHARED_MEMORY = Path("/dev/shm")
_REPEATS = 5


def check_syncs(setting: Setting) -> list[Outcome]:
    """The loop over a tar's batches under torch's watch for calls that wait for the device."""
    if not setting.is_gpu:
        return [needs_cuda("host syncs in the loop", "the CPU has nothing to wait for")]
    config = _config(setting, setting.toy_data.folder, Path(setting.config.toy_model), "syncs", image_size=64)
    job = Job.prepare(config)
    model = job.model.load()
    maker = MapMaker(config, job.method, model)
    settings = RowSettings(config.image_size, job.method.latent_shape, ENSEMBLE_SIZE, config.noise_seed)
    batches = [*load_batches(job.dataset, 0, settings, config.batch_size, 0, pin_memory=True)]

    def loop() -> None:
        for _ in maker.compute(iter(batches), lambda batch: [config.prompt] * len(batch.keys), config.variants):
            pass

    loop()  # texts are encoded, and kernels chosen, once
    with count_syncs() as found:
        loop()
    text = f"{len(found)} in {len(batches)} batches" + (f": {found[0]}" if found else "")
    return [judged("host syncs in the loop", text, not found)]


@contextmanager
def count_syncs() -> Iterator[list[str]]:
    """The messages of calls that wait for the device, while inside."""
    found: list[str] = []
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield found
        finally:
            torch.cuda.set_sync_debug_mode(before)
            found += [str(each.message) for each in caught if "synchroniz" in str(each.message)]


@dataclass(frozen=True)
class _Way:
    name: str
    channels_last: bool
    compiled: bool


WAYS = (_Way("eager", False, False), _Way("channels-last", True, False), _Way("compiled", True, True))


def check_speed(setting: Setting) -> list[Outcome]:
    """The models alone on batches in memory: images a second, share of the peak, memory, and the encoder's share."""
    outcomes = []
    peak = _peak_flop_rate(setting)
    for way in WAYS:
        if way.compiled and not setting.is_gpu:
            outcomes.append(needs_cuda("models, compiled", "a CPU's compiler is not what is asked about"))
            continue
        config = _config(setting, Path(), setting.large_model, "models", channels_last=way.channels_last)
        checked = Model.prepare(config, None, config.needs)  # reads no weights to hash them
        model: Any = checked.load()
        if way.compiled:
            model.compile()
        method = make_method(config, checked.folder)
        sizes = (16, 32, 64) if setting.config.size == "full" else (2,)
        outcomes += [_measure_models(setting, way, model, method, size, peak) for size in sizes]
    return outcomes


def _measure_models(setting: Setting, way: _Way, model: Any, method: Method, batch_size: int, peak: float) -> Outcome:
    config = method.config
    rng = torch.Generator().manual_seed(0)
    images = torch.rand(batch_size, 3, setting.large_px, setting.large_px, generator=rng).to(setting.device) * 2 - 1
    noise = torch.randn(batch_size, ENSEMBLE_SIZE + 1, *method.latent_shape, generator=rng).to(setting.device)
    inputs = Inputs(images, noise[:, 0], noise[:, 1:], model.condition([config.prompt] * batch_size))
    works: dict[str, Callable[[], object]] = {
        "all": lambda: method.compute_maps(model, inputs, config.variants),
        "encoder": lambda: model.encode(inputs.images, inputs.posterior_noise),
    }
    with torch.inference_mode():
        for work in works.values():
            work()
        if setting.is_gpu:
            torch.cuda.reset_peak_memory_stats(setting.device)
        seconds = {
            name: statistics.median(device_timed(work, setting.device)() for _ in range(_REPEATS))
            for name, work in works.items()
        }
    rate = batch_size / seconds["all"]
    share = 2 * count_macs(method.folder, setting.large_px, ENSEMBLE_SIZE) * rate / peak
    memory = f", {torch.cuda.max_memory_allocated(setting.device) / 2**30:.1f} GiB" if setting.is_gpu else ""
    text = f"{rate:,.0f} images/s, {share:.0%} of the peak{memory}, encoder {seconds['encoder'] / seconds['all']:.0%}"
    return Outcome(f"models, {way.name}, batch {batch_size}", text, "measured")


def _peak_flop_rate(setting: Setting) -> float:
    """Floating-point operations a second of a large product of bfloat16 matrices."""
    side = setting.sized(8192, 64)
    matrix = torch.randn(side, side, dtype=torch.bfloat16).to(setting.device)
    timed = device_timed(lambda: torch.mm(matrix, matrix), setting.device)
    timed()
    return 2.0 * side**3 / statistics.median(timed() for _ in range(_REPEATS))


def check_job(setting: Setting) -> list[Outcome]:
    """A job of three tars from files to stores: what the loop waits for, and what workers hold in shared memory."""
    num_images = setting.sized(3 * 1024, 6)
    data = setting.pack("job", num_images, setting.sized(LARGE_PICTURE_PX, TOY_PICTURE_PX), num_tars=3)
    num_workers = min(setting.sized(8, 2), os.cpu_count() or 1)
    config = _config(setting, data.folder, setting.large_model, "job", num_workers=num_workers)
    job = Job.prepare(config)
    with _watch_shared_memory() as most:
        start = time.perf_counter()
        job.run()
        seconds = time.perf_counter() - start
    cache = open_cache(config.cache)
    attributes = [cache.attributes(name) for name in cache.shards()]
    waited = sum(each["seconds_reading"] for each in attributes)
    busy = sum(each["seconds"] for each in attributes)
    text = (
        f"{num_images / busy:,.0f} images/s in the tars, {num_images / seconds:,.0f} with loading the model; waits "
        f"{waited / busy:.0%} of the time for images ({waited / 3:.1f} s a tar); {max(most):,.0f} MB in {SHARED_MEMORY}"
    )
    return [Outcome(f"job of 3 tars, {num_workers} workers", text, "measured")]


@contextmanager
def _watch_shared_memory() -> Iterator[list[float]]:
    """Megabytes in use above those at the start, read every 20 ms."""
    used, stop = [0.0], threading.Event()

    def read() -> float:
        found = os.statvfs(SHARED_MEMORY)
        return (found.f_blocks - found.f_bfree) * found.f_frsize / 1e6

    def watch() -> None:
        before = read()
        while not stop.wait(0.02):
            used.append(read() - before)

    thread = threading.Thread(target=watch, daemon=True)
    if SHARED_MEMORY.is_dir():
        thread.start()
    try:
        yield used
    finally:
        stop.set()
        if thread.is_alive():
            thread.join()


def _config(setting: Setting, data: Path, model: Path, name: str, **changes: Any) -> ExtractConfig:
    settings = {
        "model": str(model),
        "image_size": setting.large_px,
        "ensemble_size": ENSEMBLE_SIZE,
        "compute_dtype": "bf16" if setting.is_gpu else "fp32",
        "batch_size": setting.sized(32, 2),
        "overwrite": True,
        "max_reject_fraction": 1.0,
    }
    return setting.extract_config(data, name, **settings | changes)
