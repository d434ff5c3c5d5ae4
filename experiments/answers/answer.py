"""What a question's command found, in one form: documents and page are made from it.

Commands decide; whoever shows an answer does not. An answer is a JSON file, so that a page can be made again without
doing the work again.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from cache_schema import read_json, write_json

Cell = str | int | float | None
"""Numbers are shown as they come, with three digits after the point where they are fractions."""


@dataclass(frozen=True)
class Table:
    """Rows under column heads."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""
    """What the figures are: how intervals were made, what stands against what."""


@dataclass(frozen=True)
class Curve:
    """A line, or the points of a chart without lines."""

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...] | None = None
    high: tuple[float, ...] | None = None
    """Ends of each point's interval."""
    labels: tuple[str, ...] | None = None
    """A name for each point."""

    @classmethod
    def with_intervals(
        cls, name: str, x: Iterable[float], y: Iterable[float], intervals: Sequence[tuple[float, float] | None]
    ) -> Self:
        """A line with the interval of each point, where all have one."""
        low, high = zip(*intervals, strict=True) if all(intervals) else (None, None)
        return cls(name, tuple(x), tuple(y), low, high)


@dataclass(frozen=True)
class Chart:
    """Curves on one pair of axes."""

    title: str
    x_label: str
    y_label: str
    curves: tuple[Curve, ...]
    log_x: bool = False
    lines: bool = True
    """Join the points of a curve."""
    reference: float | None = None
    """Height of a dashed line, for example 0.5 of an AUROC."""


@dataclass(frozen=True)
class Picture:
    """An image file beside the answer: maps over images, a gallery."""

    title: str
    file: str
    """Name of a PNG in the answer's folder."""
    note: str = ""

    def __post_init__(self) -> None:
        """Check the name: answers are exchanged, and their pictures are read and copied."""
        check_base_name(self.file)


@dataclass(frozen=True)
class Answer:
    """What one question's command found."""

    name: str
    """The command's name, "timestep"."""
    question: str
    headline: str
    """The finding in a line, for contents; decided by the numbers too."""
    finding: str
    """A paragraph a line, or an item of a list where the line begins with "- ". Decided by the numbers; what failed or
    was not found comes first."""
    limits: str
    """What it does not show."""
    command: str
    """What makes it again."""
    settings: Mapping[str, Any]
    """What decided it, without places on this machine; "preset" and "code" (commit) among them."""
    tables: tuple[Table, ...] = ()
    charts: tuple[Chart, ...] = ()
    pictures: tuple[Picture, ...] = ()
    numbers: Mapping[str, Any] = field(default_factory=dict)
    """Everything behind tables and charts that is worth reading by a program."""

    def __post_init__(self) -> None:
        """Check the name, which a file is called after."""
        check_base_name(self.name)

    @property
    def blocks(self) -> list[str | list[str]]:
        """The finding: a text for a paragraph, a list for items that follow one another."""
        blocks: list[str | list[str]] = []
        for line in self.finding.splitlines():
            if not line.startswith("- "):
                blocks.append(line)
                continue
            if not blocks or isinstance(blocks[-1], str):
                blocks.append([])
            items = blocks[-1]
            assert isinstance(items, list)
            items.append(line.removeprefix("- "))
        return blocks

    def save(self, folder: Path) -> Path:
        """Write `<folder>/<name>.json` in place of an older one."""
        path = folder / f"{self.name}.json"
        write_json(path, asdict(self))
        return path

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            ValueError: If the file holds no answer, that of another question, or names of files that are paths.
            OSError: If it cannot be read.
        """
        content = read_json(path)
        try:
            answer = cls(
                **content
                | {
                    "tables": tuple(map(_load_table, content["tables"])),
                    "charts": tuple(map(_load_chart, content["charts"])),
                    "pictures": tuple(Picture(**each) for each in content["pictures"]),
                }
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            reason = f"it has no {error}" if isinstance(error, KeyError) else error
            raise ValueError(f"{path} is no answer that a question's command wrote: {reason}") from error
        if answer.name != path.stem:
            raise ValueError(f"{path} holds the answer {answer.name!r}: its file is called {answer.name}.json")
        return answer


def check_base_name(name: object) -> None:
    """Raise ValueError if the name of a file is a path, is hidden or is no name at all."""
    if not isinstance(name, str) or not name or name.startswith(".") or re.search(r"[/\\\0]", name):
        raise ValueError(f"{name!r} is no name of a file beside the answer")


def _load_table(content: Mapping[str, Any]) -> Table:
    return Table(**{**content, "columns": tuple(content["columns"]), "rows": tuple(map(tuple, content["rows"]))})


def _load_chart(content: Mapping[str, Any]) -> Chart:
    return Chart(**{**content, "curves": tuple(Curve(**_tuples(curve)) for curve in content["curves"])})


def _tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


def with_interval(value: float, interval: tuple[float, float] | list[float] | None, digits: int = 2) -> str:
    """A figure with its 95 % interval, "0.71 (0.68 to 0.74)"."""
    text = f"{value:.{digits}f}"
    if interval is None:
        return text.replace("-", "−")
    return f"{text} ({interval[0]:.{digits}f} to {interval[1]:.{digits}f})".replace("-", "−")


def capitalize(text: str) -> str:
    """A text with a large first letter, the others as they are."""
    return text[0].upper() + text[1:]


def format_cell(cell: Cell) -> str:
    """A cell as it is shown: 1,234 or 0.123; a figure that would be shown as 0.000 with its first digit; – for None."""
    if cell is None or isinstance(cell, str):
        return cell or "–"
    form = ",d" if isinstance(cell, int) else ".1g" if 0 < abs(cell) < 0.0005 else ",.3f"
    return format(cell, form).replace("-", "−")


def describe_settings(settings: Mapping[str, Any]) -> dict[str, str]:
    """An answer's settings as text, the commit last."""
    shown = {name: _as_text(value) for name, value in settings.items() if name not in ("git_commit", "git_dirty")}
    changes = " with changes" if settings.get("git_dirty") else ""
    return {**shown, "commit": f"{settings.get('git_commit') or 'unknown'}{changes}"}


def _as_text(value: Any) -> str:
    if isinstance(value, Mapping):
        value = [f"{name} {_as_text(each)}" for name, each in value.items()]
    if isinstance(value, list | tuple):
        return ", ".join(map(_as_text, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)
