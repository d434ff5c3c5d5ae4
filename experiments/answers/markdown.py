"""Answers as Markdown: the sections of docs/RESULTS.md. Nothing is decided here."""

import re
from collections.abc import Iterable, Mapping, Sequence

from cache_schema import shown_lines
from experiments.answers.answer import Answer, describe_settings, format_cell

HEAD = (
    "# Results\n\nEach section is the answer of one command: the finding, its limits, the figures, and the command "
    "that makes them again. `python -m experiments report --markdown docs/RESULTS.md --keep docs/results` writes this "
    "file from the answers that the commands leave; nothing is written by hand. `make report` draws a page with the "
    "charts and pictures too."
)


def as_document(answers: Sequence[Answer], missing: Mapping[str, str]) -> str:
    """All answers under one heading.

    Args:
        answers: In the order of their sections.
        missing: Question without an answer → the command that would give it.
    """
    contents = "\n".join(f"- **{escape(answer.question)}**\n    - {escape(answer.headline)}" for answer in answers)
    parts = [HEAD, contents, *map(as_section, answers)]
    if missing:
        lines = [f"- {name}: `{command}`" for name, command in missing.items()]
        parts.append("## Not answered here\n\n" + "\n".join(lines))
    return "\n\n".join(part.strip() for part in parts) + "\n"


def as_section(answer: Answer) -> str:
    """Heading, finding, limits, tables, and where they come from. Charts and pictures are left out."""
    parts = [f"## {escape(answer.question)}"]
    parts += ["\n".join(f"- {escape(text)}" for text in b) if isinstance(b, list) else escape(b) for b in answer.blocks]
    parts.append(f"**Limits.** {escape(answer.limits)}")
    for each in answer.tables:
        rows = ([format_cell(cell) for cell in row] for row in each.rows)
        parts += [f"**{escape(each.title)}**", table(each.columns, rows), escape(each.note)]
    settings = describe_settings({name: value for name, value in answer.settings.items() if name != "versions"})
    texts = "; ".join(f"{name} {value}" for name, value in settings.items())
    parts.append(f"Command: `{answer.command}`. Settings: {escape(texts)}.")
    return "\n\n".join(part for part in parts if part) + "\n"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table of plain texts."""
    lines = [[escape(cell) for cell in heads], ["---"] * len(heads), *([escape(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def escape(text: str) -> str:
    """Plain text in one line, with nothing in it that Markdown would take for a mark."""
    # Not `\<`, which Python's Markdown takes for a backslash and the beginning of HTML.
    return re.sub(r"([\\`*\[|~])", r"\\\1", shown_lines(" ".join(text.split()))).replace("<", "&lt;")
