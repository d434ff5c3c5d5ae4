"""Labels as tables and annotation files write them."""

import re

EXPECTED_LABEL = "0 or real, 1 or fake"
NOTHING = ("", "nan")
"""What stands where there is no value: pandas may write the second."""
_ZERO_OR_ONE = re.compile(r"([01])(?:\.0*)?")
_WORDS = {"real": 0, "fake": 1, "generated": 1}


def parse_label(text: str) -> int:
    """0 real, 1 generated: from 0, 1, 0.0, 1.0, real, fake or generated, in any case.

    Raises:
        ValueError: If it is another text. `true` is one: it may mean a true photograph as well as a generated image.
    """
    word = text.strip().casefold()
    if match := _ZERO_OR_ONE.fullmatch(word):
        return int(match[1])
    if word not in _WORDS:
        why = " (true and false may mean either)" if word in ("true", "false") else ""
        raise ValueError(f"expected {EXPECTED_LABEL}{why}")
    return _WORDS[word]
