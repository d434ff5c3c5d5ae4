"""Hashes of weight files that this machine has read before, so that gigabytes are not read again at every start."""

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from cache_schema import load_json, write_json
from extract.models.parts import hash_files

MAX_ENTRIES = 256
MAX_BYTES = 2**20
"""Of the file; a larger one is not ours."""


def cache_folder() -> Path:
    """Folder of what can be made again, by the XDG rule: `~/.cache/lare2`."""
    root = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(root).expanduser() / "lare2"


class KnownHashes:
    """Hashes by path, size and times of the files. A file that was touched in any way is read again.

    Args:
        path: JSON file that remembers them; None: in `cache_folder`. One that fails only costs time.
        check: Read everything again, and remember what was found.
    """

    def __init__(self, path: Path | None = None, *, check: bool = False) -> None:
        """Remember nothing yet; the file is read at the first use."""
        self.path, self.check = path or cache_folder() / "weights.json", check

    def __call__(self, files: Sequence[Path]) -> str:
        """SHA-256 over the files' bytes, one after the other.

        Raises:
            OSError: If one of them cannot be read.
        """
        identity = json.dumps([_identify(file) for file in files])
        known = {} if self.check else self._read()
        if identity not in known:
            known = self._read()
            known.pop(identity, None)
            known[identity] = hash_files(files)
            if identity == json.dumps([_identify(file) for file in files]):  # else it was written to meanwhile
                self._write(dict([*known.items()][-MAX_ENTRIES:]))
        return known[identity]

    def peek(self, files: Sequence[Path]) -> str:
        """As a call, but "" where the files would have to be read."""
        return self._read().get(json.dumps([_identify(file) for file in files]), "")

    def _read(self) -> dict[str, str]:
        try:
            content = load_json(self.path, MAX_BYTES)
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) and all(isinstance(v, str) for v in content.values()) else {}

    def _write(self, known: dict[str, str]) -> None:
        with suppress(OSError):  # a full disk, a home that cannot be written: the next start reads the weights again
            write_json(self.path, known)


def _identify(file: Path) -> list[str | int]:
    real = file.resolve()
    status = real.stat()
    return [str(real), status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
