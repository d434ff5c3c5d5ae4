"""The setting that chooses tars by their positions: "3", "0-31", "3,7,9" or "all"."""


def parse_shards(text: str | int, count: int | None = None) -> list[int]:
    """Positions of tars, from "3", "0-31", "3,7,9", "0-3,8" or "all".

    Args:
        text: The setting.
        count: Number of tars that there are; None checks the form alone, and "all" is then empty.

    Returns:
        Positions, ascending, each once.

    Raises:
        ValueError: If the text has another form, or names a tar that is not there.
    """
    text = str(text).strip()
    if text == "all":
        return list(range(count or 0))
    numbers: set[int] = set()
    for part in text.split(","):
        first, dash, last = (p.strip() for p in part.partition("-"))
        if not _is_number(first) or (dash and not _is_number(last)) or (dash and int(last) < int(first)):
            raise ValueError(f"shard is {text!r}: expected a number, a range 0-31, a list 3,7,9 or all")
        # Compared before it is counted out: a range may be of any length.
        if count is not None and int(last or first) >= count:
            raise ValueError(f"shard {int(last or first)} is not there: the dataset has {count} tars, 0 … {count - 1}")
        numbers.update(range(int(first), int(last or first) + 1) if count is not None else ())
    return sorted(numbers)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal()
