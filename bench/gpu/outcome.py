"""What a check found: a line with a figure and a verdict, and the table of all lines."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Verdict = Literal["holds", "FAILS", "measured", "needs CUDA", "left out"]


@dataclass(frozen=True)
class Outcome:
    """One line."""

    check: str
    figure: str
    verdict: Verdict
    """`measured` where nothing was promised."""

    @property
    def line(self) -> str:
        """For a terminal."""
        return f"{self.check:<24} {self.verdict:<11} {self.figure}"


def judged(check: str, figure: str, holds: bool) -> Outcome:
    """An outcome of a promise."""
    return Outcome(check, figure, "holds" if holds else "FAILS")


def needs_cuda(check: str, what: str) -> Outcome:
    """What can only be seen on a GPU."""
    return Outcome(check, what, "needs CUDA")


def format_report(machine: Mapping[str, Any], outcomes: Sequence[Outcome], command: str) -> str:
    """The Markdown file: the card's name, versions, and a row for each line."""
    gpu = machine.get("gpu", {"name": "no GPU: the figures are of this machine's CPU", "cuda": "none"})
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    head = [
        f"# GPU check: {gpu['name']}",
        "",
        f"{machine['date']}, commit {machine['commit']}, CUDA {gpu['cuda']}, Python {machine['python']}, {versions}.",
        f"Command: `{command}`.",
        "",
        "| check | verdict | figure |",
        "| --- | --- | --- |",
    ]
    rows = [f"| {each.check} | {each.verdict} | {each.figure.replace('|', '/')} |" for each in outcomes]
    return "\n".join([*head, *rows, ""])
