"""README fits its screens, and the pages that people write keep to plain sentences."""

import re
from pathlib import Path

import pytest

from tests.docs.blocks import PAGES, ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
UNCLEAR = r"told apart|told from|turned round|that of the|those of the|looked at"


def sentences(text: str) -> list[str]:
    """The sentences of running text and lists; code, tables and headings are none."""
    text = re.sub(r"^```.*?^```|<!--.*?-->|^[#|].*?$", "", text, flags=re.M | re.S)
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    parts = re.split(r"\n\s*\n|\n(?=\s*(?:[-*]|\d+\.) )|(?<=[.?!:])\s+", text)
    return [" ".join(part.split()) for part in parts if re.search(r"\w", part)]


def test_readme_is_short_and_narrow() -> None:
    lines = README.splitlines()
    assert len(lines) <= 150
    assert [line for line in lines if len(line) > 110] == []
    assert len((ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").splitlines()) <= 200


def test_sentences_of_readme_are_short() -> None:
    lengths = [len(sentence.split()) for sentence in sentences(README)]
    assert max(lengths) <= 25
    assert sum(lengths) / len(lengths) <= 15


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_pages_avoid_phrases_that_lean_on_the_line_above(page: Path) -> None:
    text = re.sub(r"`[^`]*`", "", page.read_text(encoding="utf-8"))
    assert re.findall(UNCLEAR, text, flags=re.I) == []
