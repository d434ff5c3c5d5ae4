"""What a fit tells while it runs: its metrics in one file, resumed or not, and a progress bar at a terminal alone."""

import csv
import io
import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning import Trainer
from lightning.pytorch.callbacks import Callback, ProgressBar
from lightning.pytorch.loggers import CSVLogger

from cache_schema import write_text

METRICS_NAME = "metrics.csv"
_BEFORE = "metrics-before.csv"
"""Where the metrics of the stopped fit are while CSVLogger, which deletes them, begins."""


_ADVICE = ("💡 Tip", "Using default `ModelCheckpoint`", "TPU available")
"""How messages of Lightning begin that tell nothing about the run."""


def say_once() -> None:
    """Let each message of Lightning appear once, without its advertisements and its complaints about libraries."""
    logging.getLogger("lightning").handlers.clear()  # it has a handler of its own beside the program's
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(_tells_something)
    messages = (".*LeafSpec.* is deprecated", "Precision .* is not supported by the model summary")
    for message in (*messages, "This DataLoader will create"):  # more workers than cores do no harm
        warnings.filterwarnings("ignore", message)


def _tells_something(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(_ADVICE)


def go_on_with_metrics(trainer: Trainer, num_steps: int) -> None:
    """Let the metrics of a resumed fit go on in the file of the stopped one.

    Args:
        trainer: Before its fit.
        num_steps: Steps of the checkpoint that the fit goes on from; rows of later steps, which are repeated, go.
    """
    out = Path(trainer.default_root_dir)
    logged, before = out / METRICS_NAME, out / _BEFORE
    loggers = [each for each in trainer.loggers if isinstance(each, CSVLogger) and Path(each.log_dir) == out]
    if before.is_file() and not logged.exists():  # of an attempt that was killed here
        before.rename(logged)
    if not (loggers and logged.is_file()):
        return
    names, text = _rows_before(logged, num_steps)
    logged.rename(before)
    loggers[0].experiment.metrics_keys = names  # what it would know, had it written the file
    write_text(logged, text)
    before.unlink()


def _rows_before(path: Path, num_steps: int) -> tuple[list[str], str]:
    """Columns of a file of metrics, and its text without the rows of steps from `num_steps` on."""
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        rows = [row for row in reader if str(row.get("step")).isdecimal() and int(row["step"]) < num_steps]
        names = [*(reader.fieldnames or ())]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, names, extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return names, text.getvalue()


def choose_progress_bar(settings: Mapping[str, Any], *, at_terminal: bool) -> dict[str, Any]:
    """Settings of a trainer for its progress bar: as asked for, otherwise at a terminal alone.

    Args:
        settings: Of the trainer, objects made.
        at_terminal: Whether a person sees the standard output.
    """
    asked, given = settings.get("enable_progress_bar"), settings.get("callbacks") or []
    if asked or (asked is None and at_terminal):
        return {}
    callbacks: Sequence[Callback] = given if isinstance(given, list) else [given]
    rest = [each for each in callbacks if not isinstance(each, ProgressBar)]
    return {"enable_progress_bar": False, "callbacks": rest}
