"""The page of error messages quotes messages that the code still has."""

import re

import pytest

from tests.docs.blocks import PACKAGES, ROOT

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
HEADINGS = [line for line in PAGE.splitlines() if line.startswith("### ")]
QUOTES = [quote for heading in HEADINGS for quote in re.findall(r"`([^`]*)`", heading) if " " in quote]


def messages() -> str:
    """All source text, with strings that are cut over several lines in one piece and one kind of quotes."""
    files = [file for package in PACKAGES for file in (ROOT / package).rglob("*.py")] + [ROOT / "scripts/setup_env.py"]
    text = "\n".join(file.read_text(encoding="utf-8") for file in files)
    return re.sub(r"\"\s*\n\s*f?\"", "", text).replace("'", '"')


SOURCE = messages()


@pytest.mark.parametrize("quote", QUOTES)
def test_quoted_messages_are_those_of_the_code(quote: str) -> None:
    for part in quote.replace("'", '"').split("…"):
        words = re.sub(r"^[\s:,.]+|[\s:,]+$", "", part)
        assert words in SOURCE, f"no message has {words!r}"


def test_most_headings_quote_a_message() -> None:
    assert len(QUOTES) >= 40
