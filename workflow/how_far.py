"""How far the stages' commands are, by what they write meanwhile."""

import csv
from contextlib import suppress
from pathlib import Path

import yaml


def images_done(cache: Path) -> float | None:
    """Share of the images that the extractions at work on a cache have done, 0 to 1; None where none is."""
    from extract.run.progress import load_progress  # only now: questions that need caches alone load nothing of stage 1

    tasks = load_progress(cache)
    total = sum(task.num_images for task in tasks)
    return sum(task.images_done for task in tasks) / total if total else None


def epochs_done(run: Path) -> float | None:
    """Share of the epochs that a fit has done, 0 to 1; None before the first, and where their number has no end."""
    with suppress(OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        rows = csv.DictReader((run / "metrics.csv").read_text(encoding="utf-8").splitlines())
        done = max((int(row["epoch"]) + 1 for row in rows if row["val_loss"]), default=0)
        total = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))["trainer"]["max_epochs"]
        return done / total if done and total > 0 else None
    return None
