"""The demo's main figures as a text table that fits a terminal."""

from collections.abc import Mapping
from typing import Any

from demo.report.summary import order_readings
from train.scoring.titles import TITLES

WIDTH = 100
"""Columns that the table has at most, with the demo's own image sources."""


def format_auroc(results: Mapping[str, Any]) -> str:
    """AUROC of each reading, a column an image source, a line a reading.

    Args:
        results: Content of results.json.
    """
    names = order_readings(results)
    sources = list(results["readings"][names[0]]["sources"])
    titles = {name: TITLES.get(name, name) for name in names}
    first = max(len(text) for text in ("AUROC (0.5 is chance)", *titles.values()))
    head = "".join(f"  {name:>6}" for name in (*sources, "mean"))
    lines = [f"{'AUROC (0.5 is chance)':<{first}}{head}"]
    for name in names:
        blocks = results["readings"][name]
        values = [blocks["sources"][source]["auroc"] for source in sources]
        mean = blocks["mean"]["auroc"] if blocks["mean"] else None
        cells = zip((*sources, "mean"), (*values, mean), strict=True)
        lines.append(
            f"{titles[name]:<{first}}" + "".join(f"  {_number(value):>{max(6, len(head))}}" for head, value in cells)
        )
    return "\n".join(lines) + "\n"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
