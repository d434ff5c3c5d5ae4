"""Any text as the name of a file."""

import hashlib
from urllib.parse import quote

MAX_NAME = 120
"""Characters of a text that a file's name keeps; a hash of all of it follows."""


def file_name(text: str) -> str:
    """Any text as the name of a file or folder: one to one, never a path, never hidden, not too long.

    Letters, digits, spaces and `_.-~` stay as they are, all else is percent-encoded.
    """
    name = quote(text, safe=" ", errors="surrogatepass")
    if name.startswith("."):
        name = f"%2E{name[1:]}"
    if len(name) > MAX_NAME:
        name = f"{name[:MAX_NAME]}%{hashlib.sha256(name.encode()).hexdigest()}"
    return name or "%"
