"""`python -m bench.measures.scale_child WORK FOLDER MODEL`: does one piece of work, writes time and memory as JSON.

Modules are imported before the clock starts, as their time and memory do not depend on the data; both are told.
"""

import importlib
import json
import pickle
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

RANKS, WORKERS = 64, 8


def open_index(folder: Path, model: str) -> object:
    """Opening a dataset, and one tar's rows."""
    from cache_schema import Dataset

    return Dataset.open(folder / "data").rows(0)


def report_status(folder: Path, model: str) -> object:
    """`status`: what is done, rejected, stale."""
    from cache_schema import Dataset, format_status, open_cache, shard_reports, summarize

    cache = open_cache(folder / "cache")
    return format_status(summarize(cache, shard_reports(cache, Dataset.open(folder / "data"))))


def show_watch(folder: Path, model: str) -> object:
    """`watch`: its first snapshot, which reads every store's attributes."""
    from extract import Watch, WatchConfig

    return Watch(WatchConfig(cache=str(folder / "cache"), data=str(folder / "data"))).snapshot(0.0)


def plan_launch(folder: Path, model: str) -> object:
    """Planning a launch over a cache in which every store is there."""
    return _plan(folder / "data", folder / "cache", model)


def plan_new_launch(folder: Path, model: str) -> object:
    """Planning a launch over an empty cache."""
    return _plan(folder / "data", folder / "new", model)


def _plan(data: Path, cache: Path, model: str) -> Sequence[str]:
    from extract import Launch, LaunchConfig

    config = LaunchConfig(data=str(data), cache=str(cache), model=model, image_size=64, device="cpu")
    return Launch.prepare(config).tasks


def plan_epoch(folder: Path, model: str) -> object:
    """What a rank of 64 needs for an epoch: samples, its plan, and its reader as its workers are sent it."""
    from train.data.join import Join
    from train.data.loader import BatchReader
    from train.data.plan import TrainingPlan
    from train.data.samples import select_samples
    from train.data.views import CanvasView

    join = Join.open(folder / "data", [folder / "cache"])
    samples = select_samples(join, "train")
    plan = TrainingPlan(samples.counts, seed=0, epoch=0, batch_size=48, rank=7, ranks=RANKS, block_tars=8)
    num_batches = sum(1 for _ in plan.batches())
    sent = pickle.dumps(BatchReader(join, samples, CanvasView(64, 8, 56)))
    return {"sent": len(sent) / 2**20, "batches": num_batches}


def check_groups(folder: Path, model: str) -> object:
    """Whether a group lies in several splits: what training and evaluation ask of the index, once."""
    from cache_schema import Dataset, check_whole_groups

    return check_whole_groups(Dataset.open(folder / "data"), allowed=False, flag="")


def check_index(folder: Path, model: str) -> object:
    """The part of `verify` that goes through the whole index: keys in two rows, groups in several splits."""
    from cache_schema import Dataset, index_problems

    return index_problems(Dataset.open(folder / "data"))


WORK: dict[str, Callable[[Path, str], object]] = {
    "open_index": open_index,
    "status": report_status,
    "watch": show_watch,
    "plan_launch": plan_launch,
    "plan_new_launch": plan_new_launch,
    "plan_epoch": plan_epoch,
    "check_groups": check_groups,
    "check_index": check_index,
}
IMPORTS = {
    "open_index": ["cache_schema"],
    "status": ["cache_schema.report"],
    "watch": ["extract.engines.watch"],
    "plan_launch": ["extract.engines.launch"],
    "plan_new_launch": ["extract.engines.launch"],
    "plan_epoch": ["train.data.loader", "train.data.views"],
    "check_groups": ["cache_schema"],
    "check_index": ["cache_schema"],
}


def peak_mib() -> float:
    """Most memory that this process held so far."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def main(work: str, folder: Path, model: str) -> None:
    """Do it, and write `seconds`, `peak` and `above_imports` (MiB)."""
    for module in IMPORTS[work]:
        importlib.import_module(module)
    before, start = peak_mib(), time.perf_counter()
    result = WORK[work](folder, model)
    found = {"seconds": time.perf_counter() - start, "peak": peak_mib(), "above_imports": peak_mib() - before}
    if isinstance(result, dict):
        found["sent"] = result["sent"]
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
