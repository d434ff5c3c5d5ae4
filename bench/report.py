"""Figures as a table for people and as JSON for programs."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from bench.runner import Figure
from cache_schema import write_text


def format_number(value: float) -> str:
    """Three significant digits, and no exponent."""
    if value and abs(value) < 100:
        return f"{value:#.3g}" if abs(value) >= 0.001 else f"{value:.2e}"
    return f"{value:,.0f}"


def format_table(figures: Sequence[Figure]) -> str:
    """One line a figure: name, median, lowest to highest, unit, its target, what it is of."""
    rows = [("measure", "value", "lowest … highest", "unit", "target", "of what")]
    for figure in figures:
        spread = f"{format_number(figure.low)} … {format_number(figure.high)}" if len(figure.runs) > 1 else ""
        rows.append((figure.measure, format_number(figure.value), spread, figure.unit, figure.target, figure.against))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return "\n".join(lines) + "\n"


def as_entries(figures: Iterable[Figure], command: str) -> list[dict[str, Any]]:
    """Entries of bench.json."""
    return [
        {
            "measure": figure.measure,
            "value": figure.value,
            "unit": figure.unit,
            "runs": list(figure.runs),
            "how": command,
            "against": figure.against,
            "target": figure.target,
        }
        for figure in figures
    ]


def machine_path(out: Path) -> Path:
    """Where machine and versions go, for a file of figures."""
    return out.with_suffix(".machine.json")


def write_json(path: Path, content: Any) -> None:
    """Write a file whole or not at all."""
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
