"""SIGTERM in the middle of a tar: an end in order, and the same command again finishes."""

import signal
import subprocess
import sys
import time
from dataclasses import asdict

import yaml

from bench.gpu.outcome import Outcome, judged
from bench.gpu.setting import TOY_PICTURE_PX, Setting
from bench.gpu.speed import LARGE_PICTURE_PX
from cache_schema import open_cache

MAX_SECONDS = 10.0
EXIT_SIGTERM = 143
_WAIT_SEC = 300.0


def check_sigterm(setting: Setting) -> list[Outcome]:
    """A job of one tar is ended when its first images are done."""
    data = setting.pack(
        "stopped", setting.sized(2048, 100), setting.sized(LARGE_PICTURE_PX, TOY_PICTURE_PX), num_tars=1
    )
    config = setting.extract_config(
        data.folder,
        "stopped",
        model=str(setting.large_model),
        image_size=setting.large_px,
        compute_dtype="bf16" if setting.is_gpu else "fp32",
        batch_size=setting.sized(32, 4),
        num_workers=setting.sized(4, 1),
    )
    file = setting.folder / "stopped.yaml"
    file.write_text(yaml.safe_dump(asdict(config)), encoding="utf-8")
    command = [sys.executable, "-m", "extract", "run", f"--config={file}"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    deadline = time.monotonic() + _WAIT_SEC
    while "images" not in (line := process.stderr.readline()) and line and time.monotonic() < deadline:
        pass  # the line of the plan comes when the model is loaded
    time.sleep(setting.sized(2, 0))
    start = time.perf_counter()
    process.send_signal(signal.SIGTERM)
    _, rest = process.communicate(timeout=_WAIT_SEC)
    seconds = time.perf_counter() - start
    num_partial = len(open_cache(config.cache).shards())
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    num_done = len(open_cache(config.cache).shards())
    text = (
        f"exit status {process.returncode} after {seconds:.1f} s, {num_partial} stores; again: "
        f"exit status {again.returncode}, {num_done} store"
    )
    holds = (process.returncode, num_partial, again.returncode, num_done) == (EXIT_SIGTERM, 0, 0, 1)
    return [judged("SIGTERM in a tar", text if holds else f"{text} {rest[-300:]}", holds and seconds <= MAX_SECONDS)]
