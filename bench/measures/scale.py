"""Whether a big dataset stays light: time and memory of what touches all of it, at 2.68, 20 and 100 million samples.

`python -m bench.measures.scale`, or `make bench-scale`. Metadata and stores' attributes are real, images and maps
are not there: nothing that is measured reads them. Each reading is of a process of its own.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.data.scale import write_stores, write_tables
from bench.machine import ROOT
from bench.measures.scale_child import WORK
from bench.report import format_table, write_json
from bench.runner import Figure, reading

NUM_SAMPLES = (2_681_167, 20_000_000, 100_000_000)
"""Of GenImage, and of two that are made up."""
MAX_SECONDS, MAX_MIB = 10.0, 1024.0
"""Of a rank's plan at the largest size; launching and status may take half a minute."""
SLOWER = {
    **{"status": 30.0, "watch": 30.0, "plan_launch": 30.0, "plan_new_launch": 30.0},
    **{"check_groups": 120.0, "check_index": 240.0},
}
"""Work that goes through every store, or a column of all rows, or texts of all → most seconds at the largest size."""


def build_parser() -> argparse.ArgumentParser:
    """The parser of all settings."""
    parser = argparse.ArgumentParser(prog="python -m bench.measures.scale", description=__doc__)
    parser.add_argument("--samples", type=int, nargs="+", default=NUM_SAMPLES, help="sizes (2.68, 20 and 100 million)")
    parser.add_argument("--runs", type=int, default=3, help="processes a reading (3)")
    parser.add_argument("--work", nargs="+", choices=sorted(WORK), default=list(WORK), help="what to measure (all)")
    parser.add_argument("--model", default="demo/models/toy-a", help="diffusers folder, for planning a launch")
    parser.add_argument("--out", type=Path, default=Path("runs/scale.json"), help="(runs/scale.json)")
    return parser


def measure(work: str, folder: Path, model: str, runs: int) -> dict[str, list[float]]:
    """Seconds, peak MiB, and MiB above what its imports take, of some runs of a process.

    Raises:
        RuntimeError: If it fails.
    """
    found: dict[str, list[float]] = {}
    for _ in range(runs):
        command = [sys.executable, "-m", "bench.measures.scale_child", work, str(folder), model]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} ended with status {done.returncode}:\n{done.stderr}")
        for name, value in json.loads(done.stdout.splitlines()[-1]).items():
            found.setdefault(name, []).append(value)
    return found


def as_figures(work: str, num_samples: int, found: dict[str, list[float]]) -> list[Figure]:
    """The readings of one piece of work at one size."""
    what = f"{WORK[work].__doc__ or ''}".splitlines()[0].rstrip(".")
    targets = {"s": f"≤ {SLOWER.get(work, MAX_SECONDS):g}", "MiB": f"≤ {MAX_MIB:g}"}
    units = {"seconds": "s", "peak": "MiB", "above_imports": "MiB", "sent": "MiB"}
    return [
        reading(f"scale.{work}.{num_samples}.{name}", runs, units[name], what, targets[units[name]])
        for name, runs in found.items()
    ]


def growth(work: str, seconds: dict[int, list[float]]) -> Figure:
    """How time grows from the smallest size to the largest, over what is proportional: 1 is linear, less is better."""
    small, large = min(seconds), max(seconds)
    ratio = statistics.median(seconds[large]) / statistics.median(seconds[small]) / (large / small)
    return reading(f"scale.{work}.growth", [ratio], "×", f"time a sample at {large:,} over {small:,}", "≤ 1.2")


def main(args: Sequence[str] | None = None) -> int:
    """Build the data, measure, write table and file; 0, or 1 if a reading of the whole is above its bound."""
    options = build_parser().parse_args(args)
    figures: list[Figure] = []
    seconds: dict[str, dict[int, list[float]]] = {work: {} for work in options.work}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".scale-", dir=options.out.parent)).resolve()
    try:
        for num_samples in sorted(options.samples):
            dataset = write_tables(folder / str(num_samples) / "data", num_samples)
            write_stores(dataset, folder / str(num_samples) / "cache", options.model)
            for work in options.work:
                found = measure(work, folder / str(num_samples), options.model, options.runs)
                seconds[work][num_samples] = found["seconds"]
                new = as_figures(work, num_samples, found)
                figures += new
                sys.stdout.write(format_table(new))
                sys.stdout.flush()
            shutil.rmtree(folder / str(num_samples))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if len(options.samples) > 1:
        figures += [growth(work, sizes) for work, sizes in seconds.items()]
    entries = [{"measure": f.measure, "value": f.value, "unit": f.unit, "runs": list(f.runs)} for f in figures]
    write_json(options.out, [{**entry, "how": "python -m bench.measures.scale"} for entry in entries])
    sys.stdout.write(f"\n{format_table(figures)}\n{options.out}\n")
    return 1 if any(is_above(figure) for figure in figures) else 0


def is_above(figure: Figure) -> bool:
    """Whether a reading misses its bound; the peak of a process is judged without its imports."""
    if figure.measure.endswith(".peak"):
        return False
    return figure.value > float(figure.target.removeprefix("≤ "))


if __name__ == "__main__":
    sys.exit(main())
