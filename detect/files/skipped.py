"""What was found and not asked about, counted by kind."""

import os
from collections import Counter

IMAGE_SUFFIXES = frozenset(
    [
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff"),
        *(".heic", ".heif", ".hif", ".avif", ".jxl"),
    ]
)
"""Of pictures in folders and tars; a file that is named directly is asked about whatever its suffix."""
MAX_KINDS, MAX_SHOWN, MAX_SUFFIX_CHARACTERS = 1000, 6, 12
HIDDEN, FOLDER_LINKS, LISTED_FOLDERS, LINKS, SPECIAL, OTHERS = (
    "hidden",
    "links to folders",
    "folders in the list",
    "links in tars",
    "no regular files",
    "of other kinds",
)


class Skipped:
    """Counts what is no picture; its memory is bounded, however many kinds there are."""

    def __init__(self) -> None:
        self._kinds: Counter[str] = Counter()

    @property
    def num(self) -> int:
        """How many in all."""
        return self._kinds.total()

    def add(self, kind: str) -> None:
        """Count one."""
        self._kinds[kind if kind in self._kinds or len(self._kinds) < MAX_KINDS else OTHERS] += 1

    def is_picture(self, base_name: str) -> bool:
        """Whether a file of a folder or tar is asked about, by its base name; one that is not is counted."""
        suffix = os.path.splitext(base_name)[1].lower()
        if base_name.startswith("."):
            self.add(HIDDEN)
        elif suffix in IMAGE_SUFFIXES:
            return True
        else:
            self.add(suffix if 1 < len(suffix) <= MAX_SUFFIX_CHARACTERS and suffix.isprintable() else "without suffix")
        return False

    def __str__(self) -> str:
        """For example "14 other files: 12 .txt, 2 .md"; "" where there are none."""
        if not self.num:
            return ""
        shown = self._kinds.most_common(MAX_SHOWN)
        left = self.num - sum(num for _, num in shown)
        parts = [f"{num:,} {kind}" for kind, num in shown] + ([f"{left:,} {OTHERS}"] if left else [])
        return f"{self.num:,} other file{'s' if self.num > 1 else ''}: {', '.join(parts)}"
