"""Readings as the numbers of an answer hold them, and what tables and charts show of them."""

from collections.abc import Iterable, Mapping, Sequence

from experiments.answers.answer import Cell, Curve
from experiments.answers.verdicts import Value, describe_value
from train.scoring import titles

MEAN = "mean"
"""Name of the mean over the image sources beside them."""
SPLITS = ("validation", "test")
METRICS = {"auroc": "AUROC", "average_precision": "AP"}
"""What tables of several metrics show."""
TITLES = {name: titles.TITLES[name] for name in ("mean_lare", "map_only", "full", "gradient_energy")}
"""Readings that several questions score, in the order in which they are shown."""
Scores = Mapping[str, Mapping[str, Value]]
"""`MEAN` and each image source → metric → value."""
Readings = Mapping[str, Mapping[str, Scores]]
"""Split → name → scores."""


def name_source(source: str) -> str:
    """Name of an image source beside `MEAN`: a source of this name is in quotes. One to one."""
    return f"“{source}”" if source.strip("“”") == MEAN else source


def list_sources(scores: Scores) -> list[str]:
    """The image sources, without `MEAN`."""
    return [source for source in scores if source != MEAN]


def value_cells(readings: Readings, name: str, metric: str = "auroc") -> tuple[Cell, ...]:
    """Means over the image sources on validation and on test, as they are shown."""
    return tuple(describe_value(readings[split][name][MEAN][metric]) for split in SPLITS)


def make_curve(name: str, x: Iterable[float], values: Sequence[Value]) -> Curve:
    """A line with its intervals, where all points have one."""
    intervals = [value["interval"] for value in values]
    return Curve.with_intervals(name, x, [value["mean"] for value in values], intervals)
