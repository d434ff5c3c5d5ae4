"""Verdicts: a folder beside the two stages, one picture beside its bare networks, the web service beside the folder."""

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from lightning import Trainer

from bench.data.detectors import Made, make_detector
from bench.data.pictures import make_jpegs, save_jpegs
from bench.machine import ROOT
from bench.measures.extraction import LoadedModel
from bench.runner import Context, Figure, device_timed, rates, ratio, reading
from detect import Answer, Detector, Picture
from extract import Inputs, collate, scale_pixels
from train import Detector as TrainedDetector
from workflow.timing import alternate

NAMES = "detect_over_stages", "detect_over_models", "serve_over_detect"
ALONE = 32
"""Pictures that are asked about one after the other, in a run."""
BOUNDARY = b"----lare"


class Comparison:
    """The same pictures through the detector, through both stages, through bare networks and through the service."""

    def __init__(self, context: Context) -> None:
        """Make and load everything: none of that is part of the time that is compared."""
        config, self.context = context.config, context
        self.made: Made = make_detector(context.folder, config, config.detect_images, config.ensemble_size)
        self.files = save_jpegs(context.folder / "files", self.made.jpegs)
        self.detector = Detector.from_pretrained(
            self.made.folder, device=config.device, batch_size=config.toy_batch_size
        )
        job = self.made.job
        self.job = replace(job, model=LoadedModel.of(job.model, job.model.load()))  # type: ignore[arg-type]
        trained = TrainedDetector.from_checkpoint(self.made.checkpoint)
        self.module = trained.open_data(self.made.dataset.folder, [str(job.config.cache)], "test")
        self.module.batch_size = config.toy_batch_size

    def ask_folder(self) -> list[Answer]:
        """All pictures, from files to answers."""
        return [*self.detector.stream(Picture.of(file) for file in self.files)]

    def run_stages(self) -> None:
        """All pictures, from the tars to maps in a cache, and from tars and cache to predictions."""
        self.job.run()
        quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        trainer = Trainer(accelerator=self.context.config.device.replace("cuda", "gpu"), devices=1, **quiet)
        trainer.predict(self.made.task, self.module, return_predictions=True)

    def ask_alone(self) -> None:
        """Some pictures, one after the other."""
        for data in self.made.jpegs[:ALONE]:
            self.detector(data)

    def run_models(self) -> Callable[[], None]:
        """The networks alone on the tensors of the same pictures, one after the other."""
        detector, device = self.detector, self.context.device
        probe, scorer = detector.probes[0], detector.scorer
        prepared = [detector.prepare(Picture.of(data)) for data in self.made.jpegs[:ALONE]]
        inputs = []
        for picture in prepared:
            assert not isinstance(picture, Answer)
            batch = collate([picture.rows[0]], 1)
            tensors = (t.to(device) for t in (scale_pixels(batch.images), batch.posterior_noise, batch.noise))
            inputs.append((Inputs(*tensors, probe.maker.model.condition(["a photo"])), picture))
        config, method, model = probe.probe.config, probe.probe.method, probe.maker.model

        def run() -> None:
            with torch.inference_mode():
                for values, picture in inputs:
                    (lare,) = method.compute_maps(model, values, config.variants)
                    scorer.start([picture], lare.cpu().numpy(), explain=False).finish()

        return run


def measure_detect(context: Context) -> list[Figure]:
    """Rates of folder, stages and service; time of one picture over its networks'."""
    comparison, config = Comparison(context), context.config
    sides: dict[str, Callable[[], object]] = {
        "folder": comparison.ask_folder,
        "stages": comparison.run_stages,
        "alone": comparison.ask_alone,
        "models": comparison.run_models(),
    }
    with serving(comparison.made.folder, config.device, config.toy_batch_size) as port:
        for size in (1, 8):
            bodies = [*_bodies(comparison.made.jpegs, size)]
            sides[f"serve_{size}"] = lambda b=bodies: ask_service(port, b, config.detect_clients)  # type: ignore[misc]
        runs = alternate({name: device_timed(work, context.device) for name, work in sides.items()}, config.runs)
    rate = {name: rates(ALONE if name in ("alone", "models") else len(comparison.files), s) for name, s in runs.items()}
    pictures, clients = f"{len(comparison.files)} pictures", f"{config.detect_clients} clients"
    figures = [
        ratio(NAMES[0], rate["folder"], rate["stages"], f"{pictures}: images/s over extract + predict", "≥ 0.95"),
        ratio(NAMES[1], runs["alone"], runs["models"], "one picture, warm: time over its networks'", "≤ 1.15"),
        ratio(
            NAMES[2],
            rate["serve_1"],
            rate["folder"],
            f"{clients}, one picture a request: rate over the folder's",
            "≥ 0.85",
        ),
        ratio(
            f"{NAMES[2]}.eight_a_request",
            rate["serve_8"],
            rate["folder"],
            f"{clients}, eight pictures a request",
            "≥ 0.85",
        ),
    ]
    return figures + [reading(f"{NAMES[0]}.{name}", found, "images/s") for name, found in rate.items()]


def _bodies(jpegs: Sequence[bytes], size: int) -> Iterator[bytes]:
    """Multipart bodies of some pictures each."""
    head = b'--%s\r\nContent-Disposition: form-data; name="files"; filename="a.jpg"\r\n\r\n' % BOUNDARY
    for start in range(0, len(jpegs), size):
        yield b"".join(head + data + b"\r\n" for data in jpegs[start : start + size]) + b"--%s--\r\n" % BOUNDARY


def ask_service(port: int, bodies: Sequence[bytes], num_clients: int) -> None:
    """Send all bodies by some clients at once, each over one connection; raises RuntimeError for a wrong answer."""

    def ask(mine: Sequence[bytes]) -> None:
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=600)) as connection:
            for body in mine:
                kind = f"multipart/form-data; boundary={BOUNDARY.decode()}"
                connection.request("POST", "/v1/detect", body, {"Content-Type": kind})
                with connection.getresponse() as response:
                    content = json.loads(response.read())
                if response.status != 200 or any("error" in verdict for verdict in content["verdicts"]):
                    raise RuntimeError(f"the service answers {response.status}: {str(content)[:200]}")

    with ThreadPoolExecutor(num_clients) as pool:
        for done in [pool.submit(ask, bodies[n::num_clients]) for n in range(num_clients)]:
            done.result()


@contextmanager
def serving(folder: Path, device: str, batch_size: int) -> Iterator[int]:
    """A service in a process of its own, once it is ready; its port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    how = [
        f"--port={port}",
        f"--device={device}",
        f"--batch_size={batch_size}",
        "--log_pictures=false",
        "--queue_size=256",
    ]
    command = [sys.executable, "-m", "detect", "serve", f"--detector={folder}", *how]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        while not _is_ready(port):
            if process.poll() is not None:
                raise RuntimeError(f"the service ended with status {process.returncode}: {' '.join(command)}")
            time.sleep(0.2)
        yield port
    finally:
        process.terminate()
        process.wait()


def _is_ready(port: int) -> bool:
    try:
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
            connection.request("GET", "/healthz")
            with connection.getresponse() as response:
                return response.status == 200
    except OSError:
        return False


def measure_detect_memory(context: Context) -> list[Figure]:
    """Peak memory of a process that asks about a large folder, over that of a small one."""
    config = context.config
    made = make_detector(context.folder, config, num_images=config.toy_batch_size, ensemble_size=1)
    folders = []
    for count in config.folders_compared:
        folders.append(context.folder / f"{count}")
        save_jpegs(folders[-1], [*make_jpegs(count, config.toy_picture_px)])

    def ask(folder: Path) -> Callable[[], float]:
        command = [sys.executable, "-m", "bench.measures.detect_child", str(folder), str(made.folder)]
        return lambda: _child(command, folder.with_suffix(".csv"))

    small, large = config.folders_compared
    peaks = alternate({"small": ask(folders[0]), "large": ask(folders[1])}, min(3, config.runs), warm_up=False)
    what = f"peak memory of lare detect, {large} pictures over {small}"
    return [
        ratio("detect_memory", peaks["large"], peaks["small"], what, "≤ 1.1"),
        reading("detect_memory.small", peaks["small"], "MiB", f"peak of {small} pictures"),
        reading("detect_memory.large", peaks["large"], "MiB", f"peak of {large} pictures"),
    ]


def _child(command: Sequence[str], out: Path) -> float:
    """Peak in MiB of a child that asks about a folder; its answers are removed."""
    done = subprocess.run([*command, str(out)], cwd=ROOT, env=os.environ, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with status {done.returncode}:\n{done.stderr}")
    out.unlink()
    return float(done.stdout) / 2**20
